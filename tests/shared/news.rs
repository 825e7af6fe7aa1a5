//! What replicas announce to each other, and what they notice without an announcement.

use std::time::Duration;

use jiff::Timestamp;
use juspay_bff::{
    clock::{Clock as _, SystemClock, later},
    shared::{Event, LookUp, News, SharedTier as _, Version},
};

use super::{
    replica::{Replica, SetUp, event, id, two, until},
    server::Server,
};

/// A time as precise as news.
fn milliseconds(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).unwrap()
}

/// A revocation for the next hour.
fn revoked(jti: &str) -> News {
    let entry = format!("{{\"issuer\": \"main\", \"jti\": \"{jti}\"}}");
    News::Revoked(entry, milliseconds(later(SystemClock.now(), Duration::from_hours(1))))
}

/// The next revocation.
async fn next_revoked(replica: &mut Replica) -> String {
    let is_revoked = |event: &Event| matches!(event, Event::News(News::Revoked(..)));
    match event(&mut replica.events, is_revoked).await {
        Event::News(News::Revoked(entry, _)) => entry,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn news_reach_the_other_replica_in_order_and_only_it() {
    let server = Server::start();
    let (mut a, mut b) = two(&server).await;
    let hold = milliseconds(a.clock.now());
    let news = [
        revoked("jti-1"),
        News::Newer(id("alice"), Version(7)),
        News::Hold(hold, Duration::from_secs(30)),
    ];
    let start = a.clock.monotonic();
    for news in news.clone() {
        a.tier.announce(news).await.unwrap();
    }
    a.tier.purge(&id("bob")).await.unwrap();
    a.tier.announce(News::Purged(id("bob"))).await.unwrap();
    for expected in news.into_iter().chain([News::Purged(id("bob"))]) {
        let found = event(&mut b.events, |event| matches!(event, Event::News(_))).await;
        assert_eq!(found, Event::News(expected));
    }
    let time = a.clock.monotonic().since(start);
    println!("four news after {time:?}");
    assert!(time < Duration::from_secs(3), "{time:?}");
    // The replica's own news don't return to it: the next event is the other's.
    b.tier.announce(News::Purged(id("carol"))).await.unwrap();
    let found = event(&mut a.events, |event| *event != Event::Connected).await;
    assert_eq!(found, Event::News(News::Purged(id("carol"))));
}

#[tokio::test]
async fn purge_of_all_is_an_event_of_the_others() {
    let server = Server::start();
    let (mut a, mut b) = two(&server).await;
    a.tier.purge_all().await.unwrap();
    event(&mut b.events, |event| *event == Event::PurgedAll).await;
    b.tier.announce(News::Purged(id("x"))).await.unwrap();
    let found = event(&mut a.events, |event| *event != Event::Connected).await;
    assert_eq!(found, Event::News(News::Purged(id("x"))), "not its own purge");
}

#[tokio::test]
async fn news_while_a_replica_is_cut_off_arrive_when_it_returns() {
    let server = Server::start();
    let proxy = super::proxy::Proxy::before(server.port).await;
    let a = SetUp::new(server.url()).connected().await;
    let url = format!("redis://127.0.0.1:{}", proxy.port);
    let mut b = SetUp::new(url).connected().await;
    proxy.silence();
    let news = revoked("jti-1");
    a.tier.announce(news.clone()).await.unwrap();
    let found = event(&mut b.events, |event| matches!(event, Event::News(_) | Event::Missed)).await;
    assert_eq!(found, Event::News(news));
    event(&mut b.events, |event| *event == Event::Connected).await;
}

#[tokio::test]
async fn lost_news_are_noticed_once() {
    let server = Server::start();
    let (a, mut b) = two(&server).await;
    a.tier.announce(News::Purged(id("x"))).await.unwrap();
    event(&mut b.events, |event| matches!(event, Event::News(_))).await;
    // The server loses its data.
    let () = server.run("FLUSHALL");
    event(&mut b.events, |event| *event == Event::Missed).await;
    // Entries of the stream are lost, but not its counter.
    a.tier.announce(News::Purged(id("y"))).await.unwrap();
    event(&mut b.events, |event| matches!(event, Event::News(_))).await;
    let counter = server.keys(":last").swap_remove(0);
    let () = server.run(&format!("INCR {counter}"));
    event(&mut b.events, |event| *event == Event::Missed).await;
    a.tier.announce(News::Purged(id("z"))).await.unwrap();
    let next = event(&mut b.events, |event| *event != Event::Connected).await;
    assert_eq!(next, Event::News(News::Purged(id("z"))), "noticed once");
}

#[tokio::test]
async fn generation_survives_the_loss_of_the_servers_data() {
    let server = Server::start();
    let (a, b) = two(&server).await;
    a.fetch("alice").await;
    a.tier.purge_all().await.unwrap();
    let backup = server.keys(":value").swap_remove(0);
    until("replica B knows", async || matches!(b.look_up("alice").await, LookUp::Fetch(..))).await;
    // The server forgets that there was a purge, as if restored from an old copy.
    let generation = server.keys(":generation").swap_remove(0);
    let () = server.run(&format!("SET {generation} 0"));
    until("a replica restores it", async || {
        server.run::<String>(&format!("GET {generation}")) == "1"
    })
    .await;
    assert!(server.keys(":value").contains(&backup), "the old value is still there");
    assert!(!matches!(b.look_up("alice").await, LookUp::Found(_)));
}

#[tokio::test]
async fn foreign_news_are_dropped_and_counted() {
    let server = Server::start();
    let (a, mut b) = two(&server).await;
    a.tier.announce(News::Purged(id("x"))).await.unwrap();
    event(&mut b.events, |event| matches!(event, Event::News(_))).await;
    let (stream, counter) = (server.keys(":stream").remove(0), server.keys(":last").remove(0));
    let number: u64 = server.run(&format!("INCR {counter}"));
    let () = server.run(&format!("XADD {stream} {number}-0 d nonsense"));
    until("it is counted", async || b.count("unreadable") == 1).await;
    a.tier.announce(News::Purged(id("y"))).await.unwrap();
    let next = event(&mut b.events, |event| *event != Event::Connected).await;
    assert_eq!(next, Event::News(News::Purged(id("y"))));
}

#[tokio::test]
async fn revocations_reach_replicas_that_start_later_and_survive_lost_data() {
    let server = Server::start();
    let (a, mut b) = two(&server).await;
    let news: Vec<_> = (0..600).map(|number| revoked(&format!("jti-{number:03}"))).collect();
    for news in &news {
        a.tier.announce(news.clone()).await.unwrap();
    }
    let last = server.run::<u64>(&format!("GET {}", server.keys(":last")[0]));
    a.tier.announce(news[7].clone()).await.unwrap();
    let again = server.run::<u64>(&format!("GET {}", server.keys(":last")[0]));
    assert_eq!(last, again, "announcing it again is no news");
    let mut late = SetUp::new(server.url()).connected().await;
    for replica in [&mut b, &mut late] {
        let mut found = Vec::new();
        for _ in 0..600 {
            found.push(next_revoked(replica).await);
        }
        found.sort();
        let jti = |number: usize| format!("jti-{number:03}");
        let expected: Vec<_> = (0..600).map(jti).collect();
        assert!(found.iter().zip(&expected).all(|(entry, jti)| entry.contains(jti)));
    }
    // After a loss of the server's data, replica A adds its revocations again.
    let () = server.run("FLUSHALL");
    event(&mut late.events, |event| *event == Event::Missed).await;
    a.tier.announce(news[7].clone()).await.unwrap();
    assert!(next_revoked(&mut late).await.contains("jti-007"));
    // Entries that someone swaps are dropped.
    let entries = server.keys(":revocations").remove(0);
    let names: Vec<String> = server.run(&format!("HKEYS {entries}"));
    a.tier.announce(news[8].clone()).await.unwrap();
    let names_of_both: Vec<String> = server.run(&format!("HKEYS {entries}"));
    let other = names_of_both.iter().find(|name| **name != names[0]).unwrap();
    let value: Vec<u8> =
        redis::cmd("HGET").arg(&entries).arg(other).query(&mut server.connection()).unwrap();
    let mut swap = redis::cmd("HSET");
    let () = swap.arg(&entries).arg(&names[0]).arg(value).query(&mut server.connection()).unwrap();
    let mut later = SetUp::new(server.url()).connected().await;
    assert!(next_revoked(&mut later).await.contains("jti-008"));
    assert_eq!(later.count("unreadable"), 1);
}

#[tokio::test]
async fn expired_revocations_are_removed() {
    let server = Server::start();
    let (a, _b) = two(&server).await;
    let News::Revoked(entry, _) = revoked("jti-1") else { panic!() };
    let expired = SystemClock.now() - jiff::SignedDuration::from_mins(6);
    a.tier.announce(News::Revoked(entry, expired)).await.unwrap();
    a.tier.announce(revoked("jti-2")).await.unwrap();
    let count = |end: &str, command: &str| {
        server.run::<u64>(&format!("{command} {}", server.keys(end).remove(0)))
    };
    assert_eq!((count(":revocations", "HLEN"), count(":expiries", "ZCARD")), (1, 1));
}
