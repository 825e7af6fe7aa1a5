//! Key sets, shared secrets and introspection endpoints.

use std::{fs, path::Path};

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};
use simulator::{
    Fault,
    issuer::{DEFAULT_CLIENT, DISCOVERY_PATH, INTROSPECTION_PATH, JWKS_PATH},
};

use super::Setup;

const KEYS: &str = "issuer main keys";

fn answers(body: &Value) -> Fault {
    let headers = [("Content-Type".to_owned(), "application/json".to_owned())];
    Fault::Status { status: 200, headers: headers.into(), body: body.to_string() }
}

#[tokio::test(flavor = "multi_thread")]
async fn ignored_keys_are_reported_with_the_reason() {
    let setup = Setup::new().await;
    let issuer = setup.running.issuer();
    let mut keys = issuer.jwks()["keys"].as_array().unwrap().clone();
    keys.push(json!({"kty": "oct", "k": "c2VjcmV0", "kid": "shared"}));
    keys.push(json!({"kty": "RSA", "n": "AQAB", "e": "AQAB", "use": "enc", "kid": "a\u{1b}[31m"}));
    issuer.inject(JWKS_PATH, None, answers(&json!({ "keys": keys })));
    let both = "auth.issuers.main.algorithms = ['ES256', 'RS256']";
    let output = setup.doctor_with(both, &[]).await;
    output.assert_line(
        KEYS,
        "ok 1 usable for ES256, none for RS256; 2 ignored (",
        &["shared: unsupported type or curve", "?: not for verifying signatures"],
    );
    assert!(!output.stdout.contains('\u{1b}'), "{}", output.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn unavailable_key_set_is_reported_with_the_fix() {
    let setup = Setup::new().await;
    let issuer = setup.running.issuer();
    let other = json!({"issuer": "https://other.example", "jwks_uri": issuer.jwks_url()});
    let shared = json!({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]});
    let broken = Fault::Status { status: 500, headers: [].into(), body: String::new() };
    for (path, fault, expected, fix) in [
        (DISCOVERY_PATH, answers(&other), "for another issuer", "set auth.issuers.main.issuer to"),
        (
            DISCOVERY_PATH,
            answers(&json!({})),
            "no issuer and jwks_uri",
            "auth.issuers.main.discovery",
        ),
        (
            DISCOVERY_PATH,
            broken.clone(),
            "expected status 200, got 500",
            "auth.issuers.main.discovery",
        ),
        (JWKS_PATH, Fault::Html, "not a JWK set", "auth.issuers.main.algorithms"),
        (JWKS_PATH, answers(&shared), "no usable key", "auth.issuers.main.algorithms"),
        (JWKS_PATH, Fault::Reset, "the connection broke", "auth.issuers.main.discovery"),
    ] {
        issuer.clear_faults();
        issuer.inject(path, None, fault);
        let output = setup.doctor().await;
        output.assert_line(KEYS, "FAILED failed to fetch JWKS: ", &[expected, fix]);
        output.assert_failures(1);
    }
}

/// Settings with another source of keys.
fn keys_from(setup: &Setup, source: &str) -> String {
    setup.settings().replace("discovery = true", source)
}

async fn doctor_with_settings(setup: &Setup, settings: &str) -> super::DoctorOutput {
    let file = setup.path("own.toml");
    fs::write(&file, settings).unwrap();
    let ended = super::run(super::bff(&["doctor", "--config", file.to_str().unwrap()])).await;
    super::DoctorOutput::of(ended, &setup.api_key)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_key_source_is_reported_by_its_setting() {
    let setup = Setup::new().await;
    let unreachable = "jwks_url = 'https://issuer.invalid/keys'";
    let output = doctor_with_settings(&setup, &keys_from(&setup, unreachable)).await;
    output.assert_line(
        KEYS,
        "FAILED failed to fetch JWKS: failed to connect",
        &["auth.issuers.main.jwks_url", "auth.issuers.main.ca_file"],
    );
    let by_url = format!("jwks_url = '{}'", setup.running.issuer().jwks_url());
    let output = doctor_with_settings(&setup, &keys_from(&setup, &by_url)).await;
    output.assert_line(KEYS, "ok 1 usable for ES256", &[]);
    output.assert_line("issuer main clock", "ok ", &[]);
    let set = setup.path("keys.json");
    fs::write(&set, setup.running.issuer().jwks().to_string()).unwrap();
    let by_file = keys_from(&setup, &format!("jwks_file = '{}'", set.display()));
    let output = doctor_with_settings(&setup, &by_file).await;
    output.assert_line(KEYS, "ok 1 usable for ES256", &[]);
    assert!(output.lines("issuer main clock").is_empty(), "a file has none");
    fs::write(&set, "{}").unwrap();
    let output = doctor_with_settings(&setup, &by_file).await;
    output.assert_line(KEYS, "FAILED ", &["not a JWK set", "auth.issuers.main.jwks_file"]);
}

fn introspection(url: &str, secret: &Path) -> String {
    format!(
        "auth.shared_customer_ids = true
        [auth.issuers.opaque]
        issuer = 'https://opaque.example'
        audiences = ['a']
        introspection_url = '{url}'
        introspection_client_id = '{}'
        introspection_client_secret_file = '{}'",
        DEFAULT_CLIENT.0,
        secret.display()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn introspection_endpoint_is_probed_with_an_invalid_token() {
    let setup = Setup::new().await;
    let issuer = setup.running.issuer();
    let subject = "issuer opaque introspection";
    let over =
        introspection(&issuer.introspection_url(), &setup.secret("client", DEFAULT_CLIENT.1));
    setup.doctor_with(&over, &[]).await.assert_line(
        subject,
        "ok accepts the client credentials",
        &[],
    );

    for (fault, expected, fix) in [
        (answers(&json!({"active": true})), "any token would be accepted", "introspection_url"),
        (Fault::Html, "not valid by RFC 7662", "introspection_url"),
        (Fault::Reset, "the connection failed", "auth.issuers.opaque.ca_file"),
    ] {
        issuer.clear_faults();
        issuer.inject(INTROSPECTION_PATH, None, fault);
        let output = setup.doctor_with(&over, &[]).await;
        output.assert_line(subject, "FAILED ", &[expected, fix]);
        output.assert_failures(1);
    }
    issuer.clear_faults();
    issuer.set_client(DEFAULT_CLIENT.0, "another");
    let output = setup.doctor_with(&over, &[]).await;
    output.assert_line(
        subject,
        "FAILED introspection failed: the issuer rejected the client credentials",
        &[
            "auth.issuers.opaque.introspection_client_id",
            "auth.issuers.opaque.introspection_client_secret_file",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_secrets_are_counted_and_not_shown() {
    let setup = Setup::new().await;
    let current = format!("canary_hmac_{}", "a".repeat(52));
    let previous = format!("canary_hmac_{}", "b".repeat(60));
    for (lines, algorithms, expected) in [
        (
            current.clone(),
            "['HS256']",
            "1 secret read from auth.issuers.shared.hmac_secret_file; it has at least the 32 bytes \
             that HS256 requires",
        ),
        (
            format!("{current}\n{previous}"),
            "['HS512', 'HS256']",
            "2 secrets read from auth.issuers.shared.hmac_secret_file; each has at least the 64 bytes \
             that HS512 requires",
        ),
    ] {
        let file = setup.secret("shared", &lines);
        let over = format!(
            "auth.shared_customer_ids = true
            [auth.issuers.shared]
            issuer = 'https://shared.example'
            audiences = ['a']
            algorithms = {algorithms}
            hmac_secret_file = '{}'",
            file.display()
        );
        let output = setup.doctor_with(&over, &[]).await;
        assert_eq!(output.lines("issuer shared keys"), [format!("ok {expected}")]);
        assert!(output.lines("issuer shared clock").is_empty(), "a file has none");
        output.assert_line(KEYS, "ok 1 usable for ES256", &[]);
        output.assert_failures(0);
        for secret in [&current, &previous] {
            let hash = digest(&SHA256, secret.as_bytes());
            let start = hash.as_ref()[..4].try_into().map(u32::from_be_bytes).unwrap();
            assert!(
                !output.stdout.contains(&format!("{start:08x}")),
                "a hash of a secret: {}",
                output.stdout
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gateway_mode_checks_no_issuers() {
    let setup = Setup::new().await;
    let settings = setup.settings();
    let (base, _issuer) = settings.split_once("[auth.issuers.main]").unwrap();
    let settings = format!("{base}\n[auth.gateway]\nheader = 'x-customer'");
    let output = doctor_with_settings(&setup, &settings).await;
    output.assert_line("auth.gateway", "ok set", &[]);
    output.assert_failures(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn creation_of_customers_is_reported_with_its_claim() {
    let setup = Setup::new().await;
    assert!(!setup.doctor().await.stdout.contains("new customers"));
    let on = "juspay.create_missing_customers = true\n[auth.issuers.main]\n";
    for (lines, number) in [
        ("", "the mobile number in phone_number, if phone_number_verified is true"),
        ("customer_id_verified = 'assumed'", "phone_number, unless phone_number_verified is false"),
        ("mobile_number_claim = '/a/mobile'", "the mobile number in /a/mobile (juspay.create"),
    ] {
        let output = setup.doctor_with(&format!("{on}{lines}"), &[]).await;
        let found = "ok created if Juspay doesn't know them";
        output.assert_line("issuer main new customers", found, &[number]);
    }
}
