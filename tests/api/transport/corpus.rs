//! Promises P1 and P7: raw requests that are made to be misread, and what comes of each.
//!
//! A row is bytes and all the answers to them: a status, with a code when the answer is ours and
//! bare when it is the parser's. No row's connection outlives its answers. Rows that are answered
//! with 200 are such as this service and everybody else understand in the same way, or such as the
//! parser leaves open (`left_open`).

mod admin;
mod rows;

use std::collections::BTreeSet;

use crate::support::{Phone, Reply, World, guard, with_timeout};

/// A request, or what looks like one.
struct Row {
    name: String,
    bytes: Vec<u8>,
    answers: &'static [&'static str],
}

/// The answers in these bytes, in order, and what is left of them.
fn answers(mut bytes: &[u8]) -> (Vec<Reply>, &[u8]) {
    let mut replies = Vec::new();
    while let Some(mut reply) = Reply::parse(bytes) {
        let head = bytes.len() - reply.body.len();
        let length = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
        if reply.body.len() < length {
            break;
        }
        reply.body.truncate(length);
        bytes = &bytes[head + length..];
        replies.push(reply);
    }
    (replies, bytes)
}

/// An answer as rows write it.
fn told(reply: &Reply) -> String {
    match reply.status {
        100 | 200 => reply.status.to_string(),
        status if reply.body.is_empty() => {
            assert!([400, 408, 411, 413, 431].contains(&status), "no parser says {status}");
            status.to_string()
        }
        status => format!("{status} {}", reply.code()),
    }
}

/// Sends a row, and gives the answers when they are as told.
async fn answered(row: &Row, client: &Phone) -> Vec<Reply> {
    let came = with_timeout(&row.name, client.garbage(&row.bytes)).await;
    let (replies, rest) = answers(&came);
    assert_eq!(String::from_utf8_lossy(rest), "", "{}", row.name);
    let all: Vec<_> = replies.iter().map(told).collect();
    assert_eq!(all, row.answers, "{}", row.name);
    for reply in &replies {
        let connection = reply.header("connection");
        assert_ne!(connection, Some("upgrade"), "{}", row.name);
    }
    replies
}

async fn holds(row: &Row, alice: &Phone) {
    for reply in answered(row, alice).await {
        let asked = if reply.status == 200 { "GET /me/customer HTTP/1.1" } else { "" };
        guard::answered(asked, &reply);
        if reply.status == 200 {
            assert_eq!(reply.json()["object_reference_id"], "alice", "{}", row.name);
        }
    }
    assert_eq!(alice.me().await.status, 200, "after {}", row.name);
}

/// How many there are, and how many of them are refused.
fn count(rows: &[Row]) -> String {
    let names: BTreeSet<_> = rows.iter().map(|row| &row.name).collect();
    assert_eq!(names.len(), rows.len(), "no name twice");
    let refused = rows.iter().filter(|row| !row.answers.contains(&"200")).count();
    format!("{} rows, {refused} of them refused", rows.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_each_row_of_the_corpus_is_answered_as_it_says() {
    let world = World::new().await;
    let alice = world.phone("alice");
    let authorization = format!("Authorization: Bearer {}\r\n", alice.token.as_deref().unwrap());
    let rows = rows::all("/me/customer", &authorization);
    for row in &rows {
        holds(row, &alice).await;
    }
    println!("corpus of raw requests: {}", count(&rows));
    assert_eq!(world.simulator().calls("alice"), 1, "one customer was asked for, once");
    assert_eq!(world.simulator().total_requests(), 1);
    world.until_count("juspay_bff_http_requests_in_flight", 0).await;
}
