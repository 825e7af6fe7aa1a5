//! Tests with a writer that is slow, full or closed.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    mpsc::{Receiver, Sender, SyncSender},
};

use super::*;
use crate::captured_log::CapturedLog;

/// Measures what a test adds to `log_lines_lost_total`. The counter is global, so these tests run
/// one at a time.
struct Losses {
    before: u64,
    _turn: MutexGuard<'static, ()>,
}

impl Losses {
    fn begin() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        Self { before: Self::total(), _turn: turn }
    }

    fn total() -> u64 {
        let text = metrics::Metrics::new("1", "1").unwrap().render().unwrap();
        let text = String::from_utf8(text).unwrap();
        let dropped =
            |line: &str| line.strip_prefix("juspay_bff_log_lines_lost_total ")?.parse().ok();
        text.lines().find_map(dropped).expect("the metric")
    }

    fn counted(&self) -> u64 {
        Self::total() - self.before
    }
}

/// A writer whose writes complete when the test receives them.
struct Reader {
    writing: Sender<()>,
    writes: SyncSender<Vec<u8>>,
}

impl Write for Reader {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.writing.send(()).unwrap_or_default();
        self.writes.send(bytes.to_vec()).map_err(gone)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A queue whose output is read by the test.
struct Rig {
    queue: LineQueue,
    guard: WorkerGuard,
    begun: Receiver<()>,
    reader: Receiver<Vec<u8>>,
}

impl Rig {
    fn start(max_lines: usize) -> Self {
        // Capacity 0: a write completes only when it is received.
        let (writes, reader) = mpsc::sync_channel(0);
        let (writing, begun) = mpsc::channel();
        let (queue, guard) = spawn_bounded(Reader { writing, writes }, max_lines);
        Self { queue, guard, begun, reader }
    }

    fn push(&self, line: &str) {
        self.queue.clone().write_all(line.as_bytes()).unwrap();
    }

    /// Adds a line, and waits until the thread is about to write it.
    fn push_alone(&self, line: &str) {
        self.push(line);
        self.begun.recv().unwrap();
    }

    fn read(&self) -> String {
        String::from_utf8(self.reader.recv().unwrap()).unwrap()
    }
}

#[test]
fn lines_added_during_a_write_form_the_next_batch_in_order() {
    let rig = Rig::start(100);
    rig.push_alone("1\n");
    for line in ["2\n", "3\n", "4\n"] {
        rig.push(line);
    }
    assert_eq!(rig.read(), "1\n");
    assert_eq!(rig.read(), "2\n3\n4\n");
}

#[test]
fn lines_beyond_the_queue_are_dropped_and_counted_without_blocking() {
    let losses = Losses::begin();
    let rig = Rig::start(1);
    rig.push_alone("first\n");
    rig.push("123456789\n");
    for _ in 0..1000 {
        rig.push("too much\n");
    }
    assert_eq!(rig.queue.lines.error_counter().dropped_lines(), 1000);
    assert_eq!(losses.counted(), 1000);
    assert_eq!((rig.read(), rig.read()), ("first\n".into(), "123456789\n".into()));
    rig.push("again\n");
    assert_eq!(rig.read(), "again\n");
    assert_eq!(losses.counted(), 1000);
}

#[test]
fn end_waits_for_the_last_line() {
    let rig = Rig::start(100);
    rig.push("last\n");
    let (guard, reader) = (rig.guard, rig.reader);
    let ended = thread::spawn(move || end(guard));
    assert_eq!(reader.recv().unwrap(), b"last\n");
    ended.join().unwrap();
    assert!(reader.recv().is_err(), "the thread has ended");
}

#[test]
fn end_returns_if_the_queue_is_full_and_not_read() {
    let rig = Rig::start(1);
    rig.push_alone("1\n");
    rig.push("2\n");
    end(rig.guard);
    assert_eq!(rig.reader.recv().unwrap(), b"1\n", "the thread still waits for its reader");
}

#[test]
fn closed_output_blocks_no_caller() {
    let losses = Losses::begin();
    let Rig { queue, guard, begun, reader } = Rig::start(100);
    drop(reader);
    for line in [b"1\n", b"2\n"] {
        queue.clone().write_all(line).unwrap();
        begun.recv().unwrap();
    }
    end(guard);
    assert_eq!((begun.recv().is_err(), losses.counted()), (true, 2));
}

/// The results of consecutive writes: the number of bytes written, or an error.
type Script = Vec<io::Result<usize>>;

/// A writer with scripted results. After the script, it writes everything.
#[derive(Clone, Default)]
struct Scripted {
    script: Arc<Mutex<Script>>,
    written: Arc<Mutex<Vec<String>>>,
}

impl Write for Scripted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut script = self.script.lock().unwrap();
        let taken = if script.is_empty() { Ok(bytes.len()) } else { script.remove(0) };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let shown = taken.as_ref().map_or_else(ToString::to_string, |it| text(&bytes[..*it]));
        self.written.lock().unwrap().push(shown);
        taken
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes these batches; returns what was written, and the number of dropped lines of each.
fn write_all(script: Script, batches: &[&str]) -> (Vec<String>, Vec<u64>) {
    let out = Scripted { script: Arc::new(Mutex::new(script)), ..<_>::default() };
    let mut output = Output::new(out.clone());
    let dropped = batches.iter().map(|lines| output.write_lines(lines.as_bytes())).collect();
    let written = out.written.lock().unwrap().clone();
    (written, dropped)
}

fn fails(kind: io::ErrorKind) -> io::Result<usize> {
    Err(kind.into())
}

#[test]
fn lines_that_cannot_be_written_are_counted() {
    use io::ErrorKind::{BrokenPipe, Interrupted, StorageFull, WouldBlock};
    for kind in [BrokenPipe, StorageFull, WouldBlock] {
        let (written, dropped) = write_all(vec![fails(kind)], &["1\n2\n3\n", "4\n"]);
        assert_eq!(dropped, [3, 0], "{kind}");
        assert_eq!(written.last().unwrap(), "4\n", "{kind}");
    }
    let (_, dropped) = write_all(vec![Ok(0)], &["1\n2\n"]);
    assert_eq!(dropped, [2]);
    let (written, dropped) = write_all(vec![Ok(1), fails(Interrupted)], &["1\n2\n"]);
    assert_eq!((written[2].as_str(), dropped), ("\n2\n", vec![0]));
}

#[test]
fn truncated_line_is_dropped_and_the_next_one_is_written() {
    let full = || fails(io::ErrorKind::StorageFull);
    let batches = ["one\ntwo\nthree\n", "four\n", "five\n"];
    let (written, dropped) = write_all(vec![Ok(6), full(), full()], &batches);
    assert_eq!(dropped, [2, 1, 0]);
    let written: Vec<_> = written.into_iter().filter(|it| !it.contains("space")).collect();
    assert_eq!(written.concat(), "one\ntw\nfive\n");
    // The write failed at the end of the line.
    let (written, dropped) = write_all(vec![Ok(4), full()], &batches[..2]);
    assert_eq!(dropped, [2, 0]);
    assert_eq!(written.last().unwrap(), "four\n");
}

#[test]
fn dropped_lines_are_reported_once_after_the_next_successful_write() {
    let losses = Losses::begin();
    let broken = || fails(io::ErrorKind::BrokenPipe);
    let script = Arc::new(Mutex::new(vec![broken(), broken()]));
    let out = Scripted { script, ..<_>::default() };
    let (log, _guard) = CapturedLog::on_this_thread();
    let mut output = Output::new(out.clone());
    for lines in ["1\n", "2\n2\n"] {
        output.write_all(lines.as_bytes()).unwrap();
        assert_eq!(log.text(), "");
    }
    for line in ["3\n", "4\n"] {
        output.write_all(line.as_bytes()).unwrap();
        let warnings = log.text();
        assert_eq!(warnings.lines().count(), 1, "{warnings}");
        assert!(warnings.contains("log lines lost") && warnings.contains("lost=3"));
    }
    assert_eq!(out.written.lock().unwrap()[2..], ["3\n", "4\n"]);
    assert_eq!(losses.counted(), 3);
}

#[test]
fn single_line_is_written_without_another_one() {
    let rig = Rig::start(1000);
    let queue = rig.queue.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || queue.clone()).finish();
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!("one");
        assert!(rig.read().contains("one"));
        tracing::warn!("two");
        assert!(rig.read().contains("two"));
    });
}
