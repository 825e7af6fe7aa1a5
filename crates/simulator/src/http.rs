//! A small HTTP/1.1 server that responds with scripts instead of messages.
//!
//! A handler returns a [`Script`] of bytes, pauses and disconnects, so that it can send responses
//! that no HTTP library would. The server owns the sockets; by itself it only rejects malformed
//! requests. [`super::response`] and [`super::fault`] define the bytes. With a [`TlsAcceptor`], the
//! same bytes are sent over TLS.

mod request;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use self::request::{Incoming, Received};
pub(super) use self::request::{Request, find_header, form_fields};
use super::{latch::LatchWait, response::Response};
use clock::Clock;

/// Maximum number of concurrent connections. Others wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 16_384;

/// Bytes of a rejected request that are still read, so that a TCP reset doesn't discard the
/// response.
const MAX_DRAINED: usize = 1024 * 1024;

/// One action on a connection.
#[derive(Debug)]
pub(super) enum Step {
    /// Sends bytes, in their own packet as far as TCP allows.
    Write(Bytes),
    /// Waits for a duration on the clock.
    Pause(Duration),
    /// Waits until a latch is released.
    Wait(LatchWait),
    /// Waits until the client closes.
    Hang,
    /// Ends the connection with a TCP reset.
    Reset,
}

/// What happens to the connection after a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterResponse {
    /// It accepts the next request, unless the client requested a close.
    KeepAlive,
    /// It is closed.
    Close,
}

/// A response as a list of actions.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) steps: Vec<Step>,
    pub(super) then: AfterResponse,
}

/// Responds to requests. Handlers don't wait; waiting is a step of the script, so that a handler
/// never holds a lock while it waits.
pub(super) trait Handler: Send + Sync + 'static {
    /// The script that responds to `request`.
    fn handle(&self, request: Request) -> Script;
}

/// A server. Dropping it ends the server and its connections.
#[derive(Debug)]
pub(super) struct Server(JoinHandle<()>);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A port, and how it serves connections.
pub(super) struct Listener {
    pub(super) tcp: TcpListener,
    /// Encrypts connections.
    pub(super) tls: Option<TlsAcceptor>,
    /// Number of the last connection. Listeners with the same handler share it.
    pub(super) connections: Arc<AtomicU64>,
}

impl Listener {
    /// A listener without TLS and with its own connection numbers.
    pub(super) fn plain(tcp: TcpListener) -> Self {
        Self { tcp, tls: None, connections: Arc::default() }
    }
}

/// Serves connections from `listener`.
pub(super) fn serve<H: Handler>(
    listener: Listener,
    handler: Arc<H>,
    clock: Arc<dyn Clock>,
) -> Server {
    Server(tokio::spawn(accept(listener, handler, clock)))
}

async fn accept<H: Handler>(listener: Listener, handler: Arc<H>, clock: Arc<dyn Clock>) {
    let Listener { tcp, tls, connections: last_number } = listener;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = tcp.accept(), if connections.len() < MAX_CONNECTIONS => {
                let Ok((stream, _)) = accepted else {
                    // Usually too many open files: an ending connection frees a descriptor.
                    connections.join_next().await;
                    tokio::task::yield_now().await;
                    continue;
                };
                let number = last_number.fetch_add(1, Ordering::Relaxed).saturating_add(1);
                let connection = Connection { number, stream, clock: Arc::clone(&clock) };
                connections.spawn(connection.serve(tls.clone(), Arc::clone(&handler)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// The bytes of a connection, encrypted or not.
trait Transport: AsyncRead + AsyncWrite + Send + Unpin {
    /// The socket.
    fn tcp(&self) -> &TcpStream;
}

impl Transport for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Transport for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

struct Connection<T> {
    number: u64,
    stream: T,
    clock: Arc<dyn Clock>,
}

impl Connection<TcpStream> {
    /// Shakes hands if there is an acceptor, then responds to requests.
    async fn serve<H: Handler>(self, tls: Option<TlsAcceptor>, handler: Arc<H>) -> io::Result<()> {
        let Self { number, stream, clock } = self;
        stream.set_nodelay(true)?;
        match tls {
            None => Self { number, stream, clock }.serve_requests(handler).await,
            Some(tls) => {
                let stream = tls.accept(stream).await?;
                Connection { number, stream, clock }.serve_requests(handler).await
            }
        }
    }
}

impl<T: Transport> Connection<T> {
    /// Responds to one request after the other.
    async fn serve_requests<H: Handler>(mut self, handler: Arc<H>) -> io::Result<()> {
        let mut incoming = Incoming::of(self.number);
        loop {
            let request = match incoming.next(&mut self.stream).await? {
                Received::Request(request) => request,
                Received::Rejected(response) => return self.reject(&response).await,
                Received::Ended => return Ok(()),
            };
            let wants_close = request.wants_close();
            let then = self.play(handler.handle(request)).await?;
            if wants_close || then == AfterResponse::Close {
                return self.stream.shutdown().await;
            }
        }
    }

    async fn play(&mut self, script: Script) -> io::Result<AfterResponse> {
        for step in script.steps {
            match step {
                Step::Write(bytes) => {
                    self.stream.write_all(&bytes).await?;
                    self.stream.flush().await?;
                }
                Step::Pause(time) => {
                    self.clock.sleep_until(self.clock.monotonic().plus(time)).await;
                }
                Step::Wait(wait) => wait.opened().await,
                Step::Hang => {
                    self.drain(usize::MAX).await?;
                    return Ok(AfterResponse::Close);
                }
                Step::Reset => {
                    self.stream.tcp().set_zero_linger()?;
                    // Without a shutdown, dropping the stream resets the connection.
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
            }
        }
        Ok(script.then)
    }

    async fn reject(&mut self, response: &Response) -> io::Result<()> {
        self.stream.write_all(&response.to_bytes()).await?;
        self.stream.shutdown().await?;
        self.drain(MAX_DRAINED).await
    }

    /// Reads until the client closes, or has sent `most` bytes.
    async fn drain(&mut self, most: usize) -> io::Result<()> {
        let mut left = most;
        let mut sink = [0; 4096];
        while left > 0 {
            match self.stream.read(&mut sink).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        Ok(())
    }
}
