//! Traces for operators: spans of sampled requests, sent to a collector by OTLP.
//!
//! [`Tracer`] decides which requests are sampled, [`Span`] is a part of their work, `context`
//! parses `traceparent`, `queue` stores finished spans until `export` sends them from a separate
//! thread. `export` and its libraries are compiled with the cargo feature `traces`. Without it, or
//! without `traces.endpoint`, no request is sampled and spans are empty.
//!
//! Spans never contain customers or their data, tokens, keys, or paths with ids. An attribute is a
//! constant, a number, or a text that is known to be harmless ([`Span::name`]). Log lines and
//! errors of libraries never become attributes.

mod context;
#[cfg(feature = "traces")]
mod export;
mod queue;
mod span;
#[cfg(test)]
mod tests;

use std::{fmt, io, sync::Arc};

use tokio::sync::{oneshot, watch};

pub use self::{
    context::{TraceContext, TraceId},
    queue::{Queue, Waiting},
    span::{Kind, Parent, Place, Record, Span, Value},
};
use crate::{
    clock::{self, Clock, Monotonic},
    metrics,
    secret_file::Secret,
    settings,
    tls::TlsError,
};

/// Decides which requests are sampled. Clones share their state.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Shared>>);

/// How requests are sampled (`traces.sample`, `traces.trust_traceparent`).
#[derive(Debug, Clone, Copy)]
pub struct Sampling {
    /// The share of requests, from 0 to 1.
    pub share: f64,
    /// The flag in the client's `traceparent` decides instead.
    pub trust: bool,
}

/// The thread that sends spans. When this is dropped, the thread sends the queued spans and ends.
#[derive(Debug)]
pub struct Exporter {
    ending: watch::Sender<bool>,
    ended: oneshot::Receiver<()>,
    clock: Arc<dyn Clock>,
}

/// Why the export can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `traces.ca_file`
    #[error("traces.ca_file: {0}")]
    Tls(#[from] TlsError),
    /// The thread can't be started.
    #[error("failed to start the trace export thread: {0}")]
    Thread(#[from] io::Error),
}

/// Data that all spans share.
struct Shared {
    sampling: Sampling,
    queue: Queue,
    clock: Arc<dyn Clock>,
}

/// Starts the export if `traces.endpoint` is set, which the settings allow only with the cargo
/// feature `traces`. `headers` are for the collector.
///
/// # Errors
/// If `traces.ca_file` can't be used, or the thread can't be started.
#[cfg_attr(
    not(feature = "traces"),
    expect(clippy::needless_pass_by_value, unused_variables, reason = "for the export")
)]
pub fn start(
    settings: &settings::Traces,
    headers: Option<Arc<Secret>>,
    clock: &Arc<dyn Clock>,
    metrics: &metrics::Traces,
) -> Result<(Tracer, Option<Exporter>), StartError> {
    #[cfg(feature = "traces")]
    if let Some((tracer, exporter)) = export::start(settings, headers, clock, metrics)? {
        return Ok((tracer, Some(exporter)));
    }
    Ok((Tracer::off(), None))
}

impl Tracer {
    /// A tracer that never samples.
    #[must_use]
    pub const fn off() -> Self {
        Self(None)
    }

    /// A tracer that puts its spans into `queue`.
    #[must_use]
    pub fn new(sampling: Sampling, queue: Queue, clock: Arc<dyn Clock>) -> Self {
        Self(Some(Arc::new(Shared { sampling, queue, clock })))
    }

    /// Whether any request may be sampled.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Decides whether a request is sampled, and returns the parent of its spans. The spans join
    /// the client's trace, but the client's flag decides only if clients are trusted: otherwise any
    /// client could have all its requests recorded.
    #[must_use]
    pub fn draw(&self, context: Option<&TraceContext>) -> Option<Parent> {
        let shared = self.0.as_ref()?;
        let Sampling { share, trust } = shared.sampling;
        let is_sampled = match context {
            Some(context) if trust => context.is_sampled(),
            Some(_) | None => rand::random::<f64>() < share,
        };
        is_sampled.then(|| Parent::of_request(Arc::clone(shared), context))
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sampling = self.0.as_ref().map(|shared| shared.sampling);
        f.debug_struct("Tracer").field("sampling", &sampling).finish()
    }
}

impl Exporter {
    /// Waits until all finished spans are sent, at most until `until`.
    pub async fn end(self, until: Monotonic) {
        self.ending.send_replace(true);
        if clock::timeout_at(&*self.clock, until, self.ended).await.is_none() {
            tracing::warn!("last spans lost; the collector did not accept them in time");
        }
    }
}
