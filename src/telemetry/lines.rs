//! Log lines on their way out: kept by whoever logs, written by a thread of its own.
//!
//! A write costs more than an answer from memory, and a reader that stands still would stop the
//! workers. So lines wait a moment for others and leave together; what there is no room for is lost,
//! counted, and told about as soon as there is room again. Nobody waits for a line that isn't urgent,
//! and nobody but the thread waits for its reader.

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
        let shared = Shared { waiting: Mutex::default(), changed: Condvar::new(), most };
        let lines = Self(Arc::new(shared));
        let thread = lines.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || thread.write_to(out))?;
        Ok(lines)
    }

    /// Waits until all lines have left, unless nobody takes them.
    pub(super) fn end(&self) {
        let Shared { changed, .. } = &*self.0;
        let mut waiting = self.waiting();
        waiting.end = End::Begun;
        changed.notify_all();
        drop(changed.wait_timeout_while(waiting, LAST, |waiting| waiting.end != End::Over));
    }

    fn write_to(&self, mut out: impl Write) {
        let mut leaving = Vec::new();
        while let Some(lost) = self.take(&mut leaving) {
            // When nobody reads them, there is nobody to tell.
            drop(out.write_all(&leaving).and_then(|()| out.flush()));
            leaving.clear();
            leaving.shrink_to(ENOUGH);
            if lost > 0 {
                tracing::warn!(lost, "log lines were lost: they weren't read as fast as written");
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
            metrics::count_lost_log_line();
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
mod tests {
    use std::sync::mpsc::{self, Receiver, SyncSender};

    use super::*;

    /// A reader that takes a write when it is asked to.
    struct Reader {
        writes: SyncSender<Vec<u8>>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
            self.writes.send(bytes.to_vec()).map_err(gone)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(most: usize) -> (Lines, Receiver<Vec<u8>>) {
        // No room: each write is over once it is received.
        let (writes, reader) = mpsc::sync_channel(0);
        (Lines::bounded(Reader { writes }, most).unwrap(), reader)
    }

    fn read(reader: &Receiver<Vec<u8>>) -> String {
        String::from_utf8(reader.recv().unwrap()).unwrap()
    }

    /// Puts a line, and waits until the thread stands before its reader with it.
    fn put_alone(lines: &Lines, line: &str) {
        lines.put(line.as_bytes(), true);
        while !lines.waiting().lines.is_empty() {
            thread::yield_now();
        }
    }

    #[test]
    fn lines_that_come_while_others_are_read_leave_together_in_their_order() {
        let (lines, reader) = lines(100);
        put_alone(&lines, "1\n");
        for line in ["2\n", "3\n", "4\n"] {
            lines.put(line.as_bytes(), false);
        }
        assert_eq!(read(&reader), "1\n");
        assert_eq!(read(&reader), "2\n3\n4\n");
    }

    #[test]
    fn what_there_is_no_room_for_is_lost_and_counted_and_nobody_waits() {
        let (lines, reader) = lines(10);
        let metrics = metrics::Metrics::new("1", "1").unwrap();
        put_alone(&lines, "first\n");
        lines.put(b"123456789\n", false);
        for _ in 0..1000 {
            lines.put(b"too much\n", true);
        }
        assert_eq!(lines.waiting().lost, 1000);
        let told = String::from_utf8(metrics.render().unwrap()).unwrap();
        assert!(told.contains("juspay_bff_log_lines_lost_total 1000\n"), "{told}");
        assert_eq!((read(&reader), read(&reader)), ("first\n".into(), "123456789\n".into()));
        put_alone(&lines, "again\n");
        assert_eq!(read(&reader), "again\n");
        assert_eq!(lines.waiting().lost, 0);
    }

    #[test]
    fn the_end_waits_for_the_last_line() {
        let (lines, reader) = lines(100);
        lines.put(b"last\n", false);
        let ended = thread::spawn(move || lines.end());
        assert_eq!(read(&reader), "last\n");
        ended.join().unwrap();
        assert!(reader.recv().is_err(), "the thread has ended");
    }

    #[test]
    fn a_reader_that_is_gone_stops_nobody() {
        let (lines, reader) = lines(100);
        drop(reader);
        put_alone(&lines, "1\n");
        put_alone(&lines, "2\n");
        lines.end();
        assert_eq!(lines.waiting().end, End::Over);
    }

    #[test]
    fn warnings_are_urgent() {
        let (lines, reader) = lines(1000);
        let subscriber = tracing_subscriber::fmt().with_writer(lines.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("one");
            assert!(!lines.waiting().is_urgent);
            tracing::warn!("two");
        });
        let both = read(&reader);
        assert!(both.contains("one") && both.contains("two"), "{both}");
    }
}
