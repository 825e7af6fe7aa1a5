//! P4 across workers: one that stops during a fetch, and racing threads.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

use futures_util::{FutureExt as _, future::LocalBoxFuture};
use tokio::task::LocalSet;

use super::{
    blocking_clock::BlockingClock,
    juspay::FakeJuspay,
    world::{REFRESH_FROM, World, lookup, run, secs, settle, token_of},
};
use crate::{
    cache::CustomerCache,
    clock::manual::ManualClock,
    juspay::{CustomerApi, CustomerResponse, GetCustomer, JuspayError},
};

#[test]
fn p4_when_the_fetching_worker_stops_one_waiting_request_fetches_again() {
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

#[test]
fn request_that_fetches_again_keeps_its_deadline() {
    run(async {
        let world = World::new();
        let doomed = LocalSet::new();
        let (cache, api) = (world.cache.clone(), world.api());
        let leader = doomed.spawn_local(async move { cache.get(&lookup("alice"), &api).await });
        doomed.run_until(settle()).await;
        let waiter = world.asks("alice").await;
        world.clock.advance(secs(3));
        drop((doomed, leader));
        settle().await;
        world.clock.advance(secs(2));
        settle().await;
        assert_eq!(world.juspay.under_way("alice"), 1, "the new call has its whole deadline");
        let answer = waiter.now_or_never().expect("its own has passed");
        assert_eq!(answer.unwrap().unwrap_err(), JuspayError::Timeout);
    });
}

/// A request on a worker of its own. Returns its calls to Juspay.
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

/// A lookup reads the store, a fetch of `token` starts and finishes, and then the lookup continues:
/// without a call.
fn look_up_just_before_a_fetch_finishes(
    world: &World,
    clock: &BlockingClock,
    cache: CustomerCache,
    token: &'static str,
) {
    let (looked, has_looked) = mpsc::channel();
    let (landed, has_landed) = mpsc::channel();
    clock.block_at_moment(move || {
        looked.send(()).unwrap();
        has_landed.recv().unwrap();
    });
    let late = {
        let (cache, clock) = (cache.clone(), world.clock.clone());
        std::thread::spawn(move || on_another_worker(cache, clock, "tkn_late"))
    };
    has_looked.recv().unwrap();
    assert_eq!(on_another_worker(cache, world.clock.clone(), token), 1);
    landed.send(()).unwrap();
    assert_eq!(late.join().unwrap(), 0, "what it had missed had come by then");
}

#[test]
fn p4_lookup_just_before_a_fetch_finishes_starts_none() {
    let world = World::new();
    let clock = BlockingClock::new(&world);
    let cache = clock.cache(&world);
    look_up_just_before_a_fetch_finishes(&world, &clock, cache, "tkn_1");
    assert_eq!((world.requests("miss"), world.requests("hit")), (1, 1));
}

#[test]
fn p4_lookup_just_before_a_refresh_finishes_starts_none() {
    let world = World::new();
    let clock = BlockingClock::new(&world);
    let cache = clock.cache(&world);
    assert_eq!(on_another_worker(cache.clone(), world.clock.clone(), "tkn_1"), 1);
    world.clock.advance(secs(REFRESH_FROM));
    look_up_just_before_a_fetch_finishes(&world, &clock, cache, "tkn_2");
    assert_eq!(world.refreshes("success"), 1);
}

/// Fails after one yield, and checks that no other call is running in any thread.
#[derive(Debug, Clone)]
struct Crowded {
    under_way: Arc<AtomicUsize>,
    calls: Arc<AtomicUsize>,
}

impl CustomerApi for Crowded {
    fn get_customer(
        &self,
        _: GetCustomer,
    ) -> LocalBoxFuture<'static, Result<CustomerResponse, JuspayError>> {
        let this = self.clone();
        Box::pin(async move {
            assert_eq!(this.under_way.fetch_add(1, Ordering::SeqCst), 0, "one call at a time");
            this.calls.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            this.under_way.fetch_sub(1, Ordering::SeqCst);
            Err(JuspayError::Status(500, None))
        })
    }
}

#[test]
fn p4_racing_workers_and_purges_make_one_call_at_a_time() {
    let world = World::new();
    let crowded = Crowded { under_way: Arc::default(), calls: Arc::default() };
    let worker = |purges: bool| {
        let (cache, crowded) = (world.cache.clone(), crowded.clone());
        move || {
            run(async move {
                let api: Rc<dyn CustomerApi> = Rc::new(crowded);
                for _ in 0..200 {
                    let error = cache.get(&lookup("alice"), &api).await.unwrap_err();
                    assert_eq!(error, JuspayError::Status(500, None).into());
                    if purges {
                        cache.purge_all();
                    }
                }
            });
        }
    };
    let workers = [false, false, true].map(|purges| std::thread::spawn(worker(purges)));
    for worker in workers {
        worker.join().unwrap();
    }
    assert!(crowded.calls.load(Ordering::SeqCst) >= 200);
}
