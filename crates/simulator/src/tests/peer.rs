//! A raw TCP peer.

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A connection to a simulator.
pub(super) struct Peer {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A response as received.
#[derive(Debug)]
pub(super) struct PeerResponse {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl PeerResponse {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (field, value) = line.split_once(": ")?;
            field.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|why| panic!("{why}: {}", self.body))
    }
}

impl Peer {
    pub(super) async fn of(url: &str) -> Self {
        let stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap();
        Self { stream, buffer: Vec::new() }
    }

    pub(super) async fn send(&mut self, bytes: &str) {
        self.stream.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// Sends a request and reads a response with a Content-Length.
    pub(super) async fn exchange(&mut self, request: &str) -> PeerResponse {
        self.send(request).await;
        self.read_response().await
    }

    /// Reads a response with a Content-Length.
    pub(super) async fn read_response(&mut self) -> PeerResponse {
        loop {
            if let Some(response) = self.take_response() {
                return response;
            }
            assert!(self.read().await > 0, "cut: {}", String::from_utf8_lossy(&self.buffer));
        }
    }

    fn take_response(&mut self) -> Option<PeerResponse> {
        let end = self.buffer.windows(4).position(|four| four == b"\r\n\r\n")?.checked_add(4)?;
        let head = String::from_utf8(self.buffer[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut response = PeerResponse { status, head, body: String::new() };
        let length: usize =
            response.header("content-length").map_or(0, |text| text.parse().unwrap());
        let whole = end.checked_add(length)?;
        let body = self.buffer.get(end..whole)?;
        response.body = String::from_utf8(body.to_vec()).unwrap();
        self.buffer.drain(..whole);
        Some(response)
    }

    /// One read, with space for everything available.
    async fn read(&mut self) -> usize {
        self.buffer.reserve(64 * 1024);
        self.stream.read_buf(&mut self.buffer).await.unwrap()
    }

    /// The result of one read.
    pub(super) async fn packet(&mut self) -> String {
        self.read().await;
        String::from_utf8(std::mem::take(&mut self.buffer)).unwrap()
    }

    /// Everything up to `end`.
    pub(super) async fn until(&mut self, end: &str) -> String {
        while !self.buffer.windows(end.len()).any(|part| part == end.as_bytes()) {
            assert!(self.read().await > 0, "ended before {end:?}");
        }
        String::from_utf8(std::mem::take(&mut self.buffer)).unwrap()
    }

    /// Everything until the simulator closes.
    pub(super) async fn rest(&mut self) -> String {
        while self.read().await > 0 {}
        String::from_utf8(std::mem::take(&mut self.buffer)).unwrap()
    }

    /// The error that ends reading.
    pub(super) async fn broken(&mut self) -> std::io::ErrorKind {
        loop {
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) => panic!("closed without an error"),
                Ok(_) => {}
                Err(error) => return error.kind(),
            }
        }
    }

    /// Whether the connection is open and has delivered nothing.
    pub(super) fn is_silent(&mut self) -> bool {
        let mut byte = [0];
        let read = self.stream.try_read(&mut byte);
        self.buffer.is_empty()
            && read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }
}
