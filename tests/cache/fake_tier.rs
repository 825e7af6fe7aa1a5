//! A scripted tier: it returns the given look-ups in order, then leases, and records what it is called
//! with.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures_util::future::{FutureExt as _, LocalBoxFuture, ready};
use juspay_bff::{
    clock::Monotonic,
    customer::CustomerId,
    shared::{
        Content, Failure, Lease, LeaseId, LookUp, News, Request, SharedTier, Stored, Unreached,
        Version,
    },
};
use tokio::sync::OwnedMutexGuard;

/// A tier without a server.
#[derive(Debug, Default)]
pub(super) struct FakeTier {
    state: Mutex<State>,
    /// Held while purges wait.
    purges: Arc<tokio::sync::Mutex<()>>,
    held: Mutex<Option<OwnedMutexGuard<()>>>,
}

#[derive(Debug, Default)]
struct State {
    answers: VecDeque<LookUp>,
    requests: Vec<Request>,
    stored: Vec<Content>,
    failures: Vec<Failure>,
    news: Vec<News>,
    purged: Vec<CustomerId>,
    renewals: usize,
    version: u64,
    refuses: bool,
    is_away: bool,
    hand_outs: u64,
    removals: u64,
}

impl FakeTier {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Adds the result of a look-up.
    pub(super) fn answer(&self, answer: LookUp) {
        self.state().answers.push_back(answer);
    }

    /// The number of failures that removed the tier's value.
    pub(super) fn removals(&self) -> u64 {
        self.state().removals
    }

    /// Refuses all stores from now on.
    pub(super) fn refuse(&self) {
        self.state().refuses = true;
    }

    /// Does not respond to purges and announcements.
    pub(super) fn disconnect(&self) {
        self.state().is_away = true;
    }

    pub(super) fn connect(&self) {
        self.state().is_away = false;
    }

    /// Lets purges wait.
    pub(super) fn hold_purges(&self) {
        let held = Arc::clone(&self.purges).try_lock_owned().unwrap();
        *self.held.lock().unwrap() = Some(held);
    }

    pub(super) fn release_purges(&self) {
        *self.held.lock().unwrap() = None;
    }

    fn responds(&self) -> Result<(), Unreached> {
        if self.state().is_away { Err(Unreached) } else { Ok(()) }
    }

    /// Counts hand-outs by other replicas.
    pub(super) fn hand_out(&self, number: u64) {
        self.state().hand_outs += number;
    }

    /// All hand-outs.
    pub(super) fn hand_outs(&self) -> u64 {
        self.state().hand_outs
    }

    /// The look-ups so far.
    pub(super) fn requests(&self) -> Vec<Request> {
        self.state().requests.clone()
    }

    /// The stored values so far.
    pub(super) fn stored(&self) -> Vec<Content> {
        self.state().stored.clone()
    }

    /// The failures so far.
    pub(super) fn failures(&self) -> Vec<Failure> {
        self.state().failures.clone()
    }

    /// The announcements so far.
    pub(super) fn news(&self) -> Vec<News> {
        self.state().news.clone()
    }

    /// The purged customers so far.
    pub(super) fn purged(&self) -> Vec<CustomerId> {
        self.state().purged.clone()
    }

    /// How often leases were renewed.
    pub(super) fn renewals(&self) -> usize {
        self.state().renewals
    }
}

/// A lease of the customer.
pub(super) fn lease(customer: CustomerId) -> Lease {
    let since = Monotonic::new(Duration::ZERO);
    Lease { customer, id: LeaseId::random(), generation: 0, since }
}

fn now<T: 'static>(value: T) -> LocalBoxFuture<'static, T> {
    ready(value).boxed_local()
}

impl SharedTier for FakeTier {
    fn look_up(&self, request: Request) -> LocalBoxFuture<'static, LookUp> {
        let mut state = self.state();
        let customer = request.customer.clone();
        state.requests.push(request);
        now(state.answers.pop_front().unwrap_or_else(|| LookUp::Fetch(lease(customer), None)))
    }

    fn renew(&self, _: &Lease) -> LocalBoxFuture<'static, ()> {
        self.state().renewals += 1;
        now(())
    }

    fn store(&self, _: Lease, content: Content) -> LocalBoxFuture<'static, Stored> {
        let mut state = self.state();
        if state.refuses {
            return now(Stored::Refused);
        }
        state.stored.push(content);
        state.version += 1;
        now(Stored::Yes(Version(state.version)))
    }

    fn fail(&self, _: Lease, failure: Failure, is_missing: bool) -> LocalBoxFuture<'static, ()> {
        let mut state = self.state();
        state.failures.push(failure);
        state.removals += u64::from(is_missing);
        now(())
    }

    fn add_hand_outs(
        &self,
        _: &CustomerId,
        _: Version,
        number: u32,
    ) -> LocalBoxFuture<'static, Result<u64, Unreached>> {
        let mut state = self.state();
        state.hand_outs += u64::from(number);
        now(Ok(state.hand_outs))
    }

    fn purge(&self, customer: &CustomerId) -> LocalBoxFuture<'static, Result<(), Unreached>> {
        let purged = self.responds();
        if purged.is_ok() {
            self.state().purged.push(customer.clone());
        }
        let gate = Arc::clone(&self.purges);
        async move {
            drop(gate.lock().await);
            purged
        }
        .boxed_local()
    }

    fn purge_all(&self) -> LocalBoxFuture<'static, Result<(), Unreached>> {
        now(Ok(()))
    }

    fn announce(&self, news: News) -> LocalBoxFuture<'static, Result<(), Unreached>> {
        let announced = self.responds();
        if announced.is_ok() {
            self.state().news.push(news);
        }
        now(announced)
    }
}
