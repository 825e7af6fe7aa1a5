//! Promise P7: no input from the network causes a panic or a stall. Input that isn't HTTP gets the
//! parser's bare 400 or a closed connection.

use futures_util::future::join_all;
use proptest::{
    collection::vec,
    prelude::{Strategy, any},
    prop_oneof,
    sample::select,
    test_runner::{Config, TestRunner},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{Client, Reply, World, guard, with_timeout};

/// The service still works.
async fn still_works(client: &Client) {
    assert_eq!(client.me().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_non_http_is_rejected_and_the_service_survives() {
    let world = World::new().await;
    let client = world.client("alice");
    for bytes in [
        &b"\0"[..],
        b"\r\n\r\n\r\n",
        b"GARBAGE\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /me/customer\r\n\r\n",
        b"GET /me/customer HTTP/9.9\r\n\r\n",
        b"GET /me/customer HTTP/2.0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        // The start of a TLS handshake.
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /me/cust omer HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /me/customer HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n",
        b"GET /me/customer HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        b"GET /me/customer HTTP/1.1\r\nHost: a\r\n: nameless\r\n\r\n",
        b"GET /me/customer HTTP/1.1\r\nHost: a\r\n folded: x\r\n\r\n",
        b"GET /me/customer HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET /me/customer HTTP/1.1\r\nContent-Length: +5\r\n\r\nhello",
        b"GET /me/customer HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"GET /me/customer HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"GET /me/customer HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"GET /me/customer HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    ] {
        let response = client.garbage_and_end(bytes).await;
        let text = String::from_utf8_lossy(bytes);
        if let Some(reply) = Reply::parse(&response) {
            assert!((400..500).contains(&reply.status), "{text:?}: {reply:?}");
        } else {
            assert_eq!(response, b"", "{text:?}");
        }
        still_works(&client).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_request_heads_are_limited() {
    let world = World::new().await;
    let client = world.client("alice");
    let many = "X-Many: x\r\n".repeat(200);
    let long = format!("X-Long: {}\r\n", "x".repeat(256 * 1024));
    let target = format!("/me/customer?{}", "x".repeat(256 * 1024));
    for (target, lines) in [("/me/customer", &many), ("/me/customer", &long), (&target, &many)] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n");
        let response = client.garbage_and_end(request.as_bytes()).await;
        if let Some(reply) = Reply::parse(&response) {
            assert!([400, 414, 431].contains(&reply.status), "{reply:?}");
        }
        still_works(&client).await;
    }
    // Long but accepted headers are processed like others.
    let lines = format!("Cookie: {}\r\n", "x".repeat(16 * 1024));
    assert_eq!(client.request("GET", "/me/customer", &lines).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_non_text_bytes_are_handled_like_others() {
    let world = World::new().await;
    let client = world.client("alice");
    let with = |line: &[u8]| {
        let head = b"GET /me/customer HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
        [head, line, b"\r\n\r\n"].concat()
    };
    for (line, code) in [
        (&b"Authorization: \xff\xfe"[..], "missing_token"),
        (b"Authorization: Bearer \xff\xfe", "invalid_request"),
        (b"Authorization: Bearer e30.e30.\xff", "invalid_request"),
        (b"X-Request-Id: \xff", "missing_token"),
        (b"traceparent: \xff", "missing_token"),
    ] {
        let response = client.garbage(&with(line)).await;
        assert_eq!(Reply::parse(&response).expect("a response").code(), code, "{line:?}");
    }
    let response = client.garbage(&with(b"").repeat(2)).await;
    assert!(!response.is_empty());
    still_works(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_unfinished_heads_block_no_other_client() {
    let world = World::new().await;
    let client = world.client("alice");
    let half = "GET /me/customer HTTP/1.1\r\nHost: localhost\r\nAuthoriz";
    let stuck = join_all((0..100).map(|_| client.open(half))).await;
    assert!(stuck.iter().all(Result::is_ok));
    still_works(&client).await;
    drop(stuck);
    still_works(&client).await;
}

/// Parts of requests, complete and incomplete.
const PARTS: [&str; 28] = [
    "GET /me/customer HTTP/1.1\r\n",
    "HEAD /me/customer HTTP/1.1\r\n",
    "POST /me/customer HTTP/1.1\r\n",
    "CONNECT a:1 HTTP/1.1\r\n",
    "GET http://a/me/customer HTTP/1.0\r\n",
    "GET /",
    "?options.get_client_auth_token=false",
    " HTTP/1.1",
    "Host: a\r\n",
    "Host: ",
    "Connection: close\r\n",
    "Connection: Upgrade\r\nUpgrade: websocket\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Expect: 100-continue\r\n",
    "Authorization: Bearer e30.e30.e30\r\n",
    "Cache-Control: no-cache, min-fresh=10\r\n",
    "X-Request-Id: x\r\n",
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    "\0",
    ":",
    " ",
    "0\r\n\r\n",
    "5\r\nhello\r\n",
];

/// Pieces that are sent separately: parts of requests and arbitrary bytes.
fn pieces() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let part = select(&PARTS[..]).prop_map(|part| part.as_bytes().to_vec());
    let request = vec(select(&PARTS[..]), 1..12).prop_map(|parts| parts.concat().into_bytes());
    let bytes = vec(any::<u8>(), 1..64);
    vec(prop_oneof![4 => part, 2 => request, 1 => bytes], 1..12)
}

/// Sends the pieces one by one, shuts down the sending side, and reads everything.
async fn sent(client: &Client, pieces: &[Vec<u8>]) -> Vec<u8> {
    with_timeout("the end of the connection", async {
        let mut stream = TcpStream::connect(client.address).await.expect("a connection");
        stream.set_nodelay(true).unwrap();
        for piece in pieces {
            // The service may close before it has read everything.
            drop(stream.write_all(piece).await);
            tokio::task::yield_now().await;
        }
        drop(stream.shutdown().await);
        let mut response = Vec::new();
        drop(stream.read_to_end(&mut response).await);
        response
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_arbitrary_bytes_are_rejected_or_served() {
    let world = World::new().await;
    let (alice, anonymous) = (world.client("alice"), world.anonymous());
    let here = tokio::runtime::Handle::current();
    let mut runner = TestRunner::new(Config { cases: 500, ..Config::default() });
    let run = tokio::task::spawn_blocking(move || {
        runner.run(&pieces(), |pieces| {
            let response = here.block_on(sent(&anonymous, &pieces));
            let text = String::from_utf8_lossy(&response);
            for (at, _) in text.match_indices("HTTP/1.") {
                let status = text[at..].split(' ').nth(1).unwrap_or_default();
                assert!(status == "100" || status.starts_with('4'), "{pieces:?}: {text}");
            }
            if let Some(reply) = Reply::parse(&response) {
                guard::answered("", &reply);
            }
            Ok(())
        })
    });
    run.await.unwrap().unwrap();
    still_works(&alice).await;
    world.until_count("juspay_bff_http_requests_in_flight", 0).await;
    world.until_count("juspay_bff_http_connections", 0).await;
}
