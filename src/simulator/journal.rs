//! What the simulator has received, to be read back.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::{
    bounded::Bounded,
    http::{Request, find_header},
};

/// Requests kept; the oldest is forgotten for a new one.
const REQUESTS: usize = 10_000;

/// Customers that calls are counted for.
const CUSTOMERS: usize = 1_000_000;

/// A request as it came in, secrets and all: this is a test tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReceivedRequest {
    /// Counts requests since the start, from 1. The answer's `x-request-id` is `sim-` and this.
    pub number: u64,
    /// Counts connections, from 1.
    pub connection: u64,
    /// When it came, by the simulator's clock.
    #[serde(serialize_with = "as_text")]
    pub time: Timestamp,
    /// `GET` or the like.
    pub method: String,
    /// The path, still percent-encoded.
    pub path: String,
    /// What stood behind the first `?`.
    pub query: String,
    /// Names and values in their order, names as they were spelt.
    pub headers: Vec<(String, String)>,
    /// The body; what isn't UTF-8 in it is replaced.
    pub body: String,
}

impl ReceivedRequest {
    /// The first header field of that name, whatever its case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        find_header(&self.headers, name)
    }
}

fn as_text<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(time)
}

/// Requests and counts.
#[derive(Debug)]
pub(super) struct Journal(Mutex<Entries>);

#[derive(Debug)]
struct Entries {
    total: u64,
    requests: VecDeque<Arc<ReceivedRequest>>,
    calls: Bounded<String, u64>,
}

impl Journal {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        let calls = Bounded::new(CUSTOMERS);
        Self(Mutex::new(Entries { total: 0, requests: VecDeque::new(), calls }))
    }

    /// Writes a request down, as one about `target` if it is about one; tells its number.
    pub(super) fn record(&self, request: &Request, target: Option<&str>, time: Timestamp) -> u64 {
        let mut received = ReceivedRequest {
            number: 0,
            connection: request.connection,
            time,
            method: request.method.clone(),
            path: request.path.clone(),
            query: request.query.clone(),
            headers: request.headers.clone(),
            body: String::from_utf8_lossy(&request.body).into_owned(),
        };
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.total = entries.total.saturating_add(1);
        received.number = entries.total;
        if entries.requests.len() >= REQUESTS {
            entries.requests.pop_front();
        }
        entries.requests.push_back(Arc::new(received));
        if let Some(target) = target {
            let (calls, _) = entries.calls.get_or_insert_with(&target.to_owned(), || 0);
            *calls = calls.saturating_add(1);
        }
        entries.total
    }

    /// The last 10,000 requests, oldest first.
    pub(super) fn requests(&self) -> Vec<Arc<ReceivedRequest>> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.requests.iter().cloned().collect()
    }

    /// How many requests came since the start.
    pub(super) fn total(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).total
    }

    /// How many calls were about `target`.
    pub(super) fn calls(&self, target: &str) -> u64 {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.calls.get(target).copied().unwrap_or_default()
    }

    /// All counts of calls.
    pub(super) fn counts(&self) -> BTreeMap<String, u64> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.calls.iter().map(|(target, calls)| (target.clone(), *calls)).collect()
    }

    /// Forgets requests and counts; numbers go on.
    pub(super) fn clear(&self) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.requests.clear();
        entries.calls.clear();
    }
}
