//! Fetches through the shared tier (`crate::shared`): another replica's token instead of a call to Juspay,
//! or a lease for the call. What the call brought is stored in the tier after the waiting requests have it,
//! so that only the look-up costs them time.
//!
//! Hand-outs of a shared token are counted together: each replica reports its own soon after the responses,
//! and learns the total.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use tokio::sync::{
    Mutex,
    mpsc::{self, UnboundedReceiver, UnboundedSender},
};

use super::{
    Lookup,
    fetch::{FetchOutcome, Fetcher},
    lifetime::{Lifetime, Phase},
    store::{Entry, Slot},
};
use crate::{
    clock::{Clock, Monotonic},
    customer::{CustomerId, CustomerKey},
    juspay::{CustomerApi, InvalidResponse, JuspayError, RejectedBy},
    settings::Rate,
    shared::{
        Content, Failure, FailureCode, Found, Lease, LookUp, Need, News, Request, SharedCustomer,
        SharedTier, Stored, Version, wait,
    },
    traces::Kind,
};

/// Reports of hand-outs in a batch, and at once.
const BATCH: usize = 1024;
const MAX_AT_ONCE: usize = 16;

/// Pause between two batches: responses with the same token in this time share a report.
const BATCH_PAUSE: Duration = Duration::from_millis(250);

/// What a fetch must bring, and what it is for.
#[derive(Debug, Clone, Copy)]
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
}

/// A lease, if the tier is in use, and whether the customer's token is replaced everywhere.
#[derive(Debug)]
pub(super) struct Obligation {
    lease: Lease,
    is_replacement: bool,
}

/// What the shared tier knows of an entry.
#[derive(Debug)]
pub(super) struct SharedState {
    customer: CustomerId,
    version: Version,
    /// Hand-outs by this process that the tier knows.
    reported: AtomicU32,
    of_others: AtomicU32,
    /// Whether a report is due.
    is_due: AtomicBool,
}

impl SharedState {
    const fn new(customer: CustomerId, version: Version) -> Self {
        let (reported, of_others) = (AtomicU32::new(0), AtomicU32::new(0));
        Self { customer, version, reported, of_others, is_due: AtomicBool::new(false) }
    }

    pub(super) const fn version(&self) -> Version {
        self.version
    }

    pub(super) fn hand_outs_of_others(&self) -> u32 {
        self.of_others.load(Ordering::Relaxed)
    }
}

/// Reports hand-outs to the tier, in the background.
#[derive(Debug)]
pub(super) struct HandOuts {
    due: UnboundedSender<Arc<Entry>>,
    /// Taken by the task that reports.
    waiting: Mutex<UnboundedReceiver<Arc<Entry>>>,
    tier: Arc<dyn SharedTier>,
}

impl HandOuts {
    pub(super) fn new(tier: Arc<dyn SharedTier>) -> Self {
        let (due, waiting) = mpsc::unbounded_channel();
        Self { due, waiting: Mutex::new(waiting), tier }
    }

    /// Requests a report, unless one is due. So each entry waits at most once.
    pub(super) fn report(&self, entry: &Arc<Entry>) {
        let Some(shared) = entry.shared() else { return };
        if !shared.is_due.swap(true, Ordering::AcqRel) {
            // Fails at the end of the process.
            self.due.send(Arc::clone(entry)).unwrap_or_default();
        }
    }

    /// Sends the reports that are due, until dropped.
    pub(super) async fn run(&self, clock: &dyn Clock) {
        let mut waiting = self.waiting.lock().await;
        let mut entries = Vec::new();
        while waiting.recv_many(&mut entries, BATCH).await > 0 {
            let reports = stream::iter(entries.drain(..)).map(|entry| self.send(entry));
            reports.buffer_unordered(MAX_AT_ONCE).collect::<()>().await;
            clock.sleep_until(clock.monotonic().plus(BATCH_PAUSE)).await;
        }
    }

    async fn send(&self, entry: Arc<Entry>) {
        let Some(shared) = entry.shared() else { return };
        shared.is_due.store(false, Ordering::Release);
        let own = entry.own_hand_outs();
        let number = own.saturating_sub(shared.reported.load(Ordering::Relaxed));
        if number == 0 {
            return;
        }
        let reported = self.tier.add_hand_outs(&shared.customer, shared.version, number).await;
        // Without a response, the next report contains them. They may count twice then, which only makes
        // the next refresh earlier.
        if let Ok(total) = reported {
            shared.reported.store(own, Ordering::Relaxed);
            let others = total.saturating_sub(own.into());
            shared.of_others.store(others.try_into().unwrap_or(u32::MAX), Ordering::Relaxed);
        }
    }
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
        let (lease, fallback) = match self.look_up_shared(tier, &lookup, purpose, deadline).await {
            SharedResult::Ended(outcome) => return (outcome, None),
            SharedResult::Call(lease, fallback) => (lease, fallback),
        };
        let call = self.call(lookup, api, deadline);
        let outcome = match &lease {
            Some(lease) => wait::renewed(tier, &*self.clock, lease, call).await,
            None => call.await,
        };
        let fallback = fallback.filter(|_| purpose.lacks_fallback);
        let outcome = match (outcome.failure(), fallback) {
            (Some(failure), Some(entry)) if failure != JuspayError::CustomerNotFound => {
                FetchOutcome::Fallback { entry, failure }
            }
            _ => outcome,
        };
        let is_replacement = purpose.is_replacement;
        (outcome, lease.map(|lease| Obligation { lease, is_replacement }))
    }

    async fn look_up_shared(
        &self,
        tier: &dyn SharedTier,
        lookup: &Lookup,
        purpose: &Purpose,
        deadline: Monotonic,
    ) -> SharedResult {
        let Purpose { mut need, charge, .. } = *purpose;
        let mut fallback = None;
        loop {
            let customer = lookup.customer.clone();
            let request = Request { customer, need, charge, waited_for: None };
            let span = lookup.trace.begin("look up shared tier", Kind::Internal);
            let result = wait::look_up(tier, &*self.clock, request, deadline).await;
            span.set("juspay_bff.shared.outcome", result.outcome());
            span.end();
            return match result {
                LookUp::Found(Found::Customer(found)) => {
                    let version = found.version;
                    let entry = self.entry_of(lookup, found);
                    match entry.lifetime.phase(self.clock.moment()) {
                        Phase::Fresh | Phase::Refresh => {
                            SharedResult::Ended(FetchOutcome::Shared(entry))
                        }
                        // By this replica's clocks. Versions grow, so this ends.
                        Phase::Stale | Phase::Expired => {
                            need.newer_than = Some(version);
                            fallback = Some(entry);
                            continue;
                        }
                    }
                }
                LookUp::Found(Found::NotFound { .. }) => {
                    SharedResult::Ended(FetchOutcome::Failed(JuspayError::CustomerNotFound))
                }
                LookUp::Fetch(lease, value) => {
                    let value = value.map(|value| self.entry_of(lookup, value));
                    SharedResult::Call(Some(lease), value.or(fallback))
                }
                LookUp::Failed(code) => Self::failed(&code, lookup, fallback),
                // The call of another replica has taken too long.
                LookUp::Elsewhere(_, value) => {
                    let value = value.map(|value| self.entry_of(lookup, value)).or(fallback);
                    let value = value.filter(|_| purpose.lacks_fallback);
                    let failure = JuspayError::Timeout;
                    SharedResult::Ended(match value {
                        Some(entry) => FetchOutcome::Fallback { entry, failure },
                        None => FetchOutcome::Failed(failure),
                    })
                }
                LookUp::Limited(value) => {
                    let value = value.map(|value| self.entry_of(lookup, value));
                    SharedResult::Ended(FetchOutcome::Limited(value))
                }
                LookUp::Away(lease) => SharedResult::Call(lease, fallback),
            };
        }
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
            Some(error) => SharedResult::Ended(FetchOutcome::Failed(error)),
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
        let Obligation { lease, is_replacement } = obligation;
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
                        if is_replacement {
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
                match tier.store(lease, content).await {
                    // If the lease was lost, another replica fetches.
                    Stored::Yes(_) | Stored::Refused | Stored::Unreached => {}
                }
            }
            FetchOutcome::Customer { stored: false, .. }
            | FetchOutcome::Tokenless { .. }
            | FetchOutcome::Fallback { .. }
            | FetchOutcome::Failed(_)
            | FetchOutcome::Shared(_)
            | FetchOutcome::Limited(_) => {
                let failure = outcome.failure().unwrap_or(JuspayError::Aborted);
                if let Some(failure) = failure_of(&failure) {
                    tier.fail(lease, failure).await;
                }
            }
        }
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

/// What other replicas learn of a failure: Juspay's response, or trouble of this replica, such as its
/// network or its breaker.
fn failure_of(error: &JuspayError) -> Option<Failure> {
    let is_own = match error {
        JuspayError::Connection(_)
        | JuspayError::RejectedOrigin(_)
        | JuspayError::RejectedCredentials(RejectedBy::Hold(_))
        | JuspayError::BreakerOpen(_)
        | JuspayError::Saturated
        | JuspayError::Aborted
        | JuspayError::InvalidResponse(InvalidResponse::ClockAhead(_)) => true,
        JuspayError::CustomerNotFound
        | JuspayError::RejectedCredentials(_)
        | JuspayError::TooManyRequests(_)
        | JuspayError::Status(..)
        | JuspayError::InvalidResponse(_)
        | JuspayError::Timeout => false,
    };
    let code = FailureCode::new(&serde_json::to_string(error).ok()?)?;
    Some(if is_own { Failure::Own(code) } else { Failure::Juspay(code) })
}

fn error_of(code: &FailureCode) -> Option<JuspayError> {
    serde_json::from_str(code.as_str()).ok()
}
