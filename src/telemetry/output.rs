//! Writes the log in a separate thread (`tracing_appender::non_blocking`), so that logging never
//! waits for the reader of standard output.
//!
//! Lines that exceed the queue or can't be written are dropped and counted. A warning about them
//! follows the next successful write. Failed writes are counted here, because the library ignores
//! them.

use std::{
    io::{self, BufWriter, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};

use crate::metrics;

/// Maximum number of queued lines, about 4 MB: a tenth of a second of the lines that one busy core
/// logs.
const MAX_QUEUED_LINES: usize = 10_000;

/// Queued lines are written together, up to this many bytes.
const BATCH_BYTES: usize = 64 << 10;

/// Maximum wait for the last lines when the process ends.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// Starts a thread that writes to `out` until [`end`].
pub(super) fn spawn(out: impl Write + Send + 'static) -> (LineQueue, WorkerGuard) {
    spawn_bounded(out, MAX_QUEUED_LINES)
}

fn spawn_bounded(out: impl Write + Send + 'static, max_lines: usize) -> (LineQueue, WorkerGuard) {
    let out = BufWriter::with_capacity(BATCH_BYTES, Output::new(out));
    let builder = NonBlockingBuilder::default().lossy(true).thread_name("log");
    let (lines, guard) = builder.buffered_lines_limit(max_lines).finish(out);
    (LineQueue { lines, counted: Arc::default() }, guard)
}

/// Waits until all lines are written, for a bounded time.
pub(super) fn end(guard: WorkerGuard) {
    let (ended, wait) = mpsc::channel::<()>();
    // If the queue is full, the guard prints to standard output, which blocks while its reader does
    // not read. Therefore this thread doesn't drop the guard itself.
    let end = move || {
        drop(guard);
        drop(ended);
    };
    drop(thread::Builder::new().spawn(end));
    // Returns an error when the guard has been dropped.
    wait.recv_timeout(END_TIMEOUT).unwrap_or_default();
}

/// The queue of lines. Counts the lines that exceed it.
#[derive(Clone)]
pub(super) struct LineQueue {
    lines: NonBlocking,
    /// Dropped lines that the metric already contains.
    counted: Arc<AtomicU64>,
}

impl Write for LineQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let length = self.lines.write(line)?;
        let dropped = u64::try_from(self.lines.error_counter().dropped_lines()).unwrap_or(u64::MAX);
        let counted = self.counted.fetch_max(dropped, Ordering::Relaxed);
        metrics::count_lost_log_lines(dropped.saturating_sub(counted));
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The output of the thread. Its writes never fail: they count the lines that can't be written.
struct Output<W> {
    out: W,
    /// The last write ended in the middle of a line.
    is_line_open: bool,
    /// The number of lost lines in warnings so far.
    reported: u64,
}

impl<W: Write> Output<W> {
    fn new(out: W) -> Self {
        Self { out, is_line_open: false, reported: metrics::lost_log_lines() }
    }

    /// Writes whole lines until a write fails. Returns the number of lines that were not written
    /// completely.
    fn write_lines(&mut self, lines: &[u8]) -> u64 {
        if self.is_line_open && self.write_bytes(b"\n") == 0 {
            return count_lines(lines);
        }
        let written = self.write_bytes(lines);
        let (written, rest) = lines.split_at_checked(written).unwrap_or((lines, &[]));
        self.is_line_open = written.last().is_some_and(|last| *last != b'\n');
        count_lines(rest)
    }

    /// Writes until a write fails. Returns the number of bytes written.
    fn write_bytes(&mut self, bytes: &[u8]) -> usize {
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

    fn report_lost_lines(&mut self) {
        let total = metrics::lost_log_lines();
        let lost = total.saturating_sub(self.reported);
        if lost > 0 {
            self.reported = total;
            tracing::warn!(lost, "log lines lost; standard output was full, closed or slow");
        }
    }
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let lost = self.write_lines(lines);
        metrics::count_lost_log_lines(lost);
        // After a failed write, the warning would be dropped too and cause another one.
        if lost == 0 {
            self.report_lost_lines();
        }
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn count_lines(lines: &[u8]) -> u64 {
    let lines = lines.split_inclusive(|byte| *byte == b'\n').count();
    u64::try_from(lines).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
