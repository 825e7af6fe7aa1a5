//! Answers that say nothing about the token: 503, never 401 (promise P6), and never another token's
//! (promise P1).

use std::{collections::BTreeMap, time::Duration};

use simulator::{Fault, issuer::INTROSPECTION_PATH};

use super::{Asked, owner, unavailable};

/// What the issuer would say of a good token, were it asked about it.
const ANOTHERS: &str =
    r#"{"active":true,"sub":"mallory","aud":"juspay-bff-demo","exp":4102444800}"#;

fn status(status: u16, media_type: &str, body: &str) -> Fault {
    let headers = BTreeMap::from([("Content-Type".to_owned(), media_type.to_owned())]);
    Fault::Status { status, headers, body: body.to_owned() }
}

fn json(body: &str) -> Fault {
    status(200, "application/json", body)
}

/// Each fault once, and then the same phone without it.
async fn each_is_a_503(rows: impl IntoIterator<Item = (Fault, &'static str)>) {
    let asked = Asked::new().await;
    let phone = asked.phone("alice");
    for (fault, outcome) in rows {
        asked.world.clock.advance(Duration::from_secs(60));
        let (before, calls) = (asked.outcome(outcome).await, asked.calls());
        asked.world.issuer().inject(INTROSPECTION_PATH, Some(1), fault.clone());
        let reply = phone.me().await;
        assert_eq!(reply.status, 503, "{fault:?}");
        unavailable(&reply);
        assert_eq!(asked.outcome(outcome).await, before + 1, "{outcome} {fault:?}");
        assert_eq!(owner(&phone.me().await), "alice", "{fault:?}");
        assert_eq!(asked.calls(), calls + 2, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_what_is_no_answer_is_a_503() {
    let huge = format!("{}{}", " ".repeat(65 * 1024), r#"{"active":true}"#);
    each_is_a_503([
        (Fault::CutBody { whole_json: false }, "invalid_response"),
        (Fault::CutBody { whole_json: true }, "invalid_response"),
        (Fault::NoLength, "invalid_response"),
        (Fault::Empty, "invalid_response"),
        (Fault::Html, "invalid_response"),
        (Fault::Huge { bytes: 64 * 1024 }, "invalid_response"),
        (json(&huge), "invalid_response"),
        (json("{}"), "invalid_response"),
        (json("true"), "invalid_response"),
        (json(r#"{"active":"true"}"#), "invalid_response"),
        (json(r#"{"active":false,"active":true}"#), "invalid_response"),
        (status(200, "text/html", ANOTHERS), "invalid_response"),
        (status(200, "application/token-introspection+jwt", "eyJ"), "invalid_response"),
        (Fault::Close, "unreachable"),
        (Fault::Reset, "unreachable"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_may_tell_much() {
    let asked = Asked::new().await;
    let fault = Fault::Huge { bytes: 63 * 1024 };
    asked.world.issuer().inject(INTROSPECTION_PATH, Some(1), fault);
    assert_eq!(owner(&asked.phone("alice").me().await), "alice");
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_any_other_status_is_a_503_whatever_the_body_says() {
    let statuses = [201, 202, 204, 206, 300, 304, 400, 404, 405, 429, 500, 502, 503, 599];
    let others = statuses.map(|code| (status(code, "application/json", ANOTHERS), "error"));
    each_is_a_503(others).await;
    let refused =
        [401, 403].map(|code| (status(code, "application/json", ANOTHERS), "rejected_credentials"));
    each_is_a_503(refused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_redirects_are_not_followed() {
    for code in [301, 302, 303, 307, 308] {
        let asked = Asked::new().await;
        let location = format!("{}/elsewhere", asked.world.issuer().issuer_url());
        let headers = BTreeMap::from([("Location".to_owned(), location)]);
        let fault = Fault::Status { status: code, headers, body: String::new() };
        asked.world.issuer().inject(INTROSPECTION_PATH, Some(1), fault);
        unavailable(&asked.phone("alice").me().await);
        assert_eq!(asked.world.issuer().calls("/elsewhere"), 0, "{code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_an_unasked_1xx_shifts_no_answer_to_another_token() {
    let asked = Asked::with("server.workers = 1").await;
    for code in [100, 102, 103, 199] {
        let (alice, bob) = (asked.phone("alice"), asked.phone("bob"));
        let fault = Fault::Interim { status: code, gap_ms: 5 };
        asked.world.issuer().inject(INTROSPECTION_PATH, Some(1), fault);
        unavailable(&alice.me().await);
        // The real answer comes now, when another token's question is out.
        let asking = bob.begin().await;
        asked.world.clock.advance(Duration::from_millis(5));
        assert_eq!(owner(&asking.reply().await), "bob", "{code}");
        assert_eq!(owner(&alice.me().await), "alice", "{code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_surplus_answer_is_nobodys() {
    let asked = Asked::with("server.workers = 1").await;
    for round in 0..5 {
        let names = [format!("alice{round}"), format!("bob{round}")];
        let [alice, bob] = [&names[0], &names[1]].map(|name| asked.phone(name));
        let fault = Fault::Surplus { gap_ms: 5 };
        asked.world.issuer().inject(INTROSPECTION_PATH, Some(1), fault);
        assert_eq!(owner(&alice.me().await), names[0]);
        let asking = bob.begin().await;
        asked.world.clock.advance(Duration::from_millis(5));
        assert_eq!(owner(&asking.reply().await), names[1]);
    }
    let requests = asked.world.issuer().requests();
    let questions = requests.iter().filter(|request| request.path == INTROSPECTION_PATH);
    let mut connections: Vec<_> = questions.map(|request| request.connection).collect();
    connections.sort_unstable();
    connections.dedup();
    assert_eq!(connections.len(), 10, "each question has a connection of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_silence_is_a_503_after_two_seconds() {
    for fault in [Fault::Hang, Fault::UnfinishedHead, Fault::StalledBody] {
        let asked = Asked::new().await;
        let (alice, bob) = (asked.phone("alice"), asked.phone("bob"));
        asked.world.issuer().inject(INTROSPECTION_PATH, Some(2), fault.clone());
        let pending = [alice.begin().await, bob.begin().await];
        asked.world.until_waiting(2).await;
        asked.world.turn(Duration::from_millis(1999)).await;
        assert!(!pending[0].is_answered() && !pending[1].is_answered(), "{fault:?}");
        asked.world.clock.advance(Duration::from_millis(1));
        for pending in pending {
            unavailable(&pending.reply().await);
        }
        assert_eq!(asked.outcome("timeout").await, 2, "{fault:?}");
        assert_eq!(owner(&alice.me().await), "alice", "{fault:?}");
    }
}
