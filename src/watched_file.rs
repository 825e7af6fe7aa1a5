//! Values that are read from files, and replaced without a restart when the files change.
//!
//! [`WatchedFile`] holds such a value. [`watch`] reloads all of them every `secrets.poll` and on
//! request. Content that can't be used leaves the previous value in use, and is logged once.
//!
//! The content is compared on each poll. File watches are not reliable, because Kubernetes replaces
//! files by swapping a symlink. Only a digest of the content is kept, so a secret leaves no copy.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{Context, SHA256};
use futures_util::future::{BoxFuture, FutureExt as _, join_all, pending};
use prometheus::GaugeVec;
use tokio::sync::watch::{Receiver, Sender};

use crate::{
    clock::{Clock, timeout_at},
    regular_file::{self, Content, ReadError},
};

/// The result of reading a file.
pub type ReadResult = Result<Content, ReadError>;

/// Parses the files of a value. Fails if one of them can't be read.
type Parse<T, E> = Box<dyn Fn(Vec<ReadResult>) -> Result<T, E> + Send + Sync>;

/// Files, and how they are parsed. Does not keep the value.
pub struct FileSource<T, E> {
    paths: Vec<PathBuf>,
    max_bytes: u64,
    parse: Parse<T, E>,
    /// Of the content that was last parsed successfully.
    digest: Mutex<Option<Vec<u8>>>,
}

impl<T, E> FileSource<T, E> {
    /// Reads a file of at most `max_bytes`. Blocks the thread for a bounded time.
    ///
    /// # Errors
    /// If `parse` fails.
    pub fn open(
        path: &Path,
        max_bytes: u64,
        parse: impl Fn(ReadResult) -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<(Self, T), E> {
        let parse = move |mut contents: Vec<ReadResult>| {
            parse(contents.pop().unwrap_or(Err(ReadError::NoFile)))
        };
        Self::open_all(vec![path.to_owned()], max_bytes, parse)
    }

    /// Like [`open`](Self::open), for a value from several files.
    ///
    /// # Errors
    /// If `parse` fails.
    pub fn open_all(
        paths: Vec<PathBuf>,
        max_bytes: u64,
        parse: impl Fn(Vec<ReadResult>) -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<(Self, T), E> {
        let contents: Vec<_> =
            paths.iter().map(|path| regular_file::read_blocking(path, max_bytes)).collect();
        let digest = Mutex::new(digest_of(&contents));
        let value = parse(contents)?;
        Ok((Self { paths, max_bytes, parse: Box::new(parse), digest }, value))
    }

    /// Reads the files again. Returns the new value if their content has changed.
    ///
    /// # Errors
    /// If the new content can't be parsed.
    pub async fn reload(&self) -> Result<Option<T>, E> {
        let reads = self.paths.iter().map(|path| regular_file::read(path, self.max_bytes));
        let contents = join_all(reads).await;
        let digest = digest_of(&contents);
        if digest.is_some() && digest == *self.digest.lock().unwrap_or_else(PoisonError::into_inner)
        {
            return Ok(None);
        }
        let value = (self.parse)(contents)?;
        *self.digest.lock().unwrap_or_else(PoisonError::into_inner) = digest;
        Ok(Some(value))
    }
}

/// `None` if a file can't be read.
fn digest_of(contents: &[ReadResult]) -> Option<Vec<u8>> {
    let mut digest = Context::new(&SHA256);
    for content in contents {
        let content = content.as_ref().ok()?;
        digest.update(&content.len().to_be_bytes());
        digest.update(content);
    }
    Some(digest.finish().as_ref().to_vec())
}

impl<T, E> fmt::Debug for FileSource<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSource").field("paths", &self.paths).finish_non_exhaustive()
    }
}

/// A value that is reloaded from its files, or is constant if it has none.
pub struct WatchedFile<T, E> {
    source: Option<FileSource<T, E>>,
    current: ArcSwap<T>,
    changes: AtomicU64,
}

impl<T, E> WatchedFile<T, E> {
    /// A constant value.
    #[must_use]
    pub fn fixed(value: T) -> Self {
        Self { source: None, current: ArcSwap::from_pointee(value), changes: AtomicU64::default() }
    }

    /// The value in use.
    #[must_use]
    pub fn current(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// How often the value has changed since it was opened.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Reads the files again. Returns whether there is a new value.
    ///
    /// # Errors
    /// If the new content can't be used. The previous value remains in use.
    pub async fn reload(&self) -> Result<bool, E> {
        let Some(source) = &self.source else { return Ok(false) };
        let Some(value) = source.reload().await? else { return Ok(false) };
        self.current.store(Arc::new(value));
        self.changes.fetch_add(1, Ordering::Release);
        Ok(true)
    }
}

impl<T, E> From<(FileSource<T, E>, T)> for WatchedFile<T, E> {
    fn from((source, value): (FileSource<T, E>, T)) -> Self {
        Self { source: Some(source), ..Self::fixed(value) }
    }
}

impl<T, E> fmt::Debug for WatchedFile<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedFile").field("source", &self.source).finish_non_exhaustive()
    }
}

/// A [`WatchedFile`] with any kind of value.
pub trait Reloadable: Send + Sync {
    /// Whether it can change.
    fn has_file(&self) -> bool;

    /// Reads the files again. Returns whether there is a new value.
    fn reload(&self) -> BoxFuture<'_, Result<bool, String>>;
}

impl<T: Send + Sync, E: fmt::Display + Send + Sync> Reloadable for WatchedFile<T, E> {
    fn has_file(&self) -> bool {
        self.source.is_some()
    }

    fn reload(&self) -> BoxFuture<'_, Result<bool, String>> {
        async { self.reload().await.map_err(|error| error.to_string()) }.boxed()
    }
}

/// When files are read again: every `secrets.poll`, and at once when a [`Reload`] is requested.
#[derive(Debug, Clone)]
pub struct Polling {
    every: Duration,
    clock: Arc<dyn Clock>,
    requests: Receiver<()>,
}

/// Requests that all watched files are read again at once. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Reload(Sender<()>);

impl Reload {
    /// Requests a reload.
    pub fn request(&self) {
        self.0.send_replace(());
    }

    /// The requests from now on.
    pub(crate) fn requests(&self) -> Receiver<()> {
        self.0.subscribe()
    }
}

impl Polling {
    /// Reads are due every `every`, and on each request from now on.
    #[must_use]
    pub fn new(every: Duration, clock: &Arc<dyn Clock>, reload: &Reload) -> Self {
        Self { every, clock: Arc::clone(clock), requests: reload.requests() }
    }

    /// Completes when the files are due to be read again. A request during the last read is not
    /// lost.
    pub async fn due(&mut self) {
        let end = self.clock.monotonic().plus(self.every);
        let requested = async {
            if self.requests.changed().await.is_err() {
                pending::<()>().await;
            }
        };
        timeout_at(&*self.clock, end, requested).await.unwrap_or_default();
    }
}

/// A watched file in [`watch`].
struct Watched {
    name: String,
    file: Arc<dyn Reloadable>,
    /// Whether the last reload failed. Only the first failure is logged.
    is_failing: bool,
}

/// Reloads files until dropped. Each has a name, for logs and metrics. They are read at the same
/// time, so that one on a hung mount does not delay the others. `loaded` is called at the start and
/// after each reload.
pub async fn watch(
    files: impl IntoIterator<Item = (String, Arc<dyn Reloadable>)>,
    mut polling: Polling,
    last_success: &GaugeVec,
    loaded: impl Fn(),
) {
    let clock = Arc::clone(&polling.clock);
    let note_success = |name: &str| {
        let now = clock.now().as_duration().as_secs_f64();
        last_success.with_label_values(&[name]).set(now);
    };
    let files = files.into_iter().filter(|(_, file)| file.has_file());
    let mut files: Vec<_> =
        files.map(|(name, file)| Watched { name, file, is_failing: false }).collect();
    for watched in &files {
        note_success(&watched.name);
    }
    loop {
        loaded();
        polling.due().await;
        let reloads = files.iter_mut().map(|watched| async {
            if watched.reload().await {
                note_success(&watched.name);
            }
        });
        join_all(reloads).await;
    }
}

impl Watched {
    /// Returns whether the file can be used.
    async fn reload(&mut self) -> bool {
        let secret = self.name.as_str();
        let reloaded = self.file.reload().await;
        match &reloaded {
            Ok(has_changed) if *has_changed || self.is_failing => {
                tracing::info!(secret, "secret reloaded");
            }
            Err(error) if !self.is_failing => {
                tracing::warn!(
                    secret,
                    "failed to reload secret file: {error}; keeping the previous value"
                );
            }
            Ok(_) | Err(_) => {}
        }
        self.is_failing = reloaded.is_err();
        reloaded.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::manual::ManualClock;

    const EVERY: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn files_are_due_by_the_clock_and_by_request() {
        let clock = ManualClock::at("2026-11-23T12:00:00Z");
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let reload = Reload::default();
        let mut polling = Polling::new(EVERY, &shared, &reload);
        let mut other = polling.clone();
        assert!(polling.due().now_or_never().is_none());
        let mut due = Box::pin(polling.due());
        assert!(due.as_mut().now_or_never().is_none());
        clock.advance(EVERY);
        assert!(due.as_mut().now_or_never().is_some());
        drop(due);
        // Before it is waited for, twice, and while it is waited for.
        reload.request();
        reload.request();
        assert!(polling.due().now_or_never().is_some());
        assert!(polling.due().now_or_never().is_none());
        let mut due = Box::pin(polling.due());
        assert!(due.as_mut().now_or_never().is_none());
        reload.request();
        assert!(due.as_mut().now_or_never().is_some());
        assert!(other.due().now_or_never().is_some(), "each poller reads its files");
    }
}
