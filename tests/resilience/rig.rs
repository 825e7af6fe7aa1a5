//! The test rig: a scripted Juspay wrapped in [`ResilientClient`], a clock, and metrics.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::Future,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use futures_util::future::LocalBoxFuture;
use juspay_bff::{
    clock::{self, Clock, Monotonic, manual::ManualClock},
    customer::{Customer, CustomerId},
    juspay::{
        CustomerApi, CustomerResponse, GetCustomer, InvalidResponse, JuspayError,
        resilience::{Resilience, ResilientClient},
    },
    metrics::Metrics,
    settings::{Juspay, Sources},
    traces::Parent,
};
use tokio::task::{JoinHandle, LocalSet};

/// The settings without a default.
const REQUIRED: &str = include_str!("../required_settings.toml");

/// Default `juspay.deadline` of a call, in milliseconds.
pub(super) const DEADLINE: u64 = 5000;

/// How the scripted Juspay responds to an attempt.
#[derive(Debug, Clone)]
pub(super) struct Script {
    /// `None` for a successful response.
    pub(super) error: Option<JuspayError>,
    /// Delay in milliseconds, unless the attempt is abandoned before.
    pub(super) after: u64,
}

/// Fails at once.
pub(super) fn fails(error: JuspayError) -> Script {
    Script { error: Some(error), after: 0 }
}

/// Succeeds after this many milliseconds.
pub(super) fn succeeds_after(after: u64) -> Script {
    Script { error: None, after }
}

/// Succeeds at once.
pub(super) fn succeeds() -> Script {
    succeeds_after(0)
}

/// Never responds.
pub(super) fn hangs() -> Script {
    succeeds_after(u64::from(u32::MAX))
}

/// An attempt, in milliseconds since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Try {
    pub(super) at: u64,
    pub(super) deadline: u64,
}

#[derive(Debug)]
struct Fake {
    clock: ManualClock,
    start: Monotonic,
    /// For the next attempts; then `always` applies.
    next: RefCell<VecDeque<Script>>,
    always: RefCell<Script>,
    tries: RefCell<Vec<Try>>,
    /// The wrapped client's count of key changes.
    key_changes: Cell<u64>,
    under_way: Cell<usize>,
    most: Cell<usize>,
}

/// The client of the scripted Juspay. Respects the deadline of its attempt, like the real client.
#[derive(Debug)]
struct FakeClient(Rc<Fake>);

impl CustomerApi for FakeClient {
    fn get_customer(
        &self,
        request: GetCustomer,
    ) -> LocalBoxFuture<'static, Result<CustomerResponse, JuspayError>> {
        let fake = Rc::clone(&self.0);
        let script = fake.next.borrow_mut().pop_front();
        let Script { error, after } = script.unwrap_or_else(|| fake.always.borrow().clone());
        let now = fake.clock.monotonic();
        let deadline = fake.millis(request.deadline);
        fake.tries.borrow_mut().push(Try { at: fake.millis(now), deadline });
        let under_way = UnderWay::new(Rc::clone(&fake));
        Box::pin(async move {
            let _under_way = under_way;
            let response = fake.clock.sleep_until(now.plus(Duration::from_millis(after)));
            match clock::timeout_at(&fake.clock, request.deadline, response).await {
                None => Err(JuspayError::Timeout),
                Some(()) => error.map_or_else(|| Ok(customer_without_token()), Err),
            }
        })
    }

    fn recoveries(&self) -> u64 {
        self.0.key_changes.get()
    }
}

impl Fake {
    fn millis(&self, moment: Monotonic) -> u64 {
        moment.since(self.start).as_millis().try_into().unwrap()
    }
}

struct UnderWay(Rc<Fake>);

impl UnderWay {
    fn new(fake: Rc<Fake>) -> Self {
        fake.under_way.set(fake.under_way.get() + 1);
        fake.most.set(fake.most.get().max(fake.under_way.get()));
        Self(fake)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.set(self.0.under_way.get() - 1);
    }
}

fn customer_without_token() -> CustomerResponse {
    CustomerResponse {
        customer: Customer::default(),
        auth: Err(InvalidResponse::NoToken),
        date: None,
        is_new: false,
    }
}

/// How a call ended, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) error: Option<JuspayError>,
    pub(super) at: u64,
}

pub(super) struct Rig {
    fake: Rc<Fake>,
    pub(super) resilience: Arc<Resilience>,
    api: ResilientClient,
    /// Number of customers so far.
    customers: Cell<usize>,
    pub(super) metrics: Arc<Metrics>,
}

impl Rig {
    /// With the default settings.
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(alter: impl FnOnce(&mut Juspay)) -> Self {
        let loaded = Sources::default().text("required", REQUIRED).load().expect("valid settings");
        let mut settings = loaded.settings.juspay;
        alter(&mut settings);
        let clock = ManualClock::at("2026-01-01T00:00:00Z");
        let metrics = Arc::new(Metrics::new("", "").unwrap());
        let fake = Rc::new(Fake {
            start: clock.monotonic(),
            clock: clock.clone(),
            next: RefCell::default(),
            always: RefCell::new(succeeds()),
            tries: RefCell::default(),
            key_changes: Cell::default(),
            under_way: Cell::default(),
            most: Cell::default(),
        });
        let resilience = Arc::new(Resilience::new(settings, Arc::new(clock), Arc::clone(&metrics)));
        let api =
            ResilientClient::new(Arc::clone(&resilience), Rc::new(FakeClient(Rc::clone(&fake))));
        Self { fake, resilience, api, customers: Cell::default(), metrics }
    }

    /// Scripts every attempt, except those scripted by `then`.
    pub(super) fn always(&self, script: Script) {
        self.fake.always.replace(script);
    }

    /// Scripts the next attempts.
    pub(super) fn then(&self, scripts: impl IntoIterator<Item = Script>) {
        self.fake.next.borrow_mut().extend(scripts);
    }

    /// Starts a call for a new customer, with the default deadline.
    pub(super) fn start(&self) -> JoinHandle<Ended> {
        self.start_with(DEADLINE)
    }

    /// Starts a call for a new customer, with a deadline in `time` milliseconds.
    pub(super) fn start_with(&self, time: u64) -> JoinHandle<Ended> {
        self.customers.set(self.customers.get() + 1);
        self.start_for(&format!("c{}", self.customers.get()), time)
    }

    fn start_for(&self, customer: &str, time: u64) -> JoinHandle<Ended> {
        let deadline = self.fake.clock.monotonic().plus(Duration::from_millis(time));
        let request = GetCustomer {
            customer: CustomerId::parse(customer).unwrap(),
            new_customer: None,
            traceparent: None,
            trace: Parent::default(),
            attempt: 1,
            deadline,
            call_deadline: deadline,
        };
        let response = self.api.get_customer(request);
        let fake = Rc::clone(&self.fake);
        tokio::task::spawn_local(async move {
            let error = response.await.err();
            Ended { error, at: fake.millis(fake.clock.monotonic()) }
        })
    }

    /// Sets the clock and drops calls before they can observe the time.
    pub(super) async fn drop_at(
        &self,
        millis: u64,
        calls: impl IntoIterator<Item = JoinHandle<Ended>>,
    ) {
        let moment = self.fake.start.plus(Duration::from_millis(millis));
        self.fake.clock.advance(moment.since(self.fake.clock.monotonic()));
        for call in calls {
            call.abort();
        }
        settle().await;
    }

    /// Makes a call for a new customer and waits for its end.
    pub(super) async fn call(&self) -> Ended {
        self.end(self.start()).await
    }

    /// Makes a call for this customer and waits for its end.
    pub(super) async fn call_for(&self, customer: &str) -> Ended {
        self.end(self.start_for(customer, DEADLINE)).await
    }

    /// Sets the count of key changes.
    pub(super) fn change_keys(&self, times: u64) {
        self.fake.key_changes.set(times);
    }

    /// Purges one customer, or all, as an operator would.
    pub(super) fn purge(&self, customer: Option<&str>) {
        let customer = customer.map(|customer| CustomerId::parse(customer).unwrap());
        self.resilience.discard_rejections(customer.as_ref());
    }

    pub(super) fn recoveries(&self) -> u64 {
        self.api.recoveries()
    }

    /// Advances the clock until the call has ended.
    pub(super) async fn end(&self, call: JoinHandle<Ended>) -> Ended {
        settle().await;
        while !call.is_finished() {
            self.pass(1).await;
        }
        call.await.unwrap()
    }

    /// Advances the clock by this many milliseconds, one at a time.
    pub(super) async fn pass(&self, millis: u64) {
        settle().await;
        for _ in 0..millis {
            self.fake.clock.advance(Duration::from_millis(1));
            settle().await;
        }
    }

    /// Advances the clock in one step. Use it only when no call is waiting.
    pub(super) async fn jump(&self, millis: u64) {
        settle().await;
        self.fake.clock.advance(Duration::from_millis(millis));
        settle().await;
    }

    pub(super) fn tries(&self) -> Vec<Try> {
        self.fake.tries.borrow().clone()
    }

    /// Number of attempts so far.
    pub(super) fn attempts(&self) -> usize {
        self.fake.tries.borrow().len()
    }

    /// Maximum number of concurrent attempts.
    pub(super) fn most_at_a_time(&self) -> usize {
        self.fake.most.get()
    }

    pub(super) fn retries(&self) -> u64 {
        self.metrics.upstream.retries.get()
    }

    /// The breaker's state as shown in `/metrics`.
    pub(super) fn breaker(&self) -> &'static str {
        self.resilience.refresh_metrics();
        self.gauges()
    }

    /// The breaker's state as set at its last change.
    pub(super) fn gauges(&self) -> &'static str {
        let is = |state: &&str| {
            self.metrics.upstream.breaker_state.with_label_values(&[*state]).get() == 1
        };
        let states: Vec<_> = ["closed", "open", "half_open"].into_iter().filter(is).collect();
        assert_eq!(states.len(), 1, "{states:?}");
        states[0]
    }
}

/// Runs a test on one thread without timers, so that waiting for real time hangs.
pub(super) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    LocalSet::new().block_on(&runtime, test)
}

/// Runs all tasks until they wait for the clock.
async fn settle() {
    for _ in 0..4 {
        tokio::task::yield_now().await;
    }
}
