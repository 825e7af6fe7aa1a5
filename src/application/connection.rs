//! A connection of a listener, as actix reads and writes it.
//!
//! Owns what actix leaves open: only one request is let through at a time (`gate`), every request must
//! be there in time, not just the first one's head, and who doesn't read its answer is given up. Counts
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
    closing::{Closing, Ending},
    frame::Refusal,
    gate::{Gate, INTERIM},
    stream::Stream,
};
use crate::{auth::Approach, clock::Clock, metrics::GaugeGuard, tls::PeerCertificate};

/// Most bytes taken from a client while its last request is being answered.
const MOST_HELD: usize = 8192;

/// How long an answer may wait for its reader.
const WRITE_TIME: Duration = Duration::from_secs(10);

/// How long what a client still sends is read and thrown away behind the last answer: closed before,
/// the kernel would take that answer back (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(1);

/// How long a new connection has to begin its first request once its listener has closed: longer than a
/// phone's round trip.
const LAST_CALL: Duration = Duration::from_secs(1);

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
    pub(super) closing: Closing,
}

/// An accepted connection.
pub(super) struct Connection {
    stream: Stream,
    peer: Option<PeerCertificate>,
    gate: Gate,
    bounds: Bounds,
    /// Its first request isn't there yet.
    is_new: bool,
    request_end: Option<BoxFuture<'static, ()>>,
    write_end: Option<BoxFuture<'static, ()>>,
    /// It has had its last answer from us; nothing that actix says besides is sent.
    refused: bool,
    linger_end: Option<BoxFuture<'static, ()>>,
    /// The listener's.
    ending: Ending,
    last_call: Option<BoxFuture<'static, ()>>,
    /// To be told when the gate opens while bytes are held.
    reader: Option<Waker>,
    _open: Option<GaugeGuard>,
}

impl Connection {
    pub(super) fn new(
        stream: Stream,
        peer: Option<PeerCertificate>,
        bounds: Bounds,
        open: Option<GaugeGuard>,
    ) -> Self {
        let gate = Gate::new(bounds.max_head, bounds.max_body);
        Self {
            stream,
            peer,
            gate,
            ending: bounds.closing.ending(),
            bounds,
            is_new: true,
            request_end: None,
            write_end: None,
            refused: false,
            linger_end: None,
            last_call: None,
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

    /// Reads what may be seen.
    fn poll_request(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Result<(), Refusal>>> {
        if self.gate.held() == 0 {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
            let fresh = buffer.filled().get(before..).unwrap_or_default();
            let (passed, has_ended) = (self.gate.pass(fresh), fresh.is_empty());
            let visible = *passed.as_ref().unwrap_or(&0);
            buffer.set_filled(before.saturating_add(visible));
            if visible > 0 || has_ended || passed.is_err() {
                return Poll::Ready(Ok(passed.map(|_| ())));
            }
        }
        self.poll_held(context, buffer)
    }

    /// The same where bytes are held, which may have to wait for others.
    fn poll_held(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Result<(), Refusal>>> {
        let mut space = [0; 1024];
        loop {
            match self.gate.pass_held(buffer.remaining()) {
                Err(refusal) => return Poll::Ready(Ok(Err(refusal))),
                Ok(passed) if !passed.is_empty() => {
                    buffer.put_slice(&passed);
                    return Poll::Ready(Ok(Ok(())));
                }
                Ok(_) => {}
            }
            if self.gate.takes_interim() {
                self.send_interim(context)?;
            }
            let mut fresh = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut fresh))?;
            if fresh.filled().is_empty() {
                self.gate.end();
            }
            self.gate.hold(fresh.filled());
        }
    }

    /// Nothing else is being written: the request is still to be answered.
    fn send_interim(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match Pin::new(&mut self.stream).poll_write(context, INTERIM) {
            Poll::Ready(Ok(length)) if length == INTERIM.len() => {
                // What TLS still holds leaves with the answer at the latest.
                drop(Pin::new(&mut self.stream).poll_flush(context));
                Ok(())
            }
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(_)) | Poll::Pending => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Nothing can be read now. Ends a connection without a request when its listener has closed, and
    /// a request that takes too long.
    fn poll_wait(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let is_idle = self.gate.held() == 0 && !self.gate.is_amid_request();
        if is_idle && self.poll_ending(context).is_ready() {
            self.is_new = false;
            return Poll::Ready(Ok(()));
        }
        self.poll_request_time(context)
    }

    /// Completes when no request is expected any more.
    fn poll_ending(&mut self, context: &mut Context<'_>) -> Poll<()> {
        ready!(self.ending.poll(context));
        if !self.is_new {
            return Poll::Ready(());
        }
        let clock = &self.bounds.clock;
        let end = || clock.sleep_until(clock.monotonic().plus(LAST_CALL));
        self.last_call.get_or_insert_with(end).poll_unpin(context)
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
        tracing::debug!("request rejected before it was read: {why:?}");
        let said = Pin::new(&mut self.stream).poll_write(context, why.answer().as_bytes());
        if matches!(said, Poll::Ready(Ok(_))) {
            drop(Pin::new(&mut self.stream).poll_flush(context));
        }
        Poll::Ready(Ok(()))
    }

    /// Notes what has left.
    fn left(&mut self, written: &[u8]) {
        if self.gate.left(written) {
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
        match this.poll_request(context, buffer)? {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Ready(Err(refusal)) => this.refuse(refusal, context),
            Poll::Pending => this.poll_wait(context),
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
mod tests;
