//! A span: a part of a sampled request's work, from start to end.
//!
//! Without sampling, a [`Span`] is empty and its methods do nothing. A span ends when it is dropped,
//! so cancelled work has a span too.

use std::{borrow::Cow, cell::RefCell, fmt, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{Shared, TraceContext, TraceId};
use crate::clock::{self, Monotonic};

/// A part of a request's work; empty if the request isn't sampled.
#[derive(Default)]
pub struct Span(RefCell<Option<Box<Open>>>);

/// The parent of new spans: a request's trace or another span; empty if the request isn't sampled.
#[derive(Clone, Default)]
pub struct Parent(Option<Under>);

#[derive(Clone)]
struct Under {
    shared: Arc<Shared>,
    trace_id: TraceId,
    span_id: Option<u64>,
    /// The parent is the client's span.
    is_remote: bool,
}

/// Identifies a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The trace's id.
    pub trace_id: TraceId,
    /// The span's id, never zero.
    pub span_id: u64,
}

/// The kind of work (OTLP's `SpanKind`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Responds to a request.
    Server,
    /// Calls another service.
    Client,
    /// Everything else.
    Internal,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A constant, or a text that is known to be harmless.
    Text(Cow<'static, str>),
    /// A number.
    Number(i64),
    /// A boolean.
    Truth(bool),
}

/// A finished span.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the names are those of OTLP's span")]
pub struct Record {
    pub place: Place,
    pub parent: Option<u64>,
    pub parent_is_remote: bool,
    pub name: &'static str,
    pub kind: Kind,
    pub start: Timestamp,
    pub end: Timestamp,
    pub attributes: Vec<(&'static str, Value)>,
    pub links: Vec<Place>,
    pub failed: bool,
}

/// A span in progress. Dropping it ends it.
struct Open {
    shared: Arc<Shared>,
    begun: Monotonic,
    record: Option<Record>,
}

impl Parent {
    pub(super) fn of_request(shared: Arc<Shared>, context: Option<&TraceContext>) -> Self {
        let random = || TraceId(rand::random_range(1..=u128::MAX));
        Self(Some(Under {
            shared,
            trace_id: context.map_or_else(random, TraceContext::trace_id),
            span_id: context.map(TraceContext::parent),
            is_remote: context.is_some(),
        }))
    }

    /// Begins a child span.
    #[must_use]
    pub fn begin(&self, name: &'static str, kind: Kind) -> Span {
        let open = |under: &Under| Box::new(Open::begin(under, name, kind));
        Span(RefCell::new(self.0.as_ref().map(open)))
    }
}

impl Open {
    fn begin(under: &Under, name: &'static str, kind: Kind) -> Self {
        let now = under.shared.clock.moment();
        let record = Record {
            place: Place { trace_id: under.trace_id, span_id: rand::random_range(1..=u64::MAX) },
            parent: under.span_id,
            parent_is_remote: under.is_remote,
            name,
            kind,
            start: now.wall,
            end: now.wall,
            attributes: Vec::new(),
            links: Vec::new(),
            failed: false,
        };
        Self { shared: Arc::clone(&under.shared), begun: now.monotonic, record: Some(record) }
    }

    /// Time since the start, on the monotonic clock.
    fn age(&self) -> Duration {
        self.shared.clock.monotonic().since(self.begun)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(mut record) = self.record.take() {
            record.end = clock::later(record.start, self.age());
            self.shared.queue.put(record);
        }
    }
}

impl Span {
    /// Adds an attribute: a constant, a number or a boolean.
    pub fn set(&self, key: &'static str, value: impl Into<Value>) {
        self.change(|record| record.attributes.push((key, value.into())));
    }

    /// Adds an attribute: a name from the settings, or a request id. Never another text.
    pub fn name(&self, key: &'static str, name: &str) {
        self.change(|record| {
            record.attributes.push((key, Value::Text(Cow::Owned(name.to_owned()))));
        });
    }

    /// Marks the work as failed, with an `error.type`.
    pub fn fail(&self, kind: &'static str) {
        self.change(|record| {
            record.failed = true;
            record.attributes.push(("error.type", kind.into()));
        });
    }

    /// Links another span, of any trace.
    pub fn link(&self, to: Option<Place>) {
        self.change(|record| record.links.extend(to));
    }

    /// Ends the span before it is dropped.
    pub fn end(&self) {
        drop(self.0.take());
    }

    /// The span's ids; `None` if the request isn't sampled.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        self.0.borrow().as_ref()?.record.as_ref().map(|record| record.place)
    }

    /// The parent for child spans.
    #[must_use]
    pub fn parent(&self) -> Parent {
        let open = self.0.borrow();
        let under = |open: &Open| {
            let Place { trace_id, span_id } = open.record.as_ref()?.place;
            let shared = Arc::clone(&open.shared);
            Some(Under { shared, trace_id, span_id: Some(span_id), is_remote: false })
        };
        Parent(open.as_deref().and_then(under))
    }

    fn change(&self, change: impl FnOnce(&mut Record)) {
        if let Some(open) = &mut *self.0.borrow_mut() {
            open.record.as_mut().map(change);
        }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Span").field(&self.place()).finish()
    }
}

impl fmt::Debug for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trace_id = self.0.as_ref().map(|under| under.trace_id);
        f.debug_tuple("Parent").field(&trace_id).finish()
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Truth(truth)
    }
}
