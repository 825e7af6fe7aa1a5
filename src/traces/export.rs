//! Sends spans to the collector from a separate thread.
//!
//! Spans are sent in batches: every [`INTERVAL`], and as soon as a batch is full. A batch that the
//! collector temporarily rejects is retried; then it is lost, counted, and reported in the log at
//! most once a minute. `otlp` encodes the messages, `post` sends them. Requests never wait for the
//! collector, and shutdown waits for a bounded time ([`Exporter::end`]).

mod otlp;
mod post;

use std::{sync::Arc, thread, time::Duration};

use tokio::{
    runtime,
    sync::{oneshot, watch},
    task::LocalSet,
};

use self::{
    otlp::Resource,
    post::{Collector, Failure},
};
use super::{Exporter, Queue, Record, Sampling, StartError, Tracer, Waiting};
use crate::{
    clock::{self, Clock, Monotonic},
    metrics::{self, Series as _},
    secret_file::Secret,
    settings, tls,
};

/// Time between two batches that aren't full.
const INTERVAL: Duration = Duration::from_secs(2);

/// Maximum time of an attempt to send a batch.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// Number of attempts to send a batch.
const ATTEMPTS: u32 = 3;

/// The first pause between two attempts; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Minimum time between two log lines about lost spans.
const REPORT_INTERVAL: Duration = Duration::from_mins(1);

/// Why spans were lost.
#[derive(Debug, Clone, Copy)]
enum Cause {
    /// The spans finished faster than they were sent.
    QueueFull,
    /// The collector rejected them.
    Refused,
    /// The collector didn't respond.
    Unreachable,
}

impl Cause {
    metrics::labels! {
        /// The label of `trace_spans_lost_total{cause}`.
        const fn label(self) in LABELS {
            Self::QueueFull => "queue_full",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
        }
    }
}

/// Starts the thread if `traces.endpoint` is set; `headers` are for the collector.
pub(super) fn start(
    settings: &settings::Traces,
    headers: Option<Arc<Secret>>,
    clock: &Arc<dyn Clock>,
    metrics: &metrics::Traces,
) -> Result<Option<(Tracer, Exporter)>, StartError> {
    metrics.lost.initialize(Cause::LABELS.iter().copied());
    let Some(endpoint) = settings.endpoint.clone() else { return Ok(None) };
    let (ending, end) = watch::channel(false);
    let (done, ended) = oneshot::channel();
    let tls = tls::client_config(settings.ca_file.as_deref())?;
    let (queue, waiting) = Queue::new(metrics.lost.with_label_values(&[Cause::QueueFull.label()]));
    let metrics = metrics.clone();
    let resource = Resource::new(&settings.service_name);
    let for_thread = Arc::clone(clock);
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("traces".to_owned()).spawn(move || {
        let send = async move {
            let collector = Collector::new(&endpoint, &tls, headers);
            let losses = Losses { reported: 0, next: for_thread.monotonic(), why: None };
            let clock = for_thread;
            Sender { waiting, collector, resource, metrics, losses, end, clock }.run().await;
        };
        LocalSet::new().block_on(&runtime, send);
        // Doesn't wait for a DNS lookup of the collector's name.
        runtime.shutdown_background();
        // Fails if `Exporter::end` has timed out.
        done.send(()).unwrap_or_default();
    })?;
    let sampling = Sampling { share: settings.sample, trust: settings.trust_traceparent };
    let tracer = Tracer::new(sampling, queue, Arc::clone(clock));
    Ok(Some((tracer, Exporter { ending, ended, clock: Arc::clone(clock) })))
}

/// Reports lost spans in the log.
struct Losses {
    /// Lost spans in reports so far.
    reported: u64,
    /// The earliest time of the next report.
    next: Monotonic,
    /// The cause of the last loss.
    why: Option<Failure>,
}

/// The state of the thread.
struct Sender {
    waiting: Waiting,
    collector: Collector,
    resource: Resource,
    metrics: metrics::Traces,
    losses: Losses,
    end: watch::Receiver<bool>,
    clock: Arc<dyn Clock>,
}

impl Sender {
    async fn run(mut self) {
        loop {
            let next = self.clock.monotonic().plus(INTERVAL);
            tokio::select! {
                () = self.clock.sleep_until(next) => {}
                () = self.waiting.enough() => {}
                () = ended(self.end.clone()) => {}
            }
            // Spans that finish after this may not be sent.
            let is_last = self.is_ending();
            while let Some(batch) = self.waiting.take() {
                self.deliver(&batch).await;
                self.report_losses();
            }
            self.report_losses();
            if is_last {
                return;
            }
        }
    }

    /// Sends a batch, or loses it.
    async fn deliver(&mut self, batch: &[Record]) {
        let message = otlp::request(&self.resource, batch);
        let size = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let mut pause = FIRST_PAUSE;
        for attempts_left in (0..ATTEMPTS).rev() {
            let deadline = self.clock.monotonic().plus(ATTEMPT_TIMEOUT);
            let sent = self.collector.post(message.clone());
            let sent = clock::timeout_at(&*self.clock, deadline, sent).await;
            match sent.unwrap_or(Err(Failure::Timeout)) {
                Ok(refused) => {
                    let refused = refused.min(size);
                    self.metrics.exported.inc_by(size.saturating_sub(refused));
                    return self.lose(Cause::Refused, refused, Failure::Partly);
                }
                Err(why) if !why.is_temporary() => return self.lose(Cause::Refused, size, why),
                Err(why) if attempts_left == 0 => return self.lose(Cause::Unreachable, size, why),
                Err(_) => {}
            }
            let next = self.clock.monotonic().plus(pause);
            pause = pause.saturating_mul(2);
            tokio::select! {
                () = self.clock.sleep_until(next) => {}
                () = ended(self.end.clone()) => {}
            }
        }
    }

    fn lose(&mut self, cause: Cause, number: u64, why: Failure) {
        if number > 0 {
            self.metrics.lost.with_label_values(&[cause.label()]).inc_by(number);
            self.losses.why = Some(why);
        }
    }

    /// Reports the spans lost since the last report, unless that was less than a minute ago.
    fn report_losses(&mut self) {
        let lost = lost_spans(&self.metrics);
        let now = self.clock.monotonic();
        if lost > self.losses.reported && now >= self.losses.next {
            let why = self.losses.why.take().map(tracing::field::display);
            let number = lost.saturating_sub(self.losses.reported);
            tracing::warn!(lost = number, why, "trace spans lost; requests are not affected");
            self.losses = Losses { reported: lost, next: now.plus(REPORT_INTERVAL), why: None };
        }
    }

    fn is_ending(&self) -> bool {
        *self.end.borrow() || self.end.has_changed().is_err()
    }
}

/// Completes when the shutdown starts, or the [`Exporter`] is dropped.
async fn ended(mut end: watch::Receiver<bool>) {
    drop(end.wait_for(|ending| *ending).await);
}

/// The number of lost spans.
fn lost_spans(metrics: &metrics::Traces) -> u64 {
    let counts = Cause::LABELS.iter().map(|cause| metrics.lost.with_label_values(&[*cause]).get());
    counts.fold(0, u64::saturating_add)
}
