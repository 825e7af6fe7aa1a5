//! The server's own behavior.

use super::*;

#[tokio::test]
async fn split_and_pipelined_requests_are_served() {
    let (_running, mut peer) = simulator().await;
    let request = post("/customers/a", "first_name=A");
    let (one, two) = request.split_at(30);
    let (two, three) = two.split_at(two.len() - 4);
    for part in [one, two, three] {
        peer.send(part).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(peer.read_response().await.json()["first_name"], "A");
    let pair = format!("{}{}", get("b"), get("c"));
    assert_eq!(peer.exchange(&pair).await.json()["object_reference_id"], "b");
    assert_eq!(peer.read_response().await.json()["object_reference_id"], "c");
}

#[tokio::test]
async fn connection_stays_open_unless_close_is_requested() {
    for (line, headers, kept) in [
        ("HTTP/1.1", "", true),
        ("HTTP/1.1", "Connection: keep-alive\r\n", true),
        ("HTTP/1.1", "Connection: x, Close\r\n", false),
        ("HTTP/1.0", "", false),
        ("HTTP/1.0", "Connection: Keep-Alive\r\n", true),
    ] {
        let (_running, mut peer) = simulator().await;
        let request = format!("GET /_simulator/counts {line}\r\n{headers}\r\n");
        assert_eq!(peer.exchange(&request).await.status, 200);
        if kept {
            assert_eq!(peer.exchange(&request).await.status, 200, "{line} {headers}");
        } else {
            assert_eq!(peer.rest().await, "", "{line} {headers}");
        }
    }
}

#[tokio::test]
async fn malformed_requests_are_rejected() {
    let big = "x".repeat(64 * 1024 + 1);
    for (request, status) in [
        ("GET / SMTP\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n".to_owned(), 501),
        ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n10001\r\n".to_owned(), 413),
        (
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"
                .to_owned(),
            400,
        ),
        (post("/customers/a", &big), 413),
        (format!("GET / HTTP/1.1\r\nx: {big}"), 431),
        (format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(97)), 431),
    ] {
        let (running, mut peer) = simulator().await;
        let response = peer.exchange(&request).await;
        assert_eq!(response.status, status, "{request:.60}");
        assert_eq!(response.header("connection"), Some("close"));
        assert_eq!(peer.rest().await, "");
        assert_eq!(running.simulator().total_requests(), 0);
    }
}

/// A request with a body in chunks of at most `size` bytes, as Node.js sends it.
fn post_in_chunks(path: &str, body: &str, size: usize) -> String {
    let chunk = |part: &[u8]| {
        format!("{:x}\r\n{}\r\n", part.len(), String::from_utf8(part.to_vec()).unwrap())
    };
    let chunks: String = body.as_bytes().chunks(size).map(chunk).collect();
    format!(
        "POST {path} HTTP/1.1\r\n{CREDENTIALS}Content-Type: application/x-www-form-urlencoded\r\n\
         Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"
    )
}

#[tokio::test]
async fn create_and_update_accept_chunked_bodies() {
    let (running, mut peer) = running(Config { provision: false, ..Config::on_free_ports() }).await;
    let form = "object_reference_id=alice&mobile_number=9876543210&first_name=A";
    let created = peer.exchange(&post_in_chunks("/customers", form, 7)).await;
    assert_eq!((created.status, &created.json()["first_name"]), (200, &"A".into()));
    let update = post_in_chunks("/customers/alice", "first_name=Alia&last_name=K", 999);
    // The next request follows on the same connection.
    let pair = format!("{update}{}", get("alice"));
    assert_eq!(peer.exchange(&pair).await.json()["first_name"], "Alia");
    assert_eq!(peer.read_response().await.json()["last_name"], "K");
    let empty = peer.exchange(&post_in_chunks("/customers/alice", "", 1)).await;
    assert_eq!((empty.status, &empty.json()["first_name"]), (200, &"Alia".into()));
    assert_eq!(running.simulator().requests()[0].connection, 1, "the connection was kept");
    assert_eq!(running.simulator().requests()[3].connection, 1);
}

#[tokio::test]
async fn split_chunked_body_is_accepted() {
    let (_running, mut peer) = simulator().await;
    let request = post_in_chunks("/customers/a", "first_name=A&last_name=B", 10);
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    peer.send(head).await;
    peer.send("\r\n\r\n").await;
    for byte in body.chars() {
        peer.send(&byte.to_string()).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(peer.read_response().await.json()["last_name"], "B");
}

#[tokio::test]
async fn body_of_64_kib_is_accepted() {
    let (_running, mut peer) = simulator().await;
    let form = format!("first_name={}", "x".repeat(64 * 1024 - 11));
    assert_eq!(peer.exchange(&post("/customers/a", &form)).await.status, 200);
    assert_eq!(peer.exchange(&post_in_chunks("/customers/a", &form, 1000)).await.status, 200);
}
