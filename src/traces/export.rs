//! Sends spans to the collector, from a thread of its own.
//!
//! Spans leave together: each [`EVERY`], and as soon as there are enough. A batch that the collector
//! can't take now is tried again; then it is lost, counted, and told about in the log, once in a
//! while. `otlp` writes the messages, `post` carries them. Nobody but the thread waits for the
//! collector, and at the end of the process only for so long as [`Exporter::end`] is told.

mod otlp;
mod post;

use std::{sync::Arc, thread, time::Duration};

use prometheus::{IntCounter, IntCounterVec};
use tokio::{
    runtime,
    sync::{oneshot, watch},
    task::LocalSet,
};

use self::{
    otlp::Resource,
    post::{Collector, Failure},
};
use super::{Queue, Record, Sampling, StartError, Tracer, Waiting};
use crate::{
    clock::{self, Clock, Monotonic},
    metrics::{self, Series as _},
    secret_file::Secret,
    settings, tls,
};

/// Between two looks for spans.
const EVERY: Duration = Duration::from_secs(2);

/// How long the collector may take for a batch.
const TRY_TIME: Duration = Duration::from_secs(5);

/// So often a batch is tried.
const TRIES: u32 = 3;

/// The first pause between two tries; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Between two log lines about spans that were lost.
const TOLD_EVERY: Duration = Duration::from_mins(1);

/// Why spans were lost.
#[derive(Debug, Clone, Copy)]
enum Cause {
    /// They ended faster than they were sent.
    QueueFull,
    /// The collector rejected them.
    Refused,
    /// The collector didn't answer.
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

/// The thread that sends. Dropped, it sends what there is and ends.
#[derive(Debug)]
pub struct Exporter {
    ending: watch::Sender<bool>,
    over: oneshot::Receiver<()>,
    clock: Arc<dyn Clock>,
}

/// Begins to send spans, if the settings say where to; `headers` are for the collector.
///
/// # Errors
/// When `traces.ca_file` can't be used, or no thread can be had.
pub fn start(
    settings: &settings::Traces,
    headers: Option<Arc<Secret>>,
    clock: &Arc<dyn Clock>,
    metrics: &metrics::Traces,
) -> Result<(Tracer, Exporter), StartError> {
    let (ending, end) = watch::channel(false);
    let (done, over) = oneshot::channel();
    let exporter = Exporter { ending, over, clock: Arc::clone(clock) };
    metrics.lost.initialize(Cause::LABELS.iter().copied());
    let Some(endpoint) = &settings.endpoint else { return Ok((Tracer::off(), exporter)) };
    let tls = tls::client_config(settings.ca_file.as_deref())?;
    let (queue, waiting) = Queue::new(metrics.lost.with_label_values(&[Cause::QueueFull.label()]));
    let counts = Counts::of(metrics);
    let resource = Resource::new(&settings.service_name);
    let (endpoint, for_thread) = (endpoint.clone(), Arc::clone(clock));
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("traces".to_owned()).spawn(move || {
        let sending = async move {
            let collector = Collector::new(&endpoint, &tls, headers);
            let losses = Losses { told: 0, next: for_thread.monotonic(), why: None };
            let clock = for_thread;
            Sender { waiting, collector, resource, counts, losses, end, clock }.run().await;
        };
        LocalSet::new().block_on(&runtime, sending);
        // Not for a look-up of the collector's name that may still be under way.
        runtime.shutdown_background();
        // Nobody may wait any more.
        done.send(()).unwrap_or_default();
    })?;
    let sampling = Sampling { share: settings.sample, trust: settings.trust_traceparent };
    Ok((Tracer::new(sampling, queue, Arc::clone(clock)), exporter))
}

impl Exporter {
    /// Waits until all that has ended is sent, but no longer than `until`.
    pub async fn end(self, until: Monotonic) {
        self.ending.send_replace(true);
        // Nobody sends where nobody traces: then it is over by now, too.
        if clock::timeout_at(&*self.clock, until, self.over).await.is_none() {
            tracing::warn!("last spans lost; the collector did not accept them in time");
        }
    }
}

/// What became of spans.
struct Counts {
    exported: IntCounter,
    lost: IntCounterVec,
}

/// What is to be told of spans that were lost.
struct Losses {
    /// How many have been.
    told: u64,
    /// When it may be told again.
    next: Monotonic,
    why: Option<Failure>,
}

/// What the thread does.
struct Sender {
    waiting: Waiting,
    collector: Collector,
    resource: Resource,
    counts: Counts,
    losses: Losses,
    end: watch::Receiver<bool>,
    clock: Arc<dyn Clock>,
}

impl Sender {
    async fn run(mut self) {
        loop {
            let next = self.clock.monotonic().plus(EVERY);
            tokio::select! {
                () = self.clock.sleep_until(next) => {}
                () = self.waiting.enough() => {}
                () = ended(self.end.clone()) => {}
            }
            // What comes from now on may be too late.
            let is_last = self.is_ending();
            while let Some(batch) = self.waiting.take() {
                self.deliver(&batch).await;
                self.tell();
            }
            self.tell();
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
        for tries_left in (0..TRIES).rev() {
            let deadline = self.clock.monotonic().plus(TRY_TIME);
            let sent = self.collector.post(message.clone());
            let sent = clock::timeout_at(&*self.clock, deadline, sent).await;
            match sent.unwrap_or(Err(Failure::Timeout)) {
                Ok(refused) => {
                    let refused = refused.min(size);
                    self.counts.exported.inc_by(size.saturating_sub(refused));
                    return self.lose(Cause::Refused, refused, Failure::Partly);
                }
                Err(why) if !why.may_pass() => return self.lose(Cause::Refused, size, why),
                Err(why) if tries_left == 0 => return self.lose(Cause::Unreachable, size, why),
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
            self.counts.lost.with_label_values(&[cause.label()]).inc_by(number);
            self.losses.why = Some(why);
        }
    }

    /// Tells how many spans were lost since that was last told, unless that was a moment ago.
    fn tell(&mut self) {
        let lost = self.counts.lost();
        let now = self.clock.monotonic();
        if lost > self.losses.told && now >= self.losses.next {
            let why = self.losses.why.take().map(tracing::field::display);
            let number = lost.saturating_sub(self.losses.told);
            tracing::warn!(lost = number, why, "trace spans lost; requests are not affected");
            self.losses = Losses { told: lost, next: now.plus(TOLD_EVERY), why: None };
        }
    }

    fn is_ending(&self) -> bool {
        *self.end.borrow() || self.end.has_changed().is_err()
    }
}

/// Completes when the end has begun, also when nobody is left who could say so.
async fn ended(mut end: watch::Receiver<bool>) {
    drop(end.wait_for(|ending| *ending).await);
}

impl Counts {
    fn of(metrics: &metrics::Traces) -> Self {
        Self { exported: metrics.exported.clone(), lost: metrics.lost.clone() }
    }

    /// How many were lost, whatever the cause.
    fn lost(&self) -> u64 {
        let counts = Cause::LABELS.iter().map(|cause| self.lost.with_label_values(&[*cause]).get());
        counts.fold(0, u64::saturating_add)
    }
}
