//! `sdk.*`: which payloads are possible.

use super::*;

fn faults(lines: &str) -> Vec<Fault> {
    faults_of(valid().text("x.toml", lines))
}

#[test]
fn profile_needs_an_environment_that_agrees_with_juspay_s_address() {
    let with = |environment: &str, base_url: &str| {
        format!("sdk = {{ profile = 'ec', {environment} }}\njuspay.base_url = '{base_url}'")
    };
    let [sandbox, production] = ["environment = 'sandbox'", "environment = 'production'"];
    for (environment, base_url, reason) in [
        (sandbox, "https://sandbox.juspay.in", None),
        (production, "https://api.juspay.in", None),
        ("environment = 'prod'", "https://payments.juspay.io", None),
        (sandbox, "https://juspay.bank.example", None),
        (production, "https://sandbox.juspay.in", Some("is Juspay's sandbox")),
        (sandbox, "https://api.juspay.in", Some("is Juspay's production")),
        ("environment = 'test'", "https://api.juspay.in", Some("expected \"sandbox\"")),
        ("", "https://api.juspay.in", Some("is missing")),
    ] {
        let lines = with(environment, base_url);
        let expected: Vec<_> =
            reason.map(|reason| ("sdk.environment", reason)).into_iter().collect();
        compare(&lines, &faults(&lines), &expected);
    }
    assert!(faults("sdk.environment = 'sandbox'").is_empty(), "off without a profile");
}

#[test]
fn extra_constants_are_strings_that_replace_nothing() {
    let extra = |entries: &str| {
        format!("[sdk]\nprofile = 'upi'\nenvironment = 'production'\nextra = {{ {entries} }}")
    };
    assert!(faults(&extra("issuingPsp = 'YES_BIZ', language = 'hi'")).is_empty());
    let entries = "signature = 'x', signaturePayload = 'x', clientAuthToken = 'x', customerid = 'x', \
                   '' = 'x', count = 1, flag = true";
    let expected = [
        ("sdk.extra.\"\"", "empty"),
        ("sdk.extra.clientAuthToken", "sets this member itself"),
        ("sdk.extra.count", "expected a string"),
        ("sdk.extra.customerid", "sets this member itself"),
        ("sdk.extra.flag", "expected a string"),
        ("sdk.extra.signature", "alternative to the client auth token"),
        ("sdk.extra.signaturePayload", "alternative to the client auth token"),
    ];
    compare(entries, &faults(&extra(entries)), &expected);
}

#[test]
fn payloads_need_the_reference_and_the_token() {
    let lines = "sdk = { profile = 'ec', environment = 'production' }\nresponse.fields = ['id']";
    let expected = [
        ("response.fields", "\"object_reference_id\", which the payloads"),
        ("response.fields", "\"juspay\", which the payloads"),
    ];
    compare(lines, &faults(lines), &expected);
}

#[test]
fn client_id_of_an_unknown_audience_is_a_warning() {
    let lines = "[sdk]\nprofile = 'ec'\nenvironment = 'production'\n\
                 client_id_by_audience = { unknown = 'x' }";
    let warnings = valid().text("x.toml", lines).load().unwrap().warnings;
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].warning().starts_with("sdk.client_id_by_audience"), "{:?}", warnings[0]);
    let empty =
        "[sdk]\nprofile = 'ec'\nenvironment = 'production'\nclient_id_by_audience = { app = '' }";
    compare(empty, &faults(empty), &[("sdk.client_id_by_audience.app", "empty")]);
}
