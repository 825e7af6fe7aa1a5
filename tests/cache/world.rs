//! The base of all tests of the cache: a cache, its Juspay, its clock and its metrics.

use std::{
    future::Future,
    rc::Rc,
    sync::{Arc, LazyLock},
    time::Duration,
};

use futures_util::FutureExt as _;
use serde_json::Value;
use tokio::task::{JoinHandle, LocalSet};

use super::juspay::{FakeJuspay, Reply};
use crate::{
    cache::{CustomerCache, Found, Freshness, Lookup, LookupError, store::Slot},
    clock::{Clock, Throttle, later, manual::ManualClock},
    concurrency::Limits,
    customer::{ClientAuth, ClientAuthToken, Customer, CustomerId, Field},
    juspay::{CustomerApi, CustomerResponse, InvalidResponse, JuspayError},
    metrics::Metrics,
    settings::{self, Settings, Sources},
    traces::Parent,
};

/// The settings without a default.
const NEEDED: &str = r#"
[juspay]
base_url = "https://juspay.test"
merchant_id = "merchant"
api_key = "key"

[auth.issuers.main]
issuer = "https://issuer.test"
audiences = ["phones"]
algorithms = ["ES256"]
discovery = true
"#;

/// When the tests begin.
pub(super) const START: &str = "2026-01-01T00:00:00Z";

/// The ages at which a token that lives for 900 s, with the shipped settings, enters its phases.
/// Jitter puts the begin of the refresh anywhere from `FRESH_TO` to `REFRESH_FROM`.
pub(super) const FRESH_TO: u64 = 600;
pub(super) const REFRESH_FROM: u64 = 646;
pub(super) const REFRESH_TO: u64 = 780;
pub(super) const STALE_FROM: u64 = 781;
pub(super) const STALE_TO: u64 = 870;
pub(super) const DEAD_FROM: u64 = 871;

pub(super) type Answered = Result<Found, JuspayError>;

pub(super) struct World {
    pub(super) clock: ManualClock,
    pub(super) juspay: FakeJuspay,
    pub(super) metrics: Arc<Metrics>,
    pub(super) cache: CustomerCache,
}

/// Runs a test on one thread, without timers: what waits for real time would hang.
pub(super) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    LocalSet::new().block_on(&runtime, test)
}

/// Lets all tasks go on until they wait for the test.
pub(super) async fn settle() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

pub(super) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(super) fn id(customer: &str) -> CustomerId {
    CustomerId::parse(customer).unwrap()
}

pub(super) fn lookup(customer: &str) -> Lookup {
    Lookup {
        customer: id(customer),
        want_token: true,
        freshness: Freshness::default(),
        traceparent: None,
        trace: Parent::default(),
        requester: None,
    }
}

/// The limits of these settings.
pub(super) fn limits(settings: &Settings, metrics: &Metrics) -> Limits {
    let settings::Server { max_in_flight, max_waiting, .. } = settings.server;
    Limits::new(metrics, max_in_flight, max_waiting)
}

/// Most tests are about Juspay's errors; the others ask the cache itself.
pub(super) fn of_juspay(error: LookupError) -> JuspayError {
    match error {
        LookupError::Juspay(error) => error,
        other @ (LookupError::NotCached
        | LookupError::NoNewToken(_)
        | LookupError::Overloaded
        | LookupError::TooManyAtOnce) => panic!("{other}"),
    }
}

/// The token in a body, if there is one.
pub(super) fn token(found: &Found) -> Option<String> {
    let body: Value = serde_json::from_slice(&found.body).unwrap();
    Some(body.get("juspay")?.get("client_auth_token")?.as_str()?.to_owned())
}

/// The token in an answer that must be good.
pub(super) fn token_of(answered: Answered) -> String {
    token(&answered.unwrap()).expect("a token")
}

pub(super) fn fails(error: JuspayError) -> Reply {
    Reply::Says(Err(error))
}

/// A good answer without a usable token.
pub(super) fn tokenless(why: InvalidResponse) -> Reply {
    Reply::Says(Ok(Box::new(CustomerResponse { customer: customer(), auth: Err(why), date: None })))
}

pub(super) fn customer() -> Customer {
    let mut customer = Customer::default();
    customer.push(Field::Id, "\"cst_1\"");
    customer.push(Field::FirstName, "\"A\"");
    customer
}

impl World {
    /// Sweeps without a pause, as there are few entries.
    pub(super) fn sweep(&self) {
        let mut throttle = Throttle::background(Arc::new(self.clock.clone()));
        self.cache.sweep(&mut throttle).now_or_never().expect("fewer than a portion");
    }

    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    /// With other settings than the shipped ones.
    pub(super) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = shipped();
        change(&mut settings);
        let clock = ManualClock::at(START);
        let metrics = Arc::new(Metrics::new("1", "1").unwrap());
        let limits = limits(&settings, &metrics);
        let shared_clock = Arc::new(clock.clone());
        let cache = CustomerCache::new(&settings, &limits, shared_clock, Arc::clone(&metrics));
        Self { clock, juspay: FakeJuspay::default(), metrics, cache }
    }

    pub(super) fn api(&self) -> Rc<dyn CustomerApi> {
        Rc::new(self.juspay.clone())
    }

    /// A good answer, with a token that lives for `life` seconds from now.
    pub(super) fn token(&self, token: &str, life: u64) -> Reply {
        let now = self.clock.now();
        let token = ClientAuthToken::parse(token.to_owned()).unwrap();
        // One second more, which the resolution of `Date` takes away again.
        let auth = Ok(ClientAuth { token, expiry: later(now, secs(life + 1)) });
        Reply::Says(Ok(Box::new(CustomerResponse { customer: customer(), auth, date: Some(now) })))
    }

    /// A client's request in its own task. Aborting the task disconnects.
    pub(super) fn phone(&self, lookup: Lookup) -> JoinHandle<Answered> {
        let (cache, api) = (self.cache.clone(), self.api());
        tokio::task::spawn_local(async move { cache.get(&lookup, &api).await.map_err(of_juspay) })
    }

    /// As [`World::phone`], with the cache's own errors too.
    pub(super) fn request(&self, lookup: Lookup) -> JoinHandle<Result<Found, LookupError>> {
        let (cache, api) = (self.cache.clone(), self.api());
        tokio::task::spawn_local(async move { cache.get(&lookup, &api).await })
    }

    /// A client's request that waits, if it has to.
    pub(super) async fn asks(&self, customer: &str) -> JoinHandle<Answered> {
        let phone = self.phone(lookup(customer));
        settle().await;
        phone
    }

    /// The response, if the request needn't wait.
    pub(super) fn at_once(&self, customer: &str) -> Option<Answered> {
        let found = self.cache.get(&lookup(customer), &self.api()).now_or_never();
        found.map(|found| found.map_err(of_juspay))
    }

    /// The token that is returned without waiting.
    pub(super) fn hit(&self, customer: &str) -> String {
        token_of(self.at_once(customer).expect("a hit"))
    }

    /// Lets Juspay answer, and all waiting requests continue.
    pub(super) async fn answers(&self, customer: &str, reply: Reply) {
        self.juspay.answer(customer, reply);
        settle().await;
    }

    /// A lookup for which Juspay replies at once.
    pub(super) async fn fetches(&self, customer: &str, reply: Reply) -> Answered {
        let phone = self.asks(customer).await;
        self.answers(customer, reply).await;
        phone.await.unwrap()
    }

    /// Caches a token that lives for 900 s, and turns the clock by `age`.
    pub(super) async fn remembers(&self, customer: &str, token: &str, age: u64) {
        let reply = self.token(token, 900);
        assert!(self.fetches(customer, reply).await.is_ok());
        self.clock.advance(secs(age));
    }

    pub(super) fn in_memory(&self, customer: &str) -> Option<Slot> {
        self.cache.shared.fetcher.store.get(&self.cache.key(&id(customer)))
    }

    /// `cache_requests_total{outcome}`
    pub(super) fn requests(&self, outcome: &str) -> u64 {
        self.metrics.cache.requests.with_label_values(&[outcome]).get()
    }

    /// `cache_refreshes_total{outcome}`
    pub(super) fn refreshes(&self, outcome: &str) -> u64 {
        self.metrics.cache.refreshes.with_label_values(&[outcome]).get()
    }

    /// `cache_evictions_total{cause}`
    pub(super) fn evictions(&self, cause: &str) -> u64 {
        self.metrics.cache.evictions.with_label_values(&[cause]).get()
    }

    /// `http_requests_waiting`
    pub(super) fn waiting(&self) -> i64 {
        self.metrics.http.waiting.get()
    }
}

/// The shipped settings, with a longer `not_found_ttl`.
pub(super) fn shipped() -> Settings {
    static SHIPPED: LazyLock<Settings> = LazyLock::new(|| {
        let sources = Sources::default().text("needed", NEEDED);
        let mut settings = sources.load().expect("good settings").settings;
        settings.cache.not_found_ttl = secs(60);
        settings
    });
    SHIPPED.clone()
}
