//! Reads a file that the settings name: a regular file, of bounded size, in bounded time.
//!
//! Opening or reading a FIFO or a file on a hung mount can block forever, and a blocked thread cannot
//! be stopped. Each read therefore has a thread of its own, its caller waits for `TIMEOUT` at most,
//! and a file whose read hangs is not read again until that read has ended. This module neither
//! interprets nor watches files.

use std::{
    collections::HashMap,
    fs::{self, File, FileType, OpenOptions},
    future::Future,
    io::{self, Read as _},
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    pin::pin,
    sync::{Arc, LazyLock, Mutex, PoisonError, Weak},
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

use rustix::fs::OFlags;
use secrecy::zeroize::Zeroizing;
use tokio::{sync::oneshot, task::unconstrained};

use crate::clock::{Clock, SystemClock, timeout_at};

/// Longest wait for a file. A healthy network mount answers within milliseconds, and the start of the
/// service waits for one file after the other.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Files up to this size are read into memory that never moves: what a growing buffer leaves behind
/// is not wiped, and every file with a secret is smaller.
const UNMOVED: u64 = 64 * 1024;

/// What is in a file; wiped when it is dropped.
pub type Content = Zeroizing<Vec<u8>>;

/// Why a file can't be read. Neither its path nor its content is part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Its directory exists, the file doesn't.
    #[error("no such file")]
    NoFile,
    /// Its directory doesn't exist either.
    #[error("no such file, and no such directory")]
    NoDirectory,
    /// The file or one of its directories may not be read.
    #[error("permission denied")]
    Denied,
    /// The path leads to something else; what, is said.
    #[error("it is {0}, not a regular file")]
    NotRegular(&'static str),
    /// It has more than that many bytes.
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
    /// It took too long, or an earlier read of it still hangs.
    #[error("it could not be read within {} s", TIMEOUT.as_secs())]
    TimedOut,
    /// Anything else that the system says.
    #[error("{0}")]
    Other(io::ErrorKind),
}

impl ReadError {
    /// What an operator can do about it.
    #[must_use]
    pub const fn fix(self) -> &'static str {
        match self {
            Self::NoFile | Self::NoDirectory => {
                "write the path of a file that exists, or create the file"
            }
            Self::Denied => "let this process read the file and search its directories",
            Self::NotRegular(_) => "write the path of a regular file, or of a symlink to one",
            Self::TooLarge(_) => "write the path of the right file, or reduce its size",
            Self::TimedOut => "check the file system that the file is on: it does not respond",
            Self::Other(_) => "write the path of a file that this process can read",
        }
    }
}

/// Reads a file of at most `limit` bytes.
///
/// # Errors
/// When it isn't such a file, or can't be read in time.
pub async fn read(path: &Path, limit: u64) -> Result<Content, ReadError> {
    read_by(read_here, path, limit, &SystemClock).await
}

/// The same for code that has nothing else to do: the start, and commands. Blocks the thread, for a
/// bounded time.
///
/// # Errors
/// As [`read`].
pub fn read_blocking(path: &Path, limit: u64) -> Result<Content, ReadError> {
    block_on(begin(read_here, path, limit), TIMEOUT).unwrap_or(Err(ReadError::TimedOut))
}

/// File systems keep the machine's time; tests that script the reader turn a clock of their own.
async fn read_by(
    reader: impl FnOnce(&Path, u64) -> Result<Content, ReadError> + Send + 'static,
    path: &Path,
    limit: u64,
    clock: &dyn Clock,
) -> Result<Content, ReadError> {
    let deadline = clock.monotonic().plus(TIMEOUT);
    let read = timeout_at(clock, deadline, begin(reader, path, limit)).await;
    read.unwrap_or(Err(ReadError::TimedOut))
}

/// Waits for an earlier read of the file to end, then has a thread read it. The thread goes on when
/// this is dropped, and the next read of the file waits for it.
async fn begin(
    reader: impl FnOnce(&Path, u64) -> Result<Content, ReadError> + Send + 'static,
    path: &Path,
    limit: u64,
) -> Result<Content, ReadError> {
    let turn = turn_of(path).lock_owned().await;
    let (done, result) = oneshot::channel();
    let path = path.to_owned();
    let reading = move || {
        // Its caller may have stopped waiting.
        done.send(reader(&path, limit)).unwrap_or_default();
        drop(turn);
    };
    let thread = thread::Builder::new().name("file-reader".to_owned()).spawn(reading);
    thread.map_err(|error| ReadError::Other(error.kind()))?;
    result.await.unwrap_or(Err(ReadError::Other(io::ErrorKind::Other)))
}

/// One read of a file at a time.
type Turn = tokio::sync::Mutex<()>;

/// The turns of the files that are being read.
static TURNS: LazyLock<Mutex<HashMap<PathBuf, Weak<Turn>>>> = LazyLock::new(Mutex::default);

fn turn_of(path: &Path) -> Arc<Turn> {
    let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
    turns.retain(|_, turn| turn.strong_count() > 0);
    if let Some(turn) = turns.get(path).and_then(Weak::upgrade) {
        return turn;
    }
    let turn = Arc::default();
    turns.insert(path.to_owned(), Arc::downgrade(&turn));
    turn
}

/// Reads the file in this thread.
fn read_here(path: &Path, limit: u64) -> Result<Content, ReadError> {
    let failed = |error: io::Error| explain(path, &error);
    // Looked at timeout_at it is opened, too, because opening a device can have effects.
    regular(fs::metadata(path).map_err(failed)?.file_type())?;
    let file = open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    regular(found.file_type())?;
    let room = limit.min(found.len().max(UNMOVED)).saturating_add(1);
    let mut bytes = Content::new(Vec::with_capacity(usize::try_from(room).unwrap_or(0)));
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    let is_too_large = u64::try_from(bytes.len()).map_or(true, |length| length > limit);
    if is_too_large { Err(ReadError::TooLarge(limit)) } else { Ok(bytes) }
}

/// Without waiting for the other end, should the path lead to a FIFO by now.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)
}

fn regular(kind: FileType) -> Result<(), ReadError> {
    let name = match kind {
        _ if kind.is_file() => return Ok(()),
        _ if kind.is_dir() => "a directory",
        _ if kind.is_fifo() => "a FIFO",
        _ if kind.is_socket() => "a socket",
        _ => "a device",
    };
    Err(ReadError::NotRegular(name))
}

fn explain(path: &Path, error: &io::Error) -> ReadError {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let kind = error.kind();
    if kind == io::ErrorKind::PermissionDenied {
        ReadError::Denied
    } else if kind != io::ErrorKind::NotFound {
        ReadError::Other(kind)
    } else if directory.is_none_or(Path::is_dir) {
        ReadError::NoFile
    } else {
        ReadError::NoDirectory
    }
}

/// Runs a future on this thread for a bounded time. Neither `tokio`'s nor actix's runtime would do:
/// this thread may be one of theirs, which would have to run its timers meanwhile.
fn block_on<F: Future>(future: F, time: Duration) -> Option<F::Output> {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let deadline = SystemClock.monotonic().plus(time);
    let mut future = pin!(unconstrained(future));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(output);
        }
        let left = deadline.since(SystemClock.monotonic());
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}

#[cfg(test)]
mod tests;
