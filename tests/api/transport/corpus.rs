//! Promises P1 and P7: raw requests that HTTP implementations may interpret differently, and the
//! responses to each.
//!
//! A row has the bytes and all expected responses: a status with an error code if this service
//! responds, and only a status if actix's parser does. After its responses, each connection is closed.
//! Rows with a 200 mean the same to every HTTP implementation, or are listed in `accepted`.

mod admin;
mod rows;

use std::collections::BTreeSet;

use crate::support::{Client, Reply, World, guard, with_timeout};

/// The bytes of a connection, and the expected responses.
struct Row {
    name: String,
    bytes: Vec<u8>,
    responses: &'static [&'static str],
}

/// The responses in these bytes, in order, and the remaining bytes.
fn responses(mut bytes: &[u8]) -> (Vec<Reply>, &[u8]) {
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

/// A response in the notation of the rows.
fn notation(reply: &Reply) -> String {
    match reply.status {
        100 | 200 => reply.status.to_string(),
        status if reply.body.is_empty() => {
            assert!(
                [400, 408, 411, 413, 431].contains(&status),
                "the parser never responds with {status}"
            );
            status.to_string()
        }
        status => format!("{status} {}", reply.code()),
    }
}

/// Sends a row, checks its responses and returns them.
async fn send(row: &Row, client: &Client) -> Vec<Reply> {
    let received = with_timeout(&row.name, client.garbage(&row.bytes)).await;
    let (replies, rest) = responses(&received);
    assert_eq!(String::from_utf8_lossy(rest), "", "{}", row.name);
    let all: Vec<_> = replies.iter().map(notation).collect();
    assert_eq!(all, row.responses, "{}", row.name);
    for reply in &replies {
        let connection = reply.header("connection");
        assert_ne!(connection, Some("upgrade"), "{}", row.name);
    }
    replies
}

async fn check(row: &Row, alice: &Client) {
    for reply in send(row, alice).await {
        let request = if reply.status == 200 { "GET /me/customer HTTP/1.1" } else { "" };
        guard::answered(request, &reply);
        if reply.status == 200 {
            assert_eq!(reply.json()["object_reference_id"], "alice", "{}", row.name);
        }
    }
    assert_eq!(alice.me().await.status, 200, "after {}", row.name);
}

/// The number of rows, and how many of them are rejected.
fn count(rows: &[Row]) -> String {
    let names: BTreeSet<_> = rows.iter().map(|row| &row.name).collect();
    assert_eq!(names.len(), rows.len(), "each name occurs once");
    let rejected = rows.iter().filter(|row| !row.responses.contains(&"200")).count();
    format!("{} rows, {rejected} of them rejected", rows.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_each_row_of_the_corpus_gets_its_responses() {
    let world = World::new().await;
    let alice = world.client("alice");
    let authorization = format!("Authorization: Bearer {}\r\n", alice.token.as_deref().unwrap());
    let rows = rows::all("/me/customer", &authorization);
    for row in &rows {
        check(row, &alice).await;
    }
    println!("corpus of raw requests: {}", count(&rows));
    assert_eq!(world.simulator().calls("alice"), 1, "one call for one customer");
    assert_eq!(world.simulator().total_requests(), 1);
    world.until_count("juspay_bff_http_requests_in_flight", 0).await;
}
