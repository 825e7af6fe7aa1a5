//! What replicas share: values, leases, failures, limits and counts.

use std::{
    num::NonZeroU32,
    sync::{Arc, Barrier},
    thread,
    time::Duration,
};

use futures_util::future::{BoxFuture, join_all};
use jiff::{SignedDuration, Timestamp};
use juspay_bff::{
    clock::{Clock, Monotonic, SystemClock},
    settings::Rate,
    shared::{
        Content, Failure, FailureCode, Found, LeaseId, LookUp, Need, Request, SharedTier as _,
        Stored, Version, wait,
    },
};

use super::{
    replica::{BODY, KEY, NEXT_KEY, Replica, SetUp, id, pause, request, two, until},
    server::Server,
};

fn code(text: &str) -> FailureCode {
    FailureCode::new(text).unwrap()
}

async fn elsewhere(replica: &Replica, customer: &str) -> LeaseId {
    match replica.look_up(customer).await {
        LookUp::Elsewhere(id, None) => id,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn one_replica_fetches_and_the_other_gets_the_value() {
    let server = Server::start();
    let (a, b) = two(&server).await;
    let lease = a.lease("alice").await;
    assert_eq!(elsewhere(&b, "alice").await, lease.id);
    let waiting = async {
        let deadline = b.clock.monotonic().plus(Duration::from_secs(10));
        wait::Polls::default().look_up(&b.tier, &*b.clock, request("alice"), deadline).await
    };
    let fetching = async {
        pause().await;
        a.store(lease).await
    };
    let (found, stored) = tokio::join!(waiting, fetching);
    let Stored::Yes(version) = stored else { panic!("{stored:?}") };
    let LookUp::Found(Found::Customer(found)) = found.0 else { panic!("{found:?}") };
    assert_eq!((found.json.with_token().as_ref(), found.version), (BODY.as_bytes(), version));
    let now = b.clock.moment();
    let remaining = found.life.end.remaining(now).as_secs();
    assert!((850..900).contains(&remaining), "{remaining}");
    assert_eq!((found.life.total.as_secs(), found.life.refresh_lead.as_secs()), (900, 10));
    assert!(now.monotonic.since(found.life.born) < Duration::from_secs(20));
    assert_eq!(a.count("fetch") + b.count("fetch"), 1);
}

/// Looks a customer up, and fetches it if no other replica does. Returns how many calls to Juspay it makes,
/// and how many of them because the tier is away.
async fn served(replica: &Replica, customer: usize) -> (usize, usize) {
    let deadline = replica.clock.monotonic().plus(Duration::from_secs(20));
    let request = request(&format!("customer-{customer}"));
    match wait::Polls::default().look_up(&replica.tier, &*replica.clock, request, deadline).await.0
    {
        LookUp::Found(_) => (0, 0),
        LookUp::Fetch(lease, None) => {
            wait::renewed(&replica.tier, &*replica.clock, &lease, pause()).await;
            replica.store(lease).await;
            (1, 0)
        }
        LookUp::Away(_) => (1, 1),
        other => panic!("{other:?}"),
    }
}

/// Serves all customers in this thread. Returns the calls to Juspay, those of them without the tier, and
/// lost leases.
fn serve_all(set_up: SetUp, customers: usize, start: &Barrier) -> (usize, usize, u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let replica = set_up.connected().await;
        start.wait();
        let served = join_all((0..customers).map(|customer| served(&replica, customer))).await;
        let calls = served.iter().map(|(calls, _)| calls).sum();
        let away = served.iter().map(|(_, away)| away).sum();
        (calls, away, replica.count("refused"))
    })
}

/// Five replicas with threads of their own serve the same customers at the same time. Together they make
/// one call for each, and one more for each look-up without the tier.
pub(super) fn serve_with_five(set_up: impl Fn() -> SetUp + Sync, customers: usize) {
    let start = Barrier::new(5);
    let replicas: Vec<_> = thread::scope(|scope| {
        let serve = || serve_all(set_up(), customers, &start);
        let threads: Vec<_> = (0..5).map(|_| scope.spawn(serve)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    println!("calls, those without the tier, lost leases of each replica: {replicas:?}");
    let total: usize = replicas.iter().map(|(calls, ..)| calls).sum();
    let away: usize = replicas.iter().map(|(_, away, _)| away).sum();
    // On a busy machine, a lease may expire before it is renewed.
    let lost: u64 = replicas.iter().map(|(.., lost)| lost).sum();
    let most = customers + away + usize::try_from(lost).unwrap();
    assert!((customers..=most).contains(&total), "{total}, {away}, {lost}");
    assert!(away < customers, "the server was away for {away}");
}

#[test]
fn p4_many_replicas_make_one_fetch_per_customer() {
    let server = Server::start();
    serve_with_five(|| SetUp::new(server.url()), 200);
}

#[tokio::test]
async fn juspays_failure_is_shared_with_those_that_wait() {
    let server = Server::start();
    let (a, b) = two(&server).await;
    let lease = a.lease("alice").await;
    let waited_for = Some(elsewhere(&b, "alice").await);
    a.tier.fail(lease, Failure::Juspay(code("server_error")), false).await;
    let waiting = Request { waited_for, ..request("alice") };
    let result = b.tier.look_up(waiting).await;
    assert!(matches!(&result, LookUp::Failed(why) if *why == code("server_error")), "{result:?}");
    // A request that comes later tries itself.
    assert!(matches!(b.look_up("alice").await, LookUp::Fetch(_, None)));
}

#[tokio::test]
async fn value_of_a_customer_that_is_missing_at_juspay_is_removed() {
    let server = Server::start();
    let (a, b) = two(&server).await;
    let Stored::Yes(version) = a.store(a.lease("alice").await).await else { panic!() };
    let newer = Need { newer_than: Some(version), ..Need::default() };
    let LookUp::Fetch(lease, _) = a.look_up_with("alice", newer).await else { panic!() };
    b.found("alice").await;
    let waited_for = Some(lease.id);
    a.tier.fail(lease, Failure::Juspay(code("not_created")), true).await;
    let waiting = Request { waited_for, need: newer, ..request("alice") };
    let result = b.tier.look_up(waiting).await;
    assert!(matches!(&result, LookUp::Failed(why) if *why == code("not_created")), "{result:?}");
    let later = b.look_up("alice").await;
    assert!(matches!(later, LookUp::Fetch(_, None)), "{later:?}");
}

#[tokio::test]
async fn own_trouble_passes_the_lease_on_once() {
    let server = Server::start();
    let (a, b) = two(&server).await;
    let lease = a.lease("alice").await;
    let waited_for = Some(elsewhere(&b, "alice").await);
    a.tier.fail(lease, Failure::Own(code("connection")), false).await;
    let waiting = Request { waited_for, ..request("alice") };
    let LookUp::Fetch(second, None) = b.tier.look_up(waiting.clone()).await else { panic!() };
    let waited_for = Some(elsewhere(&a, "alice").await);
    assert_eq!(waited_for, Some(second.id));
    b.tier.fail(second, Failure::Own(code("connection")), false).await;
    let result = a.tier.look_up(Request { waited_for, ..waiting }).await;
    assert!(matches!(&result, LookUp::Failed(why) if *why == code("connection")), "{result:?}");
}

#[tokio::test]
async fn lost_lease_cannot_store() {
    let server = Server::start();
    let (a, b) = two(&server).await;
    let late = a.lease("alice").await;
    // The lease expires, as if replica A had been paused.
    let () = server.run(&format!("PEXPIRE {} 1", server.keys(":lease")[0]));
    until("the lease has expired", async || server.keys(":lease").is_empty()).await;
    let lease = b.lease("alice").await;
    a.tier.renew(&late).await;
    assert_eq!(a.store(late.clone()).await, Stored::Refused);
    a.tier.fail(late, Failure::Juspay(code("timeout")), false).await;
    assert_eq!(elsewhere(&a, "alice").await, lease.id, "the other lease is untouched");
    assert!(matches!(b.store(lease).await, Stored::Yes(_)));
    assert_eq!((a.count("refused"), b.count("stored")), (1, 1));
}

#[tokio::test]
async fn lease_expires_unless_it_is_renewed() {
    let server = Server::start();
    let (a, b) = two(&server).await;
    let (kept, _dead) = (a.lease("kept").await, a.lease("dead").await);
    let start = b.clock.monotonic();
    let fetch = async {
        until("the dead lease has expired", async || {
            matches!(b.look_up("dead").await, LookUp::Fetch(..))
        })
        .await;
    };
    wait::renewed(&a.tier, &*a.clock, &kept, fetch).await;
    assert!(b.clock.monotonic().since(start) >= Duration::from_millis(1400));
    assert_eq!(elsewhere(&b, "kept").await, kept.id);
    assert!(matches!(a.store(kept).await, Stored::Yes(_)));
}

#[tokio::test]
async fn purge_during_a_fetch_discards_its_value() {
    let server = Server::start();
    let (a, b) = two(&server).await;
    a.fetch("alice").await;
    let need = Need { newer_than: Some(a.found("alice").await.version), ..Need::default() };
    let LookUp::Fetch(lease, None) = b.look_up_with("alice", need).await else { panic!() };
    assert_eq!(a.tier.purge(&id("alice")).await, Ok(()));
    // The purge removed the value. New requests wait until the fetch has ended, then fetch.
    assert_eq!(elsewhere(&a, "alice").await, lease.id);
    assert_eq!(b.store(lease).await, Stored::Refused);
    a.fetch("alice").await;
    b.found("alice").await;
}

#[tokio::test]
async fn purge_of_all_hides_every_value_from_every_replica() {
    let server = Server::start();
    let (a, b) = two(&server).await;
    a.fetch("alice").await;
    b.fetch("bob").await;
    let late = b.lease("carol").await;
    assert_eq!(a.tier.purge_all().await, Ok(()));
    assert!(matches!(a.look_up("alice").await, LookUp::Fetch(_, None)));
    until("replica B has heard of it", async || {
        matches!(b.look_up("bob").await, LookUp::Fetch(_, None))
    })
    .await;
    b.store(late).await;
    assert!(
        matches!(a.look_up("carol").await, LookUp::Fetch(_, None)),
        "an old value is not found"
    );
}

#[tokio::test]
async fn need_decides_between_the_value_and_a_fetch() {
    let server = Server::start();
    let (a, b) = two(&server).await;
    a.fetch("alice").await;
    let version = a.found("alice").await.version;
    let older = Some(Version(version.0 - 1));
    let least_life = Duration::from_secs(60);
    for met in [
        Need { newer_than: older, ..Need::default() },
        Need { max_age: Some(Duration::from_secs(60)), ..Need::default() },
        Need { least_life, ..Need::default() },
    ] {
        let result = b.look_up_with("alice", met).await;
        assert!(matches!(result, LookUp::Found(_)), "{met:?}: {result:?}");
    }
    pause().await;
    for (unmet, has_fallback) in [
        (Need { newer_than: Some(version), ..Need::default() }, false),
        (Need { max_age: Some(Duration::ZERO), ..Need::default() }, true),
        (Need { least_life: Duration::from_hours(1), ..Need::default() }, true),
    ] {
        let result = b.look_up_with("alice", unmet).await;
        let LookUp::Fetch(lease, fallback) = result else { panic!("{unmet:?}: {result:?}") };
        assert_eq!(fallback.is_some(), has_fallback, "{unmet:?}");
        b.tier.fail(lease, Failure::Juspay(code("x")), false).await;
    }
    // Below its own normal floor of 30 s, a value is a fallback.
    let lease = a.lease("bob").await;
    a.tier.store(lease, a.content(Duration::from_secs(25))).await;
    assert!(matches!(b.look_up("bob").await, LookUp::Fetch(_, Some(_))));
    assert!(matches!(a.look_up("bob").await, LookUp::Elsewhere(_, Some(_))));
}

#[tokio::test]
async fn newer_value_has_a_larger_version() {
    let server = Server::start();
    let (a, b) = two(&server).await;
    let mut newer_than = None;
    for _ in 0..5 {
        let need = Need { newer_than, ..Need::default() };
        let LookUp::Fetch(lease, None) = a.look_up_with("alice", need).await else { panic!() };
        let Stored::Yes(version) = a.store(lease).await else { panic!() };
        assert!(newer_than < Some(version));
        assert_eq!(b.found("alice").await.version, version);
        newer_than = Some(version);
    }
}

#[tokio::test]
async fn missing_customer_is_shared() {
    let server = Server::start();
    let (a, b) = two(&server).await;
    let lease = a.lease("alice").await;
    let ttl = Duration::from_secs(2);
    assert!(matches!(a.tier.store(lease, Content::NotFound { ttl }).await, Stored::Yes(_)));
    let result = b.look_up_with("alice", Need { least_life: ttl * 60, ..Need::default() }).await;
    let LookUp::Found(Found::NotFound { remaining }) = result else { panic!("{result:?}") };
    assert!(remaining <= ttl);
    until("it is forgotten", async || matches!(b.look_up("alice").await, LookUp::Fetch(..))).await;
}

#[tokio::test]
async fn limit_of_forced_refreshes_is_exact_for_all_replicas() {
    let server = Server::start();
    let (a, b) = two(&server).await;
    let rate = Rate { count: NonZeroU32::new(3).unwrap(), per: Duration::from_secs(3) };
    for customer in ["alice", "bob"] {
        a.fetch(customer).await;
    }
    let mut allowed = 0;
    let force = Need { max_age: Some(Duration::ZERO), ..Need::default() };
    for replica in [&a, &b, &a, &b, &a, &b] {
        match replica.look_up_charged("alice", force, rate).await {
            LookUp::Fetch(lease, _) => {
                allowed += 1;
                // Waiting for another's fetch costs nothing.
                let waiting = a.look_up_charged("alice", force, rate).await;
                assert!(matches!(waiting, LookUp::Elsewhere(..)));
                replica.tier.fail(lease, Failure::Juspay(code("x")), false).await;
            }
            LookUp::Limited(Some(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(allowed, 3);
    assert!(matches!(a.look_up_charged("bob", force, rate).await, LookUp::Fetch(..)));
    until("the allowance grows", async || {
        matches!(b.look_up_charged("alice", force, rate).await, LookUp::Fetch(..))
    })
    .await;
    for replica in [&a, &b, &a, &b] {
        let LookUp::Fetch(lease, None) = replica.look_up_charged("carol", force, rate).await else {
            panic!("without a value, nothing is replaced")
        };
        replica.tier.fail(lease, Failure::Juspay(code("x")), false).await;
    }
}

#[tokio::test]
async fn hand_outs_are_counted_together_per_version() {
    let server = Server::start();
    let (a, b) = two(&server).await;
    let add = async |replica: &Replica, version, number| {
        replica.tier.add_hand_outs(&id("alice"), Version(version), number).await.unwrap()
    };
    assert_eq!(add(&a, 1, 2).await, 2);
    assert_eq!(add(&b, 1, 3).await, 5);
    assert_eq!(add(&b, 2, 1).await, 1);
    assert_eq!(add(&a, 1, 1).await, 6);
}

#[tokio::test]
async fn p1_value_of_another_customer_is_never_served() {
    let server = Server::start();
    let (a, b) = two(&server).await;
    a.fetch("alice").await;
    let alice = server.keys(":value").swap_remove(0);
    a.fetch("bob").await;
    let bob = server.keys(":value").into_iter().find(|name| *name != alice).unwrap();
    let () = server.run(&format!("COPY {alice} {bob} REPLACE"));
    // It is counted, passed over, and replaced.
    let LookUp::Fetch(lease, None) = b.look_up("bob").await else { panic!() };
    assert!(b.count("unreadable") >= 1);
    b.store(lease).await;
    b.found("bob").await;
}

#[tokio::test]
async fn damaged_values_are_replaced() {
    let server = Server::start();
    let (a, b) = two(&server).await;
    a.fetch("alice").await;
    let name = server.keys(":value").swap_remove(0);
    for value in ["", "x", "c1234", "c99999999999990000000000", "n99999999999990000000000abc"] {
        let mut command = redis::cmd("SET");
        command.arg(&name).arg(value).arg("KEEPTTL");
        let () = command.query(&mut server.connection()).unwrap();
        let result = b.look_up("alice").await;
        let is_handled = matches!(result, LookUp::Fetch(_, None) | LookUp::Away(_));
        assert!(is_handled, "{value}: {result:?}");
        let () = server.run("FLUSHALL");
    }
}

#[tokio::test]
async fn keys_rotate_without_an_extra_fetch() {
    let server = Server::start();
    let steps = [&[KEY][..], &[KEY, NEXT_KEY], &[NEXT_KEY, KEY], &[NEXT_KEY]];
    let replicas =
        join_all(steps.map(|keys| SetUp::new(server.url()).keys(keys).connected())).await;
    for (number, pair) in replicas.windows(2).enumerate() {
        let customer = format!("customer-{number}");
        pair[0].fetch(&customer).await;
        pair[1].found(&customer).await;
        let back = format!("back-{number}");
        pair[1].fetch(&back).await;
        pair[0].found(&back).await;
    }
}

#[tokio::test]
async fn lost_response_leaves_a_lease_that_can_store() {
    let server = Server::start();
    let a = SetUp::new(server.url()).timeout(Duration::from_millis(20)).connected().await;
    let b = SetUp::new(server.url()).connected().await;
    // The server has the script from now on.
    b.fetch("bob").await;
    let () = server.run("CLIENT PAUSE 200 ALL");
    let result = a.look_up("alice").await;
    let LookUp::Away(Some(lease)) = result else { panic!("{result:?}") };
    // The server runs the look-up after the pause.
    assert_eq!(elsewhere(&b, "alice").await, lease.id);
    // Stored by the other tier, whose timeout is longer.
    assert!(matches!(b.store(lease).await, Stored::Yes(_)));
    b.found("alice").await;
}

#[tokio::test]
async fn other_settings_share_nothing() {
    let server = Server::start();
    let a = SetUp::new(server.url()).connected().await;
    a.fetch("alice").await;
    for settings in ["juspay.merchant_id = 'other'", "response.fields = ['id', 'juspay']"] {
        let b = SetUp::new(server.url()).settings(settings).connected().await;
        assert!(matches!(b.look_up("alice").await, LookUp::Fetch(_, None)), "{settings}");
    }
}

/// A clock whose wall clock is off.
#[derive(Debug)]
struct WrongClock(SignedDuration);

impl Clock for WrongClock {
    fn now(&self) -> Timestamp {
        SystemClock.now() + self.0
    }

    fn monotonic(&self) -> Monotonic {
        SystemClock.monotonic()
    }

    fn sleep_until(&self, deadline: Monotonic) -> BoxFuture<'static, ()> {
        SystemClock.sleep_until(deadline)
    }
}

#[tokio::test]
async fn p3_clocks_that_are_off_by_a_minute_never_lengthen_a_life() {
    let server = Server::start();
    let life = Duration::from_secs(100);
    for (number, (writer, reader)) in
        [(0, 0), (-60, 0), (60, 0), (0, -60), (0, 60), (-60, 60), (60, -60)].into_iter().enumerate()
    {
        let replica = |seconds| {
            let clock = Arc::new(WrongClock(SignedDuration::from_secs(seconds)));
            SetUp { clock, ..SetUp::new(server.url()) }.connected()
        };
        let (a, b) = (replica(writer).await, replica(reader).await);
        let customer = format!("customer-{number}");
        let lease = a.lease(&customer).await;
        let end = SystemClock.monotonic().plus(life);
        assert!(matches!(a.tier.store(lease, a.content(life)).await, Stored::Yes(_)));
        let result = b.look_up(&customer).await;
        let LookUp::Found(Found::Customer(found)) = result else {
            assert_eq!((writer, reader), (-60, 60), "{result:?}");
            continue;
        };
        let now = b.clock.moment();
        let remaining = found.life.end.remaining(now);
        assert!(remaining <= end.since(now.monotonic), "{writer} {reader}: {remaining:?}");
        if (writer, reader) == (0, 0) {
            assert!(remaining > Duration::from_secs(80), "{remaining:?}");
        }
    }
}
