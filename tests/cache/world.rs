//! What every test of the cache needs: a cache, its fake Juspay, its clock and its metrics.

use std::{
    future::Future,
    rc::Rc,
    sync::{Arc, LazyLock},
    time::Duration,
};

use futures_util::FutureExt as _;
use juspay_bff::{
    cache::{CustomerCache, Detail, Found, Freshness, Lookup, LookupError},
    clock::{Clock, Throttle, later, manual::ManualClock},
    concurrency::Limits,
    customer::{ClientAuth, ClientAuthToken, Customer, CustomerId, Field},
    juspay::{CustomerApi, CustomerResponse, InvalidResponse, JuspayError},
    metrics::Metrics,
    settings::{self, Settings, Sources},
    shared::SharedTier,
    traces::Parent,
};
use serde_json::Value;
use tokio::task::{JoinHandle, LocalSet};

use super::fake_juspay::{FakeJuspay, Reply};

/// The settings without a default.
const REQUIRED: &str = include_str!("../required_settings.toml");

/// The time at which every test starts.
pub(super) const START: &str = "2026-01-01T00:00:00Z";

/// The ages, in seconds, at which a token that lives for 900 s enters its phases with the default
/// settings. Because of jitter, the refresh begins anywhere from `FRESH_TO` to `REFRESH_FROM`.
pub(super) const FRESH_TO: u64 = 600;
pub(super) const REFRESH_FROM: u64 = 646;
pub(super) const REFRESH_TO: u64 = 780;
pub(super) const STALE_FROM: u64 = 781;
pub(super) const STALE_TO: u64 = 870;
pub(super) const EXPIRED_FROM: u64 = 871;

pub(super) type LookupResult = Result<Found, JuspayError>;

pub(super) struct World {
    pub(super) clock: ManualClock,
    pub(super) juspay: FakeJuspay,
    pub(super) metrics: Arc<Metrics>,
    pub(super) cache: CustomerCache,
}

/// Runs a test on one thread, without timers: waiting for real time would hang.
pub(super) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    LocalSet::new().block_on(&runtime, test)
}

/// Lets all tasks continue until they wait for the test.
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

/// A lookup with the token, without directives.
pub(super) fn lookup(customer: &str) -> Lookup {
    Lookup {
        customer: id(customer),
        want_token: true,
        want_body: true,
        freshness: Freshness::default(),
        traceparent: None,
        new_customer: None,
        trace: Parent::default(),
        requester: None,
    }
}

/// The same with `no-cache`.
pub(super) fn no_cache(customer: &str) -> Lookup {
    Lookup { freshness: Freshness { no_cache: true, ..<_>::default() }, ..lookup(customer) }
}

/// The same with `min-fresh`, in seconds.
pub(super) fn min_fresh(customer: &str, min_fresh: u64) -> Lookup {
    let min_fresh = Some(secs(min_fresh));
    Lookup { freshness: Freshness { min_fresh, ..<_>::default() }, ..lookup(customer) }
}

/// The same with `only-if-cached`.
pub(super) fn only_if_cached(customer: &str) -> Lookup {
    Lookup { freshness: Freshness { only_if_cached: true, ..<_>::default() }, ..lookup(customer) }
}

/// The concurrency limits of these settings.
pub(super) fn limits(settings: &Settings, metrics: &Metrics) -> Limits {
    let settings::Server { max_in_flight, max_waiting, .. } = settings.server;
    Limits::new(metrics, max_in_flight, max_waiting)
}

/// Juspay's error. Most tests expect no other.
pub(super) fn juspay_error(error: LookupError) -> JuspayError {
    match error {
        LookupError::Juspay(error) => error,
        other @ (LookupError::NotCached
        | LookupError::NoNewToken(_)
        | LookupError::RefreshLimited(_)
        | LookupError::Overloaded
        | LookupError::MaxInFlight
        | LookupError::TooManyAtOnce) => panic!("{other}"),
    }
}

/// The token in a body, if there is one.
pub(super) fn token(found: &Found) -> Option<String> {
    let body: Value = serde_json::from_slice(&found.body).unwrap();
    Some(body.get("juspay")?.get("client_auth_token")?.as_str()?.to_owned())
}

/// The token of a lookup that must succeed.
pub(super) fn token_of(result: LookupResult) -> String {
    token(&result.unwrap()).expect("a token")
}

pub(super) fn failure(error: JuspayError) -> Reply {
    Reply::Returns(Err(error))
}

/// A valid response without a usable token.
pub(super) fn tokenless(why: InvalidResponse) -> Reply {
    let response =
        CustomerResponse { customer: customer("A"), auth: Err(why), date: None, is_new: false };
    Reply::Returns(Ok(Box::new(response)))
}

pub(super) fn customer(first_name: &str) -> Customer {
    let mut customer = Customer::default();
    customer.push(Field::Id, "\"cst_1\"");
    customer.push(Field::FirstName, format!("\"{first_name}\""));
    customer
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    /// With changes to the default settings.
    pub(super) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::with_tier(change, None)
    }

    /// With a shared tier.
    pub(super) fn with_tier(
        change: impl FnOnce(&mut Settings),
        tier: Option<Arc<dyn SharedTier>>,
    ) -> Self {
        let mut settings = default_settings();
        change(&mut settings);
        let clock = ManualClock::at(START);
        let metrics = Arc::new(Metrics::new("1", "1").unwrap());
        let limits = limits(&settings, &metrics);
        let shared_clock = Arc::new(clock.clone());
        let cache =
            CustomerCache::new(&settings, &limits, tier, shared_clock, Arc::clone(&metrics));
        Self { clock, juspay: FakeJuspay::default(), metrics, cache }
    }

    /// With another limit on replacements of usable tokens (`limits.force_refresh_per_customer`).
    pub(super) fn with_force_refresh_rate(rate: &str) -> Self {
        let rate = rate.parse().unwrap();
        Self::with(|settings| settings.limits.force_refresh_per_customer = Some(rate))
    }

    pub(super) fn api(&self) -> Rc<dyn CustomerApi> {
        Rc::new(self.juspay.clone())
    }

    /// A valid response, with a token that lives for `life` seconds from now.
    pub(super) fn token(&self, token: &str, life: u64) -> Reply {
        let now = self.clock.now();
        let token = ClientAuthToken::parse(token.to_owned()).unwrap();
        // One second more, because the cache subtracts the resolution of `Date`.
        let auth = Ok(ClientAuth { token, expiry: later(now, secs(life + 1)) });
        let response =
            CustomerResponse { customer: customer("A"), auth, date: Some(now), is_new: false };
        Reply::Returns(Ok(Box::new(response)))
    }

    /// A client's request in its own task. Aborting the task disconnects.
    pub(super) fn client(&self, lookup: Lookup) -> JoinHandle<LookupResult> {
        let (cache, api) = (self.cache.clone(), self.api());
        tokio::task::spawn_local(
            async move { cache.get(&lookup, &api).await.map_err(juspay_error) },
        )
    }

    /// Like [`World::client`], for tests that expect the cache's own errors.
    pub(super) fn request(&self, lookup: Lookup) -> JoinHandle<Result<Found, LookupError>> {
        let (cache, api) = (self.cache.clone(), self.api());
        tokio::task::spawn_local(async move { cache.get(&lookup, &api).await })
    }

    /// A client's request that has started, and waits if it must.
    pub(super) async fn start_request(&self, customer: &str) -> JoinHandle<LookupResult> {
        let client = self.client(lookup(customer));
        settle().await;
        client
    }

    /// The result, if the request needn't wait.
    pub(super) fn at_once(&self, customer: &str) -> Option<LookupResult> {
        let found = self.cache.get(&lookup(customer), &self.api()).now_or_never();
        found.map(|found| found.map_err(juspay_error))
    }

    /// The token that is returned without waiting.
    pub(super) fn hit(&self, customer: &str) -> String {
        token_of(self.at_once(customer).expect("a hit"))
    }

    /// Lets Juspay respond, and all waiting requests continue.
    pub(super) async fn respond(&self, customer: &str, reply: Reply) {
        self.juspay.respond(customer, reply);
        settle().await;
    }

    /// A request for which Juspay responds at once.
    pub(super) async fn fetch(&self, customer: &str, reply: Reply) -> LookupResult {
        let client = self.start_request(customer).await;
        self.respond(customer, reply).await;
        client.await.unwrap()
    }

    /// Caches a token that lives for 900 s, and lets it age by `age` seconds.
    pub(super) async fn cache_token(&self, customer: &str, token: &str, age: u64) {
        let reply = self.token(token, 900);
        assert!(self.fetch(customer, reply).await.is_ok());
        self.clock.advance(secs(age));
    }

    /// Spends the customer's remaining replacements of usable tokens. Returns their number.
    pub(super) async fn spend_replacements(&self, customer: &str) -> usize {
        let mut number = 0;
        loop {
            // Long enough that `no-cache` replaces the token (`cache.force_refresh_min_age`).
            self.clock.advance(secs(30));
            let client = self.request(no_cache(customer));
            settle().await;
            if client.is_finished() {
                let found = client.await.unwrap().unwrap();
                assert_eq!(found.detail, Some(Detail::RefreshLimited));
                return number;
            }
            self.respond(customer, self.token("tkn_replaced", 900)).await;
            assert_eq!(token(&client.await.unwrap().unwrap()).as_deref(), Some("tkn_replaced"));
            number += 1;
        }
    }

    /// Sweeps without a pause, as there are few entries.
    pub(super) fn sweep(&self) {
        let mut throttle = Throttle::background(Arc::new(self.clock.clone()));
        self.cache.sweep(&mut throttle).now_or_never().expect("few entries");
    }

    /// Whether the cache has the customer's object, even with an expired token.
    pub(super) fn is_cached(&self, customer: &str) -> bool {
        let lookup = Lookup { want_token: false, ..only_if_cached(customer) };
        let found = self.cache.get(&lookup, &self.api()).now_or_never();
        found.expect("a result without a call").is_ok()
    }

    /// `cache_entries`: the cached customers, including expired and unknown ones.
    pub(super) fn entries(&self) -> i64 {
        self.cache.update_entry_gauge();
        self.metrics.cache.entries.get()
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

/// The default settings, with a longer `not_found_ttl`.
pub(super) fn default_settings() -> Settings {
    static DEFAULT: LazyLock<Settings> = LazyLock::new(|| {
        let sources = Sources::default().text("required", REQUIRED);
        let mut settings = sources.load().expect("valid settings").settings;
        settings.cache.not_found_ttl = secs(60);
        settings
    });
    DEFAULT.clone()
}
