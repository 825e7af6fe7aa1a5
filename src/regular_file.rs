//! Reads a file that the settings name: a regular file, of bounded size, in bounded time.
//!
//! Opening or reading a FIFO or a file on a hung mount can block forever, and a blocked thread
//! cannot be stopped. Each read therefore runs in its own thread, and its caller waits for at most
//! `TIMEOUT`. A file whose read hangs is not read again until that read has ended. This module
//! neither interprets nor watches files.

// Untrusted input is parsed here.
#![cfg_attr(
    not(test),
    deny(clippy::as_conversions, clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

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

/// Maximum wait for a file. A healthy network mount responds within milliseconds, and the files are
/// read one after the other at start.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Files up to this size, in bytes, are read into a buffer that never grows. A growing buffer
/// leaves unwiped copies behind, and files with secrets are smaller than this.
const FIXED_BUFFER_BYTES: u64 = 64 * 1024;

/// The content of a file, wiped when it is dropped.
pub type Content = Zeroizing<Vec<u8>>;

/// Why a file can't be read. Contains neither path nor content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The directory exists, the file doesn't.
    #[error("no such file")]
    NoFile,
    /// The directory doesn't exist.
    #[error("no such file, and no such directory")]
    NoDirectory,
    /// No permission for the file or one of its directories.
    #[error("permission denied")]
    Denied,
    /// Not a regular file, but this kind.
    #[error("it is {0}, not a regular file")]
    NotRegular(&'static str),
    /// Larger than this many bytes.
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
    /// The read took too long, or an earlier read of the file still hangs.
    #[error("it could not be read within {} s", TIMEOUT.as_secs())]
    TimedOut,
    /// Another error of the system.
    #[error("{0}")]
    Other(io::ErrorKind),
}

impl ReadError {
    /// What the operator can do.
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
/// If it isn't such a file, or can't be read in time.
pub async fn read(path: &Path, limit: u64) -> Result<Content, ReadError> {
    read_by(read_on_this_thread, path, limit, &SystemClock).await
}

/// Like [`read`], but blocks the thread, for a bounded time. For the start and for commands.
///
/// # Errors
/// As [`read`].
pub fn read_blocking(path: &Path, limit: u64) -> Result<Content, ReadError> {
    block_on(read_in_thread(read_on_this_thread, path, limit), TIMEOUT)
        .unwrap_or(Err(ReadError::TimedOut))
}

/// Reads by `reader`, which tests script, with a timeout by `clock`.
async fn read_by(
    reader: impl FnOnce(&Path, u64) -> Result<Content, ReadError> + Send + 'static,
    path: &Path,
    limit: u64,
    clock: &dyn Clock,
) -> Result<Content, ReadError> {
    let deadline = clock.monotonic().plus(TIMEOUT);
    let read = timeout_at(clock, deadline, read_in_thread(reader, path, limit)).await;
    read.unwrap_or(Err(ReadError::TimedOut))
}

/// Waits for an earlier read of the file to end, then reads it in a new thread. If this future is
/// dropped, the thread continues, and the next read of the file waits for it.
async fn read_in_thread(
    reader: impl FnOnce(&Path, u64) -> Result<Content, ReadError> + Send + 'static,
    path: &Path,
    limit: u64,
) -> Result<Content, ReadError> {
    let lock = lock_of(path).lock_owned().await;
    let (sender, result) = oneshot::channel();
    let path = path.to_owned();
    let reading = move || {
        // The caller may have timed out.
        sender.send(reader(&path, limit)).unwrap_or_default();
        drop(lock);
    };
    let thread = thread::Builder::new().name("file-reader".to_owned()).spawn(reading);
    thread.map_err(|error| ReadError::Other(error.kind()))?;
    result.await.unwrap_or(Err(ReadError::Other(io::ErrorKind::Other)))
}

/// Allows one read of a file at a time.
type FileLock = tokio::sync::Mutex<()>;

/// The locks of all files that are being read.
static LOCKS: LazyLock<Mutex<HashMap<PathBuf, Weak<FileLock>>>> = LazyLock::new(Mutex::default);

fn lock_of(path: &Path) -> Arc<FileLock> {
    let mut locks = LOCKS.lock().unwrap_or_else(PoisonError::into_inner);
    locks.retain(|_, lock| lock.strong_count() > 0);
    if let Some(lock) = locks.get(path).and_then(Weak::upgrade) {
        return lock;
    }
    let lock = Arc::default();
    locks.insert(path.to_owned(), Arc::downgrade(&lock));
    lock
}

/// Reads the file on the current thread.
fn read_on_this_thread(path: &Path, limit: u64) -> Result<Content, ReadError> {
    let failed = |error: io::Error| classify(path, &error);
    // Checked timeout_at opening as well, because opening a device can have effects.
    regular(fs::metadata(path).map_err(failed)?.file_type())?;
    let file = open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    regular(found.file_type())?;
    let room = limit.min(found.len().max(FIXED_BUFFER_BYTES)).saturating_add(1);
    let mut bytes = Content::new(Vec::with_capacity(usize::try_from(room).unwrap_or(0)));
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    let is_too_large = u64::try_from(bytes.len()).map_or(true, |length| length > limit);
    if is_too_large { Err(ReadError::TooLarge(limit)) } else { Ok(bytes) }
}

/// Opens without blocking, because the path may have become a FIFO in the meantime.
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

fn classify(path: &Path, error: &io::Error) -> ReadError {
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

/// Runs a future on this thread for a bounded time, without a runtime: the thread may belong to
/// tokio or actix, whose timers don't run while it is blocked.
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
