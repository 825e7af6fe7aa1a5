//! The shared tier on Redis or Valkey, from version 6.2.
//!
//! `script` has the scripts that look up, lease and store; `names`, `sealing` and `entry` determine what
//! the server gets to see; `io` runs calls on a thread of its own, through the connection that `manager`
//! keeps; `health` decides which nodes may be used, and `news` is how replicas hear of purges. This file
//! puts them together. No other file uses the crate `redis`.
//!
//! A look-up is never repeated when its response is lost, because it may have taken the lease.

mod connection;
mod entry;
mod health;
mod io;
mod manager;
mod names;
mod news;
mod script;
mod sealing;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use ::redis::Value;
use futures_util::future::{FutureExt as _, LocalBoxFuture};
use secrecy::ExposeSecret as _;
use tokio::{
    runtime,
    sync::{Notify, broadcast, mpsc},
};

use self::{
    connection::{Connector, items},
    entry::{Arrival, Decoded, millis},
    io::{Call, CallError, Io, Link},
    manager::Manager,
    names::Names,
    news::{Board, NewsReader, number},
    script::Script,
};
use super::{
    Content, Events, Failure, FailureCode, Found, LEASE_TIME, Lease, LeaseId, LookUp, News,
    Request, SharedCustomer, SharedTier, Stored, Unreached, Version,
};
use crate::{
    clock::{Clock, Moment},
    customer::CustomerId,
    metrics::{self, Series as _},
    regular_file::ReadError,
    secret_file::{self, SecretFileError},
    settings::{Rate, Settings, SharedKeyError},
    watched_file::{FileSource, Reloadable, WatchedFile},
};

/// How long a failed or passed-on lease stays, for those that wait for it.
const FAILURE_TIME: Duration = Duration::from_secs(2);

/// Least timeout of purges and announcements, which no phone waits for.
const ADMIN_TIMEOUT: Duration = Duration::from_millis(250);

/// Events that a slow subscriber may be behind.
const EVENTS: usize = 1024;

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
pub struct RedisTier(Arc<Inner>);

struct Inner {
    board: Arc<Board>,
    io: Io,
    timeout: Duration,
    max_life: Duration,
    clock: Arc<dyn Clock>,
    metrics: metrics::Shared,
}

/// How an operation ended.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    Found,
    Fetch,
    Elsewhere,
    Failed,
    Limited,
    Unreadable,
    Stored,
    Refused,
    Away(CallError),
}

impl CallError {
    metrics::labels! {
        const fn label(self) in LABELS {
            Self::Disconnected => "disconnected",
            Self::BreakerOpen => "breaker_open",
            Self::Busy => "busy",
            Self::Timeout => "timeout",
            Self::OutOfMemory => "out_of_memory",
            Self::Failed => "error",
        }
    }
}

impl Outcome {
    metrics::labels! {
        /// The label of `shared_requests_total{outcome}`.
        const fn label(self) in LABELS {
            Self::Found => "found",
            Self::Fetch => "fetch",
            Self::Elsewhere => "elsewhere",
            Self::Failed => "failed",
            Self::Limited => "limited",
            Self::Unreadable => "unreadable",
            Self::Stored => "stored",
            Self::Refused => "refused";
            Self::Away(error) => (error.label()) of CallError::LABELS,
        }
    }
}

impl RedisTier {
    /// Reads the key files and starts the thread. Blocks the thread for a bounded time, but not for the
    /// server: until there is a connection, every look-up is [`LookUp::Away`].
    ///
    /// # Errors
    /// If a file can't be used, or the thread can't be started.
    pub fn open(
        settings: &Settings,
        clock: &Arc<dyn Clock>,
        metrics: &metrics::Shared,
    ) -> Result<Self, SetUpError> {
        metrics.requests.initialize(Outcome::LABELS.iter().copied().flatten().copied());
        let unreadable = metrics.requests.with_label_values(&[Outcome::Unreadable.label()]);
        let names = Arc::new(Names::open(settings)?);
        let connector = Connector::new(&settings.shared, names.channel())?;
        let board = Arc::new(Board {
            names,
            keys: Arc::new(sealing::open(settings.shared.key_file.as_deref())?),
            generation: AtomicU64::default(),
            events: broadcast::channel(EVENTS).0,
            unreadable,
            replica: rand::random(),
        });
        let link = Arc::new(Link::new(Arc::clone(clock)));
        let (jobs, waiting) = mpsc::unbounded_channel();
        let manager = Manager {
            connector,
            link: Arc::clone(&link),
            news: NewsReader::new(Arc::clone(&board)),
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
        Ok(Self(Arc::new(Inner {
            board,
            io: Io { link, jobs },
            timeout: settings.shared.timeout,
            max_life: settings.cache.max_token_life,
            clock: Arc::clone(clock),
            metrics: metrics.clone(),
        })))
    }

    /// The files that are reloaded when they change, with their names in logs and metrics.
    #[must_use]
    pub fn key_files(&self) -> [(&'static str, Arc<dyn Reloadable>); 2] {
        let Board { keys, names, .. } = &*self.0.board;
        let keys: Arc<dyn Reloadable> = Arc::<sealing::SealingKeys>::clone(keys);
        [("shared_keys", keys), ("shared_name_key", names.key())]
    }
}

impl fmt::Debug for RedisTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTier").finish_non_exhaustive()
    }
}

impl Inner {
    async fn call(
        &self,
        script: &'static Script,
        keys: Vec<String>,
        arguments: Vec<Vec<u8>>,
    ) -> Result<Value, CallError> {
        self.io.call(Call { script, keys, arguments, timeout: self.timeout }).await
    }

    fn count(&self, outcome: Outcome) {
        self.metrics.requests.with_label_values(&[outcome.label()]).inc();
    }

    async fn look_up(&self, mut request: Request) -> LookUp {
        let start = self.clock.monotonic();
        let mut result = self.look_up_once(&request).await;
        if let Err(unusable) = result {
            // The value is passed over from now on. This is another look-up, not a repeated one: the
            // first took no lease.
            request.need.newer_than = Some(unusable);
            result = self.look_up_once(&request).await;
        }
        self.metrics
            .duration
            .with_label_values::<&str>(&[])
            .observe(self.clock.monotonic().since(start).as_secs_f64());
        result.unwrap_or(LookUp::Away(None))
    }

    /// Returns the version of a value that can't be used as an error.
    async fn look_up_once(&self, request: &Request) -> Result<LookUp, Version> {
        let sent = self.clock.moment();
        let generation = self.board.generation.load(Ordering::Acquire);
        let customer = &request.customer;
        let lease = Lease {
            customer: customer.clone(),
            id: LeaseId::random(),
            generation,
            since: sent.monotonic,
        };
        let keys = self.board.names.customer(generation, customer);
        let value_key = keys.value();
        let names = vec![value_key.clone(), keys.lease(), keys.limit()];
        let arguments = look_up_arguments(request, lease.id);
        let response = match self.call(&script::LOOK_UP, names, arguments).await {
            Ok(response) => response,
            Err(error) => {
                self.count(Outcome::Away(error));
                return Ok(LookUp::Away(error.may_have_run().then_some(lease)));
            }
        };
        let read = |value: &[Value]| self.read(customer, &value_key, value, sent);
        let fallback = |value: &[Value]| match read(value) {
            Read::Usable(Found::Customer(customer)) => Some(customer),
            Read::Usable(Found::NotFound { .. }) | Read::Unusable(_) | Read::None => None,
        };
        let (outcome, result) = match items(&response) {
            [tag, value @ ..] if is(tag, b"found") => match read(value) {
                Read::Usable(found) => (Outcome::Found, LookUp::Found(found)),
                Read::Unusable(version) => return Err(version),
                Read::None => (Outcome::Unreadable, LookUp::Away(None)),
            },
            [tag, value @ ..] if is(tag, b"fetch") => {
                (Outcome::Fetch, LookUp::Fetch(lease, fallback(value)))
            }
            [tag, id, value @ ..] if is(tag, b"elsewhere") => match lease_id(id) {
                Some(id) => (Outcome::Elsewhere, LookUp::Elsewhere(id, fallback(value))),
                None => (Outcome::Unreadable, LookUp::Away(None)),
            },
            [tag, code] if is(tag, b"failed") => match failure_code(code) {
                Some(code) => (Outcome::Failed, LookUp::Failed(code)),
                None => (Outcome::Unreadable, LookUp::Away(None)),
            },
            [tag] if is(tag, b"limited") => (Outcome::Limited, LookUp::Limited),
            _ => (Outcome::Unreadable, LookUp::Away(None)),
        };
        self.count(outcome);
        Ok(result)
    }

    /// Reads `[value, time to live, age]`.
    fn read(&self, customer: &CustomerId, key: &str, value: &[Value], sent: Moment) -> Read {
        let [Value::BulkString(value), Value::Int(left), Value::Int(age)] = value else {
            return Read::None;
        };
        let [left, age] = [*left, *age].map(|it| Duration::from_millis(it.try_into().unwrap_or(0)));
        let Some((kind, version, sealed)) = value_parts(value) else {
            self.count(Outcome::Unreadable);
            return Read::None;
        };
        let arrival = Arrival { sent, left, age, max_life: self.max_life };
        let plain = self.board.keys.current().open(key, sealed);
        let decoded = plain.and_then(|plain| entry::decode(customer, &plain, &arrival));
        match (kind, decoded) {
            (b'c', Some(Decoded::Customer(json, life))) => {
                Read::Usable(Found::Customer(SharedCustomer { json, life, version }))
            }
            (b'n', Some(Decoded::NotFound)) => Read::Usable(Found::NotFound { remaining: left }),
            (_, Some(Decoded::Expired)) => Read::Unusable(version),
            _ => {
                self.count(Outcome::Unreadable);
                Read::Unusable(version)
            }
        }
    }

    async fn store(&self, lease: Lease, content: Content) -> Stored {
        let keys = self.board.names.customer(lease.generation, &lease.customer);
        let name = keys.value();
        let now = self.clock.moment();
        let sealed = entry::encode(&lease.customer, &content, lease.since, now).and_then(|it| {
            let sealed = self.board.keys.current().seal(&name, it.plain)?;
            let [age, floor, ttl] = [it.age, it.normal_floor, it.ttl].map(text_of_millis);
            Some(vec![text_of_lease(lease.id), it.kind.into(), age, floor, ttl, sealed])
        });
        let Some(arguments) = sealed else { return Stored::Refused };
        match self.call(&script::STORE, vec![name, keys.lease()], arguments).await {
            Ok(version) => match number(&version) {
                Some(version) => {
                    self.count(Outcome::Stored);
                    Stored::Yes(Version(version))
                }
                None => {
                    self.count(Outcome::Refused);
                    Stored::Refused
                }
            },
            Err(error) => {
                self.count(Outcome::Away(error));
                Stored::Unreached
            }
        }
    }

    async fn renew(&self, lease: Lease) {
        let keys = self.board.names.customer(lease.generation, &lease.customer);
        let arguments = vec![text_of_lease(lease.id), text_of_millis(LEASE_TIME)];
        self.call(&script::RENEW, vec![keys.lease()], arguments)
            .await
            .map(drop)
            .unwrap_or_default();
    }

    async fn fail(&self, lease: Lease, failure: Failure) {
        let keys = self.board.names.customer(lease.generation, &lease.customer);
        let (mark, code) = match failure {
            Failure::Juspay(code) => ("!", code),
            Failure::Own(code) => ("?", code),
        };
        let code = code.as_str().into();
        let time = text_of_millis(FAILURE_TIME);
        let arguments = vec![text_of_lease(lease.id), mark.into(), code, time];
        self.call(&script::FAIL, vec![keys.lease()], arguments).await.map(drop).unwrap_or_default();
    }

    async fn add_hand_outs(
        &self,
        customer: CustomerId,
        version: Version,
        added: u32,
    ) -> Result<u64, Unreached> {
        let generation = self.board.generation.load(Ordering::Acquire);
        let keys = self.board.names.customer(generation, &customer);
        let arguments = vec![added.to_string().into_bytes(), text_of_millis(self.max_life)];
        let total = self.call(&script::HAND_OUTS, vec![keys.hand_outs(version.0)], arguments).await;
        total.ok().as_ref().and_then(number).ok_or(Unreached)
    }

    async fn purge(&self, customer: CustomerId) -> Result<(), Unreached> {
        let generation = self.board.generation.load(Ordering::Acquire);
        let keys = self.board.names.customer(generation, &customer);
        let keys = vec![keys.value(), keys.lease()];
        let purge =
            Call { script: &script::PURGE, keys, arguments: Vec::new(), timeout: self.patience() };
        let purged = self.io.call(purge).await;
        // The others purge their memory even if the value could not be removed.
        let announced = self.announce(News::Purged(customer)).await;
        purged.map_err(|_| Unreached).and(announced)
    }

    async fn purge_all(&self) -> Result<(), Unreached> {
        let Board { names, generation, .. } = &*self.board;
        let arguments = vec![generation.load(Ordering::Acquire).to_string().into_bytes()];
        let keys = vec![names.generation()];
        let timeout = self.patience();
        let call = Call { script: &script::PURGE_ALL, keys, arguments, timeout };
        let begun = self.io.call(call).await.ok().as_ref().and_then(number).ok_or(Unreached)?;
        generation.fetch_max(begun, Ordering::AcqRel);
        Ok(())
    }

    async fn announce(&self, news: News) -> Result<(), Unreached> {
        let call = self.board.announcement(&news, self.patience()).ok_or(Unreached)?;
        self.io.call(call).await.map(drop).map_err(|_| Unreached)
    }

    fn patience(&self) -> Duration {
        self.timeout.max(ADMIN_TIMEOUT)
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

    fn fail(&self, lease: Lease, failure: Failure) -> LocalBoxFuture<'static, ()> {
        let tier = Arc::clone(&self.0);
        async move { tier.fail(lease, failure).await }.boxed_local()
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

    fn events(&self) -> Events {
        Events(self.0.board.events.subscribe())
    }
}

/// A value as it was read.
enum Read {
    Usable(Found),
    /// It has expired, or does not open.
    Unusable(Version),
    /// There is none, or not even its version is readable.
    None,
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

fn look_up_arguments(request: &Request, id: LeaseId) -> Vec<Vec<u8>> {
    let Request { need, charge, waited_for, .. } = request;
    let newer_than = need.newer_than.map_or_else(|| "-1".to_owned(), |it| it.0.to_string());
    let interval = |rate: Rate| rate.per.checked_div(rate.count.get()).unwrap_or_default();
    let interval = charge.map(|rate| interval(rate).as_micros().to_string().into_bytes());
    let burst = charge.map(|rate| rate.count.to_string().into_bytes());
    vec![
        text_of_lease(id),
        text_of_millis(LEASE_TIME),
        newer_than.into_bytes(),
        text_of_millis(need.least_life),
        need.max_age.map(text_of_millis).unwrap_or_default(),
        waited_for.map(text_of_lease).unwrap_or_default(),
        interval.unwrap_or_default(),
        burst.unwrap_or_default(),
    ]
}

fn text_of_millis(duration: Duration) -> Vec<u8> {
    millis(duration).to_string().into_bytes()
}

fn text_of_lease(id: LeaseId) -> Vec<u8> {
    format!("{:032x}", id.0).into_bytes()
}

fn lease_id(value: &Value) -> Option<LeaseId> {
    u128::from_str_radix(text(value)?, 16).ok().map(LeaseId)
}

fn failure_code(value: &Value) -> Option<FailureCode> {
    FailureCode::new(text(value)?)
}

fn text(value: &Value) -> Option<&str> {
    if let Value::BulkString(bytes) = value { str::from_utf8(bytes).ok() } else { None }
}

fn is(value: &Value, tag: &[u8]) -> bool {
    matches!(value, Value::BulkString(bytes) if bytes == tag)
}

/// The kind, the version and the encrypted entry of a value (`look_up.lua`).
fn value_parts(value: &[u8]) -> Option<(u8, Version, &[u8])> {
    let (head, sealed) = value.split_at_checked(24)?;
    let version = str::from_utf8(head.get(1..14)?).ok()?.parse().ok()?;
    Some((*head.first()?, Version(version), sealed))
}
