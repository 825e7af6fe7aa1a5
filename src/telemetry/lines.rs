//! Log lines on their way out: kept by whoever logs, written by a thread of its own.
//!
//! A write costs more than an answer from memory, and a reader that stands still would stop the
//! workers. So lines wait a moment for others and leave together. Lines for which there is no room,
//! and lines that can't be written, are lost and counted; the log says so after the next write that
//! succeeds. Nobody waits for a line that isn't urgent, and nobody but the thread waits for its reader.

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

/// How long lines wait for others.
const GATHER: Duration = Duration::from_millis(10);

/// Bytes that wait at most: a tenth of a second of a full core's lines.
const MOST: usize = 4 << 20;

/// So many don't wait for more.
const ENOUGH: usize = 64 << 10;

/// How long the last lines have when the process ends.
const LAST: Duration = Duration::from_secs(1);

/// Lines that wait, and who writes them.
#[derive(Clone)]
pub(super) struct Lines(Arc<Shared>);

struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    most: usize,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    /// How many found no room since the last ones left.
    lost: u64,
    is_urgent: bool,
    /// The thread has nothing to do.
    is_idle: bool,
    end: End,
}

/// How far the log's end has come.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum End {
    #[default]
    NotYet,
    /// No more is to come.
    Begun,
    /// All that came has left.
    Over,
}

/// Where a line is put.
pub(super) struct Line<'l> {
    lines: &'l Lines,
    is_urgent: bool,
}

impl Lines {
    /// Lines that leave by `out`.
    ///
    /// # Errors
    /// When no thread can be had.
    pub(super) fn to(out: impl Write + Send + 'static) -> io::Result<Self> {
        Self::bounded(out, MOST)
    }

    fn bounded(out: impl Write + Send + 'static, most: usize) -> io::Result<Self> {
        let lines = Self::unwritten(most);
        let thread = lines.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || thread.write_to(out))?;
        Ok(lines)
    }

    /// Lines that no thread writes yet.
    fn unwritten(most: usize) -> Self {
        Self(Arc::new(Shared { waiting: Mutex::default(), changed: Condvar::new(), most }))
    }

    /// Waits until all lines have left, unless nobody takes them.
    pub(super) fn end(&self) {
        let Shared { changed, .. } = &*self.0;
        let mut waiting = self.waiting();
        waiting.end = End::Begun;
        changed.notify_all();
        drop(changed.wait_timeout_while(waiting, LAST, |waiting| waiting.end != End::Over));
    }

    fn write_to(&self, out: impl Write) {
        let mut out = Output { out, is_line_open: false };
        let mut leaving = Vec::new();
        let mut unreported: u64 = 0;
        while let Some(without_room) = self.take(&mut leaving) {
            let unwritten = out.write_lines(&leaving);
            metrics::count_lost_log_lines(unwritten);
            leaving.clear();
            leaving.shrink_to(ENOUGH);
            unreported = unreported.saturating_add(without_room).saturating_add(unwritten);
            // After a failed write, this line would be lost too, and be the reason for another one.
            if unwritten == 0 && unreported > 0 {
                let lost = mem::take(&mut unreported);
                tracing::warn!(lost, "log lines lost; standard output was full, closed or slow");
            }
        }
        self.waiting().end = End::Over;
        self.0.changed.notify_all();
    }

    /// Waits for lines, and takes them in the place of nothing. Tells how many were lost behind them.
    fn take(&self, leaving: &mut Vec<u8>) -> Option<u64> {
        let Shared { changed, .. } = &*self.0;
        let mut waiting = self.waiting();
        while waiting.lines.is_empty() {
            if waiting.end != End::NotYet {
                return None;
            }
            waiting.is_idle = true;
            waiting = changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.is_idle = false;
        let (mut waiting, _) = changed
            .wait_timeout_while(waiting, GATHER, |waiting| waiting.may_wait())
            .unwrap_or_else(PoisonError::into_inner);
        mem::swap(&mut waiting.lines, leaving);
        waiting.is_urgent = false;
        Some(mem::take(&mut waiting.lost))
    }

    fn put(&self, line: &[u8], is_urgent: bool) {
        let mut waiting = self.waiting();
        if waiting.lines.len().saturating_add(line.len()) > self.0.most {
            waiting.lost = waiting.lost.saturating_add(1);
            metrics::count_lost_log_lines(1);
            return;
        }
        let could_wait = waiting.may_wait();
        waiting.lines.extend_from_slice(line);
        waiting.is_urgent |= is_urgent;
        let is_awaited = mem::take(&mut waiting.is_idle) || (could_wait && !waiting.may_wait());
        drop(waiting);
        if is_awaited {
            self.0.changed.notify_all();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where lines are written.
struct Output<W> {
    out: W,
    /// The last write ended within a line.
    is_line_open: bool,
}

impl<W: Write> Output<W> {
    /// Writes whole lines, until a write fails. Gives the number of lines that weren't written, or not
    /// to their end.
    fn write_lines(&mut self, lines: &[u8]) -> u64 {
        if self.is_line_open && self.write(b"\n") == 0 {
            return count_lines(lines);
        }
        let (written, rest) = lines.split_at_checked(self.write(lines)).unwrap_or((lines, &[]));
        self.is_line_open = written.last().is_some_and(|last| *last != b'\n');
        drop(self.out.flush());
        count_lines(rest)
    }

    /// Writes until a write fails. Gives the number of bytes that were written.
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

impl Waiting {
    fn may_wait(&self) -> bool {
        !self.is_urgent && self.end == End::NotYet && self.lines.len() < ENOUGH
    }
}

impl<'l> MakeWriter<'l> for Lines {
    type Writer = Line<'l>;

    fn make_writer(&'l self) -> Line<'l> {
        Line { lines: self, is_urgent: true }
    }

    fn make_writer_for(&'l self, metadata: &Metadata<'_>) -> Line<'l> {
        Line { lines: self, is_urgent: *metadata.level() <= Level::WARN }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lines.put(line, self.is_urgent);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
