//! What the page reports about faults of Juspay, the issuer and the service.

use std::time::Duration;

use juspay_bff::clock::SystemClock;
use simulator::{Fault, FaultRule, issuer::JWKS_PATH};

use crate::{
    appearance::assert_accessible,
    browser::Browser,
    opened::{LIVE, Opened, cell_is, open, world},
    support::{
        Stage, World,
        process::{Process, bff},
    },
};

fn warns(text: &str) -> String {
    format!("document.querySelector('#warnings').textContent.includes('{text}')")
}

#[tokio::test(flavor = "multi_thread")]
async fn page_shows_when_the_breaker_opens_and_closes() {
    let breaker = "juspay.breaker = { min_calls = 2, failure_rate = 0.5, open_for = \"5s\" }";
    // The breaker's clock is manual.
    let mut opened = Opened::beside(World::with(breaker).await).await;
    let rule = FaultRule::always(Fault::Reset);
    opened.world.simulator().inject(rule);
    // Five customers open the breaker, and the sixth gets its error.
    for customer in ["alice", "bob", "carol", "dave", "erin", "frank"] {
        opened.world.client(customer).me().await;
    }
    opened.until_shown(6).await;
    assert_eq!(opened.browser.text("#breaker").await, "Open");
    let open = warns("The circuit breaker is open: Juspay is not called.");
    assert_eq!(opened.browser.evaluate(&open).await, true);
    assert_eq!(opened.row("answers", "502 upstream_error").await, ["5", "5"]);
    assert_eq!(opened.row("answers", "503 upstream_unavailable").await, ["1", "1"]);
    assert_eq!(opened.row("calls", "connection").await, ["5", "5"]);
    assert_eq!(opened.browser.text("#failed").await, "100 %");
    opened.browser.picture("breaker").await;

    opened.world.clock.advance(Duration::from_secs(5));
    opened.browser.until("document.querySelector('#breaker').textContent === 'Half open'").await;
    let half_open = warns("The circuit breaker is half open: one call tests Juspay.");
    assert_eq!(opened.browser.evaluate(&half_open).await, true);
    opened.world.simulator().clear_faults();
    assert_eq!(opened.world.client("alice").me().await.status, 200);
    opened.browser.until("document.querySelector('#breaker').textContent === 'Closed'").await;
    opened.browser.until(&format!("!{}", warns("breaker"))).await;
    opened.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn page_shows_rejections_and_missing_keys() {
    let mut opened = Opened::with("").await;
    opened.world.client("sim_bad_key").me().await;
    let rejected = "Juspay rejected the API key in the last minute, and customers got errors.";
    opened.browser.until(&warns(rejected)).await;
    opened.world.issuer().inject(JWKS_PATH, None, Fault::Html);
    opened.world.issuer().rotate(false).unwrap();
    opened.world.client("alice").me().await;
    opened
        .browser
        .until(&warns("Fetching the signing keys of main failed in the last minute."))
        .await;
    opened.browser.until(&cell_is("keysets", "main", 3, "1")).await;
    opened.browser.close().await;
}

/// Makes the page's clock advance by this time.
async fn time_passes(browser: &mut Browser, ms: u32) {
    let jump = format!(
        "(() => {{
            const now = performance.now.bind(performance);
            performance.now = () => now() + {ms};
        }})()"
    );
    browser.evaluate(&jump).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_before_the_page_was_opened_are_reported_until_the_last_minute_is_known() {
    let world = world("juspay.try_timeout = \"100ms\"").await;
    world.simulator().inject(FaultRule::always(Fault::Hang));
    for customer in ["alice", "bob", "carol"] {
        assert_eq!(world.client(customer).me().await.status, 504);
    }
    let mut opened = Opened::beside(world).await;
    let failed = warns("Customers got errors since start: upstream_timeout. JuspayBffUnserved");
    assert_eq!(opened.browser.evaluate(&failed).await, true, "with the first update");
    let timed_out = warns("Calls to Juspay timed out since start.");
    assert_eq!(opened.browser.evaluate(&timed_out).await, true);
    let severity = "document.querySelector('#attention').dataset.severity";
    assert_eq!(opened.browser.evaluate(severity).await, "page");
    for scheme in ["light", "dark"] {
        opened.browser.prefer(scheme).await;
        opened.browser.picture(&format!("{scheme}-failing")).await;
        assert_accessible(&mut opened.browser, &format!("failures, {scheme}")).await;
    }

    time_passes(&mut opened.browser, 55_000).await;
    opened.browser.until(&warns("Nothing needs attention.")).await;

    assert_eq!(opened.world.client("dave").me().await.status, 504);
    let failed = "Customers got errors in the last minute: upstream_timeout.";
    opened.browser.until(&warns(failed)).await;
    opened.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_fetched_keys_have_no_age_and_make_the_service_not_ready() {
    let stage = Stage::set_with(|simulator| simulator.clock = SystemClock::shared()).await;
    stage.issuer().inject(JWKS_PATH, None, Fault::Html);
    let world = stage.open("auth.jwks_cooldown = \"1s\"");
    assert_eq!(world.client("alice").me().await.status, 503);
    let mut opened = Opened::beside(world).await;
    assert_eq!(opened.browser.text("#word").await, "Not ready");
    assert_eq!(opened.browser.text("#sign").await, "▲");
    opened.browser.until(&cell_is("keysets", "main", 2, "never fetched")).await;
    opened.browser.until(&warns("The signing keys of main have never been fetched.")).await;
    for text in [
        "▲ Not ready: no issuer has keys yet.",
        "▲ Access tokens could not be verified since start, because an issuer did not answer, and customers got errors.",
    ] {
        assert_eq!(opened.browser.evaluate(&warns(text)).await, true, "{text}");
    }
    opened.browser.picture("not-ready").await;

    opened.world.issuer().clear_faults();
    opened.browser.until("document.querySelector('#word').textContent === 'Ready'").await;
    let age =
        "[...document.querySelectorAll('#keysets td')].some((it) => it.textContent.endsWith(' s'))";
    opened.browser.until(age).await;
    opened.browser.until(&format!("!{}", warns("never been fetched"))).await;
    // Readiness fails with a 503, which the console reports.
    assert_only_network_errors(&opened.browser);
    opened.browser.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_service_is_not_reported_as_a_fault() {
    let delay = "server.shutdown_delay = \"5s\"";
    // The drain's clock is manual.
    let mut opened = Opened::beside(World::with(delay).await).await;
    assert_eq!(opened.browser.text("#word").await, "Ready");
    opened.world.service.signal();
    opened.browser.until("document.querySelector('#word').textContent === 'Draining'").await;
    assert_eq!(opened.browser.text("#sign").await, "▼");
    assert_eq!(opened.browser.evaluate(&warns("Not ready")).await, false);
    opened.browser.picture("draining").await;
    assert_only_network_errors(&opened.browser);
    opened.browser.end().await;
    opened.world.clock.advance(Duration::from_secs(5));
}

/// The only errors are those of an unreachable server.
fn assert_only_network_errors(browser: &Browser) {
    for error in browser.errors() {
        assert!(error.contains("\"source\":\"network\""), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn page_shows_an_unreachable_service_and_restarts_with_a_new_one() {
    let world = world("").await;
    let (juspay, issuer) = (world.simulator().base_url(), world.issuer().issuer_url());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("settings.toml");
    let write = |admin: &str, capacity: u32| {
        let settings = format!(
            "server = {{ listen = \"127.0.0.1:0\", admin_listen = \"{admin}\", shutdown_delay = \"0s\" }}
             juspay = {{ base_url = \"{juspay}\", merchant_id = \"sim_merchant\", api_key = \"{}\" }}
             cache.capacity = {capacity}
             [auth.issuers.main]
             issuer = \"{issuer}\"\naudiences = [\"juspay-bff-demo\"]
             algorithms = [\"ES256\"]\ndiscovery = true",
            world.api_key,
        );
        std::fs::write(&file, settings).unwrap();
    };
    let start = async || {
        let mut process = Process::start(bff(&["serve", "--config", file.to_str().unwrap()]));
        let line = process.line_with("\"serving\"").await;
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        (process, line["admin"].as_str().unwrap().to_owned())
    };
    write("127.0.0.1:0", 1000);
    let (mut process, admin) = start().await;
    let mut browser = open(admin.parse().unwrap()).await;
    browser.until(LIVE).await;
    browser.until("document.querySelector('#entries').textContent.includes('of 1,000')").await;
    assert_eq!(process.terminate().await, Some(0));
    browser.until("document.body.dataset.state === 'lost'").await;
    assert_eq!(browser.text("#word").await, "Unreachable, retrying");
    assert_eq!(browser.evaluate(&warns("The service is unreachable")).await, true);
    browser.picture("lost").await;
    assert_eq!(browser.text("#breaker").await, "Closed", "the last numbers stay");

    write(&admin, 2000);
    let (mut process, _) = start().await;
    browser.until(LIVE).await;
    browser.until("document.querySelector('#entries').textContent.includes('of 2,000')").await;
    assert_only_network_errors(&browser);
    process.terminate().await;
    browser.end().await;
}
