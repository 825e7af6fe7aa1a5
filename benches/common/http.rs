//! Keep-alive connections with a minimal HTTP/1.1 client, and a pool of them.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// A request that costs the server almost nothing.
const WARM_UP_REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A reusable connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A response, in the connection's buffer.
#[derive(Debug)]
pub struct Reply<'c> {
    pub status: u16,
    /// `Cache-Status`, or empty.
    pub cache_status: &'c str,
    /// `Juspay-Token-Expires-In`, seconds.
    pub expires_in: Option<u64>,
    pub body: &'c [u8],
    /// The server closes the connection after this response.
    closes: bool,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096) })
    }

    /// Sends a whole request and reads the whole response.
    pub async fn exchange(&mut self, request: &[u8]) -> io::Result<Reply<'_>> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let whole = loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(length) = whole_length(&self.buffer)? {
                break length;
            }
        };
        while self.buffer.len() < whole {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        if self.buffer.len() > whole {
            return Err(io::Error::other("more than one answer"));
        }
        Reply::parse(&self.buffer).ok_or_else(|| io::Error::other("no answer of HTTP's"))
    }
}

/// The length of head and body, once the head is complete.
fn whole_length(bytes: &[u8]) -> io::Result<Option<usize>> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut fields);
    match head.parse(bytes).map_err(io::Error::other)? {
        httparse::Status::Partial => Ok(None),
        httparse::Status::Complete(length) => {
            let body =
                text(&head, "content-length").and_then(|length| length.parse::<usize>().ok());
            body.map(|body| Some(length + body)).ok_or_else(|| io::Error::other("no length"))
        }
    }
}

fn text<'b>(head: &httparse::Response<'_, 'b>, name: &str) -> Option<&'b str> {
    let field = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(field.value).ok()
}

impl<'c> Reply<'c> {
    fn parse(bytes: &'c [u8]) -> Option<Self> {
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut head = httparse::Response::new(&mut fields);
        let httparse::Status::Complete(length) = head.parse(bytes).ok()? else { return None };
        Some(Self {
            status: head.code?,
            cache_status: text(&head, "cache-status").unwrap_or_default(),
            expires_in: text(&head, "juspay-token-expires-in").and_then(|it| it.parse().ok()),
            closes: text(&head, "connection").is_some_and(|it| it.eq_ignore_ascii_case("close")),
            body: &bytes[length..],
        })
    }
}

/// Connections to one address, opened on demand and reused.
#[derive(Debug)]
pub struct Pool {
    address: SocketAddr,
    most: usize,
    open: AtomicUsize,
    /// The least recently used connection first, so that none becomes old.
    idle: Mutex<VecDeque<Connection>>,
}

impl Pool {
    /// A pool of at most `most` connections.
    pub fn new(address: SocketAddr, most: usize) -> Self {
        Self { address, most, open: AtomicUsize::new(0), idle: Mutex::default() }
    }

    /// The number of connections.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Whether a connection is idle, or another one may be opened.
    pub fn has_capacity(&self) -> bool {
        self.open() < self.most || !self.idle.lock().unwrap().is_empty()
    }

    /// Opens connections up to this number.
    pub async fn fill(&self, number: usize) {
        while self.open() < number.min(self.most) {
            let connection = self.connect().await.unwrap();
            self.idle.lock().unwrap().push_back(connection);
        }
    }

    /// Sends one request over each connection, because clients' open connections have been used
    /// before.
    pub async fn warm_up(&self) {
        for _ in 0..self.open() {
            let status = self.exchange(WARM_UP_REQUEST, |reply| reply.status).await;
            assert_eq!(status.unwrap().unwrap(), 404);
        }
    }

    async fn connect(&self) -> io::Result<Connection> {
        self.open.fetch_add(1, Ordering::Relaxed);
        Connection::open(self.address).await.inspect_err(|_| self.lost())
    }

    fn lost(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// One exchange on any connection, validated by `read`; `None` if all connections are busy.
    pub async fn exchange<T>(
        &self,
        request: &[u8],
        read: impl FnOnce(&Reply<'_>) -> T,
    ) -> Option<io::Result<T>> {
        let idle = self.idle.lock().unwrap().pop_front();
        let mut connection = match idle {
            Some(connection) => connection,
            None if self.open() >= self.most => return None,
            None => match self.connect().await {
                Ok(connection) => connection,
                Err(error) => return Some(Err(error)),
            },
        };
        let (result, reusable) = match connection.exchange(request).await {
            Ok(reply) => (Ok(read(&reply)), !reply.closes),
            Err(error) => (Err(error), false),
        };
        if reusable {
            self.idle.lock().unwrap().push_back(connection);
        } else {
            self.lost();
        }
        Some(result)
    }
}
