//! What replicas announce to each other, and what they notice without an announcement.

use std::time::Duration;

use juspay_bff::shared::{Event, LookUp, News, SharedTier as _, Version};

use super::{
    replica::{event, id, two, until},
    server::Server,
};

#[tokio::test]
async fn news_reach_the_other_replica_in_order_and_only_it() {
    let server = Server::start();
    let (a, b) = two(&server).await;
    let (mut at_a, mut at_b) = (a.tier.events(), b.tier.events());
    let until_then = a.clock.now();
    let hold = jiff::Timestamp::from_millisecond(until_then.as_millisecond()).unwrap();
    let news = [
        News::Revoked(r#"{"issuer": "https://id.example", "jti": "x"}"#.to_owned()),
        News::Newer(id("alice"), Version(7)),
        News::Hold(hold),
    ];
    let start = a.clock.monotonic();
    for news in news.clone() {
        a.tier.announce(news).await.unwrap();
    }
    a.tier.purge(&id("bob")).await.unwrap();
    for expected in news.into_iter().chain([News::Purged(id("bob"))]) {
        let found = event(&mut at_b, |event| matches!(event, Event::News(_))).await;
        assert_eq!(found, Event::News(expected));
    }
    let time = a.clock.monotonic().since(start);
    println!("four news after {time:?}");
    assert!(time < Duration::from_secs(3), "{time:?}");
    // The replica's own news don't return to it: the next event is the other's.
    b.tier.announce(News::Purged(id("carol"))).await.unwrap();
    let found = event(&mut at_a, |event| *event != Event::Connected).await;
    assert_eq!(found, Event::News(News::Purged(id("carol"))));
}

#[tokio::test]
async fn purge_of_all_is_an_event_of_the_others() {
    let server = Server::start();
    let (a, b) = two(&server).await;
    let (mut at_a, mut at_b) = (a.tier.events(), b.tier.events());
    a.tier.purge_all().await.unwrap();
    event(&mut at_b, |event| *event == Event::PurgedAll).await;
    b.tier.announce(News::Purged(id("x"))).await.unwrap();
    let found = event(&mut at_a, |event| *event != Event::Connected).await;
    assert_eq!(found, Event::News(News::Purged(id("x"))), "not its own purge");
}

#[tokio::test]
async fn news_while_a_replica_is_cut_off_arrive_when_it_returns() {
    let server = Server::start();
    let proxy = super::proxy::Proxy::before(server.port).await;
    let a = super::replica::SetUp::new(server.url()).connected().await;
    let url = format!("redis://127.0.0.1:{}", proxy.port);
    let b = super::replica::SetUp::new(url).connected().await;
    let mut at_b = b.tier.events();
    proxy.silence();
    a.tier.announce(News::Revoked("{}".to_owned())).await.unwrap();
    let found = event(&mut at_b, |event| matches!(event, Event::News(_) | Event::Missed)).await;
    assert_eq!(found, Event::News(News::Revoked("{}".to_owned())));
    event(&mut at_b, |event| *event == Event::Connected).await;
}

#[tokio::test]
async fn lost_news_are_noticed_once() {
    let server = Server::start();
    let (a, b) = two(&server).await;
    let mut at_b = b.tier.events();
    a.tier.announce(News::Purged(id("x"))).await.unwrap();
    event(&mut at_b, |event| matches!(event, Event::News(_))).await;
    // The server loses its data.
    let () = server.run("FLUSHALL");
    event(&mut at_b, |event| *event == Event::Missed).await;
    // Entries of the stream are lost, but not its counter.
    a.tier.announce(News::Purged(id("y"))).await.unwrap();
    event(&mut at_b, |event| matches!(event, Event::News(_))).await;
    let counter = server.keys(":last").swap_remove(0);
    let () = server.run(&format!("INCR {counter}"));
    event(&mut at_b, |event| *event == Event::Missed).await;
    a.tier.announce(News::Purged(id("z"))).await.unwrap();
    let next = event(&mut at_b, |event| *event != Event::Connected).await;
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
    let (a, b) = two(&server).await;
    let mut at_b = b.tier.events();
    a.tier.announce(News::Purged(id("x"))).await.unwrap();
    event(&mut at_b, |event| matches!(event, Event::News(_))).await;
    let (stream, counter) = (server.keys(":stream").remove(0), server.keys(":last").remove(0));
    let number: u64 = server.run(&format!("INCR {counter}"));
    let () = server.run(&format!("XADD {stream} {number}-0 d nonsense"));
    until("it is counted", async || b.count("unreadable") == 1).await;
    a.tier.announce(News::Purged(id("y"))).await.unwrap();
    let next = event(&mut at_b, |event| *event != Event::Connected).await;
    assert_eq!(next, Event::News(News::Purged(id("y"))));
}
