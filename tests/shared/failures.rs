//! A server that hangs, ends, or refuses: look-ups wait for a bounded time, then not at all, and sharing is
//! back soon after the server. No test restarts a replica.

use std::{fs, time::Duration};

use futures_util::future::join_all;
use juspay_bff::shared::{LookUp, SharedTier as _, Stored};
use tokio::task::LocalSet;

use super::{
    load::Load,
    proxy::Proxy,
    replica::{Replica, SetUp, until},
    server::Server,
};

/// `shared.timeout` of these tests: long enough that a busy machine is no failure.
const TIMEOUT: Duration = Duration::from_millis(200);

/// The time in which sharing must be back.
const RECOVERY: Duration = Duration::from_secs(5);

async fn replica(url: String) -> Replica {
    SetUp::new(url).timeout(TIMEOUT).connected().await
}

/// Breaks the server under load, heals it, and checks waits and recovery.
async fn under_load(url: String, break_it: impl FnOnce(), heal: impl FnOnce()) {
    LocalSet::new()
        .run_until(async {
            let replica = replica(url).await;
            let load = Load::start(&replica, TIMEOUT).await;
            load.until_served().await;
            break_it();
            load.until_away().await;
            heal();
            let recovery = load.until_served().await;
            println!("recovered after {recovery:?}");
            assert!(recovery < RECOVERY, "{recovery:?}");
            load.end();
        })
        .await;
}

#[tokio::test]
async fn hung_server() {
    let server = Server::start();
    under_load(server.url(), || server.stop(), || server.resume()).await;
}

#[tokio::test]
async fn killed_server_that_returns_empty() {
    let server = std::cell::RefCell::new(Server::start());
    let url = server.borrow().url();
    let (break_it, heal) = (|| server.borrow_mut().kill(), || server.borrow_mut().start_again());
    under_load(url, break_it, heal).await;
}

#[tokio::test]
async fn paused_clients() {
    let server = Server::start();
    let pause = || server.run::<()>("CLIENT PAUSE 1500 ALL");
    under_load(server.url(), pause, || {}).await;
}

#[tokio::test]
async fn connection_that_goes_silent() {
    let server = Server::start();
    let proxy = Proxy::before(server.port).await;
    under_load(format!("redis://127.0.0.1:{}", proxy.port), || proxy.silence(), || {}).await;
}

#[tokio::test]
async fn wrong_password_that_is_corrected_in_its_file() {
    let server = Server::with(&["--requirepass", "hush"]);
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, "wrong").unwrap();
    let settings = format!("shared.password_file = '{}'", file.path().display());
    let replica = SetUp::new(server.url()).settings(&settings).open();
    until("the tier tries", async || replica.state("disconnected") == 1).await;
    assert!(matches!(replica.look_up("alice").await, LookUp::Away(None)));
    fs::write(&file, "hush\n").unwrap();
    replica.until_connected().await;
    replica.fetch("alice").await;
    // And the reverse: the server's password changes, then the file.
    let () = server.run("CONFIG SET requirepass new");
    let address = format!("redis://:new@127.0.0.1:{}", server.port);
    let mut administrator = redis::Client::open(address).unwrap().get_connection().unwrap();
    // The tier's connection is one that has subscribed.
    let mut command = redis::cmd("CLIENT");
    let () = command.arg(&["KILL", "TYPE", "pubsub"]).query(&mut administrator).unwrap();
    until("the connection has ended", async || {
        matches!(replica.look_up("alice").await, LookUp::Away(_))
    })
    .await;
    fs::write(&file, "new").unwrap();
    replica.until_found("alice").await;
}

#[tokio::test]
async fn primary_that_becomes_a_replica() {
    let (server, primary) = (Server::start(), Server::start());
    let replica = replica(server.url()).await;
    replica.fetch("alice").await;
    let () = server.run(&format!("REPLICAOF 127.0.0.1 {}", primary.port));
    until("leases are refused", async || matches!(replica.look_up("bob").await, LookUp::Away(_)))
        .await;
    // A replica is never in use for longer than it takes to notice.
    until("the replica is not used", async || replica.state("disconnected") == 1).await;
    let () = server.run("REPLICAOF NO ONE");
    replica.until_connected().await;
    replica.fetch("carol").await;
}

#[tokio::test]
async fn full_memory_refuses_leases_and_returns_values() {
    let server = Server::with(&["--maxmemory-policy", "noeviction"]);
    let replica = replica(server.url()).await;
    replica.fetch("alice").await;
    let () = server.run("CONFIG SET maxmemory 1");
    assert!(matches!(replica.look_up("bob").await, LookUp::Away(None)));
    replica.found("alice").await;
    assert_eq!(replica.count("out_of_memory"), 1);
    assert_eq!(replica.state("connected"), 1, "the server is not away");
    let () = server.run("CONFIG SET maxmemory 0");
    replica.fetch("bob").await;
}

#[tokio::test]
async fn server_that_loads_its_data() {
    let arguments = ["--enable-debug-command", "yes", "--key-load-delay", "0"];
    let mut server = Server::with(&arguments);
    let replica = replica(server.url()).await;
    let () = server.run("DEBUG POPULATE 20000 filler 10");
    let () = server.run("SAVE");
    server.kill();
    until("it is noticed", async || matches!(replica.look_up("a").await, LookUp::Away(_))).await;
    server.start_slowly();
    until("the server is loading", async || server.is_loading()).await;
    assert!(matches!(replica.look_up("a").await, LookUp::Away(None)));
    server.finish_loading();
    replica.until_connected().await;
    replica.fetch("alice").await;
}

#[tokio::test]
async fn forgotten_scripts_are_sent_again() {
    let server = Server::start();
    let replica = replica(server.url()).await;
    replica.fetch("alice").await;
    for _ in 0..3 {
        let () = server.run("SCRIPT FLUSH");
        replica.found("alice").await;
    }
    let () = server.run("SCRIPT FLUSH");
    let lease = replica.lease("bob").await;
    let () = server.run("SCRIPT FLUSH");
    assert!(matches!(replica.store(lease).await, Stored::Yes(_)));
    let away = ["timeout", "disconnected", "error"].map(|outcome| replica.count(outcome));
    assert_eq!(away, [0, 0, 0]);
}

#[tokio::test]
async fn queue_behind_a_slow_server_is_bounded() {
    let server = Server::start();
    let proxy = Proxy::before(server.port).await;
    let timeout = Duration::from_millis(100);
    let url = format!("redis://127.0.0.1:{}", proxy.port);
    let replica = SetUp::new(url).timeout(timeout).connected().await;
    replica.until_found_or_fetched("alice").await;
    proxy.delay(timeout / 2);
    let look_up = async || {
        let start = replica.clock.monotonic();
        let result = replica.look_up("alice").await;
        (matches!(result, LookUp::Found(_)), replica.clock.monotonic().since(start))
    };
    // 128 of them are in flight, and their responses arrive late, one after the other.
    let results = join_all((0..800).map(|_| look_up())).await;
    let found = results.iter().filter(|(is_found, _)| *is_found).count();
    let longest = results.iter().map(|(_, wait)| *wait).max().unwrap();
    println!("{found} of 800 found, longest {longest:?}");
    assert!(found < 400, "{found}");
    // The turn is part of the timeout; the rest is for a busy machine.
    assert!(longest < timeout * 2, "{longest:?}");
    assert!(replica.count("busy") > 0);
}

#[tokio::test]
async fn unreachable_server_costs_no_time() {
    let replica = SetUp::new("redis://127.0.0.1:1").open();
    let start = replica.clock.monotonic();
    for _ in 0..1000 {
        assert!(matches!(replica.look_up("alice").await, LookUp::Away(None)));
    }
    assert!(replica.tier.purge_all().await.is_err());
    let each = replica.clock.monotonic().since(start) / 1000;
    assert!(each < Duration::from_millis(1), "{each:?}");
    assert_eq!(replica.count("disconnected"), 1000);
}

#[tokio::test]
async fn busy_worker_does_not_make_the_server_look_slow() {
    let server = Server::start();
    let timeout = Duration::from_millis(50);
    let replica = SetUp::new(server.url()).timeout(timeout).connected().await;
    replica.until_found_or_fetched("alice").await;
    LocalSet::new()
        .run_until(async {
            let tier = replica.tier.clone();
            let look_up = tokio::task::spawn_local(async move {
                tier.look_up(super::replica::request("alice")).await
            });
            tokio::task::yield_now().await;
            // This thread is busy for longer than the timeout.
            std::thread::sleep(timeout * 3);
            assert!(matches!(look_up.await.unwrap(), LookUp::Found(_)));
        })
        .await;
}
