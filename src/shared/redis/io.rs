//! Runs scripts on the server, from a thread of its own.
//!
//! The thread does nothing else, so its timer is exact: on busy workers, 560 of 1,942 look-ups seemed to
//! time out although the server had responded, on a thread of its own none did. At most 16 commands are
//! in flight, and the time of each starts when it is sent: without that limit, a burst of 1,000 look-ups
//! waits for itself. While the server is away, callers learn it at once, without the thread.
//!
//! If the server stops responding, those in flight wait for one timeout, and those behind them get an error
//! at the same moment. A burst may wait for its turn for ten timeouts: a shorter limit made 1,000 look-ups
//! on a busy machine fail although the server was well. Stores and renewals have turns of their own, as
//! other replicas wait for them.

use std::{pin::pin, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use futures_util::FutureExt as _;
use redis::{Cmd, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};
use tokio::{
    sync::{Notify, Semaphore, mpsc, oneshot},
    task::yield_now,
};

use super::{
    connection::{Connection, Published},
    health::{Outcome, Unusable},
    script::{LOOK_UP, Script},
};
use crate::clock::{Clock, Monotonic, timeout_at};

/// Look-ups in flight at once, and as many other commands.
const MAX_IN_FLIGHT: usize = 16;

/// How many timeouts a call may wait for its turn, in a burst.
const MAX_TURNS: u32 = 10;

/// A script with its keys, of which the first decides the node, and its arguments.
pub(super) struct Call {
    pub(super) script: &'static Script,
    pub(super) keys: Vec<String>,
    pub(super) arguments: Vec<Vec<u8>>,
    /// How long the call may wait for its response.
    pub(super) timeout: Duration,
}

/// Why a call has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallError {
    /// There is no connection.
    Disconnected,
    /// The node's breaker is open.
    BreakerOpen,
    /// Too many calls were waiting.
    Busy,
    /// It was sent, and there was no response in time.
    Timeout,
    /// The server's memory is full.
    OutOfMemory,
    /// It was sent, and the connection ended or the server rejected it.
    Failed,
}

impl CallError {
    /// Whether the server may have run the script.
    pub(super) const fn may_have_run(self) -> bool {
        matches!(self, Self::Timeout | Self::Failed)
    }
}

/// The connection in use, if there is one.
pub(super) struct Link {
    pub(super) published: ArcSwapOption<Published>,
    /// Notified when a node goes down.
    pub(super) down: Notify,
    pub(super) clock: Arc<dyn Clock>,
}

impl Link {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let (published, down) = (ArcSwapOption::empty(), Notify::new());
        Self { published, down, clock }
    }

    /// The connection, if the node of this key may be used.
    fn usable(&self, key: &str) -> Result<Arc<Published>, CallError> {
        let published = self.published.load_full().ok_or(CallError::Disconnected)?;
        let health = published.nodes.of(key).ok_or(CallError::Disconnected)?;
        match health.check(self.clock.monotonic()) {
            Ok(()) => Ok(published),
            Err(Unusable::Down) => Err(CallError::Disconnected),
            Err(Unusable::BreakerOpen) => Err(CallError::BreakerOpen),
        }
    }

    /// Records how a command ended.
    pub(super) fn note(&self, published: &Published, outcome: Outcome, key: &str) {
        let health = published.nodes.of(key);
        if health.is_some_and(|health| health.note(outcome, key, self.clock.monotonic())) {
            self.down.notify_one();
        }
    }
}

/// Sends calls to the thread.
pub(super) struct Io {
    pub(super) link: Arc<Link>,
    pub(super) jobs: mpsc::UnboundedSender<Job>,
}

/// A call, and where its result goes.
pub(super) struct Job {
    call: Call,
    queued: Monotonic,
    reply: oneshot::Sender<Result<Value, CallError>>,
}

impl Io {
    /// Runs a script.
    pub(super) async fn call(&self, call: Call) -> Result<Value, CallError> {
        self.link.usable(call.key())?;
        let (reply, result) = oneshot::channel();
        let job = Job { call, queued: self.link.clock.monotonic(), reply };
        self.jobs.send(job).map_err(|_| CallError::Disconnected)?;
        result.await.unwrap_or(Err(CallError::Disconnected))
    }
}

/// Runs the calls that arrive, until no sender is left.
pub(super) async fn serve(link: Arc<Link>, mut jobs: mpsc::UnboundedReceiver<Job>) {
    let [look_ups, others] = [(), ()].map(|()| Arc::new(Semaphore::new(MAX_IN_FLIGHT)));
    while let Some(job) = jobs.recv().await {
        let is_look_up = std::ptr::eq(job.call.script, &raw const LOOK_UP);
        let permits = Arc::clone(if is_look_up { &look_ups } else { &others });
        let link = Arc::clone(&link);
        tokio::spawn(async move { job.run(&link, &permits).await });
    }
}

impl Job {
    async fn run(self, link: &Link, permits: &Semaphore) {
        let Self { call, queued, reply } = self;
        let turn = queued.plus(call.timeout.saturating_mul(MAX_TURNS));
        let permit = timeout_at(&*link.clock, turn, permits.acquire()).await;
        let result = match permit {
            // The caller has gone, and must not get a lease.
            _ if reply.is_closed() => return,
            Some(Ok(_permit)) => run(link, &call).await,
            Some(Err(_)) | None => Err(CallError::Busy),
        };
        // Fails if the caller has gone.
        reply.send(result).unwrap_or_default();
    }
}

/// Sends the call, and records how it ended.
async fn run(link: &Link, call: &Call) -> Result<Value, CallError> {
    // The connection may have ended while the call waited for its turn.
    let published = link.usable(call.key())?;
    let deadline = link.clock.monotonic().plus(call.timeout);
    let response = call.run_on(&published.connection, &*link.clock, deadline).await;
    let (outcome, result) = match response {
        Some(Ok(value)) => (Outcome::Responded, Ok(value)),
        Some(Err(error)) if is_out_of_memory(&error) => {
            (Outcome::Responded, Err(CallError::OutOfMemory))
        }
        // A new connection would not help: the slot has no primary, or the cluster is incomplete.
        Some(Err(error)) if error.kind() == ErrorKind::Server(ServerErrorKind::ClusterDown) => {
            (Outcome::Responded, Err(CallError::Failed))
        }
        Some(Err(_)) => (Outcome::Lost, Err(CallError::Failed)),
        None => (Outcome::Timeout, Err(CallError::Timeout)),
    };
    link.note(&published, outcome, call.key());
    result
}

impl Call {
    /// The key that decides the node.
    pub(super) fn key(&self) -> &str {
        self.keys.first().map_or("", String::as_str)
    }

    /// Runs the script; `None` if there is no response by `deadline`. Sends the code if the server
    /// doesn't have it. Any other failure is final: the script may have run.
    pub(super) async fn run_on(
        &self,
        connection: &Connection,
        clock: &dyn Clock,
        deadline: Monotonic,
    ) -> Option<RedisResult<Value>> {
        let by_hash = self.command("EVALSHA", self.script.hash());
        let result = response_by(clock, deadline, connection.query(&by_hash)).await?;
        let unknown = ErrorKind::Server(ServerErrorKind::NoScript);
        match result {
            Err(error) if error.kind() == unknown => {
                let by_code = self.command("EVAL", self.script.code);
                response_by(clock, deadline, connection.query(&by_code)).await
            }
            result => Some(result),
        }
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.keys.len()).arg(&self.keys).arg(&self.arguments);
        command
    }
}

/// The response, or `None` if there is none by `deadline`. If this thread itself is late, the response
/// may wait in the socket: it is read before giving up.
pub(super) async fn response_by<F: Future>(
    clock: &dyn Clock,
    deadline: Monotonic,
    response: F,
) -> Option<F::Output> {
    let mut response = pin!(response);
    if let Some(output) = timeout_at(clock, deadline, response.as_mut()).await {
        return Some(output);
    }
    // Each turn of the runtime reads sockets, then wakes the connection's task, then this one.
    for _ in 0..3 {
        yield_now().await;
        if let Some(output) = response.as_mut().now_or_never() {
            return Some(output);
        }
    }
    None
}

/// Servers before 7.0 put the error of a command in a script into the text of another error.
fn is_out_of_memory(error: &RedisError) -> bool {
    error.code() == Some("OOM") || error.detail().is_some_and(|detail| detail.contains("-OOM "))
}
