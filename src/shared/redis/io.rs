//! Runs scripts on the server, from a thread of its own.
//!
//! The thread does nothing else, so its timer is exact: on busy workers, 560 of 1,942 look-ups seemed to
//! time out although the server had responded, on a thread of its own none did. While the server is away,
//! callers learn it at once, without the thread.
//!
//! No call waits longer than its timeout, and that includes its turn: at most 128 look-ups are in flight, and
//! as many other commands, for which other replicas wait. A call whose turn comes late in its time is not
//! sent, so that a burst does not look like a server that is away. If this thread itself gets no processor,
//! the time that it lost does not count.

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
const MAX_IN_FLIGHT: usize = 128;

/// The part of a call's time that it needs when it is sent.
const LEAST_SHARE: u32 = 4;

/// The time that this thread may lose without getting more, and how often it gets more.
const MAX_LOST: Duration = Duration::from_millis(2);
const MAX_EXTENSIONS: u32 = 4;

/// A script with its keys, of which the first decides the node, and its arguments.
pub(super) struct Call {
    pub(super) script: &'static Script,
    pub(super) keys: Vec<String>,
    pub(super) arguments: Vec<Vec<u8>>,
    /// How long the call may take, its turn included.
    pub(super) timeout: Duration,
}

/// Why a call has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallError {
    /// There is no connection.
    Disconnected,
    /// The node's breaker is open.
    BreakerOpen,
    /// Its turn came too late, after other calls.
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
        let deadline = queued.plus(call.timeout);
        let least = call.timeout.checked_div(LEAST_SHARE).unwrap_or_default();
        let last_turn = queued.plus(call.timeout.saturating_sub(least));
        let permit = by_deadline(&*link.clock, last_turn, permits.acquire()).await;
        let result = match permit {
            // The caller has gone, and must not get a lease.
            _ if reply.is_closed() => return,
            Some(Ok(_permit)) => {
                // A turn that came late because of this thread leaves the least time, too.
                let least = link.clock.monotonic().plus(least);
                run(link, &call, deadline.max(least)).await
            }
            Some(Err(_)) | None => Err(CallError::Busy),
        };
        // Fails if the caller has gone.
        reply.send(result).unwrap_or_default();
    }
}

/// Sends the call, and records how it ended.
async fn run(link: &Link, call: &Call, deadline: Monotonic) -> Result<Value, CallError> {
    // The connection may have ended while the call waited for its turn.
    let published = link.usable(call.key())?;
    let response = call.run_on(&published.connection, &*link.clock, deadline).await;
    let (outcome, result) = match response {
        Some(Ok(value)) => (Outcome::Responded, Ok(value)),
        Some(Err(error)) if is_out_of_memory(&error) => {
            (Outcome::Responded, Err(CallError::OutOfMemory))
        }
        // A new connection would not help: the slot has no primary, the cluster is incomplete, or the key
        // has a value of another kind.
        Some(Err(error))
            if error.kind() == ErrorKind::Server(ServerErrorKind::ClusterDown)
                || is_wrong_type(&error) =>
        {
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
        let result = by_deadline(clock, deadline, connection.query(&by_hash)).await?;
        let unknown = ErrorKind::Server(ServerErrorKind::NoScript);
        match result {
            Err(error) if error.kind() == unknown => {
                let by_code = self.command("EVAL", self.script.code);
                by_deadline(clock, deadline, connection.query(&by_code)).await
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

/// The output of `work`, or `None` if there is none by `deadline`. If this thread got no processor
/// meanwhile, what it waits for may be in the socket: that is read first, and the deadline moves by the time
/// that the thread lost.
pub(super) async fn by_deadline<F: Future>(
    clock: &dyn Clock,
    mut deadline: Monotonic,
    work: F,
) -> Option<F::Output> {
    let mut work = pin!(work);
    let mut lost_before = time_without_processor();
    for _ in 0..=MAX_EXTENSIONS {
        if let Some(output) = timeout_at(clock, deadline, work.as_mut()).await {
            return Some(output);
        }
        // Each turn of the runtime reads sockets, then wakes the connection's task, then this one.
        for _ in 0..3 {
            yield_now().await;
            if let Some(output) = work.as_mut().now_or_never() {
                return Some(output);
            }
        }
        let lost = time_without_processor();
        let lost_now = lost.saturating_sub(lost_before);
        if lost_now < MAX_LOST {
            return None;
        }
        lost_before = lost;
        deadline = clock.monotonic().plus(lost_now);
    }
    None
}

/// How long this thread has waited for a processor since its start: the second number in `schedstat`
/// (`proc_pid_schedstat` in the kernel's documentation of the scheduler); zero if there is none.
fn time_without_processor() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let waited = text.split(' ').nth(1).and_then(|it| it.parse().ok());
    Duration::from_nanos(waited.unwrap_or_default())
}

fn is_wrong_type(error: &RedisError) -> bool {
    const CODE: &str = "WRONGTYPE";
    error.code() == Some(CODE) || error.detail().is_some_and(|detail| detail.contains(CODE))
}

/// Servers before 7.0 put the error of a command in a script into the text of another error.
pub(super) fn is_out_of_memory(error: &RedisError) -> bool {
    error.code() == Some("OOM") || error.detail().is_some_and(|detail| detail.contains("-OOM "))
}
