//! A client's connection, as actix reads and writes it: forwards one request at a time
//! ([`PipeliningGuard`]) and enforces time limits by the service's clock. A request must arrive in time,
//! a response must be read in time, and idle connections end when their listener has closed.
//!
//! actix's own timeouts are unused: they limit only the first head, and follow another clock.

use std::{
    future::Future as _,
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
use tokio_util::{
    either::Either,
    sync::{CancellationToken, WaitForCancellationFutureOwned},
};

use super::{
    pipelining_guard::{INTERIM, PipeliningGuard},
    request_head::Rejection,
};
use crate::{clock::Clock, connection_info::ConnectionInfo, metrics::GaugeGuard};

/// Maximum number of bytes read from a client before the response to its last request.
const MAX_BUFFERED: usize = 8192;

/// How long a response may wait for its reader.
const WRITE_TIME: Duration = Duration::from_secs(10);

/// How long further bytes of the client are read and discarded after the last response. If the socket were
/// closed before, the kernel would discard that response (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(1);

/// How long a new connection has to start its first request after its listener has closed: longer than
/// a mobile client's round trip.
const LAST_CALL: Duration = Duration::from_secs(1);

/// What a connection runs over.
pub(super) type Stream = Either<TcpStream, Either<UnixStream, Box<TlsStream<TcpStream>>>>;

/// What all connections of a listener share.
#[derive(Clone)]
pub(super) struct ConnectionLimits {
    /// Maximum length of a head, in bytes.
    pub(super) max_head: usize,
    /// Maximum length of a body, in bytes, if bodies are forwarded.
    pub(super) max_body: Option<usize>,
    /// How long a request may take to arrive: from its first byte, or from the connection's start for its
    /// first request.
    pub(super) request_time: Duration,
    pub(super) clock: Arc<dyn Clock>,
    /// Cancelled when the listener is about to close.
    pub(super) closing: CancellationToken,
}

impl ConnectionLimits {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.clock.sleep_until(self.clock.monotonic().plus(duration))
    }
}

/// An accepted connection.
pub(super) struct Connection {
    stream: Stream,
    info: ConnectionInfo,
    peer_address: Option<SocketAddr>,
    guard: PipeliningGuard,
    limits: ConnectionLimits,
    /// Its first request is not complete.
    is_new: bool,
    request_end: Option<BoxFuture<'static, ()>>,
    write_end: Option<BoxFuture<'static, ()>>,
    /// The last response was a rejection from here; actix's further output is discarded.
    is_rejected: bool,
    linger_end: Option<BoxFuture<'static, ()>>,
    closing: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    last_call: Option<BoxFuture<'static, ()>>,
    /// Woken when buffered bytes can be forwarded.
    reader: Option<Waker>,
    /// Counts the connection while it is open.
    _open: Option<GaugeGuard>,
}

impl Connection {
    pub(super) fn new(
        stream: Stream,
        info: ConnectionInfo,
        peer_address: Option<SocketAddr>,
        limits: ConnectionLimits,
        open: Option<GaugeGuard>,
    ) -> Self {
        Self {
            stream,
            info,
            peer_address,
            guard: PipeliningGuard::new(limits.max_head, limits.max_body),
            limits,
            is_new: true,
            request_end: None,
            write_end: None,
            is_rejected: false,
            linger_end: None,
            closing: None,
            last_call: None,
            reader: None,
            _open: open,
        }
    }

    pub(super) const fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    pub(super) const fn peer_address(&self) -> Option<SocketAddr> {
        self.peer_address
    }

    /// Before the response to a request: buffers received bytes, and reports the end of the connection.
    fn poll_ahead(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut space = [0; 1024];
        while self.guard.buffered() < MAX_BUFFERED {
            let mut buffer = ReadBuf::new(&mut space);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.guard.buffer(buffer.filled());
                }
                ended @ Poll::Ready(_) => return ended,
                Poll::Pending => break,
            }
        }
        self.reader = Some(context.waker().clone());
        Poll::Pending
    }

    /// Reads what can be forwarded.
    fn poll_request(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Result<(), Rejection>>> {
        if self.guard.buffered() == 0 {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
            let received = buffer.filled().get(before..).unwrap_or_default();
            let (forwarded, has_ended) = (self.guard.forward(received), received.is_empty());
            let count = *forwarded.as_ref().unwrap_or(&0);
            buffer.set_filled(before.saturating_add(count));
            if count > 0 || has_ended || forwarded.is_err() {
                return Poll::Ready(Ok(forwarded.map(|_| ())));
            }
        }
        self.poll_buffered(context, buffer)
    }

    /// The same if bytes are buffered.
    fn poll_buffered(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Result<(), Rejection>>> {
        // Each iteration parses the head again, so a long head should arrive in few pieces.
        let mut space = [0; 8192];
        let mut has_ended = false;
        loop {
            match self.guard.forward_buffered(buffer.remaining()) {
                Err(rejection) => return Poll::Ready(Ok(Err(rejection))),
                Ok(forwarded) if !forwarded.is_empty() || has_ended => {
                    buffer.put_slice(&forwarded);
                    return Poll::Ready(Ok(Ok(())));
                }
                Ok(_) => {}
            }
            if self.guard.take_interim() {
                self.send_interim(context)?;
            }
            let mut received = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut received))?;
            if received.filled().is_empty() {
                has_ended = true;
                self.guard.end();
            }
            self.guard.buffer(received.filled());
        }
    }

    /// Sends 100 Continue. Nothing else is being written, because the response has not started.
    fn send_interim(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match Pin::new(&mut self.stream).poll_write(context, INTERIM) {
            Poll::Ready(Ok(length)) if length == INTERIM.len() => {
                // What TLS still buffers is sent with the response at the latest.
                drop(Pin::new(&mut self.stream).poll_flush(context));
                Ok(())
            }
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(_)) | Poll::Pending => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// If nothing can be read: ends an idle connection of a closed listener, and a request that takes too
    /// long.
    fn poll_time_limits(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.guard.is_reading_request() && self.poll_closing(context).is_ready() {
            self.is_new = false;
            return Poll::Ready(Ok(()));
        }
        self.poll_request_time(context)
    }

    /// Completes when no request is expected any more.
    fn poll_closing(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let closing = &self.limits.closing;
        if !closing.is_cancelled() {
            let wait = || Box::pin(closing.clone().cancelled_owned());
            ready!(self.closing.get_or_insert_with(wait).as_mut().poll(context));
        }
        if !self.is_new {
            return Poll::Ready(());
        }
        self.last_call.get_or_insert_with(|| self.limits.sleep(LAST_CALL)).poll_unpin(context)
    }

    /// Limits the time of a started request, and of a connection's first request.
    fn poll_request_time(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_new && !self.guard.is_reading_request() {
            self.request_end = None;
            return Poll::Pending;
        }
        let end = || self.limits.sleep(self.limits.request_time);
        ready!(self.request_end.get_or_insert_with(end).poll_unpin(context));
        // Both times of an idle connection may end at once, and be noticed one after the other.
        if !self.guard.is_reading_request() && self.limits.closing.is_cancelled() {
            return Poll::Ready(Ok(()));
        }
        if self.is_new || self.guard.is_reading_body() {
            return self.reject(Rejection::TooSlow, context);
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Sends a rejection. Then nothing more is read.
    fn reject(&mut self, why: Rejection, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_rejected = true;
        tracing::debug!("request rejected before it was read: {why:?}");
        let sent = Pin::new(&mut self.stream).poll_write(context, why.response().as_bytes());
        if matches!(sent, Poll::Ready(Ok(_))) {
            drop(Pin::new(&mut self.stream).poll_flush(context));
        }
        Poll::Ready(Ok(()))
    }

    /// The socket does not wake the reader of bytes that are already buffered.
    fn wake_reader(&mut self) {
        if self.guard.buffered() > 0 {
            self.reader.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Discards further bytes of the client.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let guard = &self.guard;
        let mut sends = self.is_rejected
            || guard.buffered() > 0
            || guard.is_reading_request()
            || guard.is_last();
        let mut space = [0; 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut space);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => sends = true,
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => break,
            }
        }
        if !sends && self.linger_end.is_none() {
            return Poll::Ready(Ok(()));
        }
        let end = || self.limits.sleep(LINGER);
        self.linger_end.get_or_insert_with(end).poll_unpin(context).map(Ok)
    }

    /// Limits the time of a write that has to wait.
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
        self.write_end
            .get_or_insert_with(|| self.limits.sleep(WRITE_TIME))
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
        if this.is_rejected {
            return Poll::Ready(Ok(()));
        }
        if this.guard.awaits_response() {
            this.is_new = false;
            this.request_end = None;
            return this.poll_ahead(context);
        }
        // A rejection must not be written into a response that waits for its reader.
        if this.write_end.is_some() {
            return this.poll_ahead(context);
        }
        match this.poll_request(context, buffer)? {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Ready(Err(rejection)) => this.reject(rejection, context),
            Poll::Pending => this.poll_time_limits(context),
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
        if this.is_rejected {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = written
            && this.guard.response_written(bytes.get(..count).unwrap_or_default())
        {
            this.wake_reader();
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
mod tests;
