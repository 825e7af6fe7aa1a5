//! Sampling, the content of spans, and a full queue.

use std::{sync::Arc, time::Duration};

use prometheus::IntCounter;

use super::{Kind, Parent, Queue, Record, Sampling, Span, TraceContext, Tracer, Value, Waiting};
use crate::clock::{Clock as _, later, manual::ManualClock};

const START: &str = "2026-01-01T00:00:00Z";
const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";

/// A tracer and the output of its queue.
struct Rig {
    clock: ManualClock,
    tracer: Tracer,
    waiting: Waiting,
    lost: IntCounter,
}

fn rig(share: f64, trust: bool) -> Rig {
    let clock = ManualClock::at(START);
    let lost = IntCounter::new("lost", "lost").unwrap();
    let (queue, waiting) = Queue::new(lost.clone());
    let tracer = Tracer::new(Sampling { share, trust }, queue, Arc::new(clock.clone()));
    Rig { clock, tracer, waiting, lost }
}

impl Rig {
    fn all(&mut self) -> Vec<Record> {
        std::iter::from_fn(|| self.waiting.take()).flatten().collect()
    }

    fn draw(&self) -> Parent {
        self.tracer.draw(None).unwrap()
    }
}

fn header(flags: &str) -> String {
    format!("00-{TRACE_ID}-b7ad6b7169203331-{flags}")
}

#[test]
fn untrusted_clients_do_not_decide_what_is_sampled() {
    for flags in ["00", "01"] {
        let context = TraceContext::parse(&header(flags));
        let sent = context.as_ref();
        assert!(rig(1.0, false).tracer.draw(sent).is_some(), "{flags}");
        assert!(rig(0.0, false).tracer.draw(sent).is_none(), "{flags}");
        let trusted = flags == "01";
        assert_eq!(rig(1.0, true).tracer.draw(sent).is_some(), trusted, "{flags}");
        assert_eq!(rig(0.0, true).tracer.draw(sent).is_some(), trusted, "{flags}");
    }
    assert!(rig(1.0, true).tracer.draw(TraceContext::parse("nonsense").as_ref()).is_some());
    assert!(rig(0.0, true).tracer.draw(None).is_none());
}

#[test]
fn configured_share_of_requests_is_sampled() {
    let rig = rig(0.25, false);
    let drawn = (0..4000).filter(|_| rig.tracer.draw(None).is_some()).count();
    assert!((800..1200).contains(&drawn), "{drawn}");
}

#[test]
fn span_of_a_request_that_is_not_sampled_is_empty() {
    let tracer = Tracer::off();
    assert!(!tracer.is_on());
    assert!(tracer.draw(None).is_none());
    let span = Parent::default().begin("work", Kind::Internal);
    span.set("key", true);
    span.name("name", "text");
    span.fail("badly");
    assert_eq!(span.place(), None);
    assert_eq!(span.parent().begin("within", Kind::Internal).place(), None);
    assert_eq!(Span::default().place(), None);
}

#[test]
fn span_joins_the_clients_trace_or_starts_a_new_one() {
    let mut rig = rig(1.0, false);
    let context = TraceContext::parse(&header("01"));
    let span = rig.tracer.draw(context.as_ref()).unwrap().begin("served", Kind::Server);
    let place = span.place().unwrap();
    assert_eq!(place.trace_id.to_string(), TRACE_ID);
    drop(span.parent().begin("within", Kind::Internal));
    drop(span);
    drop(rig.draw().begin("another", Kind::Server));
    let [within, served, another] = rig.all().try_into().unwrap();
    assert_eq!((served.parent, served.parent_is_remote), (Some(0xb7ad_6b71_6920_3331), true));
    assert_eq!((within.parent, within.parent_is_remote), (Some(place.span_id), false));
    assert_eq!(within.place.trace_id, place.trace_id);
    assert_eq!((another.parent, another.parent_is_remote), (None, false));
    assert_ne!(another.place.trace_id, place.trace_id);
}

#[test]
fn span_has_attributes_links_and_a_duration_of_the_monotonic_clock() {
    let mut rig = rig(1.0, false);
    let other = rig.draw().begin("other", Kind::Internal);
    let span = rig.draw().begin("work", Kind::Client);
    span.set("word", "ok");
    span.set("number", 200_u16);
    span.set("truth", true);
    span.name("name", "main");
    span.link(other.place());
    span.link(None);
    rig.clock.advance(Duration::from_millis(7));
    rig.clock.jump_wall(jiff::SignedDuration::from_hours(-3));
    span.fail("timeout");
    span.end();
    span.set("late", true);
    drop(span);
    let [record] = rig.all().try_into().unwrap();
    assert_eq!(record.start, START.parse().unwrap());
    assert_eq!(record.end, later(record.start, Duration::from_millis(7)));
    assert_ne!(record.end, rig.clock.now());
    assert_eq!((record.name, record.kind, record.failed), ("work", Kind::Client, true));
    assert_eq!(record.links, [other.place().unwrap()]);
    let text = |text: &str| Value::Text(text.to_owned().into());
    let expected = [
        ("word", text("ok")),
        ("number", Value::Number(200)),
        ("truth", Value::Truth(true)),
        ("name", text("main")),
        ("error.type", text("timeout")),
    ];
    assert_eq!(record.attributes, expected);
}

#[test]
fn spans_beyond_the_queue_are_lost_and_counted() {
    let mut rig = rig(1.0, false);
    for _ in 0..5000 {
        drop(rig.draw().begin("work", Kind::Internal));
    }
    assert_eq!(rig.lost.get(), 5000 - 4096);
    assert_eq!(rig.waiting.take().unwrap().len(), 512);
    drop(rig.draw().begin("work", Kind::Internal));
    assert_eq!(rig.lost.get(), 5000 - 4096);
    drop(rig.waiting);
    drop(rig.tracer.draw(None).unwrap().begin("work", Kind::Internal));
    assert_eq!(rig.lost.get(), 5001 - 4096, "the queue has no output");
}

#[tokio::test]
async fn full_batch_wakes_the_export() {
    let rig = rig(1.0, false);
    for _ in 0..511 {
        drop(rig.draw().begin("work", Kind::Internal));
    }
    let woken = futures_util::FutureExt::now_or_never(rig.waiting.enough());
    assert!(woken.is_none());
    drop(rig.draw().begin("work", Kind::Internal));
    rig.waiting.enough().await;
}
