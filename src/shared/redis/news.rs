//! News between replicas: a stream of encrypted entries, which each replica reads every second, and at
//! once after a hint by publish/subscribe or a new connection. Blocking reads would hold up the commands
//! that share the connection.
//!
//! The entries have numbers without gaps. If one is missing, it was removed before this replica read it,
//! or the server has lost its data: [`Event::Missed`]. Revocations are also kept in a hash until they
//! expire, and read as a whole at the start and after a gap.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use prometheus::IntCounter;
use redis::Value;
use secrecy::zeroize::Zeroizing;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::{
    connection::{ConnectError, Connection, items},
    entry::millis,
    io::Call,
    names::Names,
    reply::number,
    script::{NEWS, PUBLISH, REVOCATIONS, REVOKE},
    sealing::SealingKeys,
};
use crate::{
    clock::Clock,
    customer::CustomerId,
    shared::{Event, News, Version},
};

/// Greatest length of the stream: at 100 news a second, what a replica may miss for 100 s.
const MAX_LENGTH: u32 = 10_000;

/// Greatest number of news in one read.
const BATCH: usize = 500;

/// News as they are encrypted.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    /// The replica that announces them, and needs not learn them.
    from: u64,
    news: Kind,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Kind {
    Purged(String),
    /// With milliseconds of Unix time, as below.
    Revoked(String, i64),
    Newer(String, u64),
    /// And a duration in milliseconds.
    Hold(i64, u64),
}

impl Kind {
    fn of(news: &News) -> Self {
        match news {
            News::Purged(customer) => Self::Purged(customer.as_str().to_owned()),
            News::Revoked(entry, expires) => Self::Revoked(entry.clone(), expires.as_millisecond()),
            News::Newer(customer, version) => Self::Newer(customer.as_str().to_owned(), version.0),
            News::Hold(since, wait) => Self::Hold(since.as_millisecond(), millis(*wait)),
        }
    }

    fn news(self) -> Option<News> {
        let customer = |id: &str| CustomerId::parse(id).ok();
        // The greatest time has milliseconds that the library rejects.
        let time = |millisecond| {
            let exact = Timestamp::from_millisecond(millisecond).ok();
            exact.or_else(|| (millisecond > 0).then_some(Timestamp::MAX))
        };
        Some(match self {
            Self::Purged(id) => News::Purged(customer(&id)?),
            Self::Revoked(entry, expires) => News::Revoked(entry, time(expires)?),
            Self::Newer(id, version) => News::Newer(customer(&id)?, Version(version)),
            Self::Hold(since, wait) => News::Hold(time(since)?, Duration::from_millis(wait)),
        })
    }
}

/// What the reader and the announcements of a replica share.
pub(super) struct NewsContext {
    pub(super) names: Arc<Names>,
    pub(super) keys: Arc<SealingKeys>,
    /// Changes with a purge of all; part of the names of entries.
    pub(super) generation: AtomicU64,
    pub(super) events: mpsc::UnboundedSender<Event>,
    pub(super) unreadable: IntCounter,
    /// Identifies this replica.
    pub(super) replica: u64,
}

impl NewsContext {
    /// The call that announces news; `None` if they can't be encrypted.
    pub(super) fn announcement(&self, news: &News, timeout: Duration) -> Option<Call> {
        let names = &self.names;
        let stream = names.stream();
        let message = self.message(news)?;
        let sealed = self.seal(&stream, &message)?;
        let (mut keys, mut script) = (vec![stream, names.counter()], &PUBLISH);
        let length = MAX_LENGTH.to_string().into_bytes();
        let mut arguments = vec![sealed, length, names.channel().into_bytes()];
        if let News::Revoked(entry, expires) = news {
            script = &REVOKE;
            let name = names.revocation(entry);
            let kept = self.seal(&self.place(&name), &message)?;
            let expires = expires.as_millisecond().to_string().into_bytes();
            keys.extend([names.expiries(), names.revocations()]);
            arguments.extend([name.into_bytes(), expires, kept]);
        }
        Some(Call { script, keys, arguments, timeout })
    }

    fn message(&self, news: &News) -> Option<Zeroizing<Vec<u8>>> {
        let message = Message { from: self.replica, news: Kind::of(news) };
        serde_json::to_vec(&message).ok().map(Zeroizing::new)
    }

    fn seal(&self, place: &str, message: &Zeroizing<Vec<u8>>) -> Option<Vec<u8>> {
        self.keys.current().seal(place, message.clone())
    }

    /// The place of a revocation, which is authenticated with it.
    fn place(&self, name: &str) -> String {
        format!("{}:{name}", self.names.revocations())
    }

    fn read(&self, place: &str, sealed: &[u8]) -> Option<Message> {
        let plain = self.keys.current().open(place, sealed)?;
        serde_json::from_slice(&plain).ok()
    }

    /// Sends the event of news that another replica announced.
    fn pass_on(&self, message: Option<Message>) {
        match message.map(|it| (it.from == self.replica, it.news.news())) {
            Some((true, _)) => {}
            Some((false, Some(news))) => self.send(Event::News(news)),
            Some((false, None)) | None => self.unreadable.inc(),
        }
    }

    fn send(&self, event: Event) {
        // Fails if the reader has gone.
        self.events.send(event).unwrap_or_default();
    }
}

/// Reads the news.
pub(super) struct NewsReader {
    context: Arc<NewsContext>,
    stream: String,
    /// The number of the last news that were read; `None` before the first read.
    last: Option<u64>,
    /// How many revocations were read, while all of them have to be.
    revocations: Option<usize>,
    /// Whether this replica has served without the server, before its first connection.
    was_alone: bool,
}

impl NewsReader {
    pub(super) fn new(context: Arc<NewsContext>) -> Self {
        Self {
            stream: context.names.stream(),
            context,
            last: None,
            revocations: Some(0),
            was_alone: false,
        }
    }

    /// The key that decides the node of the news.
    pub(super) fn key(&self) -> &str {
        &self.stream
    }

    /// Notes that there was no connection.
    pub(super) const fn missed_a_connection(&mut self) {
        self.was_alone = true;
    }

    /// Sends the event of a new connection.
    pub(super) fn connected(&self) {
        self.context.send(Event::Connected);
    }

    /// Reads the generation and all news, and sends their events. Each read must end within `timeout`.
    pub(super) async fn poll(
        &mut self,
        connection: &Connection,
        clock: &dyn Clock,
        timeout: Duration,
    ) -> Result<(), ConnectError> {
        let read = async |call: Call| {
            let deadline = clock.monotonic().plus(timeout);
            let response = call.run_on(connection, clock, deadline).await;
            Ok::<Value, ConnectError>(response.ok_or(ConnectError::Timeout)??)
        };
        loop {
            let response = read(self.call()).await?;
            if self.take(&response)? {
                break;
            }
        }
        while let Some(first) = self.revocations {
            let response = read(self.page(first)).await?;
            self.revocations = self.take_revocations(first, items(&response));
        }
        Ok(())
    }

    /// The call for the revocations from number `first` on.
    fn page(&self, first: usize) -> Call {
        let names = &self.context.names;
        let last = first.saturating_add(BATCH).saturating_sub(1);
        let arguments = [first, last].map(|number| number.to_string().into_bytes()).to_vec();
        let keys = vec![names.expiries(), names.revocations()];
        Call { script: &REVOCATIONS, keys, arguments, timeout: Duration::ZERO }
    }

    /// Processes a page of revocations. Returns the number of the next one, if there may be more.
    fn take_revocations(&self, first: usize, page: &[Value]) -> Option<usize> {
        for entry in page {
            let [Value::BulkString(name), Value::BulkString(sealed)] = items(entry) else {
                continue;
            };
            let place = self.context.place(&String::from_utf8_lossy(name));
            self.context.pass_on(self.context.read(&place, sealed));
        }
        (page.len() == BATCH).then(|| first.saturating_add(BATCH))
    }

    fn call(&self) -> Call {
        let names = &self.context.names;
        let last = self.last.map(|last| last.to_string()).unwrap_or_default();
        let generation = self.context.generation.load(Ordering::Acquire).to_string();
        let arguments = [last, generation, BATCH.to_string()].map(String::into_bytes).to_vec();
        let keys = vec![self.stream.clone(), names.counter(), names.generation()];
        Call { script: &NEWS, keys, arguments, timeout: Duration::ZERO }
    }

    /// Processes a response. Returns whether it contains all that there is.
    fn take(&mut self, response: &Value) -> Result<bool, ConnectError> {
        let invalid = ConnectError::Redis(redis::ErrorKind::UnexpectedReturnType);
        let [generation, newest, entries] = items(response) else { return Err(invalid) };
        let (generation, newest) =
            (number(generation).ok_or(invalid)?, number(newest).ok_or(invalid)?);
        let before = self.context.generation.fetch_max(generation, Ordering::AcqRel);
        let Some(mut last) = self.last else {
            // This replica has just started, with an empty cache, unless it had no connection at first.
            self.last = Some(newest);
            if self.was_alone {
                self.context.send(Event::Missed);
            }
            return Ok(true);
        };
        if generation > before {
            self.context.send(Event::PurgedAll);
        }
        let entries = items(entries);
        for entry in entries {
            let (number, sealed) = entry_parts(entry).ok_or(invalid)?;
            if last.checked_add(1) != Some(number) {
                break;
            }
            last = number;
            self.context.pass_on(self.context.read(&self.stream, sealed));
        }
        let is_all = last == newest;
        // Only a full batch leaves a rest, which the next read returns.
        let is_gap = !is_all && (entries.len() < BATCH || self.last == Some(last));
        if is_gap {
            self.context.send(Event::Missed);
            self.revocations = Some(0);
            last = newest;
        }
        self.last = Some(last);
        Ok(is_all || is_gap)
    }
}

/// The number and the content of an entry of the stream: `["7-0", ["d", content]]`.
fn entry_parts(entry: &Value) -> Option<(u64, &[u8])> {
    let [Value::BulkString(id), fields] = items(entry) else { return None };
    let [_, Value::BulkString(sealed)] = items(fields) else { return None };
    let number = str::from_utf8(id).ok()?.strip_suffix("-0")?.parse().ok()?;
    Some((number, sealed))
}
