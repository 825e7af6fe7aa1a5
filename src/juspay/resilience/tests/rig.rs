//! What every test begins with: a scripted Juspay behind [`Resilient`], a clock, and metrics.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::Future,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use futures_util::future::LocalBoxFuture;
use tokio::task::{JoinHandle, LocalSet};

use crate::{
    clock::{self, Clock, Monotonic, manual::ManualClock},
    customer::{Customer, CustomerId},
    juspay::{
        Answer, CustomerApi, GetCustomer, InvalidAnswer, JuspayError,
        resilience::{Resilience, Resilient},
        tests::shipped_settings,
    },
    metrics::Metrics,
    settings::Juspay,
    traces::Parent,
};

/// `juspay.deadline` of calls that say nothing else, in milliseconds.
pub(super) const DEADLINE: u64 = 5000;

/// How an answer to a try comes.
#[derive(Debug, Clone)]
pub(super) struct Script {
    /// `None`: an answer.
    pub(super) error: Option<JuspayError>,
    /// After so many milliseconds, unless the try is given up before.
    pub(super) after: u64,
}

/// At once.
pub(super) fn fails(error: JuspayError) -> Script {
    Script { error: Some(error), after: 0 }
}

/// An answer after so many milliseconds.
pub(super) fn succeeds_after(after: u64) -> Script {
    Script { error: None, after }
}

/// At once.
pub(super) fn succeeds() -> Script {
    succeeds_after(0)
}

/// No answer.
pub(super) fn hangs() -> Script {
    succeeds_after(u64::from(u32::MAX))
}

/// A try that Juspay saw, in milliseconds since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Try {
    pub(super) at: u64,
    pub(super) deadline: u64,
}

#[derive(Debug)]
struct Fake {
    clock: ManualClock,
    start: Monotonic,
    /// For the next tries; after that, `always`.
    next: RefCell<VecDeque<Script>>,
    always: RefCell<Script>,
    tries: RefCell<Vec<Try>>,
    /// What the client beneath says.
    key_changes: Cell<u64>,
    under_way: Cell<usize>,
    most: Cell<usize>,
}

/// Keeps to the deadline of its try, as the real client does.
impl CustomerApi for Rc<Fake> {
    fn get_customer(
        &self,
        request: GetCustomer,
    ) -> LocalBoxFuture<'static, Result<Answer, JuspayError>> {
        let fake = Rc::clone(self);
        let script = fake.next.borrow_mut().pop_front();
        let Script { error, after } = script.unwrap_or_else(|| fake.always.borrow().clone());
        let now = fake.clock.monotonic();
        let deadline = fake.millis(request.deadline);
        fake.tries.borrow_mut().push(Try { at: fake.millis(now), deadline });
        let under_way = UnderWay::new(Rc::clone(&fake));
        Box::pin(async move {
            let _under_way = under_way;
            let answer = fake.clock.sleep_until(now.plus(Duration::from_millis(after)));
            match clock::before(&fake.clock, request.deadline, answer).await {
                None => Err(JuspayError::Timeout),
                Some(()) => error.map_or_else(|| Ok(answer_of_a_customer()), Err),
            }
        })
    }

    fn recoveries(&self) -> u64 {
        self.key_changes.get()
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

fn answer_of_a_customer() -> Answer {
    Answer { customer: Customer::default(), auth: Err(InvalidAnswer::NoToken), date: None }
}

/// How a call ended, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) error: Option<JuspayError>,
    pub(super) at: u64,
}

pub(super) struct Rig {
    fake: Rc<Fake>,
    resilience: Arc<Resilience>,
    api: Resilient,
    /// Customers of calls so far.
    customers: Cell<usize>,
    pub(super) metrics: Arc<Metrics>,
}

impl Rig {
    /// With the shipped settings.
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(alter: impl FnOnce(&mut Juspay)) -> Self {
        let mut settings = shipped_settings();
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
        let api = Resilient::new(Arc::clone(&resilience), Rc::new(Rc::clone(&fake)));
        Self { fake, resilience, api, customers: Cell::default(), metrics }
    }

    /// Every try goes like this, but for those that `then` has scripts for.
    pub(super) fn always(&self, script: Script) {
        self.fake.always.replace(script);
    }

    /// The next tries go like this, before what always happens.
    pub(super) fn then(&self, scripts: impl IntoIterator<Item = Script>) {
        self.fake.next.borrow_mut().extend(scripts);
    }

    /// Starts a call that may take as long as `juspay.deadline`, for a customer of its own.
    pub(super) fn start(&self) -> JoinHandle<Ended> {
        self.start_with(DEADLINE)
    }

    /// Starts a call that may take so many milliseconds, for a customer of its own.
    pub(super) fn start_with(&self, time: u64) -> JoinHandle<Ended> {
        self.customers.set(self.customers.get() + 1);
        self.start_for(&format!("c{}", self.customers.get()), time)
    }

    fn start_for(&self, customer: &str, time: u64) -> JoinHandle<Ended> {
        let deadline = self.fake.clock.monotonic().plus(Duration::from_millis(time));
        let request = GetCustomer {
            customer: CustomerId::parse(customer).unwrap(),
            traceparent: None,
            trace: Parent::default(),
            attempt: 1,
            deadline,
            call_deadline: deadline,
        };
        let answer = self.api.get_customer(request);
        let fake = Rc::clone(&self.fake);
        tokio::task::spawn_local(async move {
            let error = answer.await.err();
            Ended { error, at: fake.millis(fake.clock.monotonic()) }
        })
    }

    /// Sets the clock and drops calls before they can see what time it is.
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

    /// One call for a customer of its own, to its end.
    pub(super) async fn call(&self) -> Ended {
        self.end(self.start()).await
    }

    /// One call for that customer, to its end.
    pub(super) async fn call_for(&self, customer: &str) -> Ended {
        self.end(self.start_for(customer, DEADLINE)).await
    }

    /// The API keys have changed so often.
    pub(super) fn change_keys(&self, times: u64) {
        self.fake.key_changes.set(times);
    }

    /// An operator's purge.
    pub(super) fn purge(&self, customer: Option<&str>) {
        let customer = customer.map(|customer| CustomerId::parse(customer).unwrap());
        self.resilience.forget_rejections(customer.as_ref());
    }

    pub(super) fn recoveries(&self) -> u64 {
        self.api.recoveries()
    }

    /// Lets time pass until a call has ended.
    pub(super) async fn end(&self, call: JoinHandle<Ended>) -> Ended {
        settle().await;
        while !call.is_finished() {
            self.pass(1).await;
        }
        call.await.unwrap()
    }

    /// Lets so many milliseconds pass, one by one.
    pub(super) async fn pass(&self, millis: u64) {
        settle().await;
        for _ in 0..millis {
            self.fake.clock.advance(Duration::from_millis(1));
            settle().await;
        }
    }

    /// Lets time pass at once; for when nobody is waiting.
    pub(super) async fn jump(&self, millis: u64) {
        settle().await;
        self.fake.clock.advance(Duration::from_millis(millis));
        settle().await;
    }

    pub(super) fn tries(&self) -> Vec<Try> {
        self.fake.tries.borrow().clone()
    }

    /// How many tries Juspay saw.
    pub(super) fn seen(&self) -> usize {
        self.fake.tries.borrow().len()
    }

    /// The most that it saw at a time.
    pub(super) fn most_at_a_time(&self) -> usize {
        self.fake.most.get()
    }

    pub(super) fn retries(&self) -> u64 {
        self.metrics.upstream.retries.get()
    }

    /// The breaker's state as `/metrics` shows it.
    pub(super) fn breaker(&self) -> &'static str {
        self.resilience.refresh_metrics();
        self.gauges()
    }

    /// The breaker's state as told when it changed last.
    pub(super) fn gauges(&self) -> &'static str {
        let is = |state: &&str| {
            self.metrics.upstream.breaker_state.with_label_values(&[*state]).get() == 1
        };
        let states: Vec<_> = ["closed", "open", "half_open"].into_iter().filter(is).collect();
        assert_eq!(states.len(), 1, "{states:?}");
        states[0]
    }
}

/// Runs a test on one thread, without timers: what waits for real time would hang.
pub(super) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    LocalSet::new().block_on(&runtime, test)
}

/// Lets all tasks go on until they wait for the clock.
async fn settle() {
    for _ in 0..4 {
        tokio::task::yield_now().await;
    }
}
