//! Tests with a writer that is slow, full or closed.

use std::sync::mpsc::{self, Receiver, SyncSender};

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

fn lines(max_bytes: usize) -> (BatchWriter, Receiver<Vec<u8>>) {
    // Capacity 0: a write completes only when it is received.
    let (writes, reader) = mpsc::sync_channel(0);
    (BatchWriter::spawn_bounded(Reader { writes }, max_bytes).unwrap(), reader)
}

fn read(reader: &Receiver<Vec<u8>>) -> String {
    String::from_utf8(reader.recv().unwrap()).unwrap()
}

/// Adds a line, and waits until the thread is about to write it.
fn push_alone(lines: &BatchWriter, line: &str) {
    lines.push(line.as_bytes(), true);
    while !lines.pending().lines.is_empty() {
        thread::yield_now();
    }
}

#[test]
fn lines_added_during_a_write_form_the_next_batch_in_order() {
    let (lines, reader) = lines(100);
    push_alone(&lines, "1\n");
    for line in ["2\n", "3\n", "4\n"] {
        lines.push(line.as_bytes(), false);
    }
    assert_eq!(read(&reader), "1\n");
    assert_eq!(read(&reader), "2\n3\n4\n");
}

#[test]
fn lines_beyond_the_buffer_are_dropped_and_counted_without_blocking() {
    let losses = Losses::begin();
    let (lines, reader) = lines(10);
    push_alone(&lines, "first\n");
    lines.push(b"123456789\n", false);
    for _ in 0..1000 {
        lines.push(b"too much\n", true);
    }
    assert_eq!(lines.pending().dropped, 1000);
    assert_eq!(losses.counted(), 1000);
    assert_eq!((read(&reader), read(&reader)), ("first\n".into(), "123456789\n".into()));
    push_alone(&lines, "again\n");
    assert_eq!(read(&reader), "again\n");
    assert_eq!(lines.pending().dropped, 0);
}

#[test]
fn end_waits_for_the_last_line() {
    let (lines, reader) = lines(100);
    lines.push(b"last\n", false);
    let ended = thread::spawn(move || lines.end());
    assert_eq!(read(&reader), "last\n");
    ended.join().unwrap();
    assert!(reader.recv().is_err(), "the thread has ended");
}

#[test]
fn closed_output_blocks_no_caller() {
    let losses = Losses::begin();
    let (lines, reader) = lines(100);
    drop(reader);
    push_alone(&lines, "1\n");
    push_alone(&lines, "2\n");
    lines.end();
    assert_eq!((lines.pending().end, losses.counted()), (Shutdown::Complete, 2));
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
    let mut output = Output { out: out.clone(), is_line_open: false };
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
    let lines = BatchWriter::without_thread(1000);
    let (_log, _guard) = CapturedLog::on_this_thread();
    let subscriber = tracing_subscriber::fmt().with_writer(lines.clone()).finish();
    let writer = (lines.clone(), out.clone());
    let thread = thread::spawn(move || {
        let (lines, out) = writer;
        tracing::subscriber::with_default(subscriber, || lines.write_to(out));
    });
    for line in ["1\n", "2\n2\n", "3\n"] {
        let before = out.written.lock().unwrap().len();
        lines.push(line.as_bytes(), true);
        while out.written.lock().unwrap().len() == before {
            thread::yield_now();
        }
    }
    // Waits for the last lines, which follow the warning.
    while out.written.lock().unwrap().len() < 4 {
        thread::yield_now();
    }
    lines.end();
    thread.join().unwrap();
    let written = out.written.lock().unwrap();
    assert_eq!((written.len(), written[2].as_str()), (4, "3\n"), "{written:?}");
    assert!(written[3].contains("log lines lost") && written[3].contains("lost=3"));
    assert_eq!(losses.counted(), 3);
}

#[test]
fn warnings_are_urgent() {
    let (lines, reader) = lines(1000);
    let subscriber = tracing_subscriber::fmt().with_writer(lines.clone()).finish();
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!("one");
        assert!(!lines.pending().is_urgent);
        tracing::warn!("two");
    });
    let both = read(&reader);
    assert!(both.contains("one") && both.contains("two"), "{both}");
}
