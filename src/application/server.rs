//! Accepts a listener's connections and gives them to its worker threads in turn, to each as many as it
//! may have.
//!
//! actix-server loses connections at its end: it closes sockets over those that wait to be accepted,
//! and drops those that no worker has begun. Here nothing is lost (promise P8): first no connection can
//! begin any more, then those that wait are accepted, then the socket is closed; workers end when
//! all connections that they were given have ended. Knows no HTTP.

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

use super::{
    closing::Closing,
    listen::{Accepted, Accepting, Listener},
};
use crate::clock::Clock;

/// Threads for what blocks: resolving host names, nothing else.
const BLOCKING_THREADS: usize = 4;

/// Rest after an error that isn't one connection's, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// How much of the machine a listener has.
pub(super) struct Share {
    pub(super) name: &'static str,
    pub(super) workers: usize,
    /// Of each worker.
    pub(super) connections: usize,
    /// How long it waits for its last answers.
    pub(super) grace: Duration,
    /// How long handshakes that have begun have to end before its sockets are closed.
    pub(super) last_handshakes: Duration,
}

/// Serves a connection to its end.
pub(super) type Handler = Box<dyn Fn(Accepted) -> LocalBoxFuture<'static, ()>>;

/// Makes a worker's handler for one socket.
pub(super) type MakeHandler = Arc<dyn Fn() -> Making + Send + Sync>;
pub(super) type Making = LocalBoxFuture<'static, Result<Handler, ()>>;

/// Bound sockets that aren't served yet.
pub(super) struct Server {
    pub(super) share: Share,
    pub(super) sockets: Vec<(Listener, MakeHandler)>,
    pub(super) closing: Closing,
    pub(super) clock: Arc<dyn Clock>,
}

/// A server at work.
pub(super) struct Running {
    name: &'static str,
    grace: Duration,
    acceptor: Thread,
    workers: Vec<Thread>,
    closing: Closing,
}

/// A thread of ours.
struct Thread {
    ended: oneshot::Receiver<()>,
    /// Dropped, it ends what the thread does.
    _goes_on: oneshot::Sender<()>,
}

/// A connection on its way to a worker.
struct Arrival {
    /// The index of the socket that it came by.
    socket: usize,
    accepted: Accepted,
    place: Place,
}

/// A connection's right to be there: one of its worker's, which is free again before the one of all.
struct Place {
    _of_worker: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Server {
    /// Starts the threads, and accepts when all of them are ready.
    pub(super) async fn start(self) -> io::Result<Running> {
        let Self { share, sockets, closing, clock } = self;
        let (sockets, makes): (Vec<_>, Vec<MakeHandler>) = sockets.into_iter().unzip();
        let (mut workers, mut gates, mut readies) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..share.workers {
            let places = Arc::new(Semaphore::new(share.connections));
            let (sender, arrivals) = unbounded_channel();
            let (ready, is_ready) = oneshot::channel();
            gates.push(Gate { arrivals: sender, places: Arc::clone(&places) });
            readies.push(is_ready);
            let (makes, connections) = (makes.clone(), share.connections);
            workers.push(Thread::start(share.name, move || async move {
                work(makes, arrivals, ready).await;
                let all = u32::try_from(connections).unwrap_or(u32::MAX);
                // It is never closed.
                drop(places.acquire_many(all).await);
            })?);
        }
        for is_ready in join_all(readies).await {
            is_ready.map_err(|_| io::Error::other("a worker failed to start"))?;
        }
        let all = share.workers.saturating_mul(share.connections);
        let begun = closing.clone();
        let acceptor = Thread::start("acceptor", move || async move {
            let places = Arc::new(Semaphore::new(all));
            let crew = Crew { gates, next: Cell::new(0), places, clock };
            if let Err(error) = accept_all(sockets, crew, begun, share.last_handshakes).await {
                tracing::error!(
                    %error,
                    "the {} listener stopped accepting connections and does not retry; restart the \
                     service; if the error is \"Too many open files\", raise the limit (ulimit -n)",
                    share.name
                );
            }
        })?;
        Ok(Running { name: share.name, grace: share.grace, acceptor, workers, closing })
    }
}

impl Running {
    /// Closes the sockets, and waits until all that was accepted has been served.
    pub(super) async fn stop(self) {
        let Self { name, grace, acceptor, workers, closing } = self;
        closing.begin();
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
    /// Starts one that ends with the future, or when this is dropped.
    fn start<F: Future<Output = ()>>(
        name: &str,
        future: impl FnOnce() -> F + Send + 'static,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS)
            .build()?;
        let (goes_on, dropped) = oneshot::channel::<()>();
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
        Ok(Self { ended, _goes_on: goes_on })
    }

    /// Waits until it has ended by itself.
    async fn end(self) {
        // It says nothing else.
        drop(self.ended.await);
    }
}

/// Serves what arrives until nothing can arrive any more.
async fn work(
    makes: Vec<MakeHandler>,
    mut arrivals: UnboundedReceiver<Arrival>,
    ready: oneshot::Sender<()>,
) {
    let mut handlers = Vec::new();
    for make in makes {
        // The sender is dropped, which tells the failure.
        let Ok(handler) = make().await else { return };
        handlers.push(handler);
    }
    if ready.send(()).is_err() {
        return;
    }
    while let Some(Arrival { socket, accepted, place }) = arrivals.recv().await {
        if let Some(handler) = handlers.get(socket) {
            let serving = handler(accepted);
            rt::spawn(async move {
                serving.await;
                drop(place);
            });
        }
    }
}

/// A worker, as connections are given to it.
struct Gate {
    arrivals: UnboundedSender<Arrival>,
    places: Arc<Semaphore>,
}

/// All workers of a server.
struct Crew {
    gates: Vec<Gate>,
    /// The index of the one whose turn it is.
    next: Cell<usize>,
    /// The sum of theirs.
    places: Arc<Semaphore>,
    clock: Arc<dyn Clock>,
}

impl Crew {
    /// Waits for a place with any of them.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    /// Gives a connection to the next one that has a place: a place of all is one with somebody.
    fn give(&self, socket: usize, accepted: Accepted, of_all: OwnedSemaphorePermit) {
        let count = self.gates.len();
        let turns = self.gates.iter().enumerate().cycle().skip(self.next.get()).take(count);
        for (index, gate) in turns {
            if let Ok(of_worker) = Arc::clone(&gate.places).try_acquire_owned() {
                self.next.set(index.saturating_add(1).checked_rem(count).unwrap_or(0));
                let place = Place { _of_worker: of_worker, _of_all: of_all };
                // Its thread runs as long as this one.
                drop(gate.arrivals.send(Arrival { socket, accepted, place }));
                return;
            }
        }
    }
}

/// Accepts until the listener closes, and then what is left.
async fn accept_all(
    sockets: Vec<Listener>,
    crew: Crew,
    closing: Closing,
    last_handshakes: Duration,
) -> io::Result<()> {
    let sockets = sockets.into_iter().map(Listener::accepting).collect::<io::Result<Vec<_>>>();
    let mut sockets = sockets?;
    tokio::select! {
        biased;
        () = closing.begun() => {}
        () = accept_on(&sockets, &crew) => {}
    }
    sockets.iter_mut().for_each(Accepting::keep_out);
    // The network's time, not the service's: handshakes know no clock but the kernel's.
    drop(tokio::time::timeout(last_handshakes, accept_on(&sockets, &crew)).await);
    for (index, socket) in sockets.into_iter().enumerate() {
        accept_rest(&socket.into_std()?, index, &crew).await;
    }
    Ok(())
}

/// Accepts from each socket in turn, for ever; cancelled, it loses nothing.
async fn accept_on(sockets: &[Accepting], crew: &Crew) {
    let mut first: usize = 0;
    // Without a place, connections wait in the kernel.
    while let Some(place) = crew.place().await {
        let (index, accepted) = poll_fn(|context| {
            let turns = sockets.iter().enumerate().cycle().skip(first).take(sockets.len());
            for (index, socket) in turns {
                if let Poll::Ready(accepted) = socket.poll_accept(context) {
                    return Poll::Ready((index, accepted));
                }
            }
            Poll::Pending
        })
        .await;
        first = index.saturating_add(1).checked_rem(sockets.len()).unwrap_or(0);
        match accepted {
            Ok(accepted) => crew.give(index, accepted, place),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                drop(place);
                tracing::warn!(
                    %error,
                    "failed to accept a connection; retrying in {ACCEPT_PAUSE:?}; if the error is \
                     \"Too many open files\", raise the limit (ulimit -n)"
                );
                let end = crew.clock.monotonic().plus(ACCEPT_PAUSE);
                crew.clock.sleep_until(end).await;
            }
        }
    }
}

/// Accepts what waits at a socket where nothing can begin any more.
async fn accept_rest(socket: &Listener, index: usize, crew: &Crew) {
    while let Some(place) = crew.place().await {
        match socket.accept() {
            Ok(accepted) => crew.give(index, accepted, place),
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

/// Whether the next connection may do better.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
