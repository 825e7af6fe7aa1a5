//! Batches log lines, and writes them in a separate thread.
//!
//! A write takes longer than a response from the cache, and a slow reader of standard output would
//! block the workers. Therefore lines are batched for up to 10 ms, except for warnings and errors,
//! which are written at once. Lines that exceed the buffer or can't be written are dropped and
//! counted. A warning about them follows the next successful write. Logging never waits for the
//! thread or the reader.

use std::{
    io::{self, Write},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use crate::metrics;

/// Maximum time until a batch is written.
const BATCH_TIME: Duration = Duration::from_millis(10);

/// Maximum size of the buffer, in bytes: a tenth of a second of the lines that one busy core logs.
const MAX_PENDING_BYTES: usize = 4 << 20;

/// A batch of this size, in bytes, is written at once.
const FULL_BATCH_BYTES: usize = 64 << 10;

/// Maximum wait for the last lines when the process ends.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// Collects lines for the thread that writes them.
#[derive(Clone)]
pub(super) struct BatchWriter(Arc<Shared>);

struct Shared {
    pending: Mutex<Pending>,
    changed: Condvar,
    max_bytes: usize,
}

#[derive(Default)]
struct Pending {
    lines: Vec<u8>,
    /// Lines dropped since the last batch because the buffer was full.
    dropped: u64,
    is_urgent: bool,
    /// The thread waits for lines.
    is_idle: bool,
    end: Shutdown,
}

/// The state of the shutdown.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Shutdown {
    #[default]
    NotRequested,
    /// No more lines will follow.
    Requested,
    /// All lines are written.
    Complete,
}

/// Adds one line.
pub(super) struct LineWriter<'l> {
    lines: &'l BatchWriter,
    is_urgent: bool,
}

impl BatchWriter {
    /// Starts a thread that writes to `out`.
    ///
    /// # Errors
    /// If the thread can't be started.
    pub(super) fn spawn(out: impl Write + Send + 'static) -> io::Result<Self> {
        Self::spawn_bounded(out, MAX_PENDING_BYTES)
    }

    fn spawn_bounded(out: impl Write + Send + 'static, max_bytes: usize) -> io::Result<Self> {
        let lines = Self::without_thread(max_bytes);
        let thread = lines.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || thread.write_to(out))?;
        Ok(lines)
    }

    /// A writer without a thread.
    fn without_thread(max_bytes: usize) -> Self {
        Self(Arc::new(Shared { pending: Mutex::default(), changed: Condvar::new(), max_bytes }))
    }

    /// Waits until all lines are written, for a bounded time.
    pub(super) fn end(&self) {
        let Shared { changed, .. } = &*self.0;
        let mut pending = self.pending();
        pending.end = Shutdown::Requested;
        changed.notify_all();
        drop(
            changed.wait_timeout_while(pending, END_TIMEOUT, |pending| {
                pending.end != Shutdown::Complete
            }),
        );
    }

    fn write_to(&self, out: impl Write) {
        let mut out = Output { out, is_line_open: false };
        let mut batch = Vec::new();
        let mut unreported: u64 = 0;
        while let Some(dropped) = self.next_batch(&mut batch) {
            let unwritten = out.write_lines(&batch);
            metrics::count_lost_log_lines(unwritten);
            batch.clear();
            batch.shrink_to(FULL_BATCH_BYTES);
            unreported = unreported.saturating_add(dropped).saturating_add(unwritten);
            // After a failed write, the warning would be dropped too and cause another one.
            if unwritten == 0 && unreported > 0 {
                let dropped = mem::take(&mut unreported);
                tracing::warn!(
                    lost = dropped,
                    "log lines lost; standard output was full, closed or slow"
                );
            }
        }
        self.pending().end = Shutdown::Complete;
        self.0.changed.notify_all();
    }

    /// Waits for lines and moves them to `batch`, which is empty. Returns how many were dropped
    /// after them; `None` at the end.
    fn next_batch(&self, batch: &mut Vec<u8>) -> Option<u64> {
        let Shared { changed, .. } = &*self.0;
        let mut pending = self.pending();
        while pending.lines.is_empty() {
            if pending.end != Shutdown::NotRequested {
                return None;
            }
            pending.is_idle = true;
            pending = changed.wait(pending).unwrap_or_else(PoisonError::into_inner);
        }
        pending.is_idle = false;
        let (mut pending, _) = changed
            .wait_timeout_while(pending, BATCH_TIME, |pending| pending.may_wait())
            .unwrap_or_else(PoisonError::into_inner);
        mem::swap(&mut pending.lines, batch);
        pending.is_urgent = false;
        Some(mem::take(&mut pending.dropped))
    }

    fn push(&self, line: &[u8], is_urgent: bool) {
        let mut pending = self.pending();
        if pending.lines.len().saturating_add(line.len()) > self.0.max_bytes {
            pending.dropped = pending.dropped.saturating_add(1);
            metrics::count_lost_log_lines(1);
            return;
        }
        let could_wait = pending.may_wait();
        pending.lines.extend_from_slice(line);
        pending.is_urgent |= is_urgent;
        let must_notify = mem::take(&mut pending.is_idle) || (could_wait && !pending.may_wait());
        drop(pending);
        if must_notify {
            self.0.changed.notify_all();
        }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.0.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The output of the thread.
struct Output<W> {
    out: W,
    /// The last write ended in the middle of a line.
    is_line_open: bool,
}

impl<W: Write> Output<W> {
    /// Writes whole lines until a write fails. Returns the number of lines that were not written
    /// completely.
    fn write_lines(&mut self, lines: &[u8]) -> u64 {
        if self.is_line_open && self.write(b"\n") == 0 {
            return count_lines(lines);
        }
        let (written, rest) = lines.split_at_checked(self.write(lines)).unwrap_or((lines, &[]));
        self.is_line_open = written.last().is_some_and(|last| *last != b'\n');
        drop(self.out.flush());
        count_lines(rest)
    }

    /// Writes until a write fails. Returns the number of bytes written.
    fn write(&mut self, bytes: &[u8]) -> usize {
        let mut written: usize = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match self.out.write(rest) {
                Ok(0) => break,
                Ok(more) => written = written.saturating_add(more),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        written
    }
}

fn count_lines(lines: &[u8]) -> u64 {
    let lines = lines.split_inclusive(|byte| *byte == b'\n').count();
    u64::try_from(lines).unwrap_or(u64::MAX)
}

impl Pending {
    fn may_wait(&self) -> bool {
        !self.is_urgent && self.end == Shutdown::NotRequested && self.lines.len() < FULL_BATCH_BYTES
    }
}

impl<'l> MakeWriter<'l> for BatchWriter {
    type Writer = LineWriter<'l>;

    fn make_writer(&'l self) -> LineWriter<'l> {
        LineWriter { lines: self, is_urgent: true }
    }

    fn make_writer_for(&'l self, metadata: &Metadata<'_>) -> LineWriter<'l> {
        LineWriter { lines: self, is_urgent: *metadata.level() <= Level::WARN }
    }
}

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lines.push(line, self.is_urgent);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
