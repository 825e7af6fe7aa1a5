//! P4 where things break: workers that stop, answers that make us panic, threads that race.

use std::{
    fmt,
    rc::Rc,
    sync::{Arc, Mutex, mpsc},
};

use futures_util::future::{BoxFuture, LocalBoxFuture};
use jiff::Timestamp;
use tokio::task::LocalSet;

use super::{
    juspay::FakeJuspay,
    world::{REFRESH_FROM, World, lookup, run, secs, settle, shipped, token_of},
};
use crate::{
    cache::CustomerCache,
    clock::{Clock, Moment, Monotonic, manual::ManualClock},
    juspay::{Answer, CustomerApi, GetCustomer, JuspayError},
};

#[test]
fn p4_when_the_worker_that_flies_stops_who_waits_starts_anew() {
    run(async {
        let world = World::new();
        let doomed = LocalSet::new();
        let (cache, api) = (world.cache.clone(), world.api());
        let leader = doomed.spawn_local(async move { cache.get(&lookup("alice"), &api).await });
        doomed.run_until(settle()).await;
        let waiters = [world.asks("alice").await, world.asks("alice").await];
        assert_eq!(world.juspay.calls("alice"), 1);

        drop(doomed);
        settle().await;
        assert!(leader.await.unwrap_err().is_cancelled());
        assert_eq!(world.juspay.calls("alice"), 2, "one of them, for all of them");
        world.answers("alice", world.token("tkn_2", 900)).await;
        for waiter in waiters {
            assert_eq!(token_of(waiter.await.unwrap()), "tkn_2");
        }
        assert_eq!(world.juspay.most_at_once("alice"), 1);
        assert_eq!((world.requests("miss"), world.requests("joined")), (1, 1));
        assert_eq!(world.waiting(), 0);
    });
}

/// A manual clock that does something of the test's when it is read.
struct TrappedClock {
    clock: ManualClock,
    /// Run by the next reading of both clocks at once.
    at_moment: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    /// Whether reading the wall clock alone panics.
    broken: Mutex<bool>,
}

impl TrappedClock {
    fn new(world: &World) -> Arc<Self> {
        let clock = world.clock.clone();
        Arc::new(Self { clock, at_moment: Mutex::default(), broken: Mutex::default() })
    }

    fn cache(self: &Arc<Self>, world: &World) -> CustomerCache {
        CustomerCache::new(&shipped(), Arc::<Self>::clone(self), Arc::clone(&world.metrics))
    }

    fn trap(&self, at_moment: impl FnOnce() + Send + 'static) {
        *self.at_moment.lock().unwrap() = Some(Box::new(at_moment));
    }

    fn set_broken(&self, broken: bool) {
        *self.broken.lock().unwrap() = broken;
    }
}

impl fmt::Debug for TrappedClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TrappedClock")
    }
}

impl Clock for TrappedClock {
    fn now(&self) -> Timestamp {
        let broken = *self.broken.lock().unwrap();
        assert!(!broken, "on purpose");
        self.clock.now()
    }

    fn monotonic(&self) -> Monotonic {
        self.clock.monotonic()
    }

    fn moment(&self) -> Moment {
        let trap = self.at_moment.lock().unwrap().take();
        if let Some(trap) = trap {
            trap();
        }
        self.clock.moment()
    }

    fn sleep_until(&self, deadline: Monotonic) -> BoxFuture<'static, ()> {
        self.clock.sleep_until(deadline)
    }
}

#[test]
fn p4_a_panic_of_ours_over_an_answer_is_told_to_all_who_wait() {
    run(async {
        let mut world = World::new();
        let clock = TrappedClock::new(&world);
        world.cache = clock.cache(&world);
        let phones = [world.asks("alice").await, world.asks("alice").await];
        // The wall clock is read when an answer is judged.
        clock.set_broken(true);
        world.answers("alice", world.token("tkn_1", 900)).await;
        clock.set_broken(false);
        for phone in phones {
            assert_eq!(phone.await.unwrap().unwrap_err(), JuspayError::Aborted);
        }
        assert_eq!(world.juspay.calls("alice"), 1, "nobody asked again");
    });
}

/// A phone on a worker of its own, and what it cost: the token and the calls to Juspay.
fn on_another_worker(cache: CustomerCache, clock: ManualClock, name: &'static str) -> usize {
    run(async move {
        let juspay = FakeJuspay::default();
        let world = World { juspay: juspay.clone(), cache, clock, ..World::new() };
        let phone = world.asks("alice").await;
        if juspay.under_way("alice") > 0 {
            world.answers("alice", world.token(name, 900)).await;
        }
        settle().await;
        assert!(phone.await.unwrap().is_ok());
        juspay.calls("alice")
    })
}

#[test]
fn p4_who_looks_just_before_a_landing_asks_nobody() {
    let world = World::new();
    let clock = TrappedClock::new(&world);
    let cache = clock.cache(&world);
    let (looked, has_looked) = mpsc::channel();
    let (landed, has_landed) = mpsc::channel();
    clock.trap(move || {
        looked.send(()).unwrap();
        has_landed.recv().unwrap();
    });
    let late = {
        let (cache, clock) = (cache.clone(), world.clock.clone());
        std::thread::spawn(move || on_another_worker(cache, clock, "tkn_late"))
    };
    has_looked.recv().unwrap();
    assert_eq!(on_another_worker(cache, world.clock.clone(), "tkn_1"), 1);
    landed.send(()).unwrap();
    assert_eq!(late.join().unwrap(), 0, "it found nothing, but then it had come");
    assert_eq!((world.requests("miss"), world.requests("hit")), (1, 1));
}

#[test]
fn p4_who_looks_just_before_a_refresh_lands_starts_no_second_one() {
    let world = World::new();
    let clock = TrappedClock::new(&world);
    let cache = clock.cache(&world);
    assert_eq!(on_another_worker(cache.clone(), world.clock.clone(), "tkn_1"), 1);
    world.clock.advance(secs(REFRESH_FROM));
    let (looked, has_looked) = mpsc::channel();
    let (landed, has_landed) = mpsc::channel();
    clock.trap(move || {
        looked.send(()).unwrap();
        has_landed.recv().unwrap();
    });
    let late = {
        let (cache, clock) = (cache.clone(), world.clock.clone());
        std::thread::spawn(move || on_another_worker(cache, clock, "tkn_late"))
    };
    has_looked.recv().unwrap();
    assert_eq!(on_another_worker(cache, world.clock.clone(), "tkn_2"), 1);
    landed.send(()).unwrap();
    assert_eq!(late.join().unwrap(), 0);
    assert_eq!(world.refreshes("success"), 1);
}

/// Panics before there is anything to wait for.
#[derive(Debug)]
struct Panicking;

impl CustomerApi for Panicking {
    fn get_customer(&self, _: GetCustomer) -> LocalBoxFuture<'static, Result<Answer, JuspayError>> {
        panic!("on purpose")
    }
}

#[test]
fn p4_a_call_that_panics_before_it_is_awaited_is_told_too() {
    run(async {
        let world = World::new();
        let api: Rc<dyn CustomerApi> = Rc::new(Panicking);
        let error = world.cache.get(&lookup("alice"), &api).await.unwrap_err();
        assert_eq!(error, JuspayError::Aborted);
        assert!(world.fetches("alice", world.token("tkn_1", 900)).await.is_ok());
    });
}
