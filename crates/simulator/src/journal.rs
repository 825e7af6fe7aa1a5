//! Records the requests that the simulator receives, for tests and the control API.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::{
    bounded_map::BoundedMap,
    http::{Request, find_header, form_fields},
};

/// Maximum number of requests. A new one replaces the oldest.
const REQUESTS: usize = 10_000;

/// Maximum number of customers with counts.
const CUSTOMERS: usize = 1_000_000;

/// A request as received, including its secrets: this is a test tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReceivedRequest {
    /// Number of the request since the start, from 1. The response's `x-request-id` is `sim-` and
    /// this number.
    pub number: u64,
    /// Number of the connection, from 1.
    pub connection: u64,
    /// Time of receipt on the simulator's clock.
    #[serde(serialize_with = "as_text")]
    pub time: Timestamp,
    /// Such as `GET`.
    pub method: String,
    /// The percent-encoded path.
    pub path: String,
    /// The part after the first `?`.
    pub query: String,
    /// Names and values in order, names with their original case.
    pub headers: Vec<(String, String)>,
    /// The body without chunked framing; invalid UTF-8 is replaced.
    pub body: String,
    /// The decoded names and values of a form, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub form: Vec<(String, String)>,
}

impl ReceivedRequest {
    /// The first header field with this name, ignoring case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        find_header(&self.headers, name)
    }

    /// The first value of a field of the form.
    #[must_use]
    pub fn form_value(&self, name: &str) -> Option<&str> {
        let mut fields = self.form.iter();
        fields.find_map(|(key, value)| (key == name).then_some(value.as_str()))
    }
}

fn as_text<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(time)
}

/// The recorded requests and the counts.
#[derive(Debug)]
pub(super) struct Journal(Mutex<Entries>);

#[derive(Debug)]
struct Entries {
    total: u64,
    requests: VecDeque<Arc<ReceivedRequest>>,
    calls: BoundedMap<String, u64>,
}

impl Journal {
    /// An empty journal.
    pub(super) fn new() -> Self {
        let calls = BoundedMap::new(CUSTOMERS);
        Self(Mutex::new(Entries { total: 0, requests: VecDeque::new(), calls }))
    }

    /// Records a request, counts it for `target` if there is one, and returns its number.
    pub(super) fn record(&self, request: &Request, target: Option<&str>, time: Timestamp) -> u64 {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let mut received = ReceivedRequest {
            number: 0,
            connection: request.connection,
            time,
            method: request.method.clone(),
            path: request.path.clone(),
            query: request.query.clone(),
            headers: request.headers.clone(),
            form: form_fields(&body).collect(),
            body,
        };
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.total += 1;
        received.number = entries.total;
        if entries.requests.len() >= REQUESTS {
            entries.requests.pop_front();
        }
        entries.requests.push_back(Arc::new(received));
        if let Some(target) = target {
            let (calls, _) = entries.calls.get_or_insert_with(&target.to_owned(), || 0);
            *calls += 1;
        }
        entries.total
    }

    /// The last 10,000 requests, oldest first.
    pub(super) fn requests(&self) -> Vec<Arc<ReceivedRequest>> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.requests.iter().cloned().collect()
    }

    /// Number of requests since the start.
    pub(super) fn total(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).total
    }

    /// Number of calls for `target`.
    pub(super) fn calls(&self, target: &str) -> u64 {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.calls.get(target).copied().unwrap_or_default()
    }

    /// Number of calls by target.
    pub(super) fn counts(&self) -> BTreeMap<String, u64> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.calls.iter().map(|(target, calls)| (target.clone(), *calls)).collect()
    }

    /// Removes requests and counts. Request numbers continue.
    pub(super) fn clear(&self) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.requests.clear();
        entries.calls.clear();
    }
}
