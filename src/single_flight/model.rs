//! Model checks of the table: shuttle runs each scenario in every order in which its threads can take
//! the lock.
//!
//! The table is compiled here a second time, with shuttle's mutex. Its channels need no model: each is
//! written with the table locked, or by the leader that was removed from it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
};

use shuttle::{
    Config, Runner,
    future::block_on,
    scheduler::DfsScheduler,
    sync::{Mutex, MutexGuard},
    thread,
};

#[path = "table.rs"]
#[expect(clippy::duplicate_mod, reason = "it is compiled with another mutex")]
#[expect(dead_code, reason = "the scenarios need no spans")]
mod table;

use self::table::{Join, Leader, SingleFlight};

/// A cache with a single flight, as the customer cache has it. A value is the number of purges before
/// its computation started.
///
/// shuttle switches threads where the table is locked. The other fields aren't shuttle's, so that there
/// are fewer orders; a result is stored after a switch.
#[derive(Default)]
struct Cache {
    single_flight: SingleFlight<(), u32>,
    stored: std::sync::Mutex<Option<u32>>,
    purges: AtomicU32,
    running: AtomicUsize,
    computations: AtomicUsize,
    /// A leader was dropped.
    is_dropped: AtomicBool,
}

/// A computation that runs. It counts itself.
struct Running<'c>(&'c Cache);

impl Cache {
    /// Looks up the value and computes it if needed, like a request.
    fn get(&self) -> u32 {
        loop {
            let stored = *self.stored.lock().unwrap();
            if let Some(value) = stored {
                return value;
            }
            match self.join() {
                Some(Join::Leader(leader, ())) => return self.compute(leader),
                Some(Join::Waiter(waiter)) => {
                    if let Some(value) = block_on(waiter.outcome()) {
                        return value;
                    }
                    assert!(self.is_dropped.load(Ordering::SeqCst), "an outcome is missing");
                }
                None => {}
            }
        }
    }

    fn join(&self) -> Option<Join<(), u32, ()>> {
        let is_needed = || self.stored.lock().unwrap().is_none().then_some(()).ok_or(());
        self.single_flight.join(&(), is_needed).ok()
    }

    fn lead(&self) -> Leader<(), u32> {
        match self.join() {
            Some(Join::Leader(leader, ())) => leader,
            Some(Join::Waiter(_)) | None => panic!("another computation is running"),
        }
    }

    fn compute(&self, leader: Leader<(), u32>) -> u32 {
        let running = self.start(&leader);
        let value = self.purges.load(Ordering::SeqCst);
        self.finish(leader, running, value);
        value
    }

    fn start(&self, leader: &Leader<(), u32>) -> Running<'_> {
        block_on(leader.start());
        self.computations.fetch_add(1, Ordering::SeqCst);
        assert_eq!(self.running.fetch_add(1, Ordering::SeqCst), 0, "one computation at a time");
        Running(self)
    }

    fn finish(&self, leader: Leader<(), u32>, running: Running<'_>, value: u32) {
        leader.finish(|(), is_valid| {
            drop(running);
            thread::yield_now();
            if is_valid {
                *self.stored.lock().unwrap() = Some(value);
            }
            value
        });
    }

    fn purge(&self) {
        self.single_flight.invalidate(None, || {
            self.purges.fetch_add(1, Ordering::SeqCst);
            *self.stored.lock().unwrap() = None;
        });
    }

    /// After all requests.
    fn check(&self, computations: usize) {
        // A scenario may have poisoned it.
        let table = self.single_flight.table.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(table.is_empty(), "every key was released");
        assert_eq!(self.computations.load(Ordering::SeqCst), computations);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Runs `scenario` in every order.
fn in_every_order(scenario: impl Fn(Arc<Cache>) + Send + Sync + 'static) {
    let runner = Runner::new(DfsScheduler::new(None, false), Config::default());
    let orders = runner.run(move || scenario(Arc::new(Cache::default())));
    assert!(orders > 1);
    println!("{orders} orders");
}

fn request(cache: &Arc<Cache>) -> thread::JoinHandle<u32> {
    let cache = Arc::clone(cache);
    thread::spawn(move || cache.get())
}

#[test]
fn p4_a_request_at_the_end_of_a_computation_gets_its_outcome_or_finds_it_stored() {
    in_every_order(|cache| {
        let other = request(&cache);
        assert_eq!((cache.get(), other.join().unwrap()), (0, 0));
        cache.check(1);
    });
}

#[test]
fn p4_when_a_leader_is_dropped_one_waiter_computes() {
    in_every_order(|cache| {
        let leader = cache.lead();
        drop(cache.start(&leader));
        let other = request(&cache);
        cache.is_dropped.store(true, Ordering::SeqCst);
        drop(leader);
        assert_eq!((cache.get(), other.join().unwrap()), (0, 0));
        cache.check(2);
    });
}

#[test]
fn p4_when_a_leader_panics_while_storing_one_waiter_computes() {
    in_every_order(|cache| {
        let leader = cache.lead();
        let running = cache.start(&leader);
        let other = request(&cache);
        cache.is_dropped.store(true, Ordering::SeqCst);
        let finish = AssertUnwindSafe(|| {
            leader.finish(|(), _| {
                drop(running);
                resume_unwind(Box::new("on purpose"))
            });
        });
        assert!(catch_unwind(finish).is_err());
        assert_eq!((cache.get(), other.join().unwrap()), (0, 0));
        cache.check(2);
    });
}

#[test]
fn p4_dropped_waiter_does_not_affect_the_others() {
    in_every_order(|cache| {
        let leader = cache.lead();
        let Some(Join::Waiter(leaving)) = cache.join() else { panic!("no computation to join") };
        let other = {
            let cache = Arc::clone(&cache);
            thread::spawn(move || {
                drop(leaving);
                cache.get()
            })
        };
        assert_eq!((cache.compute(leader), other.join().unwrap()), (0, 0));
        cache.check(1);
    });
}

#[test]
fn p4_a_purge_discards_the_running_computation_and_later_requests_wait_for_a_new_one() {
    in_every_order(|cache| {
        let before = request(&cache);
        cache.purge();
        assert_eq!(cache.get(), 1, "a value from before the purge");
        assert!(before.join().unwrap() <= 1);
        assert_eq!(*cache.stored.lock().unwrap(), Some(1));
        assert!(cache.single_flight.table.lock().unwrap().is_empty());
    });
}

#[test]
fn p4_no_computation_starts_beside_an_invalidated_one_after_a_leader_is_dropped() {
    in_every_order(|cache| {
        let old = cache.lead();
        let running = cache.start(&old);
        cache.purge();
        drop(cache.lead());
        let request = request(&cache);
        cache.finish(old, running, 0);
        assert_eq!(request.join().unwrap(), 1);
        cache.check(2);
    });
}
