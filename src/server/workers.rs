//! Accepts a listener's connections and distributes them round-robin to its worker threads, up to the
//! capacity of each.
//!
//! actix-server loses connections at shutdown: it closes sockets with connections that wait to be accepted,
//! and drops accepted ones that no worker has started. Here the order is (promise P8): no new
//! connection can start; waiting ones are accepted; the socket closes; each worker ends after its last
//! connection. Knows no HTTP.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    io,
    sync::Arc,
    task::Poll,
    thread,
    time::Duration,
};

use actix_web::rt;
use futures_util::future::{LocalBoxFuture, join_all};
use tokio::sync::{
    OwnedSemaphorePermit, Semaphore,
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    oneshot,
};
use tokio_util::sync::CancellationToken;

use super::listeners::{Accepted, Accepting, Listener};
use crate::clock::Clock;

/// Threads for blocking calls. Only host name resolution uses them.
const BLOCKING_THREADS: usize = 4;

/// Pause after an error that does not concern a single connection, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// The threads and connections of a listener, and its time to shut down.
pub(crate) struct ListenerCapacity {
    pub(super) name: &'static str,
    pub(super) workers: usize,
    /// Per worker.
    pub(super) connections: usize,
    /// How long it waits for the last responses.
    pub(super) grace: Duration,
    /// How long started TCP handshakes may take before the sockets close.
    pub(super) last_handshakes: Duration,
}

/// Serves a connection to its end.
pub(super) type Handler = Box<dyn Fn(Accepted) -> LocalBoxFuture<'static, ()>>;

/// Makes a worker's handler for one socket.
pub(super) type MakeHandler = Arc<dyn Fn() -> MakingHandler + Send + Sync>;
pub(super) type MakingHandler = LocalBoxFuture<'static, Result<Handler, ()>>;

/// Bound sockets that are not served yet.
pub(crate) struct Server {
    pub(super) capacity: ListenerCapacity,
    pub(super) sockets: Vec<(Listener, MakeHandler)>,
    pub(super) closing: CancellationToken,
    pub(super) clock: Arc<dyn Clock>,
}

/// A started server.
pub(crate) struct Running {
    name: &'static str,
    grace: Duration,
    acceptor: Thread,
    workers: Vec<Thread>,
    closing: CancellationToken,
}

/// A thread of the server.
struct Thread {
    ended: oneshot::Receiver<()>,
    /// Ends the thread when dropped.
    _running: oneshot::Sender<()>,
}

/// A connection on its way to a worker.
struct Arrival {
    /// The index of its socket.
    socket: usize,
    accepted: Accepted,
    permit: Permit,
}

/// Counts a connection against the limits. Fields drop in order, so that a free permit of the listener
/// always means that a worker has one.
struct Permit {
    _of_worker: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Server {
    /// Starts the threads, and accepts connections when all of them are ready.
    pub(crate) async fn start(self) -> io::Result<Running> {
        let Self { capacity, sockets, closing, clock } = self;
        let (sockets, makes): (Vec<_>, Vec<MakeHandler>) = sockets.into_iter().unzip();
        let (mut threads, mut workers, mut readies) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..capacity.workers {
            let permits = Arc::new(Semaphore::new(capacity.connections));
            let (sender, arrivals) = unbounded_channel();
            let (ready, is_ready) = oneshot::channel();
            workers.push(Worker { arrivals: sender, permits: Arc::clone(&permits) });
            readies.push(is_ready);
            let (makes, connections) = (makes.clone(), capacity.connections);
            threads.push(Thread::start(capacity.name, move || async move {
                work(makes, arrivals, ready).await;
                let all = u32::try_from(connections).unwrap_or(u32::MAX);
                // It is never closed.
                drop(permits.acquire_many(all).await);
            })?);
        }
        for is_ready in join_all(readies).await {
            is_ready.map_err(|_| io::Error::other("a worker failed to start"))?;
        }
        let all = capacity.workers.saturating_mul(capacity.connections);
        let closed = closing.clone();
        let acceptor = Thread::start("acceptor", move || async move {
            let permits = Arc::new(Semaphore::new(all));
            let workers = Workers { list: workers, next: Cell::new(0), permits, clock };
            if let Err(error) = accept_all(sockets, workers, closed, capacity.last_handshakes).await
            {
                tracing::error!(
                    %error,
                    "the {} listener stopped accepting connections and does not retry; restart the \
                     service; if the error is \"Too many open files\", raise the limit (ulimit -n)",
                    capacity.name
                );
            }
        })?;
        Ok(Running {
            name: capacity.name,
            grace: capacity.grace,
            acceptor,
            workers: threads,
            closing,
        })
    }
}

impl Running {
    /// Closes the sockets, and waits until all accepted connections have ended.
    pub(crate) async fn stop(self) {
        let Self { name, grace, acceptor, workers, closing } = self;
        closing.cancel();
        let ended = async {
            drop(acceptor.ended.await);
            tracing::debug!(listener = name, "closed");
            join_all(workers.into_iter().map(Thread::end)).await;
        };
        if tokio::time::timeout(grace, ended).await.is_err() {
            tracing::warn!(
                listener = name,
                "shutdown grace period ended; closing the remaining connections; if this repeats, raise server.shutdown_grace"
            );
        }
    }
}

impl Thread {
    /// Starts a thread that ends with the future, or when this is dropped.
    fn start<F: Future<Output = ()>>(
        name: &str,
        future: impl FnOnce() -> F + Send + 'static,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS)
            .build()?;
        let (running, dropped) = oneshot::channel::<()>();
        let (end, ended) = oneshot::channel();
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            rt::Runtime::from(runtime).block_on(async {
                tokio::select! {
                    () = future() => {}
                    _ = dropped => {}
                }
            });
            drop(end);
        })?;
        Ok(Self { ended, _running: running })
    }

    /// Waits until the thread has ended by itself.
    async fn end(self) {
        // The sender is only dropped.
        drop(self.ended.await);
    }
}

/// Serves connections until the acceptor has ended.
async fn work(
    makes: Vec<MakeHandler>,
    mut arrivals: UnboundedReceiver<Arrival>,
    ready: oneshot::Sender<()>,
) {
    let mut handlers = Vec::new();
    for make in makes {
        // Dropping the sender reports the failure.
        let Ok(handler) = make().await else { return };
        handlers.push(handler);
    }
    if ready.send(()).is_err() {
        return;
    }
    while let Some(Arrival { socket, accepted, permit }) = arrivals.recv().await {
        if let Some(handler) = handlers.get(socket) {
            let serving = handler(accepted);
            rt::spawn(async move {
                serving.await;
                drop(permit);
            });
        }
    }
}

/// The acceptor's handle of a worker.
struct Worker {
    arrivals: UnboundedSender<Arrival>,
    permits: Arc<Semaphore>,
}

/// All workers of a server.
struct Workers {
    list: Vec<Worker>,
    /// The index of the worker that gets the next connection.
    next: Cell<usize>,
    /// The permits of all workers.
    permits: Arc<Semaphore>,
    clock: Arc<dyn Clock>,
}

impl Workers {
    /// Waits until any worker has a free permit.
    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        Arc::clone(&self.permits).acquire_owned().await.ok()
    }

    /// Gives a connection to the next worker with a free permit. `of_all` guarantees that there is one.
    fn give(&self, socket: usize, accepted: Accepted, of_all: OwnedSemaphorePermit) {
        let count = self.list.len();
        let order = self.list.iter().enumerate().cycle().skip(self.next.get()).take(count);
        for (index, worker) in order {
            if let Ok(of_worker) = Arc::clone(&worker.permits).try_acquire_owned() {
                self.next.set(index.saturating_add(1).checked_rem(count).unwrap_or(0));
                let permit = Permit { _of_worker: of_worker, _of_all: of_all };
                // The thread of the worker runs as long as this one.
                drop(worker.arrivals.send(Arrival { socket, accepted, permit }));
                return;
            }
        }
    }
}

/// Accepts until the listener closes, and then the connections that still wait.
async fn accept_all(
    sockets: Vec<Listener>,
    workers: Workers,
    closing: CancellationToken,
    last_handshakes: Duration,
) -> io::Result<()> {
    let sockets = sockets.into_iter().map(Listener::accepting).collect::<io::Result<Vec<_>>>();
    let mut sockets = sockets?;
    tokio::select! {
        biased;
        () = closing.cancelled() => {}
        () = accept_on(&sockets, &workers) => {}
    }
    sockets.iter_mut().for_each(Accepting::stop_handshakes);
    // In real time, not by the service's clock, because the kernel does the handshakes.
    drop(tokio::time::timeout(last_handshakes, accept_on(&sockets, &workers)).await);
    for (index, socket) in sockets.into_iter().enumerate() {
        accept_rest(&socket.into_std()?, index, &workers).await;
    }
    Ok(())
}

/// Accepts from the sockets round-robin, until cancelled. Cancelling loses no connection.
async fn accept_on(sockets: &[Accepting], workers: &Workers) {
    let mut first: usize = 0;
    // Without a permit, connections wait in the kernel.
    while let Some(permit) = workers.permit().await {
        let (index, accepted) = poll_fn(|context| {
            let order = sockets.iter().enumerate().cycle().skip(first).take(sockets.len());
            for (index, socket) in order {
                if let Poll::Ready(accepted) = socket.poll_accept(context) {
                    return Poll::Ready((index, accepted));
                }
            }
            Poll::Pending
        })
        .await;
        first = index.saturating_add(1).checked_rem(sockets.len()).unwrap_or(0);
        match accepted {
            Ok(accepted) => workers.give(index, accepted, permit),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                drop(permit);
                tracing::warn!(
                    %error,
                    "failed to accept a connection; retrying in {ACCEPT_PAUSE:?}; if the error is \
                     \"Too many open files\", raise the limit (ulimit -n)"
                );
                let end = workers.clock.monotonic().plus(ACCEPT_PAUSE);
                workers.clock.sleep_until(end).await;
            }
        }
    }
}

/// Accepts the connections that wait at a socket where no new one can start.
async fn accept_rest(socket: &Listener, index: usize, workers: &Workers) {
    while let Some(permit) = workers.permit().await {
        match socket.accept() {
            Ok(accepted) => workers.give(index, accepted, permit),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                if error.kind() != io::ErrorKind::WouldBlock {
                    tracing::warn!(%error, "shutdown: failed to accept connections that were still waiting; their clients must retry");
                }
                return;
            }
        }
    }
}

/// Whether the error concerns one connection only.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
