//! Log lines on their way to a writer that is slow, full or gone.

use std::sync::mpsc::{self, Receiver, SyncSender};

use super::*;
use crate::kept_log::Kept;

/// What a test adds to `log_lines_lost_total`, which is the process': one test at a time.
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
        let lost = |line: &str| line.strip_prefix("juspay_bff_log_lines_lost_total ")?.parse().ok();
        text.lines().find_map(lost).expect("the metric")
    }

    fn counted(&self) -> u64 {
        Self::total() - self.before
    }
}

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
    let losses = Losses::begin();
    let (lines, reader) = lines(10);
    put_alone(&lines, "first\n");
    lines.put(b"123456789\n", false);
    for _ in 0..1000 {
        lines.put(b"too much\n", true);
    }
    assert_eq!(lines.waiting().lost, 1000);
    assert_eq!(losses.counted(), 1000);
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
    let losses = Losses::begin();
    let (lines, reader) = lines(100);
    drop(reader);
    put_alone(&lines, "1\n");
    put_alone(&lines, "2\n");
    lines.end();
    assert_eq!((lines.waiting().end, losses.counted()), (End::Over, 2));
}

/// What a writer does with each write: takes so many bytes, or fails.
type Script = Vec<io::Result<usize>>;

/// A writer with a script, behind which it takes all.
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

/// What is written of these batches, and how many lines of each are lost.
fn write_all(script: Script, batches: &[&str]) -> (Vec<String>, Vec<u64>) {
    let out = Scripted { script: Arc::new(Mutex::new(script)), ..<_>::default() };
    let mut output = Output { out: out.clone(), is_line_open: false };
    let lost = batches.iter().map(|lines| output.write_lines(lines.as_bytes())).collect();
    let written = out.written.lock().unwrap().clone();
    (written, lost)
}

fn fails(kind: io::ErrorKind) -> io::Result<usize> {
    Err(kind.into())
}

#[test]
fn lines_that_cannot_be_written_are_counted() {
    use io::ErrorKind::{BrokenPipe, Interrupted, StorageFull, WouldBlock};
    for kind in [BrokenPipe, StorageFull, WouldBlock] {
        let (written, lost) = write_all(vec![fails(kind)], &["1\n2\n3\n", "4\n"]);
        assert_eq!(lost, [3, 0], "{kind}");
        assert_eq!(written.last().unwrap(), "4\n", "{kind}");
    }
    let (_, lost) = write_all(vec![Ok(0)], &["1\n2\n"]);
    assert_eq!(lost, [2]);
    let (written, lost) = write_all(vec![Ok(1), fails(Interrupted)], &["1\n2\n"]);
    assert_eq!((written[2].as_str(), lost), ("\n2\n", vec![0]));
}

#[test]
fn a_line_that_was_cut_off_is_lost_and_the_next_one_is_not() {
    let full = || fails(io::ErrorKind::StorageFull);
    let batches = ["one\ntwo\nthree\n", "four\n", "five\n"];
    let (written, lost) = write_all(vec![Ok(6), full(), full()], &batches);
    assert_eq!(lost, [2, 1, 0]);
    let written: Vec<_> = written.into_iter().filter(|it| !it.contains("space")).collect();
    assert_eq!(written.concat(), "one\ntw\nfive\n");
    // Cut off at its end.
    let (written, lost) = write_all(vec![Ok(4), full()], &batches[..2]);
    assert_eq!(lost, [2, 0]);
    assert_eq!(written.last().unwrap(), "four\n");
}

#[test]
fn lost_lines_are_reported_once_by_the_next_write_that_succeeds() {
    let losses = Losses::begin();
    let broken = || fails(io::ErrorKind::BrokenPipe);
    let script = Arc::new(Mutex::new(vec![broken(), broken()]));
    let out = Scripted { script, ..<_>::default() };
    let lines = Lines::unwritten(1000);
    let (_log, _guard) = Kept::on_this_thread();
    let subscriber = tracing_subscriber::fmt().with_writer(lines.clone()).finish();
    let writer = (lines.clone(), out.clone());
    let thread = thread::spawn(move || {
        let (lines, out) = writer;
        tracing::subscriber::with_default(subscriber, || lines.write_to(out));
    });
    for line in ["1\n", "2\n2\n", "3\n"] {
        let before = out.written.lock().unwrap().len();
        lines.put(line.as_bytes(), true);
        while out.written.lock().unwrap().len() == before {
            thread::yield_now();
        }
    }
    // Behind the warning, if there is one.
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
        assert!(!lines.waiting().is_urgent);
        tracing::warn!("two");
    });
    let both = read(&reader);
    assert!(both.contains("one") && both.contains("two"), "{both}");
}
