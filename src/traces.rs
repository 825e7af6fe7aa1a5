//! What a sampled request tells of its way, for operators: spans, sent to a collector by OTLP.
//!
//! [`Tracer`] draws which requests those are, [`Span`] is a piece of their work, `context` reads
//! `traceparent`, `queue` is where spans wait for those who send them. `export` sends them from a
//! thread of its own: its files and libraries come with the cargo feature `traces`; without it, or
//! without `traces.endpoint`, nobody is drawn and a span is nothing.
//!
//! Refused: customers, what is known of them, tokens, keys, paths with ids in them. An attribute is
//! one of the program's own words, a number, or a text that is told to be harmless
//! ([`Span::name`]). Log lines and errors of libraries have no way in.

#[cfg(not(feature = "traces"))]
mod absent;
mod context;
#[cfg(feature = "traces")]
mod export;
mod queue;
mod span;
#[cfg(test)]
mod tests;

use std::{fmt, io, sync::Arc};

#[cfg(not(feature = "traces"))]
pub use self::absent::{Exporter, start};
#[cfg(feature = "traces")]
pub use self::export::{Exporter, start};
pub use self::{
    context::{TraceContext, TraceId},
    queue::{Queue, Waiting},
    span::{Kind, Parent, Place, Record, Span, Value},
};
use crate::{clock::Clock, tls::TlsError};

/// Says which requests are traced. Clones are the same.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Shared>>);

/// Who is drawn (`traces.sample`, `traces.trust_traceparent`).
#[derive(Debug, Clone, Copy)]
pub struct Sampling {
    /// The share of requests, from 0 to 1.
    pub share: f64,
    /// A caller's `traceparent` says whether its request is traced.
    pub trust: bool,
}

/// Why spans can't be sent.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `traces.ca_file`
    #[error("traces.ca_file: {0}")]
    Tls(#[from] TlsError),
    /// No thread to send them.
    #[error("failed to start the trace export thread: {0}")]
    Thread(#[from] io::Error),
}

/// What all spans need.
struct Shared {
    sampling: Sampling,
    queue: Queue,
    clock: Arc<dyn Clock>,
}

impl Tracer {
    /// One that draws nobody.
    #[must_use]
    pub const fn off() -> Self {
        Self(None)
    }

    /// One whose spans go into `queue`.
    #[must_use]
    pub fn new(sampling: Sampling, queue: Queue, clock: Arc<dyn Clock>) -> Self {
        Self(Some(Arc::new(Shared { sampling, queue, clock })))
    }

    /// Whether anybody may be drawn.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Whether the request with this `traceparent`, which is only asked for when it matters, is
    /// traced, and what its spans belong to then. A caller's trace is gone on with; whether it is
    /// recorded here is drawn anew, unless callers are trusted: else any phone could have all of its
    /// requests recorded.
    pub fn draw<'h>(&self, traceparent: impl FnOnce() -> Option<&'h str>) -> Option<Parent> {
        let shared = self.0.as_ref()?;
        let Sampling { share, trust } = shared.sampling;
        let context = traceparent().and_then(TraceContext::parse);
        let is_drawn = match &context {
            Some(context) if trust => context.is_sampled(),
            Some(_) | None => rand::random::<f64>() < share,
        };
        is_drawn.then(|| Parent::of_request(Arc::clone(shared), context.as_ref()))
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sampling = self.0.as_ref().map(|shared| shared.sampling);
        f.debug_struct("Tracer").field("sampling", &sampling).finish()
    }
}
