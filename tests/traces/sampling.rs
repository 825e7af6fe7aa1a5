//! Which requests are traced, and how a caller's own trace is continued.

use juspay_bff::settings::Sources;

use crate::{
    collector::{Collector, Plan},
    support::{Reply, World, guard, until},
};

const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN_ID: &str = "b7ad6b7169203331";

async fn me(world: &World, flags: &str) -> Reply {
    let line = format!("traceparent: 00-{TRACE_ID}-{SPAN_ID}-{flags}\r\n");
    let reply = world.client("alice").request("GET", "/me/customer", &line).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply
}

/// The log line of this request.
async fn line(reply: &Reply) -> serde_json::Value {
    let id = reply.header("x-request-id").unwrap();
    until("its line", async || !guard::log_lines(id).is_empty()).await;
    serde_json::from_str(&guard::log_lines(id)[0]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_trace_is_continued_whether_it_is_sampled_or_not() {
    for flags in ["00", "01"] {
        let collector = Collector::new(Plan::Take).await;
        let world = collector.world("").await;
        me(&world, flags).await;
        let passed_on =
            world.simulator().requests().last().unwrap().header("traceparent").unwrap().to_owned();
        assert!(passed_on.starts_with(&format!("00-{TRACE_ID}-")) && passed_on.ends_with(flags));
        let exported = collector.exported_at_stop(world).await;
        assert_eq!(exported.spans.len(), 5);
        assert!(exported.spans.iter().all(|span| span.trace_id == TRACE_ID));
        let request = exported.one("GET /me/customer");
        assert_eq!((&*request.parent, request.flags), (SPAN_ID, 0x301));
        assert_eq!(exported.one("verify token").flags, 0x101);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sample_ratio_zero_traces_nothing() {
    let collector = Collector::new(Plan::Take).await;
    let world = collector.world("traces.sample = 0").await;
    me(&world, "01").await;
    assert_eq!(me(&world, "01").await.cache_status(), "juspay-bff; hit; ttl=779");
    let exported = collector.exported_at_stop(world).await;
    assert!(exported.spans.is_empty() && collector.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn trusted_caller_decides_about_sampling() {
    let collector = Collector::new(Plan::Take).await;
    let world = collector.world("traces.sample = 0\ntraces.trust_traceparent = true").await;
    me(&world, "00").await;
    me(&world, "01").await;
    world.client("alice").me().await;
    let exported = collector.exported_at_stop(world).await;
    assert_eq!(exported.trees(), "GET /me/customer\n  verify token\n  look up customer\n");
    assert_eq!(exported.one("GET /me/customer").parent, SPAN_ID);
}

#[tokio::test(flavor = "multi_thread")]
async fn log_lines_contain_the_trace_id_and_juspay_gets_no_trace_that_starts_here() {
    let collector = Collector::new(Plan::Take).await;
    let world = collector.world("").await;
    let reply = world.client("alice").me().await;
    let trace_id = line(&reply).await["trace_id"].as_str().unwrap().to_owned();
    assert_eq!(line(&me(&world, "01").await).await["trace_id"], TRACE_ID);
    assert_eq!(world.simulator().requests().last().unwrap().header("traceparent"), None);
    let exported = collector.exported_at_stop(world).await;
    assert_eq!(exported.one("fetch customer").trace_id, trace_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_nothing_is_traced() {
    let world = World::with("").await;
    let reply = world.client("alice").me().await;
    assert!(line(&reply).await.get("trace_id").is_none());
    assert_eq!(world.count("juspay_bff_trace_spans_exported_total").await, 0);
}

#[test]
fn plain_http_is_accepted_but_not_with_secret_headers() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "Authorization: hush").unwrap();
    let file = format!("traces.headers_file = \"{}\"", file.path().display());
    let load = |settings: &str| {
        let faults = Sources::default().text("x", settings).load().unwrap_err();
        let of_traces = faults.iter().filter(|fault| fault.key.starts_with("traces."));
        of_traces.map(ToString::to_string).collect::<Vec<_>>()
    };
    for endpoint in ["http://otel-collector:4318", "https://x.example/otlp/", "http://127.0.0.1"] {
        let endpoint = format!("traces.endpoint = \"{endpoint}\"\n");
        assert_eq!(load(&endpoint), [""; 0]);
        let faults = load(&format!("{endpoint}{file}"));
        assert_eq!(faults.len(), usize::from(endpoint.contains("otel-collector")), "{faults:?}");
        assert!(faults.iter().all(|it| it.contains("plain http") && !it.contains("hush")));
    }
}
