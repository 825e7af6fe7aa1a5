//! The response to a request that is rejected before it is parsed.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    task::Wake,
};

use actix_web::rt::net::UnixStream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::{clock::SystemClock, connection_info::Transport};

const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A connection that has received one response.
async fn connection(status: &str) -> (Connection, UnixStream) {
    let (ours, mut client) = UnixStream::pair().unwrap();
    let limits = ConnectionLimits {
        max_head: 1000,
        max_body: None,
        request_time: Duration::from_secs(5),
        clock: SystemClock::shared(),
        closing: CancellationToken::new(),
    };
    let stream = Either::Right(Either::Left(ours));
    let info = ConnectionInfo {
        transport: Transport::Unix,
        is_local_listener: true,
        tls: false,
        client_certificate: None,
    };
    let mut connection = Connection::new(stream, info, None, limits, None);
    client.write_all(HEAD).await.unwrap();
    respond(&mut connection, status).await;
    (connection, client)
}

/// Reads a head and writes the response.
async fn respond(connection: &mut Connection, status: &str) {
    let mut head = [0; HEAD.len()];
    connection.read_exact(&mut head).await.unwrap();
    let response = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
    connection.write_all(response.as_bytes()).await.unwrap();
}

/// Whether it was woken.
#[derive(Default)]
struct Reader(AtomicBool);

impl Wake for Reader {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[actix_web::test]
async fn rejection_waits_for_the_previous_response() {
    let (mut connection, mut client) = connection("200 OK").await;
    let mut seen = vec![0; b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".len()];
    client.read_exact(&mut seen).await.unwrap();
    client.write_all(HEAD).await.unwrap();
    connection.read_exact(&mut [0; HEAD.len()]).await.unwrap();
    // As much of a response as the kernel buffers, and then a head that is too long.
    let mut sent = 0;
    while let Some(written) = connection.write(&[b'x'; 8192]).now_or_never() {
        sent += written.unwrap();
    }
    client.write_all(&[b'y'; 2000]).await.unwrap();
    let reader = Arc::new(Reader::default());
    let waker = Waker::from(Arc::clone(&reader));
    let read = Box::pin(connection.read_u8()).poll_unpin(&mut Context::from_waker(&waker));
    assert!(read.is_pending(), "nothing is forwarded yet");
    client.read_exact(&mut vec![0; sent]).await.unwrap();
    assert!(!reader.0.load(Ordering::Relaxed));
    connection.write_all(b"the end").await.unwrap();
    assert!(reader.0.load(Ordering::Relaxed), "the socket does not wake it");
    assert_eq!(connection.read(&mut [0; 4096]).await.unwrap(), 0, "it is rejected");
    drop(connection);
    let mut rest = String::new();
    client.read_to_string(&mut rest).await.unwrap();
    assert!(rest.starts_with("the endHTTP/1.1 431 "), "{rest}");
}
