//! A Juspay with moods, for tests that let hours pass: it answers by itself, in its mood, and
//! remembers every token that it gave and every call that it got.

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
pub(super) enum Mood {
    /// With a token that lives for so many seconds, after a while.
    Well { life: u64, after: Duration },
    /// With an error, after a while.
    Fails { error: JuspayError, after: Duration },
    /// Never.
    Hangs,
}

impl Mood {
    pub(super) fn well(life: u64) -> Self {
        Self::Well { life, after: Duration::ZERO }
    }

    pub(super) fn fails(error: JuspayError) -> Self {
        Self::Fails { error, after: Duration::ZERO }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Moody {
    clock: ManualClock,
    start: Monotonic,
    state: Rc<RefCell<State>>,
}

#[derive(Debug)]
struct State {
    mood: Mood,
    /// When each token's life ends, by the most careful reading, and how long it is.
    tokens: HashMap<String, (Moment, Duration)>,
    /// When it was asked for each customer.
    calls: HashMap<String, Vec<Monotonic>>,
    under_way: HashMap<String, usize>,
    all_under_way: usize,
    most_of_one: usize,
    most: usize,
}

impl Moody {
    pub(super) fn new(clock: ManualClock, mood: Mood) -> Self {
        let state = State {
            mood,
            tokens: HashMap::new(),
            calls: HashMap::new(),
            under_way: HashMap::new(),
            all_under_way: 0,
            most_of_one: 0,
            most: 0,
        };
        Self { start: clock.monotonic(), clock, state: Rc::new(RefCell::new(state)) }
    }

    pub(super) fn feels(&self, mood: Mood) {
        self.state.borrow_mut().mood = mood;
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

    /// Juspay's own clock: nobody sets it.
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

impl CustomerApi for Moody {
    fn get_customer(
        &self,
        request: GetCustomer,
    ) -> LocalBoxFuture<'static, Result<CustomerResponse, JuspayError>> {
        let (juspay, sent) = (self.clone(), self.clock.moment());
        let customer = request.customer.as_str().to_owned();
        let mood = {
            let mut state = self.state.borrow_mut();
            let state = &mut *state;
            state.calls.entry(customer.clone()).or_default().push(sent.monotonic);
            let of_it = state.under_way.entry(customer.clone()).or_default();
            *of_it += 1;
            state.most_of_one = state.most_of_one.max(*of_it);
            state.all_under_way += 1;
            state.most = state.most.max(state.all_under_way);
            state.mood.clone()
        };
        let under_way = UnderWay { state: Rc::clone(&self.state), customer };
        Box::pin(async move {
            let _under_way = under_way;
            match mood {
                Mood::Well { life, after } => {
                    juspay.clock.sleep_until(sent.monotonic.plus(after)).await;
                    Ok(juspay.answer(life, sent))
                }
                Mood::Fails { error, after } => {
                    juspay.clock.sleep_until(sent.monotonic.plus(after)).await;
                    Err(error)
                }
                Mood::Hangs => {
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

/// A world whose Juspay has moods.
pub(super) struct Stage {
    pub(super) world: World,
    pub(super) juspay: Moody,
    pub(super) api: Rc<dyn CustomerApi>,
}

impl Stage {
    pub(super) fn new(mood: Mood) -> Self {
        Self::with(mood, |_| {})
    }

    pub(super) fn with(mood: Mood, change: impl FnOnce(&mut Settings)) -> Self {
        let world = World::with(change);
        let juspay = Moody::new(world.clock.clone(), mood);
        let api = Rc::new(juspay.clone());
        Self { world, juspay, api }
    }

    /// With retries, breaker and bounds around Juspay, as in the service.
    pub(super) fn resilient(mood: Mood, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = None;
        let stage = Self::with(mood, |shipped| {
            change(shipped);
            settings = Some(shipped.juspay.clone());
        });
        let clock = Arc::new(stage.world.clock.clone());
        let metrics = Arc::clone(&stage.world.metrics);
        let shared = Arc::new(Resilience::new(settings.unwrap(), clock, metrics));
        let api = Rc::new(ResilientClient::new(shared, stage.api));
        Self { api, ..stage }
    }

    /// A phone that asks, as a task of its own.
    pub(super) fn phone(&self, lookup: Lookup) -> JoinHandle<Result<Found, LookupError>> {
        let (cache, api) = (self.world.cache.clone(), Rc::clone(&self.api));
        tokio::task::spawn_local(async move { cache.get(&lookup, &api).await })
    }

    /// A phone that hangs up unless it's answered at once.
    pub(super) fn at_once(&self, lookup: &Lookup) -> Option<Result<Found, LookupError>> {
        self.world.cache.get(lookup, &self.api).now_or_never()
    }

    /// Lets time pass, and those who slept go on.
    pub(super) async fn pass(&self, time: Duration) {
        self.world.clock.advance(time);
        brief().await;
    }
}

/// Enough for flights to land whose Juspay answers at once; tests of hours need many of them.
pub(super) async fn brief() {
    for _ in 0..12 {
        tokio::task::yield_now().await;
    }
}
