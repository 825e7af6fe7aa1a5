//! Connections of the admin listener: each serves one request with its body at a time, within time
//! limits.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpStream, UnixStream},
};

use super::purged;
use crate::support::{
    Reply, Stage, World,
    keep_alive::{answer, head, rest},
    until, with_timeout,
};

const ALL: &str = "{\"all\": true}";

/// As in `src/server.rs`.
const CONNECTIONS: usize = 256;
const REQUEST_TIME: Duration = Duration::from_secs(6);

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// A request with a body that keeps the connection open.
fn post(path: &str, lines: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{lines}\r\n{body}"
    )
}

/// Lets the listener's only worker read what was sent before.
async fn settle(world: &World) {
    for _ in 0..4 {
        assert_eq!(world.admin().get("/livez").await.status, 200);
    }
}

fn is_kept(reply: &Reply) {
    assert_eq!((reply.status, reply.header("connection")), (200, None), "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_serves_scrapes_probes_and_purges() {
    let world = World::new().await;
    let mut stream = world.admin().open("").await.unwrap();
    for round in 0..50 {
        world.client("alice").me().await;
        for path in ["/metrics", "/readyz", "/livez"] {
            let request = get(path);
            stream.write_all(request.as_bytes()).await.unwrap();
            let got = answer(&mut stream).await;
            is_kept(&got);
            stream.write_all(request.replace("GET", "HEAD").as_bytes()).await.unwrap();
            let probed = head(&mut stream).await;
            is_kept(&probed);
            assert_eq!(probed.header("content-type"), got.header("content-type"), "{path}");
        }
        stream.write_all(post("/cache/purge", "", ALL).as_bytes()).await.unwrap();
        let reply = answer(&mut stream).await;
        is_kept(&reply);
        assert_eq!(purged(&reply), 1, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn request_split_anywhere_is_served() {
    let world = World::new().await;
    let mut stream = world.admin().open("").await.unwrap();
    // The next request arrives with the end of the body.
    let both = post("/cache/purge", "", ALL) + &get("/livez");
    for at in 1..both.len() {
        let (first, second) = both.as_bytes().split_at(at);
        stream.write_all(first).await.unwrap();
        settle(&world).await;
        stream.write_all(second).await.unwrap();
        let reply = answer(&mut stream).await;
        is_kept(&reply);
        assert_eq!(purged(&reply), 0, "{at}");
        let reply = answer(&mut stream).await;
        is_kept(&reply);
        assert_eq!(reply.text(), "ok\n", "{at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_get_their_responses_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin.sock");
    let settings =
        format!("server.admin_listen = [\"127.0.0.1:0\", \"unix:{}\"]", socket.display());
    let world = Stage::set().await.open_ready(&settings).await;
    let empty = post("/cache/purge", "", "");
    let bodies = ["x", "\r\n\r\n", &*get("/livez")].map(|body| post("/cache/purge", "", body));
    let purge = post("/cache/purge", "", ALL);
    let all = [&*get("/livez"), &*purge, &*bodies.concat(), &*empty, &*purge, &*get("/readyz")];
    let expected = ["200", "200", "400", "400", "400", "400", "200", "200"].map(str::to_owned);
    let all = all.concat();
    let mut tcp = world.admin().open(&all).await.unwrap();
    let mut unix = UnixStream::connect(&socket).await.unwrap();
    unix.write_all(all.as_bytes()).await.unwrap();
    let (mut statuses, mut over_unix) = (Vec::new(), Vec::new());
    for _ in &expected {
        statuses.push(answer(&mut tcp).await.status.to_string());
        over_unix.push(answer(&mut unix).await.status.to_string());
    }
    assert_eq!((statuses, over_unix), (expected.to_vec(), expected.to_vec()));
    // Both connections still work.
    tcp.write_all(purge.as_bytes()).await.unwrap();
    is_kept(&answer(&mut tcp).await);
    unix.write_all(purge.as_bytes()).await.unwrap();
    is_kept(&answer(&mut unix).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_reader_gets_every_response_and_then_a_rejection() {
    let world = World::new().await;
    // The responses exceed the kernel's buffer, and the requests fit into the service's: only
    // reading the first responses wakes the connection.
    let scrapes = 240;
    let rejected = post("/cache/purge", "Transfer-Encoding: chunked\r\n", "");
    let all = "GET /metrics HTTP/1.1\r\nHost:\r\n\r\n".repeat(scrapes) + &rejected;
    assert!(all.len() < 8192);
    let mut stream = world.admin().open(&all).await.unwrap();
    settle(&world).await;
    for _ in 0..scrapes {
        let reply = answer(&mut stream).await;
        is_kept(&reply);
        assert!(reply.text().ends_with('\n'));
    }
    assert_eq!(answer(&mut stream).await.status, 411);
    assert_eq!(rest(stream).await, b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn expect_100_continue_gets_100() {
    let world = World::new().await;
    let request = post("/cache/purge", "Expect: 100-continue\r\n", ALL);
    let (first, body) = request.split_at(request.len() - ALL.len());
    let mut stream = world.admin().open(first).await.unwrap();
    for _ in 0..2 {
        assert_eq!(head(&mut stream).await.status, 100);
        stream.write_all(format!("{body}{first}").as_bytes()).await.unwrap();
        is_kept(&answer(&mut stream).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_served_after_a_response_that_closes() {
    let world = World::new().await;
    let next = post("/cache/purge", "", ALL);
    let whole = post("/cache/purge", "", ALL);
    let unfinished = next.len() + 1;
    let claims = |length: usize| whole.replace(": 13", &format!(": {length}"));
    for (first, expected) in [
        (post("/cache/purge", "Connection: close\r\n", ALL), &["200"][..]),
        (whole.replace("HTTP/1.1", "HTTP/1.0"), &["200"]),
        (get("/livez").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"), &["200"]),
        // The response is sent before the body is read.
        (post("/cache/purge", "Origin: https://evil.example\r\n", ALL), &["403"]),
        (post("/livez", "", ALL), &["405"]),
        (post("/nothing", "", ALL), &["404"]),
        (whole.replace("localhost", "a b"), &["400"]),
        (claims(unfinished).replace("POST", "GET"), &["405"]),
        // Rejected before the routes.
        (claims(16 * 1024 + 1), &["413"]),
        (claims(13).replace("Content-Length: 13", "Content-Length: 13, 13"), &["400"]),
        (
            claims(13).replace("Content-Length: 13", "Content-Length: 13\r\nContent-Length: 13"),
            &["400"],
        ),
        (claims(13).replace("Content-Length: 13", "Transfer-Encoding: chunked"), &["411"]),
        (post("/cache/purge", "Transfer-Encoding: chunked\r\n", ALL), &["411"]),
        (post("/cache/purge", "X\0: a\r\n", ALL), &["400"]),
        ("CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), &["404"]),
    ] {
        let responses = world.admin().garbage(format!("{first}{next}").as_bytes()).await;
        let responses = String::from_utf8(responses).unwrap();
        let statuses: Vec<_> =
            responses.match_indices("HTTP/1.").map(|(at, _)| &responses[at + 9..at + 12]).collect();
        assert_eq!(statuses, expected, "{first:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_bodies_time_out_and_free_their_connections() {
    let world = World::new().await;
    let paths = ["/cache/purge", "/revocations", "/backchannel-logout"];
    let slow = |number: usize| {
        let request = post(paths[number % paths.len()], "", ALL);
        request[..request.len() - number % 3 - 1].to_owned()
    };
    let mut streams = Vec::new();
    for number in 1..CONNECTIONS {
        streams.push(world.admin().open(&slow(number)).await.unwrap());
    }
    // The last request is served, so all others were read, and all time out together.
    let mut last = world.admin().open(&get("/livez")).await.unwrap();
    is_kept(&answer(&mut last).await);
    // No further connection is accepted yet.
    let admin = world.admin();
    let waiting = tokio::spawn(async move { admin.get("/livez").await });
    world.clock.advance(REQUEST_TIME);
    let received = with_timeout("responses", join_all(streams.into_iter().map(rest))).await;
    assert_eq!(waiting.await.unwrap().status, 200);
    for bytes in received {
        let reply = Reply::parse(&bytes).expect("a response");
        assert_eq!((reply.status, reply.header("connection")), (408, Some("close")));
        assert_eq!(reply.text(), "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_and_body_share_one_time_limit() {
    let world = World::new().await;
    let request = post("/cache/purge", "", ALL);
    let mut stream: TcpStream = world.admin().open(&request).await.unwrap();
    is_kept(&answer(&mut stream).await);
    let send = async |stream: &mut TcpStream, bytes: &str| {
        stream.write_all(bytes.as_bytes()).await.unwrap();
        settle(&world).await;
    };
    let advance = async |milliseconds| {
        world.clock.advance(Duration::from_millis(milliseconds));
        settle(&world).await;
    };
    send(&mut stream, &request[..40]).await;
    advance(3_000).await;
    send(&mut stream, &request[40..request.len() - 5]).await;
    advance(2_900).await;
    send(&mut stream, &request[request.len() - 5..]).await;
    is_kept(&answer(&mut stream).await);
    // Each request has its own limit, even if its start arrives with the end of the previous one.
    send(&mut stream, &request[..40]).await;
    advance(3_000).await;
    send(&mut stream, &format!("{}{}", &request[40..], &request[..40])).await;
    is_kept(&answer(&mut stream).await);
    advance(4_000).await;
    send(&mut stream, &request[40..]).await;
    is_kept(&answer(&mut stream).await);
    // The time between requests does not count.
    advance(10_000).await;
    send(&mut stream, &request[..40]).await;
    advance(3_000).await;
    send(&mut stream, &request[40..request.len() - 5]).await;
    advance(3_000).await;
    send(&mut stream, &request[request.len() - 5..]).await;
    assert_eq!(answer(&mut stream).await.status, 408);
    assert_eq!(rest(stream).await, b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn later_head_must_arrive_in_time() {
    let world = World::new().await;
    let mut stream = world.admin().open(&get("/livez")).await.unwrap();
    is_kept(&answer(&mut stream).await);
    stream.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
    let ended = tokio::spawn(rest(stream));
    let has_ended = async || ended.is_finished();
    world.advance_until("the end", Duration::from_secs(1), has_ended).await;
    assert_eq!(ended.await.unwrap(), b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_request_that_started_before_the_end_of_the_drain_is_served() {
    let mut world = World::with("server.shutdown_delay = \"5s\"").await;
    let request = post("/cache/purge", "", ALL);
    let (first, second) = request.split_at(request.len() - 3);
    let mut stream = world.admin().open(first).await.unwrap();
    settle(&world).await;
    world.service.signal();
    until("the drain", async || world.admin().get("/readyz").await.status == 503).await;
    world.clock.advance(Duration::from_secs(5));
    stream.write_all(second.as_bytes()).await.unwrap();
    assert_eq!(purged(&answer(&mut stream).await), 0);
    assert_eq!(rest(stream).await, b"");
    until("the end of the service", async || world.service.has_ended()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn body_of_16_kib_is_accepted_and_a_longer_one_rejected() {
    let world = World::new().await;
    let purge = |length: usize| {
        let shortest = json!({"customer_id": ""}).to_string().len();
        json!({"customer_id": "x".repeat(length - shortest)}).to_string()
    };
    let mut stream =
        world.admin().open(&post("/cache/purge", "", &purge(16 * 1024))).await.unwrap();
    assert_eq!(answer(&mut stream).await.code(), "invalid_request");
    stream.write_all(post("/cache/purge", "", &purge(16 * 1024 + 1)).as_bytes()).await.unwrap();
    let reply = answer(&mut stream).await;
    assert_eq!((reply.status, reply.header("connection")), (413, Some("close")));
    assert_eq!(rest(stream).await, b"");
}
