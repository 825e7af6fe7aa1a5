//! P4 across workers: a worker that stops during a fetch, and racing threads.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

use futures_util::{FutureExt as _, future::LocalBoxFuture};
use juspay_bff::{
    cache::CustomerCache,
    clock::manual::ManualClock,
    juspay::{CustomerApi, CustomerResponse, GetCustomer, JuspayError},
};
use tokio::task::LocalSet;

use super::{
    blocking_clock::BlockingClock,
    fake_juspay::FakeJuspay,
    world::{REFRESH_FROM, World, lookup, run, secs, settle, token_of},
};

#[test]
fn p4_when_the_fetching_worker_stops_one_waiting_request_fetches_again() {
    run(async {
        let world = World::new();
        let stopping_worker = LocalSet::new();
        let (cache, api) = (world.cache.clone(), world.api());
        let leader =
            stopping_worker.spawn_local(async move { cache.get(&lookup("alice"), &api).await });
        stopping_worker.run_until(settle()).await;
        let waiters = [world.start_request("alice").await, world.start_request("alice").await];
        assert_eq!(world.juspay.calls("alice"), 1);

        drop(stopping_worker);
        settle().await;
        assert!(leader.await.unwrap_err().is_cancelled());
        assert_eq!(world.juspay.calls("alice"), 2, "one of them fetches for both");
        world.respond("alice", world.token("tkn_2", 900)).await;
        for waiter in waiters {
            assert_eq!(token_of(waiter.await.unwrap()), "tkn_2");
        }
        assert_eq!(world.juspay.max_running("alice"), 1);
        assert_eq!((world.requests("miss"), world.requests("joined")), (1, 1));
        assert_eq!(world.waiting(), 0);
    });
}

#[test]
fn request_that_fetches_again_keeps_its_deadline() {
    run(async {
        let world = World::new();
        let stopping_worker = LocalSet::new();
        let (cache, api) = (world.cache.clone(), world.api());
        let leader =
            stopping_worker.spawn_local(async move { cache.get(&lookup("alice"), &api).await });
        stopping_worker.run_until(settle()).await;
        let waiter = world.start_request("alice").await;
        world.clock.advance(secs(3));
        drop((stopping_worker, leader));
        settle().await;
        world.clock.advance(secs(2));
        settle().await;
        assert_eq!(world.juspay.running("alice"), 1, "the new call has its whole deadline");
        let result = waiter.now_or_never().expect("the request's deadline has passed");
        assert_eq!(result.unwrap().unwrap_err(), JuspayError::Timeout);
    });
}

/// Makes a request on a separate worker. Returns its number of calls to Juspay.
fn on_another_worker(cache: CustomerCache, clock: ManualClock, name: &'static str) -> usize {
    run(async move {
        let juspay = FakeJuspay::default();
        let world = World { juspay: juspay.clone(), cache, clock, ..World::new() };
        let client = world.start_request("alice").await;
        if juspay.running("alice") > 0 {
            world.respond("alice", world.token(name, 900)).await;
        }
        settle().await;
        assert!(client.await.unwrap().is_ok());
        juspay.calls("alice")
    })
}

/// A lookup reads the store, another worker fetches `token`, and then the lookup continues. It must make
/// no call.
fn look_up_just_before_a_fetch_finishes(
    world: &World,
    clock: &BlockingClock,
    cache: CustomerCache,
    token: &'static str,
) {
    let (read, has_read) = mpsc::channel();
    let (finished, has_finished) = mpsc::channel();
    clock.block_at_moment(move || {
        read.send(()).unwrap();
        has_finished.recv().unwrap();
    });
    let late = {
        let (cache, clock) = (cache.clone(), world.clock.clone());
        std::thread::spawn(move || on_another_worker(cache, clock, "tkn_late"))
    };
    has_read.recv().unwrap();
    assert_eq!(on_another_worker(cache, world.clock.clone(), token), 1);
    finished.send(()).unwrap();
    assert_eq!(late.join().unwrap(), 0, "the lookup finds the new token");
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
struct CountingApi {
    running: Arc<AtomicUsize>,
    calls: Arc<AtomicUsize>,
}

impl CustomerApi for CountingApi {
    fn get_customer(
        &self,
        _: GetCustomer,
    ) -> LocalBoxFuture<'static, Result<CustomerResponse, JuspayError>> {
        let this = self.clone();
        Box::pin(async move {
            assert_eq!(this.running.fetch_add(1, Ordering::SeqCst), 0, "one call at a time");
            this.calls.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            this.running.fetch_sub(1, Ordering::SeqCst);
            Err(JuspayError::Status(500, None))
        })
    }
}

#[test]
fn p4_racing_workers_and_purges_make_one_call_at_a_time() {
    let world = World::new();
    let api = CountingApi { running: Arc::default(), calls: Arc::default() };
    let worker = |purges: bool| {
        let (cache, api) = (world.cache.clone(), api.clone());
        move || {
            run(async move {
                let api: Rc<dyn CustomerApi> = Rc::new(api);
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
    assert!(api.calls.load(Ordering::SeqCst) >= 200);
}
