//! A Juspay with configurable behavior, for tests of several hours: it responds by itself, and records
//! every token and every call.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, future::LocalBoxFuture};
use jiff::Timestamp;
use juspay_bff::{
    cache::{Found, Lookup, LookupError},
    clock::{Clock, Moment, Monotonic, later, manual::ManualClock, until},
    customer::{ClientAuth, ClientAuthToken},
    juspay::{
        CustomerApi, CustomerResponse, GetCustomer, JuspayError,
        resilience::{Resilience, ResilientClient},
    },
    settings::Settings,
};
use tokio::task::JoinHandle;

use super::world::{START, World, customer, secs};

/// How Juspay responds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Behavior {
    /// With a token that lives for `life` seconds, after a delay.
    Succeeds { life: u64, after: Duration },
    /// With an error, after a delay.
    Fails { error: JuspayError, after: Duration },
    /// Never.
    Hangs,
}

impl Behavior {
    pub(super) fn succeeds(life: u64) -> Self {
        Self::Succeeds { life, after: Duration::ZERO }
    }

    pub(super) fn fails(error: JuspayError) -> Self {
        Self::Fails { error, after: Duration::ZERO }
    }
}

#[derive(Debug, Clone)]
pub(super) struct FlakyUpstream {
    clock: ManualClock,
    start: Monotonic,
    state: Rc<RefCell<State>>,
}

#[derive(Debug)]
struct State {
    behavior: Behavior,
    /// The end of each token's life, by the most conservative reading, and its length.
    tokens: HashMap<String, (Moment, Duration)>,
    /// The times of the calls for each customer.
    calls: HashMap<String, Vec<Monotonic>>,
    running: HashMap<String, usize>,
    total_running: usize,
    max_running_per_customer: usize,
    max_running: usize,
}

impl FlakyUpstream {
    pub(super) fn new(clock: ManualClock, behavior: Behavior) -> Self {
        let state = State {
            behavior,
            tokens: HashMap::new(),
            calls: HashMap::new(),
            running: HashMap::new(),
            total_running: 0,
            max_running_per_customer: 0,
            max_running: 0,
        };
        Self { start: clock.monotonic(), clock, state: Rc::new(RefCell::new(state)) }
    }

    pub(super) fn set_behavior(&self, behavior: Behavior) {
        self.state.borrow_mut().behavior = behavior;
    }

    /// The end of the token's life, and its length.
    pub(super) fn end_and_life(&self, token: &str) -> (Moment, Duration) {
        self.state.borrow().tokens[token]
    }

    /// The times of the calls for `customer`.
    pub(super) fn calls(&self, customer: &str) -> Vec<Monotonic> {
        self.state.borrow().calls.get(customer).cloned().unwrap_or_default()
    }

    pub(super) fn total_calls(&self) -> usize {
        self.state.borrow().calls.values().map(Vec::len).sum()
    }

    /// The highest number of calls for one customer that ran at once.
    pub(super) fn max_running_per_customer(&self) -> usize {
        self.state.borrow().max_running_per_customer
    }

    /// The highest number of calls that ran at once.
    pub(super) fn max_running(&self) -> usize {
        self.state.borrow().max_running
    }

    /// Juspay's own clock, which no test jumps.
    fn now(&self) -> Timestamp {
        later(START.parse().unwrap(), self.clock.monotonic().since(self.start))
    }

    fn response(&self, life: u64, sent: Moment) -> CustomerResponse {
        let state = &mut *self.state.borrow_mut();
        let token = format!("tkn_{}", state.tokens.len());
        let now = self.now();
        let expiry = later(now, secs(life + 1));
        // The shorter life of the two clocks, at most `cache.max_token_life`.
        let left = until(expiry, now).min(until(expiry, self.clock.now()));
        let limited = left.saturating_sub(secs(1)).min(secs(900));
        state.tokens.insert(token.clone(), (sent.plus(limited), limited));
        let token = ClientAuthToken::parse(token).unwrap();
        let auth = Ok(ClientAuth { token, expiry });
        CustomerResponse { customer: customer("A"), auth, date: Some(now), is_new: false }
    }
}

impl CustomerApi for FlakyUpstream {
    fn get_customer(
        &self,
        request: GetCustomer,
    ) -> LocalBoxFuture<'static, Result<CustomerResponse, JuspayError>> {
        let (juspay, sent) = (self.clone(), self.clock.moment());
        let customer = request.customer.as_str().to_owned();
        let behavior = {
            let mut state = self.state.borrow_mut();
            let state = &mut *state;
            state.calls.entry(customer.clone()).or_default().push(sent.monotonic);
            let running = state.running.entry(customer.clone()).or_default();
            *running += 1;
            state.max_running_per_customer = state.max_running_per_customer.max(*running);
            state.total_running += 1;
            state.max_running = state.max_running.max(state.total_running);
            state.behavior.clone()
        };
        let running = RunningCall { state: Rc::clone(&self.state), customer };
        Box::pin(async move {
            let _running = running;
            match behavior {
                Behavior::Succeeds { life, after } => {
                    juspay.clock.sleep_until(sent.monotonic.plus(after)).await;
                    Ok(juspay.response(life, sent))
                }
                Behavior::Fails { error, after } => {
                    juspay.clock.sleep_until(sent.monotonic.plus(after)).await;
                    Err(error)
                }
                Behavior::Hangs => {
                    // Like the real client.
                    juspay.clock.sleep_until(request.deadline).await;
                    Err(JuspayError::Timeout)
                }
            }
        })
    }
}

/// Counts a call as running until it returns or is dropped.
struct RunningCall {
    state: Rc<RefCell<State>>,
    customer: String,
}

impl Drop for RunningCall {
    fn drop(&mut self) {
        let mut state = self.state.borrow_mut();
        state.total_running -= 1;
        *state.running.get_mut(&self.customer).unwrap() -= 1;
    }
}

/// A world with a flaky upstream.
pub(super) struct Stage {
    pub(super) world: World,
    pub(super) juspay: FlakyUpstream,
    pub(super) api: Rc<dyn CustomerApi>,
}

impl Stage {
    pub(super) fn new(behavior: Behavior) -> Self {
        Self::with(behavior, |_| {})
    }

    pub(super) fn with(behavior: Behavior, change: impl FnOnce(&mut Settings)) -> Self {
        let world = World::with(change);
        let juspay = FlakyUpstream::new(world.clock.clone(), behavior);
        let api = Rc::new(juspay.clone());
        Self { world, juspay, api }
    }

    /// With retries, breaker and limits around Juspay, as in the service.
    pub(super) fn resilient(behavior: Behavior, change: impl FnOnce(&mut Settings)) -> Self {
        let mut juspay_settings = None;
        let stage = Self::with(behavior, |settings| {
            change(settings);
            juspay_settings = Some(settings.juspay.clone());
        });
        let clock = Arc::new(stage.world.clock.clone());
        let metrics = Arc::clone(&stage.world.metrics);
        let shared = Arc::new(Resilience::new(juspay_settings.unwrap(), clock, metrics));
        let api = Rc::new(ResilientClient::new(shared, stage.api));
        Self { api, ..stage }
    }

    /// A client's request in its own task.
    pub(super) fn client(&self, lookup: Lookup) -> JoinHandle<Result<Found, LookupError>> {
        let (cache, api) = (self.world.cache.clone(), Rc::clone(&self.api));
        tokio::task::spawn_local(async move { cache.get(&lookup, &api).await })
    }

    /// The result, if the request needn't wait. Otherwise, its client disconnects.
    pub(super) fn at_once(&self, lookup: &Lookup) -> Option<Result<Found, LookupError>> {
        self.world.cache.get(lookup, &self.api).now_or_never()
    }

    /// Advances the clock, and lets sleeping tasks continue.
    pub(super) async fn advance(&self, time: Duration) {
        self.world.clock.advance(time);
        settle_briefly().await;
    }
}

/// Lets fetches finish if Juspay responds at once. Shorter than `settle`, for tests of several hours.
pub(super) async fn settle_briefly() {
    for _ in 0..12 {
        tokio::task::yield_now().await;
    }
}
