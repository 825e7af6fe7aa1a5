//! What the page shows when something is wrong: with Juspay, with the issuer, with the service.

use std::time::Duration;

use juspay_bff::simulator::{Fault, FaultRule, issuer::JWKS_PATH};

use crate::{
    browser::Browser,
    opened::{LIVE, Opened, cell_is, open, world},
    support::{
        World,
        process::{Process, bff},
    },
};

fn warns(text: &str) -> String {
    format!("document.querySelector('#warnings').textContent.includes('{text}')")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_breaker_is_told_and_its_end_too() {
    let breaker = "juspay.breaker = { min_calls = 2, failure_rate = 0.5, open_for = \"5s\" }";
    // The breaker's time is turned by hand.
    let mut opened = Opened::beside(World::with(breaker).await).await;
    let rule = FaultRule::always(Fault::Reset);
    opened.world.simulator().inject(rule);
    // Five customers open it, and the sixth is told so.
    for customer in ["alice", "bob", "carol", "dave", "erin", "frank"] {
        opened.world.phone(customer).me().await;
    }
    opened.until_shown(6).await;
    assert_eq!(opened.browser.text("#breaker").await, "Open");
    assert_eq!(
        opened.browser.evaluate(&warns("The breaker is open: Juspay isn’t asked.")).await,
        true
    );
    assert_eq!(opened.row("answers", "502 upstream_error").await, ["5", "5"]);
    assert_eq!(opened.row("answers", "503 upstream_unavailable").await, ["1", "1"]);
    assert_eq!(opened.row("calls", "connection").await, ["5", "5"]);
    assert_eq!(opened.browser.text("#failed").await, "100 %");
    opened.browser.picture("breaker").await;

    opened.world.clock.advance(Duration::from_secs(5));
    opened.browser.until("document.querySelector('#breaker').textContent === 'Half open'").await;
    opened.world.simulator().clear_faults();
    assert_eq!(opened.world.phone("alice").me().await.status, 200);
    opened.browser.until("document.querySelector('#breaker').textContent === 'Closed'").await;
    opened.browser.until(&format!("!{}", warns("breaker"))).await;
    opened.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rejections_and_lost_keys_are_told() {
    let mut opened = Opened::with("").await;
    opened.world.phone("sim_bad_key").me().await;
    opened.browser.until(&warns("Juspay rejects our API key.")).await;
    opened.world.issuer().inject(JWKS_PATH, None, Fault::Html);
    opened.world.issuer().rotate(false).unwrap();
    opened.world.phone("alice").me().await;
    opened.browser.until(&warns("The keys of main couldn’t be fetched")).await;
    opened.browser.until(&cell_is("keysets", "main", 3, "1")).await;
    opened.browser.close().await;
}

/// Only what a browser says of a server that isn't there.
fn complains_about_the_network_only(browser: &Browser) {
    for complaint in browser.complaints() {
        assert!(complaint.contains("\"source\":\"network\""), "{complaint}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_gone_is_told_and_another_one_is_shown_from_its_start() {
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
    assert_eq!(browser.text("#word").await, "Can’t be reached, trying again");
    assert_eq!(browser.evaluate(&warns("The service can’t be reached")).await, true);
    browser.picture("lost").await;
    assert_eq!(browser.text("#breaker").await, "Closed", "the last numbers stay");

    write(&admin, 2000);
    let (mut process, _) = start().await;
    browser.until(LIVE).await;
    browser.until("document.querySelector('#entries').textContent.includes('of 2,000')").await;
    complains_about_the_network_only(&browser);
    process.terminate().await;
    browser.end().await;
}
