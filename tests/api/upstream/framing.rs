//! Malformed HTTP from a scripted server: invalid heads, wrong lengths, late bodies.

use super::owner;
use crate::support::{ScriptedServer, World, scripted_server::ScriptedConnection};

const OBJECT: &str = r#"{"object_reference_id": "alice", "juspay": {"client_auth_token": "tkn_1",
    "client_auth_token_expiry": "2026-11-23T12:15:00Z"}}"#;

/// The service with one worker, and its scripted Juspay.
async fn world() -> (World, ScriptedServer) {
    let impostor = ScriptedServer::new().await;
    let settings = format!("server.workers = 1\n{}", impostor.as_base_url());
    (World::with(&settings).await, impostor)
}

fn valid(id: &str) -> String {
    let object = OBJECT.replace("alice", id);
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{object}", object.len())
}

/// Requests `id` and returns a valid response.
async fn is_served(world: &World, line: &mut ScriptedConnection, id: &str) {
    let waiting = world.client(id).begin().await;
    assert!(line.request().await.starts_with(&format!("GET /customers/{id}?")));
    line.say(&valid(id)).await;
    assert_eq!(owner(&waiting.reply().await), id);
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_invalid_http_from_juspay_is_an_invalid_response() {
    let (world, impostor) = world().await;
    let length = OBJECT.len();
    let endless = "x".repeat(256 * 1024);
    for answer in [
        "nonsense\r\n\r\n".to_owned(),
        OBJECT.to_owned(),
        "HTTP/2 200\r\n\r\n".to_owned(),
        "HTTP/1.1 20 OK\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\nX: {endless}"),
        format!("HTTP/1.1 200 OK\r\n{}\r\n{OBJECT}", "X: y\r\n".repeat(200)),
        format!("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{OBJECT}"),
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}, {length}\r\n\r\n{OBJECT}"),
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nContent-Length: 3\r\n\r\n{OBJECT}"),
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n{OBJECT}"),
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{OBJECT}"),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n".to_owned(),
    ] {
        let waiting = world.client("alice").begin().await;
        let mut line = impostor.accept().await;
        line.request().await;
        line.say(&answer).await;
        let expected = &answer[..answer.len().min(80)];
        let reply = waiting.reply().await;
        assert_eq!(
            (reply.status, &*reply.code()),
            (502, "upstream_invalid_response"),
            "{expected}"
        );
        line.closed().await;
        world.purge_all().await;
    }
    assert_eq!(world.upstream("invalid_response").await, 13);
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_chunked_body_is_cut_off() {
    let (world, impostor) = world().await;
    let waiting = world.client("alice").begin().await;
    let mut line = impostor.accept().await;
    line.request().await;
    line.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    // The service can't know whether this body ends.
    line.say(&format!("4000\r\n{}\r\n", " ".repeat(0x4000)).repeat(4)).await;
    line.say("1\r\n \r\n").await;
    let reply = waiting.reply().await;
    assert_eq!((reply.status, &*reply.code()), (502, "upstream_invalid_response"));
    line.closed().await;
}

/// awc considers this body empty and keeps the connection on which it still arrives.
#[tokio::test(flavor = "multi_thread")]
async fn p1_body_without_a_clear_end_is_rejected() {
    for head in [
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 500 Oops\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
        "HTTP/1.1 200 OK\r\nUpgrade: websocket\r\nContent-Length: 1000\r\n\r\n",
    ] {
        let (world, impostor) = world().await;
        let waiting = world.client("alice").begin().await;
        let mut line = impostor.accept().await;
        line.request().await;
        line.say(head).await;
        assert_eq!(waiting.reply().await.status, 502, "{head}");
        // What looks like Bob's response is still the body of Alice's.
        let waiting = world.client("bob").begin().await;
        let mut fresh = impostor.accept().await;
        line.say(&valid("bob").replace("tkn_1", "tkn_forged")).await;
        fresh.request().await;
        fresh.say(&valid("bob")).await;
        assert_eq!(waiting.reply().await.token(), "tkn_1", "{head}");
        line.closed().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn well_framed_connection_is_reused() {
    let (world, impostor) = world().await;
    let waiting = world.client("alice").begin().await;
    let mut line = impostor.accept().await;
    line.request().await;
    let chunked = format!("{:x}\r\n{OBJECT}\r\n0\r\n\r\n", OBJECT.len());
    line.say(&format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}")).await;
    assert_eq!(owner(&waiting.reply().await), "alice");
    is_served(&world, &mut line, "bob").await;
    // Neither an error nor an empty response requires a new connection.
    let waiting = world.client("carol").begin().await;
    line.request().await;
    line.say("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(waiting.reply().await.code(), "upstream_error");
    is_served(&world, &mut line, "dave").await;
    assert!(!impostor.was_contacted());
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_after_a_complete_response_are_dropped() {
    let (world, impostor) = world().await;
    let waiting = world.client("alice").begin().await;
    let mut line = impostor.accept().await;
    line.request().await;
    line.say(&format!("{}{}", valid("alice"), valid("mallory"))).await;
    assert_eq!(owner(&waiting.reply().await), "alice");
    is_served(&world, &mut line, "bob").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_0_response_ends_with_its_connection() {
    let (world, impostor) = world().await;
    let waiting = world.client("alice").begin().await;
    let mut line = impostor.accept().await;
    line.request().await;
    line.say(&format!("HTTP/1.0 200 OK\r\n\r\n{OBJECT}")).await;
    drop(line);
    assert_eq!(owner(&waiting.reply().await), "alice");
}
