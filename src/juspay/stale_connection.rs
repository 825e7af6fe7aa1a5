//! Tracks which pooled connection an exchange uses, and distinguishes a stale connection from a
//! failing Juspay.
//!
//! awc reuses idle connections and does not report it. A connection that the peer or a firewall has
//! dropped in the meantime fails only once a request is written to it. The streams handed to awc
//! therefore report their reads and writes to the running exchange. awc sends a request inside the
//! future of `send`, so a task-local names that exchange. Nothing here touches a byte.

use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll},
};

use actix_rt::net::{ActixStream, Ready};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

tokio::task_local! {
    /// The exchange whose request is being sent.
    static SENDING: Rc<Exchange>;
}

/// The connections of one awc client, idle or in use.
#[derive(Debug, Default)]
pub(super) struct Pool {
    /// Connections made so far. The first one has the number 0.
    made: Cell<u64>,
    exchanges: RefCell<Vec<Weak<Exchange>>>,
}

/// One request and the beginning of its response.
#[derive(Debug)]
pub(super) struct Exchange {
    /// The number of its connection, once awc has written to one.
    connection: Cell<Option<u64>>,
    /// Connections with a lower number are older than this exchange.
    first_new: u64,
    has_received: Cell<bool>,
    has_older_received: Cell<bool>,
}

/// A connection of a pool, as awc reads and writes it.
#[derive(Debug)]
pub(super) struct PooledStream {
    stream: TcpStream,
    number: u64,
    pool: Rc<Pool>,
}

impl Pool {
    /// Adds a connection.
    pub(super) fn add(self: Rc<Self>, stream: TcpStream) -> PooledStream {
        let number = self.made.get();
        self.made.set(number + 1);
        PooledStream { stream, number, pool: self }
    }

    /// Starts an exchange on one of the connections or on a new one.
    pub(super) fn start_exchange(&self) -> Rc<Exchange> {
        let exchange = Rc::new(Exchange {
            connection: Cell::default(),
            first_new: self.made.get(),
            has_received: Cell::default(),
            has_older_received: Cell::default(),
        });
        let mut exchanges = self.exchanges.borrow_mut();
        exchanges.retain(|exchange| exchange.strong_count() > 0);
        exchanges.push(Rc::downgrade(&exchange));
        exchange
    }

    /// Records that a connection has delivered bytes.
    fn received(&self, number: u64) {
        for exchange in self.exchanges.borrow().iter().filter_map(Weak::upgrade) {
            if exchange.connection.get() == Some(number) {
                exchange.has_received.set(true);
            } else if number < exchange.first_new {
                exchange.has_older_received.set(true);
            }
        }
    }
}

impl Exchange {
    /// Polls awc's `send`. The last connection that awc writes to is the exchange's connection.
    pub(super) async fn send<F: Future>(self: &Rc<Self>, sending: F) -> F::Output {
        SENDING.scope(Rc::clone(self), sending).await
    }

    /// Records that awc detected the connection's end before any byte of a response. Earlier bytes
    /// belong to TLS, such as its closing alert.
    pub(super) fn ended_before_response(&self) {
        self.has_received.set(false);
    }

    /// Whether the request was written to a connection older than the exchange, and no byte
    /// arrived.
    pub(super) fn is_unanswered_on_reused_connection(&self) -> bool {
        let is_reused = self.connection.get().is_some_and(|number| number < self.first_new);
        is_reused && !self.has_received.get()
    }

    /// Whether another connection older than this exchange has delivered a byte since it started.
    /// If so, a missing response is Juspay's fault rather than the connection's. Newer connections
    /// prove nothing: a firewall that drops idle connections accepts new ones.
    pub(super) fn has_older_connection_received(&self) -> bool {
        self.has_older_received.get()
    }
}

impl PooledStream {
    fn inner(self: Pin<&mut Self>) -> Pin<&mut TcpStream> {
        Pin::new(&mut self.get_mut().stream)
    }

    /// Records that the exchange in progress uses this connection.
    fn is_written(&self) {
        // TLS also writes outside of exchanges, such as its closing alert.
        let _is_sending = SENDING.try_with(|exchange| exchange.connection.set(Some(self.number)));
    }
}

impl AsyncRead for PooledStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = self.as_mut().inner().poll_read(cx, buf);
        if buf.filled().len() > before {
            self.pool.received(self.number);
        }
        read
    }
}

impl AsyncWrite for PooledStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.is_written();
        self.inner().poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.is_written();
        self.inner().poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_shutdown(cx)
    }
}

impl ActixStream for PooledStream {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_read_ready(&self.stream, cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_write_ready(&self.stream, cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    /// A connection of the pool, and its peer.
    async fn connection(pool: &Rc<Pool>) -> (PooledStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Rc::clone(pool).add(stream), listener.accept().await.unwrap().0)
    }

    /// Delivers a byte from the peer.
    async fn deliver((stream, peer): &mut (PooledStream, TcpStream)) {
        peer.write_all(b"x").await.unwrap();
        stream.read_u8().await.unwrap();
    }

    async fn write((stream, _): &mut (PooledStream, TcpStream), exchange: &Rc<Exchange>) {
        exchange.send(stream.write_all(b"GET")).await.unwrap();
    }

    #[tokio::test]
    async fn connection_older_than_the_exchange_is_a_reused_one() {
        let pool = Rc::<Pool>::default();
        let mut old = connection(&pool).await;
        let exchange = pool.start_exchange();
        assert!(!exchange.is_unanswered_on_reused_connection(), "nothing is written yet");
        let mut new = connection(&pool).await;
        write(&mut new, &exchange).await;
        assert!(!exchange.is_unanswered_on_reused_connection());
        let exchange = pool.start_exchange();
        write(&mut old, &exchange).await;
        assert!(exchange.is_unanswered_on_reused_connection());
    }

    #[tokio::test]
    async fn exchange_uses_the_connection_written_to_last() {
        let pool = Rc::<Pool>::default();
        let (mut first, mut second) = (connection(&pool).await, connection(&pool).await);
        let exchange = pool.start_exchange();
        write(&mut first, &exchange).await;
        write(&mut second, &exchange).await;
        deliver(&mut first).await;
        assert!(exchange.is_unanswered_on_reused_connection());
        deliver(&mut second).await;
        assert!(!exchange.is_unanswered_on_reused_connection());
        exchange.ended_before_response();
        assert!(exchange.is_unanswered_on_reused_connection());
    }

    #[tokio::test]
    async fn only_older_connections_prove_that_the_pool_works() {
        let pool = Rc::<Pool>::default();
        let (mut silent, mut old) = (connection(&pool).await, connection(&pool).await);
        deliver(&mut old).await;
        let exchange = pool.start_exchange();
        write(&mut silent, &exchange).await;
        let mut new = connection(&pool).await;
        deliver(&mut new).await;
        assert!(!exchange.has_older_connection_received());
        deliver(&mut old).await;
        assert!(exchange.has_older_connection_received());
    }

    #[tokio::test]
    async fn finished_exchanges_are_dropped() {
        let pool = Pool::default();
        for _ in 0..100 {
            drop(pool.start_exchange());
        }
        assert!(pool.exchanges.borrow().len() <= 1);
    }
}
