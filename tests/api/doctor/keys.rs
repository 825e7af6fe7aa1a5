//! API keys, addresses, merchant, clocks, tokens' lives.

use std::sync::Arc;

use jiff::SignedDuration;
use juspay_bff::simulator::{ApiError, Fault, FaultRule, ObjectFault, TokenFault};

use super::Ward;
use crate::support::{ManualClock, world::BEGINNING};

const KEY: &str = "juspay.api_key_file";
const NEXT: &str = "juspay.api_key_next_file";

#[tokio::test(flavor = "multi_thread")]
async fn a_good_key_is_told_from_a_wrong_one() {
    let ward = Ward::new().await;
    let good = "ok Juspay accepts the key and this address over IPv4";
    let lines = ward.doctor().await.lines(KEY);
    assert!(lines.len() == 2 && lines[1].starts_with(good), "{lines:?}");

    ward.running.simulator().set_key(&ward.api_key, false);
    let checkup = ward.doctor().await;
    let lines = checkup.lines(KEY);
    assert!(
        lines[1].starts_with("FAILED Juspay rejected the API key (401) over IPv4"),
        "{lines:?}"
    );
    assert!(
        lines[1].contains("that is active in Juspay's dashboard")
            && lines[1].contains("juspay.merchant_id")
    );
    checkup.failed_only(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_address_is_told_from_a_wrong_key() {
    let ward = Ward::new().await;
    ward.running.simulator().inject(FaultRule::always(Fault::Error(ApiError::BadOrigin)));
    let checkup = ward.doctor().await;
    let lines = checkup.lines(KEY);
    assert!(
        lines[1].starts_with("FAILED Juspay rejected this server's address (403)"),
        "{lines:?}"
    );
    assert!(lines[1].contains("allow-list in Juspay's dashboard"), "{lines:?}");
    checkup.failed_only(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_merchant_is_told_as_far_as_juspay_does() {
    let ward = Ward::new().await;
    // The simulator, as far as is known, rejects the key.
    let checkup = ward.doctor_with("juspay.merchant_id = 'another'", &[]).await;
    let lines = checkup.lines(KEY);
    assert!(
        lines[1].starts_with("FAILED ") && lines[1].contains("juspay.merchant_id"),
        "{lines:?}"
    );

    ward.running
        .simulator()
        .inject(FaultRule::always(Fault::Error(ApiError::MandatoryFieldsMissing)));
    let lines = ward.doctor().await.lines(KEY);
    assert!(lines[1].starts_with("FAILED Juspay returned status 400"), "{lines:?}");
    assert!(lines[1].contains("juspay.merchant_id and juspay.api_version"), "{lines:?}");

    ward.running.simulator().clear_faults();
    ward.running.simulator().inject(FaultRule::always(Fault::Status {
        status: 404,
        headers: [("x-jp-merchant-id".to_owned(), "someone_else".to_owned())].into(),
        body: r#"{"error_code":"object_not_found"}"#.to_owned(),
    }));
    let checkup = ward.doctor().await;
    checkup.says("juspay.merchant_id", "warning ", &["merchant someone_else, not sim_merchant"]);
    checkup.failed_only(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_keys_are_tried() {
    let ward = Ward::new().await;
    let over =
        format!("juspay.api_key_next_file = '{}'", ward.secret("next", "canary_next").display());
    let checkup = ward.doctor_with(&over, &[]).await;
    assert!(checkup.lines(KEY)[1].starts_with("ok "), "{}", checkup.said);
    let next = &checkup.lines(NEXT)[1];
    assert!(next.starts_with("warning Juspay rejected the API key (401)"), "{next}");
    assert!(next.contains("remove the key from juspay.api_key_next_file"), "{next}");
    checkup.failed_only(0);

    ward.running.simulator().set_key("canary_next", true);
    ward.running.simulator().set_key(&ward.api_key, false);
    let checkup = ward.doctor_with(&over, &[]).await;
    assert!(checkup.lines(KEY)[1].starts_with("warning "), "{}", checkup.said);
    assert!(checkup.lines(NEXT)[1].starts_with("ok "), "{}", checkup.said);

    ward.running.simulator().set_key("canary_next", false);
    ward.doctor_with(&over, &[]).await.failed_only(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_in_juspays_place_is_told() {
    let ward = Ward::new().await;
    for (fault, told, fix) in [
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
        ward.running.simulator().clear_faults();
        ward.running.simulator().inject(FaultRule::always(fault));
        let times = "juspay = { try_timeout = '1s', deadline = '1s' }";
        let checkup = ward.doctor_with(times, &[]).await;
        let line = &checkup.lines(KEY)[1];
        assert!(line.starts_with("FAILED ") && line.contains(told) && line.contains(fix), "{line}");
        checkup.failed_only(1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_differ_are_told() {
    let ward = Ward::new().await;
    let set = |seconds| {
        ward.running.simulator().set_clock_offset(SignedDuration::from_secs(seconds));
    };
    set(4);
    ward.doctor().await.says("Juspay clock", "ok ", &[]);
    set(20);
    ward.doctor().await.says("Juspay clock", "warning ", &["s ahead of this machine's", "NTP"]);
    set(-20);
    ward.doctor().await.says("Juspay clock", "warning ", &["s behind this machine's"]);
    set(600);
    let checkup = ward.doctor().await;
    checkup.says("Juspay clock", "FAILED ", &["ahead of", "more than auth.leeway", "NTP"]);
    checkup.failed_only(1);
    set(0);
    ward.running.simulator().inject(FaultRule::always(Fault::NoDate));
    ward.doctor().await.says("Juspay clock", "warning ", &["no usable Date"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuers_clock_is_looked_at_too() {
    // Never this machine's time: the clock stands still.
    let clock = ManualClock::at(BEGINNING);
    clock.advance(std::time::Duration::from_hours(10 * 366 * 24));
    let ward = Ward::with(|config| config.clock = Arc::new(clock.clone())).await;
    let checkup = ward.doctor().await;
    checkup.says(
        "issuer main clock",
        "FAILED ",
        &["ahead of this machine's", "auth.leeway", "NTP"],
    );
    checkup.failed_only(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_life_of_a_real_token_is_held_against_the_settings() {
    let ward = Ward::new().await;
    ward.running.simulator().set_provision(true);
    let life = "token life";
    let examined =
        async |customer: &str, over: &str| ward.doctor_with(over, &["--customer", customer]).await;
    let checkup = examined("alice", "").await;
    checkup.says(life, "ok 14m 5", &["returned from the cache for 12m 5", "fit"]);
    checkup.failed_only(0);
    let short = examined("sim_expires_40s", "").await;
    short.says(life, "warning 3", &["cache.min_remaining 2m", "lower cache.min_remaining"]);
    let capped = examined("alice", "cache.max_token_life = '10m'").await;
    capped.says(life, "warning 14m", &["cache.max_token_life 10m shortens it"]);
    let eager = "cache = { refresh_ahead = '20m', max_token_life = '30m' }";
    examined("alice", eager).await.says(life, "warning ", &["cache.refresh_ahead 20m is longer"]);
    for (customer, told, fix) in [
        ("sim_expires_20s", "shorter than cache.outage_min_remaining", "outage_min_remaining"),
        ("sim_not_found", "has no such customer", "--customer to a customer that exists"),
        ("sim_no_token", "no client auth token", "juspay.api_version"),
        ("sim_other_customer", "another customer", "juspay.customer_id_form"),
    ] {
        let checkup = examined(customer, "").await;
        checkup.says(life, "FAILED ", &[told, fix]);
        checkup.failed_only(1);
        assert!(!checkup.said.contains(customer), "{}", checkup.said);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_leaves_tokens_no_life_is_named() {
    let ward = Ward::new().await;
    ward.running.simulator().set_provision(true);
    ward.running.simulator().set_clock_offset(SignedDuration::from_mins(-15));
    let checkup = ward.doctor_with("", &["--customer", "alice"]).await;
    checkup.says("Juspay clock", "FAILED ", &["behind this machine's", "NTP"]);
    let told = ["expired by this server's clock", "s ahead of Juspay's", "NTP"];
    checkup.says("token life", "FAILED ", &told);
    checkup.failed_only(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn juspays_own_form_of_ids_is_kept_to() {
    let ward = Ward::new().await;
    ward.doctor_with("juspay.customer_id_form = 'juspay'", &[]).await.failed_only(0);
    let asked = ward.running.simulator().requests();
    assert!(asked[0].path.starts_with("/customers/cst_"), "{}", asked[0].path);
    // A token without its end is no customer of nobody's either.
    ward.running.simulator().set_provision(true);
    ward.running.simulator().inject(FaultRule::always(Fault::Token(TokenFault::Missing)));
    ward.running.simulator().inject(FaultRule::always(Fault::Object(ObjectFault::Sparse)));
    ward.doctor().await.failed_only(0);
}
