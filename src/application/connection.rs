//! A connection of the public listener, as actix reads and writes it.
//!
//! Owns what actix leaves open: only one request is let through at a time (`gate`), and when many
//! come at once those go first whom it costs least to serve (`queue`); every head must be there in
//! time, not just the first one, and who doesn't read its answer is given up. Counts itself for as
//! long as it is open.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use actix_web::rt::net::{TcpStream, UnixStream};
use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::{
    gate::{Gate, TooLong},
    queue::{Queue, Turn},
};
use crate::{auth::Approach, clock::Clock, metrics::Raised, tls::PeerCertificate};

/// Most bytes taken from a client while its last request is being answered.
const MOST_HELD: usize = 8192;

/// How long an answer may wait for its reader.
const WRITE_TIME: Duration = Duration::from_secs(10);

/// How long what a client still sends is read and thrown away behind the last answer: closed before,
/// the kernel would take that answer back (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(1);

/// What actix says in this case, when a head is larger than its own bound.
const TOO_LONG: &[u8] = b"HTTP/1.1 431 Request Header Fields Too Large\r\n\
    content-length: 0\r\nconnection: close\r\n\r\n";

/// What a connection runs over.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What every connection of a listener has in common.
#[derive(Clone)]
pub(super) struct Bounds {
    /// Longest head, in bytes.
    pub(super) max_head: usize,
    /// How long a head may take from its first byte on.
    pub(super) head_time: Duration,
    pub(super) clock: Arc<dyn Clock>,
}

/// An accepted connection.
pub(super) struct Connection {
    stream: Stream,
    peer: Option<PeerCertificate>,
    gate: Gate,
    turn: Turn,
    bounds: Bounds,
    head_end: Option<BoxFuture<'static, ()>>,
    write_end: Option<BoxFuture<'static, ()>>,
    /// It has had its last answer from us; nothing that actix says besides is sent.
    refused: bool,
    linger_end: Option<BoxFuture<'static, ()>>,
    /// To be told when the gate opens while bytes are held.
    reader: Option<Waker>,
    _open: Raised,
}

impl Connection {
    pub(super) fn new(
        stream: Stream,
        peer: Option<PeerCertificate>,
        bounds: Bounds,
        queue: Queue,
        open: Raised,
    ) -> Self {
        let gate = Gate::new(bounds.max_head);
        Self {
            stream,
            peer,
            gate,
            turn: Turn::new(queue),
            bounds,
            head_end: None,
            write_end: None,
            refused: false,
            linger_end: None,
            reader: None,
            _open: open,
        }
    }

    /// Who is at the other end, where a certificate has shown it.
    pub(super) const fn peer(&self) -> Option<&PeerCertificate> {
        self.peer.as_ref()
    }

    /// How it has come: by its own end, which stays known when the other one is gone.
    pub(super) fn approach(&self) -> Approach {
        let tcp = match &self.stream {
            Stream::Unix(_) => return Approach::Unix,
            Stream::Tcp(stream) => stream,
            Stream::Tls(stream) => stream.get_ref().0,
        };
        let is_loopback = tcp.local_addr().is_ok_and(|address| address.ip().is_loopback());
        if is_loopback { Approach::Loopback } else { Approach::Network }
    }

    /// Whether its TLS ends here.
    pub(super) const fn is_encrypted(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    pub(super) fn peer_address(&self) -> Option<SocketAddr> {
        match &self.stream {
            Stream::Tcp(stream) => stream.peer_addr().ok(),
            Stream::Tls(stream) => stream.get_ref().0.peer_addr().ok(),
            Stream::Unix(_) => None,
        }
    }

    /// While a request is answered: keeps what comes, and tells the end of the connection.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut space = [0; 1024];
        while self.gate.held() < MOST_HELD {
            let mut buffer = ReadBuf::new(&mut space);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.gate.hold(buffer.filled());
                }
                ended @ Poll::Ready(_) => return ended,
                Poll::Pending => break,
            }
        }
        self.reader = Some(context.waker().clone());
        Poll::Pending
    }

    /// Waits until something is there to be read, and it is its turn.
    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.turn.is_given() {
            if self.gate.held() == 0 {
                ready!(self.stream.poll_readable(context))?;
            }
            ready!(self.turn.poll(context));
        }
        Poll::Ready(Ok(()))
    }

    /// Reads what may be seen.
    fn poll_head(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Result<(), TooLong>>> {
        if self.gate.held() > 0 {
            let passed = self.gate.pass_held(buffer.remaining());
            return Poll::Ready(Ok(passed.map(|passed| buffer.put_slice(&passed))));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let passed = self.gate.pass(buffer.filled().get(before..).unwrap_or_default());
        buffer.set_filled(before.saturating_add(*passed.as_ref().unwrap_or(&0)));
        Poll::Ready(Ok(passed.map(|_| ())))
    }

    /// Times a head that has begun.
    fn poll_head_time(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.gate.is_amid_head() {
            self.head_end = None;
            return Poll::Pending;
        }
        let Bounds { clock, head_time, .. } = &self.bounds;
        let end = || clock.sleep_until(clock.monotonic().plus(*head_time));
        self.head_end
            .get_or_insert_with(end)
            .poll_unpin(context)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Says that the head is too long; then nothing more is read.
    fn refuse(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.refused = true;
        tracing::debug!("a request's head is longer than {} bytes", self.bounds.max_head);
        let said = Pin::new(&mut self.stream).poll_write(context, TOO_LONG);
        if matches!(said, Poll::Ready(Ok(_))) {
            drop(Pin::new(&mut self.stream).poll_flush(context));
        }
        Poll::Ready(Ok(()))
    }

    /// Notes what has left.
    fn left(&mut self, written: &[u8]) {
        if self.gate.left(written) {
            self.turn.answered(written);
            if self.gate.held() > 0 {
                // It has nothing to wait for but us.
                self.reader.take().into_iter().for_each(Waker::wake);
            }
        }
    }

    /// Throws away what still comes, if anything does.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut comes = self.refused || self.gate.held() > 0 || self.gate.is_amid_head();
        let mut space = [0; 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut space);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => comes = true,
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => break,
            }
        }
        if !comes && self.linger_end.is_none() {
            return Poll::Ready(Ok(()));
        }
        let clock = &self.bounds.clock;
        let end = || clock.sleep_until(clock.monotonic().plus(LINGER));
        self.linger_end.get_or_insert_with(end).poll_unpin(context).map(Ok)
    }

    /// Times an answer that doesn't get away.
    fn poll_write_time<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_end = None;
            return written;
        }
        let clock = &self.bounds.clock;
        let end = || clock.sleep_until(clock.monotonic().plus(WRITE_TIME));
        self.write_end
            .get_or_insert_with(end)
            .poll_unpin(context)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.refused {
            return Poll::Ready(Ok(()));
        }
        if this.gate.is_shut() {
            this.head_end = None;
            return this.poll_end(context);
        }
        ready!(this.poll_turn(context))?;
        match this.poll_head(context, buffer)? {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Ready(Err(TooLong)) => this.refuse(context),
            Poll::Pending => this.poll_head_time(context),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.refused {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = written {
            this.left(bytes.get(..count).unwrap_or_default());
        }
        this.poll_write_time(context, written)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(context);
        this.poll_write_time(context, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shut_down = Pin::new(&mut this.stream).poll_shutdown(context);
        ready!(this.poll_write_time(context, shut_down))?;
        this.poll_linger(context)
    }
}

impl Stream {
    /// Waits until there is something to read, or the end.
    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(context),
            Self::Unix(stream) => stream.poll_read_ready(context),
            Self::Tls(stream) => {
                let (tcp, session) = stream.get_ref();
                // It may have decrypted more than was read of it.
                if session.wants_read() {
                    tcp.poll_read_ready(context)
                } else {
                    Poll::Ready(Ok(()))
                }
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use actix_web::rt;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::{clock::SystemClock, metrics::Metrics, routes::Drain};

    const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    /// A connection which has been answered once.
    async fn connection(queue: &Queue, status: &str) -> (Connection, UnixStream) {
        let (ours, mut phone) = UnixStream::pair().unwrap();
        let bounds = Bounds {
            max_head: 1000,
            head_time: Duration::from_secs(5),
            clock: SystemClock::shared(),
        };
        let open = Raised::new(&Metrics::new("", "").unwrap().http.connections);
        let stream = Stream::Unix(ours);
        let mut connection = Connection::new(stream, None, bounds, queue.clone(), open);
        phone.write_all(HEAD).await.unwrap();
        answer(&mut connection, status).await;
        (connection, phone)
    }

    /// Reads a head and writes the answer.
    async fn answer(connection: &mut Connection, status: &str) {
        let mut head = [0; HEAD.len()];
        connection.read_exact(&mut head).await.unwrap();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        connection.write_all(answer.as_bytes()).await.unwrap();
    }

    #[actix_web::test]
    async fn who_was_served_last_time_goes_before_a_crowd() {
        for (status, is_first) in [("200 OK", true), ("503 Service Unavailable", false)] {
            let queue = Queue::new(Drain::default());
            let order = Rc::new(RefCell::new(Vec::new()));
            let (mut phones, mut tasks) = (Vec::new(), Vec::new());
            for name in 0..=20 {
                let status = if name == 20 { status } else { "401 Unauthorized" };
                let (mut connection, phone) = connection(&queue, status).await;
                let order = Rc::clone(&order);
                phones.push(phone);
                tasks.push(async move {
                    answer(&mut connection, "401 Unauthorized").await;
                    order.borrow_mut().push(name);
                });
            }
            for phone in &mut phones {
                phone.write_all(HEAD).await.unwrap();
            }
            for task in tasks.into_iter().map(rt::spawn).collect::<Vec<_>>() {
                task.await.unwrap();
            }
            let place = order.borrow().iter().position(|name| *name == 20).unwrap();
            assert_eq!(place < 6, is_first, "{status}: {:?}", order.borrow());
        }
    }
}
