//! Fetches through the shared tier (`crate::shared`): another replica's token instead of a call to Juspay,
//! or a lease for the call. What the call brought is stored in the tier after the waiting requests have it,
//! so that only the look-up costs them time.
//!
//! `hand_outs` counts hand-outs of all replicas, and `unshared` has what the tier has yet to learn.

mod hand_outs;
mod unshared;

use std::{
    collections::HashSet,
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

pub(super) use self::{
    hand_outs::{HandOuts, SharedState},
    unshared::Unshared,
};
use super::{
    Lookup,
    fetch::{FetchOutcome, Fetcher},
    lifetime::{Lifetime, Phase},
    store::{Entry, Slot},
};
use crate::{
    clock::Monotonic,
    customer::CustomerKey,
    juspay::{CustomerApi, InvalidResponse, JuspayError, NotCreated},
    settings::Rate,
    shared::{
        Content, Failure, FailureCode, Found, Lease, LookUp, Need, News, Request, SharedCustomer,
        SharedTier, Stored, Version, wait,
    },
    traces::Kind,
};

/// A look-up that takes longer has waited for another replica's call.
const MAX_LOOK_UP: Duration = Duration::from_millis(250);

/// What a fetch must bring, and what it is for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Purpose {
    /// What another replica's token must fulfill.
    pub(super) need: Need,
    /// The limit that a call is charged to if it replaces a usable token of the tier.
    pub(super) charge: Option<Rate>,
    /// Whether the client wants a new token because the old one no longer works, so that no replica may
    /// return it.
    pub(super) is_replacement: bool,
    /// Whether there is no token that requests get if Juspay fails. Then they get the tier's.
    pub(super) lacks_fallback: bool,
    /// Whether there is a token that requests get if it may not be replaced.
    pub(super) can_be_limited: bool,
}

/// A lease, if the tier is in use, and whether the customer's token is replaced everywhere.
#[derive(Debug)]
pub(super) struct Obligation {
    lease: Lease,
    is_replacement: bool,
    /// Whether the call had less than its full time, after waiting for another replica's.
    was_short: bool,
}

impl Fetcher {
    /// Calls Juspay or, if there is a shared tier, only does so if no replica has what is needed. Returns
    /// also the lease under which the outcome must be published.
    pub(super) async fn obtain(
        &self,
        lookup: Lookup,
        purpose: &Purpose,
        api: &dyn CustomerApi,
    ) -> (FetchOutcome, Option<Obligation>) {
        let deadline = self.clock.monotonic().plus(self.deadline);
        let Some(tier) = self.tier.as_deref() else {
            return (self.call(lookup, api, deadline).await, None);
        };
        let start = self.clock.monotonic();
        let (lease, fallback) = match self.look_up_shared(tier, &lookup, purpose, deadline).await {
            SharedResult::Ended(outcome) => return (outcome, None),
            SharedResult::Call(lease, fallback) => (lease, fallback),
        };
        let was_short = self.clock.monotonic().since(start) > MAX_LOOK_UP;
        let call = self.call(lookup, api, deadline);
        let outcome = match &lease {
            Some(lease) => wait::renewed(tier, &*self.clock, lease, call).await,
            None => call.await,
        };
        let is_replacement = purpose.is_replacement;
        let obligation = lease.map(|lease| Obligation { lease, is_replacement, was_short });
        (or_fallback(outcome, fallback), obligation)
    }

    async fn look_up_shared(
        &self,
        tier: &dyn SharedTier,
        lookup: &Lookup,
        purpose: &Purpose,
        deadline: Monotonic,
    ) -> SharedResult {
        let Purpose { mut need, mut charge, lacks_fallback, can_be_limited, .. } = *purpose;
        let mut fallback = None;
        loop {
            let (result, latest) = self.ask(tier, lookup, (need, charge), deadline).await;
            if let Some(latest) = latest.filter(|_| lacks_fallback) {
                fallback = Some(self.entry_of(lookup, latest));
            }
            return match result {
                LookUp::Found(Found::Customer(found)) => {
                    let version = found.version;
                    let entry = self.entry_of(lookup, found);
                    if self.is_usable(&entry) {
                        let outcome = FetchOutcome::Shared { entry, stored: false };
                        return SharedResult::Ended(outcome);
                    }
                    // By this replica's clocks. Versions grow, so this ends.
                    need.newer_than = Some(version);
                    fallback = Some(entry).filter(|_| lacks_fallback);
                    continue;
                }
                LookUp::Found(Found::NotFound { .. }) => {
                    SharedResult::Ended(FetchOutcome::Failed(JuspayError::CustomerNotFound))
                }
                LookUp::Limited(value) => {
                    let value = value.map(|value| self.entry_of(lookup, value));
                    let value = value.filter(|entry| self.is_usable(entry));
                    if value.is_none() && !can_be_limited {
                        // There is nothing to replace, as far as this replica can tell.
                        charge = None;
                        continue;
                    }
                    SharedResult::Ended(FetchOutcome::Limited(value))
                }
                LookUp::Failed(code) => Self::failed(&code, lookup, fallback),
                // The call of another replica has taken too long.
                LookUp::Elsewhere(..) => {
                    let outcome = FetchOutcome::Failed(JuspayError::Timeout);
                    SharedResult::Ended(or_fallback(outcome, fallback))
                }
                LookUp::Fetch(lease, _) => SharedResult::Call(Some(lease), fallback),
                // The limit of this process applies.
                LookUp::Away(_)
                    if can_be_limited
                        && charge.is_some()
                        && self.force_refreshes.spend(&lookup.customer).is_err() =>
                {
                    SharedResult::Ended(FetchOutcome::Limited(None))
                }
                LookUp::Away(lease) => SharedResult::Call(lease, fallback),
            };
        }
    }

    /// One look-up with its span. Returns also the latest value that did not fulfill the need.
    async fn ask(
        &self,
        tier: &dyn SharedTier,
        lookup: &Lookup,
        (need, charge): (Need, Option<Rate>),
        deadline: Monotonic,
    ) -> (LookUp, Option<SharedCustomer>) {
        let customer = lookup.customer.clone();
        let request = Request { customer, need, charge, waited_for: None };
        let span = lookup.trace.begin("look up shared tier", Kind::Internal);
        let (result, latest) = self.polls.look_up(tier, &*self.clock, request, deadline).await;
        span.set("juspay_bff.shared.outcome", result.outcome());
        span.end();
        (result, latest)
    }

    fn is_usable(&self, entry: &Entry) -> bool {
        matches!(entry.lifetime.phase(self.clock.moment()), Phase::Fresh | Phase::Refresh)
    }

    /// The result if another replica's call failed.
    fn failed(code: &FailureCode, lookup: &Lookup, fallback: Option<Arc<Entry>>) -> SharedResult {
        match error_of(code) {
            // Juspay returned the customer, for which this request needs a call of its own.
            Some(JuspayError::InvalidResponse(why))
                if why.lacks_only_token() && !lookup.want_token =>
            {
                SharedResult::Call(None, fallback)
            }
            Some(error) => SharedResult::Ended(or_fallback(FetchOutcome::Failed(error), fallback)),
            // A code of another version of the service.
            None => SharedResult::Call(None, fallback),
        }
    }

    fn entry_of(&self, lookup: &Lookup, found: SharedCustomer) -> Arc<Entry> {
        let SharedCustomer { json, life, version } = found;
        let lifetime = Lifetime::of_shared(&self.policy, &life);
        let entry = Entry::new(json, lifetime, life.born, self.store.generation());
        entry.set_shared(SharedState::new(lookup.customer.clone(), version));
        Arc::new(entry)
    }

    /// Stores the outcome in the tier, or ends the lease without one.
    pub(super) async fn publish(
        &self,
        obligation: Obligation,
        key: &CustomerKey,
        outcome: &FetchOutcome,
    ) {
        let Some(tier) = self.tier.as_deref() else { return };
        let Obligation { lease, is_replacement, was_short } = obligation;
        let customer = &key.customer;
        match outcome {
            FetchOutcome::Customer { entry, stored: true } => {
                let content = Content::Customer {
                    json: entry.json.clone(),
                    life: entry.lifetime.to_shared(entry.born()),
                    normal_floor: entry.lifetime.normal_floor(),
                };
                match tier.store(lease, content).await {
                    Stored::Yes(version) => {
                        entry.set_shared(SharedState::new(customer.clone(), version));
                        if let Some(hand_outs) = &self.hand_outs {
                            hand_outs.report(entry);
                        }
                        if is_replacement || self.take_replacement(key) {
                            let news = News::Newer(customer.clone(), version);
                            tier.announce(news).await.unwrap_or_default();
                        }
                    }
                    // The lease was lost or purged: what the other replicas have counts.
                    Stored::Refused => {
                        self.fetches.while_none_finishes(|| self.store.remove_entry(key, entry));
                    }
                    Stored::Unreached => {}
                }
            }
            FetchOutcome::Failed(JuspayError::CustomerNotFound) => {
                let content = Content::NotFound { ttl: self.not_found_ttl };
                // If the lease was lost, another replica fetches.
                tier.store(lease, content).await;
            }
            FetchOutcome::Customer { stored: false, .. }
            | FetchOutcome::Tokenless { .. }
            | FetchOutcome::Fallback { .. }
            | FetchOutcome::Failed(_)
            | FetchOutcome::Shared { .. }
            | FetchOutcome::Limited(_) => {
                let error = outcome.failure();
                let is_missing = error.as_ref().is_some_and(JuspayError::is_about_missing_customer);
                let failure = error.and_then(|error| failure_of(&error, was_short));
                tier.fail(lease, failure.unwrap_or(Failure::None), is_missing).await;
            }
        }
    }

    /// Notes that a request that waits for the customer's fetch wants all replicas to use the new token.
    pub(super) fn note_replacement(&self, key: &CustomerKey) {
        if self.tier.is_some() {
            self.replacements().insert(key.clone());
        }
    }

    fn take_replacement(&self, key: &CustomerKey) -> bool {
        self.replacements().remove(key)
    }

    fn replacements(&self) -> MutexGuard<'_, HashSet<CustomerKey>> {
        self.replacements.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the customer's token if it is older than this version.
    pub(super) fn forget_older(&self, key: &CustomerKey, version: Version) {
        self.fetches.while_none_finishes(|| {
            if let Some(Slot::Customer(entry)) = self.store.get(key)
                && entry.shared().is_none_or(|shared| shared.version() < version)
            {
                self.store.remove_entry(key, &entry);
            }
        });
    }
}

/// What a look-up in the tier means for the fetch.
enum SharedResult {
    Ended(FetchOutcome),
    /// Call Juspay, and publish the outcome under the lease. The token of the tier is a fallback.
    Call(Option<Lease>, Option<Arc<Entry>>),
}

/// The outcome, or the tier's token if it is a failure.
fn or_fallback(outcome: FetchOutcome, fallback: Option<Arc<Entry>>) -> FetchOutcome {
    match (outcome.failure(), fallback) {
        (Some(failure), Some(entry)) if !failure.is_about_missing_customer() => {
            FetchOutcome::Fallback { entry, failure }
        }
        _ => outcome,
    }
}

/// What other replicas learn of a failure: Juspay's response, or trouble of this replica, such as its
/// network, its key or its breaker.
fn failure_of(error: &JuspayError, was_short: bool) -> Option<Failure> {
    let is_own = match error {
        // Another replica's request may have another access token.
        JuspayError::NotCreated(NotCreated::NoMobileNumber) => return None,
        JuspayError::NotCreated(NotCreated::Limited(_))
        | JuspayError::Connection(_)
        | JuspayError::RejectedOrigin(_)
        | JuspayError::RejectedCredentials(_)
        | JuspayError::BreakerOpen(_)
        | JuspayError::Saturated
        | JuspayError::Aborted
        | JuspayError::InvalidResponse(InvalidResponse::ClockAhead(_)) => true,
        JuspayError::CustomerNotFound
        | JuspayError::NotCreated(_)
        | JuspayError::TooManyRequests(_)
        | JuspayError::Status(..)
        | JuspayError::InvalidResponse(_) => false,
        JuspayError::Timeout => was_short,
    };
    let code = FailureCode::new(&serde_json::to_string(error).ok()?)?;
    Some(if is_own { Failure::Own(code) } else { Failure::Juspay(code) })
}

fn error_of(code: &FailureCode) -> Option<JuspayError> {
    serde_json::from_str(code.as_str()).ok()
}
