//! A connection of a listener, as actix reads and writes it.
//!
//! Owns what actix leaves open: only one request is let through at a time (`gate`), and when many
//! come at once those go first whom it costs least to serve (`queue`); every request must be there
//! in time, not just the first one's head, and who doesn't read its answer is given up. Counts
//! itself for as long as it is open.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    frame::Refusal,
    gate::Gate,
    queue::{Queue, Turn},
    stream::Stream,
};
use crate::{auth::Approach, clock::Clock, metrics::Raised, tls::PeerCertificate};

/// Most bytes taken from a client while its last request is being answered.
const MOST_HELD: usize = 8192;

/// How long an answer may wait for its reader.
const WRITE_TIME: Duration = Duration::from_secs(10);

/// How long what a client still sends is read and thrown away behind the last answer: closed before,
/// the kernel would take that answer back (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(1);

/// What every connection of a listener has in common.
#[derive(Clone)]
pub(super) struct Bounds {
    /// Longest head, in bytes.
    pub(super) max_head: usize,
    /// Longest body, in bytes, where bodies are taken.
    pub(super) max_body: Option<usize>,
    /// How long a request may take to be there: from its first byte on, or, where it is a
    /// connection's first, from the connection's beginning on.
    pub(super) request_time: Duration,
    pub(super) clock: Arc<dyn Clock>,
}

/// An accepted connection.
pub(super) struct Connection {
    stream: Stream,
    peer: Option<PeerCertificate>,
    gate: Gate,
    turn: Turn,
    bounds: Bounds,
    /// Its first request isn't there yet.
    is_new: bool,
    request_end: Option<BoxFuture<'static, ()>>,
    write_end: Option<BoxFuture<'static, ()>>,
    /// It has had its last answer from us; nothing that actix says besides is sent.
    refused: bool,
    linger_end: Option<BoxFuture<'static, ()>>,
    /// To be told when the gate opens while bytes are held.
    reader: Option<Waker>,
    _open: Option<Raised>,
}

impl Connection {
    pub(super) fn new(
        stream: Stream,
        peer: Option<PeerCertificate>,
        bounds: Bounds,
        queue: Queue,
        open: Option<Raised>,
    ) -> Self {
        let gate = Gate::new(bounds.max_head, bounds.max_body);
        Self {
            stream,
            peer,
            gate,
            turn: Turn::new(queue),
            bounds,
            is_new: true,
            request_end: None,
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

    /// How it has come.
    pub(super) fn approach(&self) -> Approach {
        self.stream.approach()
    }

    /// Whether its TLS ends here.
    pub(super) const fn is_encrypted(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    pub(super) fn peer_address(&self) -> Option<SocketAddr> {
        self.stream.peer_address()
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
    fn poll_request(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Result<(), Refusal>>> {
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

    /// Times a request that has begun, or is to be a connection's first.
    fn poll_request_time(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_new && !self.gate.is_amid_request() {
            self.request_end = None;
            return Poll::Pending;
        }
        let Bounds { clock, request_time, .. } = &self.bounds;
        let end = || clock.sleep_until(clock.monotonic().plus(*request_time));
        ready!(self.request_end.get_or_insert_with(end).poll_unpin(context));
        if self.is_new || self.gate.is_amid_body() {
            return self.refuse(Refusal::TooSlow, context);
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Says why the request goes no further; then nothing more is read.
    fn refuse(&mut self, why: Refusal, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.refused = true;
        tracing::debug!("a request was refused before it was read: {why:?}");
        let said = Pin::new(&mut self.stream).poll_write(context, why.answer().as_bytes());
        if matches!(said, Poll::Ready(Ok(_))) {
            drop(Pin::new(&mut self.stream).poll_flush(context));
        }
        Poll::Ready(Ok(()))
    }

    /// Notes what has left.
    fn left(&mut self, written: &[u8]) {
        if self.gate.left(written) {
            self.turn.answered(written);
            self.wake_reader();
        }
    }

    /// Who would read what is held has nothing to wait for but us.
    fn wake_reader(&mut self) {
        if self.gate.held() > 0 {
            self.reader.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Throws away what still comes, if anything does.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let gate = &self.gate;
        let mut comes = self.refused || gate.held() > 0 || gate.is_amid_request() || gate.is_last();
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

    /// Whether an answer waits for its reader: nothing may be said in the midst of it.
    const fn is_stuck(&self) -> bool {
        self.write_end.is_some()
    }

    /// Times an answer that doesn't get away.
    fn poll_write_time<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if self.write_end.take().is_some() {
                self.wake_reader();
            }
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
            this.is_new = false;
            this.request_end = None;
            return this.poll_end(context);
        }
        if this.is_stuck() {
            return this.poll_end(context);
        }
        if this.poll_turn(context)?.is_pending() {
            return if this.is_new { this.poll_request_time(context) } else { Poll::Pending };
        }
        match this.poll_request(context, buffer)? {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Ready(Err(refusal)) => this.refuse(refusal, context),
            Poll::Pending => this.poll_request_time(context),
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

#[cfg(test)]
mod tests {
    use std::{
        cell::RefCell,
        rc::Rc,
        sync::atomic::{AtomicBool, Ordering},
        task::Wake,
    };

    use actix_web::rt::{self, net::UnixStream};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::{clock::SystemClock, routes::Drain};

    const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    /// A connection which has been answered once.
    async fn connection(queue: &Queue, status: &str) -> (Connection, UnixStream) {
        let (ours, mut phone) = UnixStream::pair().unwrap();
        let bounds = Bounds {
            max_head: 1000,
            max_body: None,
            request_time: Duration::from_secs(5),
            clock: SystemClock::shared(),
        };
        let stream = Stream::Unix(ours);
        let mut connection = Connection::new(stream, None, bounds, queue.clone(), None);
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

    /// Whether it was woken.
    #[derive(Default)]
    struct Reader(AtomicBool);

    impl Wake for Reader {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[actix_web::test]
    async fn a_refusal_waits_for_the_answer_before_it() {
        let (mut connection, mut phone) = connection(&Queue::new(Drain::default()), "200 OK").await;
        let mut seen = vec![0; b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".len()];
        phone.read_exact(&mut seen).await.unwrap();
        phone.write_all(HEAD).await.unwrap();
        connection.read_exact(&mut [0; HEAD.len()]).await.unwrap();
        // As much of an answer as the kernel keeps for a reader, and then a head that is too long.
        let mut sent = 0;
        while let Some(written) = connection.write(&[b'x'; 8192]).now_or_never() {
            sent += written.unwrap();
        }
        phone.write_all(&[b'y'; 2000]).await.unwrap();
        let reader = Arc::new(Reader::default());
        let waker = Waker::from(Arc::clone(&reader));
        let read = Box::pin(connection.read_u8()).poll_unpin(&mut Context::from_waker(&waker));
        assert!(read.is_pending(), "nothing is let through yet");
        phone.read_exact(&mut vec![0; sent]).await.unwrap();
        assert!(!reader.0.load(Ordering::Relaxed));
        connection.write_all(b"the end").await.unwrap();
        assert!(reader.0.load(Ordering::Relaxed), "nobody else would wake it");
        assert_eq!(connection.read(&mut [0; 4096]).await.unwrap(), 0, "it is refused");
        drop(connection);
        let mut rest = String::new();
        phone.read_to_string(&mut rest).await.unwrap();
        assert!(rest.starts_with("the endHTTP/1.1 431 "), "{rest}");
    }
}
