//! The shared tier on Redis or Valkey, from version 6.2.
//!
//! `script` has the scripts that look up, lease and store; `names`, `sealing` and `entry` determine what
//! the server gets to see; `io` runs calls on a thread of its own, through the connection that `manager`
//! keeps; `health` decides which nodes may be used, and `news` is how replicas learn of purges.
//! `operations` calls the scripts, and `inspection` has single steps for `doctor`. No module outside this one
//! uses the crate `redis`.

mod connection;
mod entry;
mod health;
pub(crate) mod inspection;
mod io;
mod manager;
mod names;
mod news;
mod operations;
mod reply;
mod script;
mod sealing;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
    thread,
};

use futures_util::future::{FutureExt as _, LocalBoxFuture};
use secrecy::ExposeSecret as _;
use tokio::{
    runtime,
    sync::{Notify, mpsc},
};

use self::{
    connection::Connector,
    io::{Io, Link},
    manager::Manager,
    names::Names,
    news::{NewsContext, NewsReader},
    operations::{Operations, Outcome},
};
use super::{
    Content, Events, Failure, Lease, LookUp, News, Request, SharedTier, Stored, Unreached, Version,
};
use crate::{
    clock::Clock,
    customer::CustomerId,
    metrics::{self, Series as _},
    regular_file::ReadError,
    secret_file::{self, SecretFileError},
    settings::{Settings, SharedKeyError},
    watched_file::{FileSource, Reloadable, WatchedFile},
};

/// Why the tier can't start.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// A key file can't be read.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// A key file has invalid content.
    #[error("{} is invalid: {why}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why it is invalid.
        why: SharedKeyError,
    },
    /// `shared.ca_file` can't be read.
    #[error("shared.ca_file can't be read: {0}")]
    Roots(#[from] ReadError),
    /// `shared.url` or a key file is not set, which the settings rule out.
    #[error("shared.url, shared.key_file or shared.name_key_file is not set")]
    Unset,
    /// The names of keys can't be determined, which is a bug in this service.
    #[error("the names of shared entries can't be determined")]
    Names,
    /// The thread can't be started.
    #[error("failed to start the thread of the shared tier: {0}")]
    Thread(#[from] std::io::Error),
}

/// The shared tier. Clones are the same; the thread ends with the last one.
#[derive(Clone)]
pub struct RedisTier(Arc<Operations>);

impl RedisTier {
    /// Reads the key files and starts the thread. Returns the tier and its events. Blocks the thread for a
    /// bounded time, but not for the server: until there is a connection, every look-up is
    /// [`LookUp::Away`].
    ///
    /// # Errors
    /// If a file can't be used, or the thread can't be started.
    pub fn open(
        settings: &Settings,
        clock: &Arc<dyn Clock>,
        metrics: &metrics::Shared,
    ) -> Result<(Self, Events), SetUpError> {
        metrics.requests.initialize(Outcome::LABELS.iter().copied().flatten().copied());
        metrics.duration.create(&[]);
        let unreadable = metrics.requests.with_label_values(&[Outcome::Unreadable.label()]);
        let names = Arc::new(Names::open(settings)?);
        let connector = Connector::new(&settings.shared, names.channel())?;
        let (events, events_of_others) = mpsc::unbounded_channel();
        let context = Arc::new(NewsContext {
            names,
            keys: Arc::new(sealing::open(settings.shared.key_file.as_deref())?),
            generation: AtomicU64::default(),
            events,
            unreadable,
            replica: rand::random(),
        });
        let link = Arc::new(Link::new(Arc::clone(clock)));
        let (jobs, waiting) = mpsc::unbounded_channel();
        let manager = Manager {
            connector,
            link: Arc::clone(&link),
            news: NewsReader::new(Arc::clone(&context)),
            hint: Arc::new(Notify::new()),
            metrics: metrics.clone(),
        };
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let serving = io::serve(Arc::clone(&link), waiting);
        thread::Builder::new().name("shared".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serving => {}
                    () = manager.run() => {}
                }
            });
            // Doesn't wait for a DNS lookup of the server's name.
            runtime.shutdown_background();
        })?;
        let tier = Self(Arc::new(Operations {
            context,
            io: Io { link, jobs },
            timeout: settings.shared.timeout,
            max_life: settings.cache.max_token_life,
            clock: Arc::clone(clock),
            metrics: metrics.clone(),
        }));
        Ok((tier, Events(events_of_others)))
    }

    /// The files that are reloaded when they change, with their names in logs and metrics.
    #[must_use]
    pub fn key_files(&self) -> [(&'static str, Arc<dyn Reloadable>); 2] {
        let NewsContext { keys, names, .. } = &*self.0.context;
        let keys: Arc<dyn Reloadable> = Arc::<sealing::SealingKeys>::clone(keys);
        [("shared_keys", keys), ("shared_name_key", names.key())]
    }
}

impl fmt::Debug for RedisTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTier").finish_non_exhaustive()
    }
}

impl SharedTier for RedisTier {
    fn look_up(&self, request: Request) -> LocalBoxFuture<'static, LookUp> {
        let tier = Arc::clone(&self.0);
        async move { tier.look_up(request).await }.boxed_local()
    }

    fn renew(&self, lease: &Lease) -> LocalBoxFuture<'static, ()> {
        let (tier, lease) = (Arc::clone(&self.0), lease.clone());
        async move { tier.renew(lease).await }.boxed_local()
    }

    fn store(&self, lease: Lease, content: Content) -> LocalBoxFuture<'static, Stored> {
        let tier = Arc::clone(&self.0);
        async move { tier.store(lease, content).await }.boxed_local()
    }

    fn fail(
        &self,
        lease: Lease,
        failure: Failure,
        is_missing: bool,
    ) -> LocalBoxFuture<'static, ()> {
        let tier = Arc::clone(&self.0);
        async move { tier.fail(lease, failure, is_missing).await }.boxed_local()
    }

    fn add_hand_outs(
        &self,
        customer: &CustomerId,
        version: Version,
        number: u32,
    ) -> LocalBoxFuture<'static, Result<u64, Unreached>> {
        let (tier, customer) = (Arc::clone(&self.0), customer.clone());
        async move { tier.add_hand_outs(customer, version, number).await }.boxed_local()
    }

    fn purge(&self, customer: &CustomerId) -> LocalBoxFuture<'static, Result<(), Unreached>> {
        let (tier, customer) = (Arc::clone(&self.0), customer.clone());
        async move { tier.purge(customer).await }.boxed_local()
    }

    fn purge_all(&self) -> LocalBoxFuture<'static, Result<(), Unreached>> {
        let tier = Arc::clone(&self.0);
        async move { tier.purge_all().await }.boxed_local()
    }

    fn announce(&self, news: News) -> LocalBoxFuture<'static, Result<(), Unreached>> {
        let tier = Arc::clone(&self.0);
        async move { tier.announce(news).await }.boxed_local()
    }
}

/// Reads a file of keys. Blocks the thread for a bounded time.
fn key_file<T>(
    path: Option<&Path>,
    parse: impl Fn(&str) -> Result<T, SharedKeyError> + Send + Sync + 'static,
) -> Result<WatchedFile<T, SetUpError>, SetUpError> {
    let path = path.ok_or(SetUpError::Unset)?.to_owned();
    let own_path = path.clone();
    let parse = move |content| {
        let text = secret_file::parse(&own_path, content)?;
        let content = |why| SetUpError::Content { path: own_path.clone(), why };
        parse(text.expose_secret()).map_err(content)
    };
    FileSource::open(&path, secret_file::MAX_BYTES, parse).map(WatchedFile::from)
}
