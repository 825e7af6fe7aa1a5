//! One customer has faulty data or responses, and sends as many requests as the rate limit allows.
//! Every other customer gets its token, and Juspay gets few calls for the faulty one.

use super::{
    STEP, catch_up, first_request, retry_after, scripted,
    scripted_juspay::{ACCESS_DENIED, BAD_ORIGIN, answer, named},
};
use crate::support::{ManualClock, Pending, World};

/// Longer than `juspay.breaker.window`.
const STEPS: usize = 150;

/// The response of Juspay, or of a proxy before it, for the faulty customer.
type Case = (&'static str, fn(&ManualClock) -> Vec<u8>);

fn html(status: &str) -> Vec<u8> {
    answer(status, "Content-Type: text/html\r\n", b"<html><h1>Request blocked</h1></html>")
}

fn json(status: &str, body: &str) -> Vec<u8> {
    answer(status, "Content-Type: application/json\r\n", body.as_bytes())
}

/// Advances the clock with the service until all of these requests are answered.
async fn advance_until_answered(world: &World, requests: &[Pending]) {
    let are_answered = async || {
        catch_up(world).await;
        requests.iter().all(Pending::is_answered)
    };
    world.advance_until("all answers", STEP, are_answered).await;
}

const CASES: &[Case] = &[
    ("403 of a firewall", |_| html("403 Forbidden")),
    ("401 of a firewall", |_| html("401 Unauthorized")),
    ("Juspay's own 403", |_| json("403 Forbidden", BAD_ORIGIN)),
    ("Juspay's own 401", |_| json("401 Unauthorized", ACCESS_DENIED)),
    ("a lone surrogate", |clock| named(clock, "odd", br#""\ud800""#)),
    ("a number out of range", |clock| named(clock, "odd", b"1e999")),
    ("a raw control character", |clock| named(clock, "odd", b"\"a\x01b\"")),
    ("a Latin-1 byte", |clock| named(clock, "odd", b"\"Ren\xe9\"")),
    ("an object over 64 KiB", |clock| {
        let name = [b"\"", vec![b'x'; 64 * 1024].as_slice(), b"\""].concat();
        named(clock, "odd", &name)
    }),
    ("another customer's object", |clock| named(clock, "someone_else", b"\"A\"")),
    ("500", |_| json("500 Internal Server Error", "{}")),
    ("503", |_| json("503 Service Unavailable", "{}")),
    ("503 with Retry-After", |_| answer("503 Service Unavailable", "Retry-After: 30\r\n", b"")),
    ("a redirect", |_| answer("302 Found", "Location: https://blocked.test/\r\n", b"")),
    ("201", |_| json("201 Created", "{}")),
    ("400", |_| json("400 Bad Request", "{}")),
    ("no JSON", |_| html("200 OK")),
    ("429", |_| json("429 Too Many Requests", "{}")),
    ("429 with Retry-After", |_| answer("429 Too Many Requests", "Retry-After: 7\r\n", b"")),
];

async fn assert_others_unaffected((case, bytes): &Case) {
    let (world, juspay) = scripted().await;
    juspay.answer("odd", bytes(&world.clock));
    let faulty = world.client("odd");
    let mut requests: Vec<Pending> = Vec::new();
    for step in 0..STEPS {
        requests.push(faulty.begin().await);
        if step % 4 == 0 {
            first_request(&world, &format!("c{step}")).await;
            catch_up(&world).await;
        }
        // A retry waits for the clock, and the service notices the change.
        world.clock.advance(STEP);
        world.service.run_pending_tasks().await;
    }
    advance_until_answered(&world, &requests).await;
    first_request(&world, "last").await;
    let mut failed = 0;
    for pending in requests {
        let reply = pending.reply().await;
        if reply.status != 200 {
            failed += 1;
            assert!([502, 503].contains(&reply.status), "{case}: {}", reply.text());
            assert!((1..=45).contains(&retry_after(&reply)), "{case}");
        }
    }
    // Pauses of 1, 2, 4 and 8 s, or half of them; and two more attempts of a call every 10 s.
    let calls = juspay.calls("odd");
    assert!((1..=9).contains(&calls), "{case}: {calls} calls");
    assert!(failed == 0 || failed == STEPS, "{case}: {failed} failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_faulty_customer_affects_no_other() {
    for case in CASES {
        assert_others_unaffected(case).await;
    }
}

/// Each has another fault, so every kind of failure belongs to more than one customer.
#[tokio::test(flavor = "multi_thread")]
async fn p4_four_faulty_customers_affect_no_other() {
    let (world, juspay) = scripted().await;
    let statuses = ["500 Internal Server Error", "505 HTTP Version Not Supported", "302 Found"];
    let mut faulty = Vec::new();
    for status in statuses.into_iter().chain(["201 Created"]) {
        let customer = format!("odd{}", faulty.len());
        juspay.answer(&customer, json(status, "{}"));
        faulty.push(world.client(&customer));
    }
    for step in 0..STEPS {
        for client in &faulty {
            assert_eq!(client.me().await.status, 502);
        }
        if step % 8 == 0 {
            first_request(&world, &format!("c{step}")).await;
        }
        world.clock.advance(STEP);
    }
    for customer in 0..4 {
        let calls = juspay.calls(&format!("odd{customer}"));
        assert!((1..=6).contains(&calls), "{calls}");
    }
}

/// Juspay recovers, and the faulty customer sends the first request: that delays the other
/// customers by one more pause, once.
#[tokio::test(flavor = "multi_thread")]
async fn p4_faulty_customer_does_not_keep_the_breaker_open() {
    let (world, juspay) = scripted().await;
    let fails = || json("500 Internal Server Error", "{}");
    for number in 0..20 {
        let customer = format!("c{number}");
        juspay.answer(&customer, fails());
        assert_eq!(world.client(&customer).me().await.code(), "upstream_error");
        juspay.heal(&customer);
    }
    juspay.answer("odd", fails());
    let faulty = world.client("odd");
    assert_eq!(faulty.me().await.code(), "upstream_unavailable", "open");
    for _ in 0..2 {
        for _ in 0..56 {
            faulty.me().await;
            world.clock.advance(STEP);
        }
    }
    assert!((1..=2).contains(&juspay.calls("odd")), "{}", juspay.calls("odd"));
    for _ in 0..56 {
        faulty.me().await;
        world.clock.advance(STEP);
        first_request(&world, "alice").await;
    }
    first_request(&world, "bob").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outage_of_all_customers_opens_the_breaker() {
    let (world, juspay) = scripted().await;
    let mut opened_after = None;
    for number in 0..30 {
        let customer = format!("c{number}");
        juspay.answer(&customer, json("500 Internal Server Error", "{}"));
        let code = world.client(&customer).me().await.code();
        if code == "upstream_unavailable" {
            opened_after.get_or_insert(number);
        }
    }
    assert_eq!(opened_after, Some(20), "juspay.breaker.min_calls");
    assert_eq!(juspay.calls("c20"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_customer_does_not_use_up_the_retry_budget() {
    let (world, juspay) = scripted().await;
    juspay.answer("odd", json("503 Service Unavailable", "{}"));
    let faulty = world.client("odd");
    let mut requests = Vec::new();
    // The faulty customer fails as often as it can, well within the budget's window.
    for _ in 0..60 {
        requests.push(faulty.begin().await);
        catch_up(&world).await;
        world.clock.advance(STEP);
        world.service.run_pending_tasks().await;
    }
    advance_until_answered(&world, &requests).await;
    let retries = "juspay_bff_upstream_retries_total";
    assert_eq!(world.count(retries).await, 2, "those of one call");
    // One of the three reserved retries is left.
    juspay.answer("alice", json("503 Service Unavailable", "{}"));
    let alice = world.client("alice").begin().await;
    let is_counted = async || juspay.calls("alice") == 1;
    crate::support::until("the first try", is_counted).await;
    juspay.heal("alice");
    let is_answered = async || {
        catch_up(&world).await;
        alice.is_answered()
    };
    world.advance_until("the retry", STEP, is_answered).await;
    assert_eq!(alice.reply().await.status, 200);
    for pending in requests {
        assert_eq!(pending.reply().await.status, 502);
    }
}
