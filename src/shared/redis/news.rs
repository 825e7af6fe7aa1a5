//! News between replicas: a stream of encrypted entries, which each replica reads every second, and at
//! once after a hint by publish/subscribe or a new connection. Blocking reads would hold up the commands
//! that share the connection.
//!
//! The entries have numbers without gaps. If one is missing, it was removed before this replica read it,
//! or the server has lost its data: [`Event::Missed`].

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
use tokio::sync::broadcast;

use super::{
    connection::{ConnectError, Connection, items},
    io::Call,
    names::Names,
    reply::number,
    script::{NEWS, PUBLISH},
    sealing::SealingKeys,
};
use crate::{
    clock::{Clock, Monotonic},
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
    Revoked(String),
    Newer(String, u64),
    /// Milliseconds of Unix time.
    Hold(i64),
}

impl Kind {
    fn of(news: &News) -> Self {
        match news {
            News::Purged(customer) => Self::Purged(customer.as_str().to_owned()),
            News::Revoked(entry) => Self::Revoked(entry.clone()),
            News::Newer(customer, version) => Self::Newer(customer.as_str().to_owned(), version.0),
            News::Hold(until) => Self::Hold(until.as_millisecond()),
        }
    }

    fn news(self) -> Option<News> {
        let customer = |id: &str| CustomerId::parse(id).ok();
        Some(match self {
            Self::Purged(id) => News::Purged(customer(&id)?),
            Self::Revoked(entry) => News::Revoked(entry),
            Self::Newer(id, version) => News::Newer(customer(&id)?, Version(version)),
            Self::Hold(until) => News::Hold(Timestamp::from_millisecond(until).ok()?),
        })
    }
}

/// What the reader and the announcements of a replica share.
pub(super) struct Board {
    pub(super) names: Arc<Names>,
    pub(super) keys: Arc<SealingKeys>,
    /// Changes with a purge of all; part of the names of entries.
    pub(super) generation: AtomicU64,
    pub(super) events: broadcast::Sender<Event>,
    pub(super) unreadable: IntCounter,
    /// Identifies this replica.
    pub(super) replica: u64,
}

impl Board {
    /// The call that announces news; `None` if they can't be encrypted.
    pub(super) fn announcement(&self, news: &News, timeout: Duration) -> Option<Call> {
        let stream = self.names.stream();
        let message = Message { from: self.replica, news: Kind::of(news) };
        let plain = Zeroizing::new(serde_json::to_vec(&message).ok()?);
        let sealed = self.keys.current().seal(&stream, plain)?;
        let keys = vec![stream, self.names.counter()];
        let channel = self.names.channel().into_bytes();
        let arguments = vec![sealed, MAX_LENGTH.to_string().into_bytes(), channel];
        Some(Call { script: &PUBLISH, keys, arguments, timeout })
    }

    fn read(&self, sealed: &[u8]) -> Option<Message> {
        let plain = self.keys.current().open(&self.names.stream(), sealed)?;
        serde_json::from_slice(&plain).ok()
    }

    fn send(&self, event: Event) {
        // Fails without subscribers.
        drop(self.events.send(event));
    }
}

/// Reads the news.
pub(super) struct NewsReader {
    board: Arc<Board>,
    stream: String,
    /// The number of the last news that were read; `None` before the first read.
    last: Option<u64>,
}

impl NewsReader {
    pub(super) fn new(board: Arc<Board>) -> Self {
        Self { stream: board.names.stream(), board, last: None }
    }

    /// The key that decides the node of the news.
    pub(super) fn key(&self) -> &str {
        &self.stream
    }

    /// Sends the event of a new connection.
    pub(super) fn connected(&self) {
        self.board.send(Event::Connected);
    }

    /// Reads the generation and all news, and sends their events.
    pub(super) async fn poll(
        &mut self,
        connection: &Connection,
        clock: &dyn Clock,
        deadline: Monotonic,
    ) -> Result<(), ConnectError> {
        loop {
            let call = self.call();
            let response = call.run_on(connection, clock, deadline).await;
            let response = response.ok_or(ConnectError::Timeout)??;
            if self.take(&response)? {
                return Ok(());
            }
        }
    }

    fn call(&self) -> Call {
        let names = &self.board.names;
        let last = self.last.map(|last| last.to_string()).unwrap_or_default();
        let generation = self.board.generation.load(Ordering::Acquire).to_string();
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
        let before = self.board.generation.fetch_max(generation, Ordering::AcqRel);
        let Some(mut last) = self.last else {
            // This replica has just started, with an empty cache.
            self.last = Some(newest);
            return Ok(true);
        };
        if generation > before {
            self.board.send(Event::PurgedAll);
        }
        let entries = items(entries);
        for entry in entries {
            let (number, sealed) = entry_parts(entry).ok_or(invalid)?;
            if last.checked_add(1) != Some(number) {
                break;
            }
            last = number;
            self.pass_on(sealed);
        }
        let is_all = last == newest;
        // Only a full batch leaves a rest, which the next read returns.
        let is_gap = !is_all && (entries.len() < BATCH || self.last == Some(last));
        if is_gap {
            self.board.send(Event::Missed);
            last = newest;
        }
        self.last = Some(last);
        Ok(is_all || is_gap)
    }

    fn pass_on(&self, sealed: &[u8]) {
        let Some(Message { from, news }) = self.board.read(sealed) else {
            return self.board.unreadable.inc();
        };
        if from == self.board.replica {
            return;
        }
        match news.news() {
            Some(news) => self.board.send(Event::News(news)),
            None => self.board.unreadable.inc(),
        }
    }
}

/// The number and the content of an entry of the stream: `["7-0", ["d", content]]`.
fn entry_parts(entry: &Value) -> Option<(u64, &[u8])> {
    let [Value::BulkString(id), fields] = items(entry) else { return None };
    let [_, Value::BulkString(sealed)] = items(fields) else { return None };
    let number = str::from_utf8(id).ok()?.strip_suffix("-0")?.parse().ok()?;
    Some((number, sealed))
}
