//! API keys, address families, merchant, clocks and the life of tokens.

use std::sync::Arc;

use jiff::SignedDuration;
use simulator::{ApiError, Fault, FaultRule, ObjectFault, TokenFault};

use super::Setup;
use crate::support::{ManualClock, world::BEGINNING};

const KEY: &str = "juspay.api_key_file";
const NEXT: &str = "juspay.api_key_next_file";

#[tokio::test(flavor = "multi_thread")]
async fn accepted_and_rejected_keys_are_distinguished() {
    let setup = Setup::new().await;
    let good = "ok Juspay accepts the key and this address over IPv4";
    let lines = setup.doctor().await.lines(KEY);
    assert!(lines.len() == 2 && lines[1].starts_with(good), "{lines:?}");

    setup.running.simulator().set_key(&setup.api_key, false);
    let output = setup.doctor().await;
    let lines = output.lines(KEY);
    assert!(
        lines[1].starts_with("FAILED Juspay rejected the API key (401) over IPv4"),
        "{lines:?}"
    );
    assert!(
        lines[1].contains("that is active in Juspay's dashboard")
            && lines[1].contains("juspay.merchant_id")
    );
    output.assert_failures(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_address_and_rejected_key_are_distinguished() {
    let setup = Setup::new().await;
    setup.running.simulator().inject(FaultRule::always(Fault::Error(ApiError::BadOrigin)));
    let output = setup.doctor().await;
    let lines = output.lines(KEY);
    assert!(
        lines[1].starts_with("FAILED Juspay rejected this server's address (403)"),
        "{lines:?}"
    );
    assert!(lines[1].contains("allow-list in Juspay's dashboard"), "{lines:?}");
    output.assert_failures(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_merchant_is_reported_if_juspay_reports_it() {
    let setup = Setup::new().await;
    // The simulator rejects the key, as Juspay probably does.
    let output = setup.doctor_with("juspay.merchant_id = 'another'", &[]).await;
    let lines = output.lines(KEY);
    assert!(
        lines[1].starts_with("FAILED ") && lines[1].contains("juspay.merchant_id"),
        "{lines:?}"
    );

    setup
        .running
        .simulator()
        .inject(FaultRule::always(Fault::Error(ApiError::MandatoryFieldsMissing)));
    let lines = setup.doctor().await.lines(KEY);
    assert!(lines[1].starts_with("FAILED Juspay returned status 400"), "{lines:?}");
    assert!(lines[1].contains("juspay.merchant_id and juspay.api_version"), "{lines:?}");

    setup.running.simulator().clear_faults();
    setup.running.simulator().inject(FaultRule::always(Fault::Status {
        status: 404,
        headers: [("x-jp-merchant-id".to_owned(), "someone_else".to_owned())].into(),
        body: r#"{"error_code":"object_not_found"}"#.to_owned(),
    }));
    let output = setup.doctor().await;
    output.assert_line(
        "juspay.merchant_id",
        "warning ",
        &["merchant someone_else, not sim_merchant"],
    );
    output.assert_failures(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_keys_are_checked() {
    let setup = Setup::new().await;
    let over =
        format!("juspay.api_key_next_file = '{}'", setup.secret("next", "canary_next").display());
    let output = setup.doctor_with(&over, &[]).await;
    assert!(output.lines(KEY)[1].starts_with("ok "), "{}", output.stdout);
    let next = &output.lines(NEXT)[1];
    assert!(next.starts_with("warning Juspay rejected the API key (401)"), "{next}");
    assert!(next.contains("remove the key from juspay.api_key_next_file"), "{next}");
    output.assert_failures(0);

    setup.running.simulator().set_key("canary_next", true);
    setup.running.simulator().set_key(&setup.api_key, false);
    let output = setup.doctor_with(&over, &[]).await;
    assert!(output.lines(KEY)[1].starts_with("warning "), "{}", output.stdout);
    assert!(output.lines(NEXT)[1].starts_with("ok "), "{}", output.stdout);

    setup.running.simulator().set_key("canary_next", false);
    setup.doctor_with(&over, &[]).await.assert_failures(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_of_another_server_are_reported() {
    let setup = Setup::new().await;
    for (fault, expected, fix) in [
        (Fault::Html, "an invalid response: a body that is not", "check juspay.base_url"),
        (
            Fault::Redirect { location: "https://elsewhere.example/".to_owned() },
            "a redirect",
            "check juspay.base_url",
        ),
        (Fault::Hang, "within the deadline", "juspay.deadline"),
        (Fault::Reset, "failed to reach Juspay: connection broke", "juspay.base_url"),
        (
            Fault::Status { status: 404, headers: [].into(), body: "<html>".to_owned() },
            "status 404",
            "check juspay.base_url",
        ),
        (
            Fault::Status { status: 429, headers: [].into(), body: String::new() },
            "rate limit (429)",
            "quota",
        ),
        (
            Fault::Status { status: 503, headers: [].into(), body: String::new() },
            "status 503",
            "status page",
        ),
    ] {
        setup.running.simulator().clear_faults();
        setup.running.simulator().inject(FaultRule::always(fault));
        let times = "juspay = { try_timeout = '1s', deadline = '1s' }";
        let output = setup.doctor_with(times, &[]).await;
        let line = &output.lines(KEY)[1];
        assert!(
            line.starts_with("FAILED ") && line.contains(expected) && line.contains(fix),
            "{line}"
        );
        output.assert_failures(1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clock_skew_of_juspay_is_reported() {
    let setup = Setup::new().await;
    let set = |seconds| {
        setup.running.simulator().set_clock_offset(SignedDuration::from_secs(seconds));
    };
    set(4);
    setup.doctor().await.assert_line("Juspay clock", "ok ", &[]);
    set(20);
    setup.doctor().await.assert_line(
        "Juspay clock",
        "warning ",
        &["s ahead of this machine's", "NTP"],
    );
    set(-20);
    setup.doctor().await.assert_line("Juspay clock", "warning ", &["s behind this machine's"]);
    set(600);
    let output = setup.doctor().await;
    output.assert_line("Juspay clock", "FAILED ", &["ahead of", "more than auth.leeway", "NTP"]);
    output.assert_failures(1);
    set(0);
    setup.running.simulator().inject(FaultRule::always(Fault::NoDate));
    setup.doctor().await.assert_line("Juspay clock", "warning ", &["no usable Date"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn clock_skew_of_an_issuer_is_reported() {
    // A clock that never advances, so it never agrees with this machine's.
    let clock = ManualClock::at(BEGINNING);
    clock.advance(std::time::Duration::from_hours(10 * 366 * 24));
    let setup = Setup::with(|config| config.clock = Arc::new(clock.clone())).await;
    let output = setup.doctor().await;
    output.assert_line(
        "issuer main clock",
        "FAILED ",
        &["ahead of this machine's", "auth.leeway", "NTP"],
    );
    output.assert_failures(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn token_life_is_compared_with_the_settings() {
    let setup = Setup::new().await;
    setup.running.simulator().set_provision(true);
    let life = "token life";
    let examined =
        async |customer: &str, over: &str| setup.doctor_with(over, &["--customer", customer]).await;
    let output = examined("alice", "").await;
    output.assert_line(life, "ok 14m 5", &["returned from the cache for 12m 5", "fit"]);
    output.assert_failures(0);
    let short = examined("sim_expires_40s", "").await;
    short.assert_line(life, "warning 3", &["cache.min_remaining 2m", "lower cache.min_remaining"]);
    let capped = examined("alice", "cache.max_token_life = '10m'").await;
    capped.assert_line(life, "warning 14m", &["cache.max_token_life 10m shortens it"]);
    let eager = "cache = { refresh_ahead = '20m', max_token_life = '30m' }";
    examined("alice", eager).await.assert_line(
        life,
        "warning ",
        &["cache.refresh_ahead 20m is longer"],
    );
    for (customer, expected, fix) in [
        ("sim_expires_20s", "shorter than cache.outage_min_remaining", "outage_min_remaining"),
        ("sim_not_found", "has no such customer", "--customer to a customer that exists"),
        ("sim_no_token", "no client auth token", "juspay.api_version"),
        ("sim_other_customer", "another customer", "juspay.customer_id_form"),
    ] {
        let output = examined(customer, "").await;
        output.assert_line(life, "FAILED ", &[expected, fix]);
        output.assert_failures(1);
        assert!(!output.stdout.contains(customer), "{}", output.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clock_skew_that_exceeds_the_token_life_is_reported() {
    let setup = Setup::new().await;
    setup.running.simulator().set_provision(true);
    setup.running.simulator().set_clock_offset(SignedDuration::from_mins(-15));
    let output = setup.doctor_with("", &["--customer", "alice"]).await;
    output.assert_line("Juspay clock", "FAILED ", &["behind this machine's", "NTP"]);
    let expected = ["expired by this server's clock", "s ahead of Juspay's", "NTP"];
    output.assert_line("token life", "FAILED ", &expected);
    output.assert_failures(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn customer_id_form_juspay_is_used() {
    let setup = Setup::new().await;
    setup.doctor_with("juspay.customer_id_form = 'juspay'", &[]).await.assert_failures(0);
    let requests = setup.running.simulator().requests();
    assert!(requests[0].path.starts_with("/customers/cst_"), "{}", requests[0].path);
    // A token without expiry must not be accepted for the unknown customer either.
    setup.running.simulator().set_provision(true);
    setup.running.simulator().inject(FaultRule::always(Fault::Token(TokenFault::Missing)));
    setup.running.simulator().inject(FaultRule::always(Fault::Object(ObjectFault::Sparse)));
    setup.doctor().await.assert_failures(0);
}
