//! Upgrade offers, which Java's HTTP client and Spring send with every request, are ignored on both
//! listeners. Each response is HTTP/1.1 and keeps or closes its connection as without the offer.

use tokio::io::AsyncWriteExt as _;

use crate::support::{
    Client, Reply, World,
    keep_alive::{answer, head, rest},
    until,
};

/// Header lines of requests with an offer.
const OFFERS: [&str; 4] = [
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n",
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n",
    "Upgrade: websocket\r\n",
    "Connection: keep-alive, upgrade\r\n",
];

fn request(method: &str, path: &str, client: &Client, lines: &str) -> String {
    let authorization = client.token.as_deref().map(|it| format!("Authorization: Bearer {it}\r\n"));
    let authorization = authorization.unwrap_or_default();
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}{lines}\r\n")
}

/// Checks the status and the connection, and that the protocol does not change.
fn is_plain(reply: &Reply, status: u16, connection: Option<&str>) {
    let response = (reply.status, reply.header("connection"), reply.header("upgrade"));
    assert_eq!(response, (status, connection, None), "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn offer_is_ignored_by_every_response_and_the_connection_is_kept() {
    let world = World::new().await;
    let (alice, admin) = (world.client("alice"), world.admin());
    for offer in OFFERS {
        for (client, path, status) in [
            (&alice, "/me/customer", 200),
            (&alice, "/me/customer?options.get_client_auth_token=false", 200),
            (&world.anonymous(), "/me/customer", 401),
            (&alice, "/me/customer?access_token=x", 400),
            (&alice, "/nothing", 404),
            (&admin, "/livez", 200),
            (&admin, "/metrics", 200),
            (&admin, "/nothing", 404),
            (&admin, "/cache/purge", 405),
        ] {
            let mut stream = client.open("").await.unwrap();
            for _ in 0..3 {
                let get = request("GET", path, client, offer);
                stream.write_all(get.as_bytes()).await.unwrap();
                is_plain(&answer(&mut stream).await, status, None);
                let probe = request("HEAD", path, client, offer);
                stream.write_all(probe.as_bytes()).await.unwrap();
                is_plain(&head(&mut stream).await, status, None);
            }
            // Pipelined requests; `Connection: close` still applies.
            let last = request("GET", path, client, &format!("Connection: close\r\n{offer}"));
            let all = request("GET", path, client, offer).repeat(3) + &last;
            stream.write_all(all.as_bytes()).await.unwrap();
            for connection in [None, None, None, Some("close")] {
                is_plain(&answer(&mut stream).await, status, connection);
            }
            assert_eq!(rest(stream).await, b"");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn body_is_accepted_with_an_offer() {
    let world = World::new().await;
    let body = "{\"all\": true}";
    for offer in OFFERS {
        let lines = format!("Content-Length: {}\r\n{offer}", body.len());
        let purge = request("POST", "/cache/purge", &world.admin(), &lines) + body;
        let mut stream = world.admin().open(&purge.repeat(3)).await.unwrap();
        for _ in 0..3 {
            is_plain(&answer(&mut stream).await, 200, None);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_request_with_an_offer_is_rejected_and_closed() {
    let world = World::new().await;
    for (client, path) in [(world.client("alice"), "/me/customer"), (world.admin(), "/livez")] {
        for offer in OFFERS {
            let malformed = request("GET", path, &client, &format!("{offer}X\0: y\r\n"));
            let mut stream = client.open(&malformed).await.unwrap();
            is_plain(&answer(&mut stream).await, 400, Some("close"));
            assert_eq!(rest(stream).await, b"");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_0_request_with_an_offer_is_served() {
    let world = World::new().await;
    let client = world.client("alice");
    for offer in OFFERS {
        let old = request("GET", "/me/customer", &client, offer).replace("HTTP/1.1", "HTTP/1.0");
        let mut stream = client.open(&old).await.unwrap();
        let keeps_alive = offer.contains("keep-alive");
        is_plain(&answer(&mut stream).await, 200, keeps_alive.then_some("keep-alive"));
        if !keeps_alive {
            assert_eq!(rest(stream).await, b"");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn offer_during_the_drain_gets_a_response_that_closes() {
    let mut world = World::with("server.shutdown_delay = \"5s\"").await;
    world.service.signal();
    until("the drain", async || world.admin().get("/readyz").await.status == 503).await;
    let client = world.client("alice");
    for offer in OFFERS {
        for (path, status) in [("/me/customer", 200), ("/nothing", 404)] {
            let mut stream = client.open(&request("GET", path, &client, offer)).await.unwrap();
            is_plain(&answer(&mut stream).await, status, Some("close"));
            assert_eq!(rest(stream).await, b"");
        }
    }
    world.clock.advance(std::time::Duration::from_secs(5));
}
