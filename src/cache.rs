//! ② Customers by key: handed out from memory, or fetched once.
//!
//! moka only stores; `flight` is the one door to Juspay, [`lifetime`] says how long a token is
//! good. No HTTP here, and no clock but the [`Clock`]: moka's own expiry is just a bound on memory.

mod flight;
pub mod lifetime;
mod store;

use std::{panic::AssertUnwindSafe, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt as _;
use prometheus::IntCounter;

use self::{
    flight::{Boarding, Flight, Flights, Pilot},
    lifetime::{Lifetime, Phase, Policy, Report},
    store::{Entry, Slot, Store},
};
use crate::{
    clock::{self, Clock, Moment},
    customer::{ClientAuth, CustomerId, CustomerJson, CustomerKey, FieldSet},
    juspay::{Answer, CustomerApi, GetCustomer, InvalidAnswer, JuspayError},
    metrics::{Metrics, Raised},
    settings,
};

/// The customers in memory, shared by all workers.
#[derive(Debug, Clone)]
pub struct CustomerCache {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    merchant: Arc<str>,
    policy: Policy,
    fields: FieldSet,
    not_found_ttl: Duration,
    deadline: Duration,
    store: Store,
    flights: Flights<Landing>,
    clock: Arc<dyn Clock>,
    counts: Counts,
    metrics: Arc<Metrics>,
}

/// `cache_requests_total`, by outcome.
#[derive(Debug)]
struct Counts {
    hit: IntCounter,
    miss: IntCounter,
    joined: IntCounter,
    not_found: IntCounter,
}

/// What a phone asks for.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// The customer that the verified token names.
    pub customer: CustomerId,
    /// Whether the client auth token is wanted (`options.get_client_auth_token`).
    pub want_token: bool,
    /// The request's `traceparent`, for a call to Juspay that it causes.
    pub traceparent: Option<String>,
}

/// A customer to answer with.
#[derive(Debug, Clone)]
pub struct Found {
    /// The JSON to send.
    pub body: Bytes,
    /// Where it came from.
    pub source: Source,
    /// For how much longer it is handed out.
    pub ttl: Duration,
    /// The life left in the token, when there is one in the body.
    pub expires_in: Option<Duration>,
}

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Memory.
    Hit,
    /// Juspay.
    Fetched {
        /// There was one in memory, past its end.
        stale: bool,
        /// Another request had asked already.
        collapsed: bool,
        /// It's in memory now.
        stored: bool,
    },
}

/// What a flight brings to all who wait for it.
#[derive(Debug, Clone)]
enum Landing {
    /// A customer with a good token.
    Customer { entry: Arc<Entry>, stored: bool },
    /// A customer whose token can't be used: good for those who want none.
    Tokenless { json: CustomerJson, why: InvalidAnswer },
    /// Nothing.
    Failed(JuspayError),
}

impl CustomerCache {
    /// An empty cache.
    #[must_use]
    pub fn new(
        settings: &settings::Settings,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let shared = Shared {
            merchant: settings.juspay.merchant_id.as_str().into(),
            policy: Policy::from(&settings.cache),
            fields: settings.response.fields.clone(),
            not_found_ttl: settings.cache.not_found_ttl,
            deadline: settings.juspay.deadline,
            store: Store::new(settings.cache.capacity, &metrics),
            flights: Flights::default(),
            clock,
            counts: Counts::new(&metrics),
            metrics,
        };
        Self { shared: Arc::new(shared) }
    }

    /// The customer, from memory or from Juspay.
    ///
    /// Runs on a `LocalSet`: a fetch is a task of its own there, which goes on when the caller
    /// doesn't.
    ///
    /// # Errors
    /// How the fetch failed that this look-up had to wait for.
    pub async fn get(
        &self,
        lookup: &Lookup,
        api: &Rc<dyn CustomerApi>,
    ) -> Result<Found, JuspayError> {
        let key = self.key(&lookup.customer);
        let now = self.shared.clock.moment();
        let stale = match self.shared.store.get(&key) {
            Some(Slot::NotFound { until, .. }) if now.monotonic < until => {
                self.shared.counts.not_found.inc();
                return Err(JuspayError::CustomerNotFound);
            }
            Some(Slot::Customer(entry)) => {
                let phase = entry.lifetime.phase(now);
                if phase == Phase::Refresh {
                    self.refresh_behind(&key, lookup, api);
                }
                if !lookup.want_token || matches!(phase, Phase::Fresh | Phase::Refresh) {
                    self.shared.counts.hit.inc();
                    return Ok(entry.found(lookup, Source::Hit, now));
                }
                true
            }
            Some(Slot::NotFound { .. }) | None => false,
        };
        self.fetch(&key, stale, lookup, api).await
    }

    /// Forgets a customer: those who come from now on get a new answer of Juspay's. Tells whether
    /// there was one.
    pub fn purge(&self, customer: &CustomerId) -> bool {
        let key = self.key(customer);
        self.shared.flights.void(Some(&key), || self.shared.store.remove(&key))
    }

    /// Forgets all customers, and tells how many.
    pub fn purge_all(&self) -> u64 {
        self.shared.flights.void(None, || self.shared.store.clear())
    }

    /// Frees the memory of tokens that will never be handed out again.
    pub fn sweep(&self) {
        let now = self.shared.clock.moment();
        for (key, slot) in self.shared.store.dead(now) {
            self.shared.flights.while_none_lands(|| self.shared.store.remove_same(&key, &slot));
        }
        self.shared.store.settle();
    }

    /// Counts the customers in memory, for `cache_entries`.
    pub fn settle(&self) {
        self.shared.store.settle();
    }

    fn key(&self, customer: &CustomerId) -> CustomerKey {
        CustomerKey { merchant: Arc::clone(&self.shared.merchant), customer: customer.clone() }
    }

    /// Starts a fetch that nobody waits for, unless one is under way.
    fn refresh_behind(&self, key: &CustomerKey, lookup: &Lookup, api: &Rc<dyn CustomerApi>) {
        if let Boarding::Leader(pilot) = self.shared.flights.board(key) {
            let flying = Arc::clone(&self.shared).fly(pilot, lookup.clone(), Rc::clone(api));
            let metrics = Arc::clone(&self.shared.metrics);
            tokio::task::spawn_local(async move {
                let outcome = match flying.await {
                    None => "success",
                    Some(JuspayError::CustomerNotFound) => "not_found",
                    Some(_) => "failure",
                };
                metrics.cache.refreshes.with_label_values(&[outcome]).inc();
            });
        }
    }

    /// Waits for the customer's flight, and flies it if nobody does.
    async fn fetch(
        &self,
        key: &CustomerKey,
        stale: bool,
        lookup: &Lookup,
        api: &Rc<dyn CustomerApi>,
    ) -> Result<Found, JuspayError> {
        let _waiting = Raised::new(&self.shared.metrics.http.waiting);
        let deadline = self.shared.clock.monotonic().plus(self.shared.deadline);
        loop {
            let (flight, collapsed) = self.board(key, lookup, api);
            let waited = clock::before(&*self.shared.clock, deadline, flight.landed()).await;
            // A lost flight is nobody's fault: its worker has stopped. Start anew on this one.
            let Some(landing) = waited.ok_or(JuspayError::Timeout)? else { continue };
            let counts = &self.shared.counts;
            let outcome = if collapsed { &counts.joined } else { &counts.miss };
            outcome.inc();
            return self.shared.hand_out(landing, stale, collapsed, lookup);
        }
    }

    fn board(
        &self,
        key: &CustomerKey,
        lookup: &Lookup,
        api: &Rc<dyn CustomerApi>,
    ) -> (Arc<Flight<Landing>>, bool) {
        match self.shared.flights.board(key) {
            Boarding::Joined(flight) => (flight, true),
            Boarding::Leader(pilot) => {
                let flight = pilot.flight();
                let flying = Arc::clone(&self.shared).fly(pilot, lookup.clone(), Rc::clone(api));
                tokio::task::spawn_local(flying);
                (flight, false)
            }
        }
    }
}

impl Shared {
    /// Asks Juspay and lands the flight, whatever happens. Gives the failure, if it was one.
    async fn fly(
        self: Arc<Self>,
        pilot: Pilot<Landing>,
        lookup: Lookup,
        api: Rc<dyn CustomerApi>,
    ) -> Option<JuspayError> {
        pilot.take_off().await;
        let landing = self.ask(lookup, &*api).await;
        let failure = landing.failure();
        match &failure {
            None | Some(JuspayError::CustomerNotFound) => {}
            Some(why) => tracing::warn!(outcome = why.outcome(), "call to Juspay failed: {why}"),
        }
        pilot.land(|key, may_store| if may_store { self.keep(key, landing) } else { landing });
        failure
    }

    async fn ask(&self, lookup: Lookup, api: &dyn CustomerApi) -> Landing {
        let sent = self.clock.moment();
        let deadline = sent.monotonic.plus(self.deadline);
        let Lookup { customer, traceparent, .. } = lookup;
        let request = GetCustomer { customer, traceparent, deadline };
        // A panic is a bug of ours, but it must not leave those who wait without an answer.
        let asked = AssertUnwindSafe(async { api.get_customer(request).await }).catch_unwind();
        match clock::before(&*self.clock, deadline, asked).await {
            Some(Ok(Ok(answer))) => self.judge(&answer, sent),
            Some(Ok(Err(error))) => Landing::Failed(error),
            Some(Err(_panic)) => Landing::Failed(JuspayError::Aborted),
            None => Landing::Failed(JuspayError::Timeout),
        }
    }

    /// Reads how long the answer's token may be handed out, and writes the phone's JSON.
    fn judge(&self, answer: &Answer, sent: Moment) -> Landing {
        match self.timed(answer, sent) {
            Ok((auth, lifetime)) => {
                let json = answer.customer.to_json(&self.fields, Some(&auth));
                Landing::Customer { entry: Arc::new(Entry { json, lifetime }), stored: false }
            }
            Err(why) => {
                Landing::Tokenless { json: answer.customer.to_json(&self.fields, None), why }
            }
        }
    }

    /// The token with the expiry that phones are told, and its lifetime.
    fn timed(
        &self,
        answer: &Answer,
        sent: Moment,
    ) -> Result<(ClientAuth, Lifetime), InvalidAnswer> {
        let auth = answer.auth.as_ref().map_err(|why| *why)?;
        let received = self.clock.now();
        let report = Report { expiry: auth.expiry, date: answer.date, sent, received };
        let lifetime = Lifetime::new(&self.policy, &report, rand::random())
            .ok_or(InvalidAnswer::TooShortLived)?;
        Ok((ClientAuth { token: auth.token.clone(), expiry: lifetime.expiry() }, lifetime))
    }

    /// Puts into memory what is worth it. A failure leaves there what was there.
    fn keep(&self, key: &CustomerKey, landing: Landing) -> Landing {
        match landing {
            Landing::Customer { entry, .. } => {
                self.store.put(key, Slot::Customer(Arc::clone(&entry)));
                Landing::Customer { entry, stored: true }
            }
            Landing::Failed(JuspayError::CustomerNotFound) => {
                let ttl = self.not_found_ttl;
                let until = self.clock.monotonic().plus(ttl);
                self.store.put(key, Slot::NotFound { until, ttl });
                landing
            }
            Landing::Tokenless { .. } | Landing::Failed(_) => landing,
        }
    }

    /// Answers one of those who waited. The floor is checked now, not when the token came.
    fn hand_out(
        &self,
        landing: Landing,
        stale: bool,
        collapsed: bool,
        lookup: &Lookup,
    ) -> Result<Found, JuspayError> {
        match landing {
            Landing::Customer { entry, stored } => {
                let now = self.clock.moment();
                if lookup.want_token && entry.lifetime.phase(now) == Phase::Dead {
                    return Err(InvalidAnswer::TooShortLived.into());
                }
                let source = Source::Fetched { stale, collapsed, stored };
                Ok(entry.found(lookup, source, now))
            }
            Landing::Tokenless { json, .. } if !lookup.want_token => Ok(Found {
                body: json.without_token(),
                source: Source::Fetched { stale, collapsed, stored: false },
                ttl: Duration::ZERO,
                expires_in: None,
            }),
            Landing::Tokenless { why, .. } => Err(why.into()),
            Landing::Failed(error) => Err(error),
        }
    }
}

impl Counts {
    fn new(metrics: &Metrics) -> Self {
        let of = |outcome| metrics.cache.requests.with_label_values(&[outcome]);
        Self { hit: of("hit"), miss: of("miss"), joined: of("joined"), not_found: of("not_found") }
    }
}

impl Landing {
    fn failure(&self) -> Option<JuspayError> {
        match self {
            Self::Customer { .. } => None,
            Self::Tokenless { why, .. } => Some((*why).into()),
            Self::Failed(error) => Some(error.clone()),
        }
    }
}

impl Entry {
    fn found(&self, lookup: &Lookup, source: Source, now: Moment) -> Found {
        let (body, has_token) = if lookup.want_token {
            (self.json.with_token(), self.json.has_token())
        } else {
            (self.json.without_token(), false)
        };
        let expires_in = has_token.then(|| self.lifetime.remaining(now));
        Found { body, source, ttl: self.lifetime.ttl(now), expires_in }
    }
}

#[cfg(test)]
mod tests;
