//! A Juspay with configurable behavior, for tests of several hours: it responds by itself, and records
//! every token and every call.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, future::LocalBoxFuture};
use jiff::Timestamp;
use tokio::task::JoinHandle;

use super::world::{START, World, customer, secs};
use crate::{
    cache::{Found, Lookup, LookupError},
    clock::{Clock, Moment, Monotonic, later, manual::ManualClock, until},
    customer::{ClientAuth, ClientAuthToken},
    juspay::{
        CustomerApi, CustomerResponse, GetCustomer, JuspayError,
        resilience::{Resilience, ResilientClient},
    },
    settings::Settings,
};

/// How Juspay answers.
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
    /// When each token's life ends, by the most careful reading, and how long it is.
    tokens: HashMap<String, (Moment, Duration)>,
    /// When it was asked for each customer.
    calls: HashMap<String, Vec<Monotonic>>,
    under_way: HashMap<String, usize>,
    all_under_way: usize,
    most_of_one: usize,
    most: usize,
}

impl FlakyUpstream {
    pub(super) fn new(clock: ManualClock, behavior: Behavior) -> Self {
        let state = State {
            behavior,
            tokens: HashMap::new(),
            calls: HashMap::new(),
            under_way: HashMap::new(),
            all_under_way: 0,
            most_of_one: 0,
            most: 0,
        };
        Self { start: clock.monotonic(), clock, state: Rc::new(RefCell::new(state)) }
    }

    pub(super) fn behaves(&self, behavior: Behavior) {
        self.state.borrow_mut().behavior = behavior;
    }

    /// When the token's life ends, and how long it is.
    pub(super) fn end_and_life(&self, token: &str) -> (Moment, Duration) {
        self.state.borrow().tokens[token]
    }

    /// When it was asked for `customer`.
    pub(super) fn calls(&self, customer: &str) -> Vec<Monotonic> {
        self.state.borrow().calls.get(customer).cloned().unwrap_or_default()
    }

    pub(super) fn all_calls(&self) -> usize {
        self.state.borrow().calls.values().map(Vec::len).sum()
    }

    /// The most calls for one customer that were under way at once.
    pub(super) fn most_of_one(&self) -> usize {
        self.state.borrow().most_of_one
    }

    /// The most calls that were under way at once.
    pub(super) fn most(&self) -> usize {
        self.state.borrow().most
    }

    /// Juspay's own clock, which no test sets.
    fn now(&self) -> Timestamp {
        later(START.parse().unwrap(), self.clock.monotonic().since(self.start))
    }

    fn answer(&self, life: u64, sent: Moment) -> CustomerResponse {
        let state = &mut *self.state.borrow_mut();
        let token = format!("tkn_{}", state.tokens.len());
        let now = self.now();
        let expiry = later(now, secs(life + 1));
        // On the clock that says less; `cache.max_token_life`.
        let left = until(expiry, now).min(until(expiry, self.clock.now()));
        let bounded = left.saturating_sub(secs(1)).min(secs(900));
        state.tokens.insert(token.clone(), (sent.plus(bounded), bounded));
        let token = ClientAuthToken::parse(token).unwrap();
        let auth = Ok(ClientAuth { token, expiry });
        CustomerResponse { customer: customer(), auth, date: Some(now) }
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
            let of_it = state.under_way.entry(customer.clone()).or_default();
            *of_it += 1;
            state.most_of_one = state.most_of_one.max(*of_it);
            state.all_under_way += 1;
            state.most = state.most.max(state.all_under_way);
            state.behavior.clone()
        };
        let under_way = UnderWay { state: Rc::clone(&self.state), customer };
        Box::pin(async move {
            let _under_way = under_way;
            match behavior {
                Behavior::Succeeds { life, after } => {
                    juspay.clock.sleep_until(sent.monotonic.plus(after)).await;
                    Ok(juspay.answer(life, sent))
                }
                Behavior::Fails { error, after } => {
                    juspay.clock.sleep_until(sent.monotonic.plus(after)).await;
                    Err(error)
                }
                Behavior::Hangs => {
                    // What the real client does.
                    juspay.clock.sleep_until(request.deadline).await;
                    Err(JuspayError::Timeout)
                }
            }
        })
    }
}

struct UnderWay {
    state: Rc<RefCell<State>>,
    customer: String,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.state.borrow_mut();
        state.all_under_way -= 1;
        *state.under_way.get_mut(&self.customer).unwrap() -= 1;
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

    /// With retries, breaker and bounds around Juspay, as in the service.
    pub(super) fn resilient(behavior: Behavior, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = None;
        let stage = Self::with(behavior, |shipped| {
            change(shipped);
            settings = Some(shipped.juspay.clone());
        });
        let clock = Arc::new(stage.world.clock.clone());
        let metrics = Arc::clone(&stage.world.metrics);
        let shared = Arc::new(Resilience::new(settings.unwrap(), clock, metrics));
        let api = Rc::new(ResilientClient::new(shared, stage.api));
        Self { api, ..stage }
    }

    /// A client's request in its own task.
    pub(super) fn phone(&self, lookup: Lookup) -> JoinHandle<Result<Found, LookupError>> {
        let (cache, api) = (self.world.cache.clone(), Rc::clone(&self.api));
        tokio::task::spawn_local(async move { cache.get(&lookup, &api).await })
    }

    /// A client that disconnects unless the response comes at once.
    pub(super) fn at_once(&self, lookup: &Lookup) -> Option<Result<Found, LookupError>> {
        self.world.cache.get(lookup, &self.api).now_or_never()
    }

    /// Turns the clock, and lets sleeping tasks continue.
    pub(super) async fn pass(&self, time: Duration) {
        self.world.clock.advance(time);
        brief().await;
    }
}

/// Lets fetches finish whose Juspay responds at once. Shorter than `settle`, for tests of several hours.
pub(super) async fn brief() {
    for _ in 0..12 {
        tokio::task::yield_now().await;
    }
}
