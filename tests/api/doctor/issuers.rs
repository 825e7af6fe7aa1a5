//! Key sets, shared secrets and introspection endpoints.

use std::{fs, path::Path};

use aws_lc_rs::digest::{SHA256, digest};
use juspay_bff::simulator::{
    Fault,
    issuer::{DEFAULT_CLIENT, DISCOVERY_PATH, INTROSPECTION_PATH, JWKS_PATH},
};
use serde_json::{Value, json};

use super::Ward;

const KEYS: &str = "issuer main keys";

fn answers(body: &Value) -> Fault {
    let headers = [("Content-Type".to_owned(), "application/json".to_owned())];
    Fault::Status { status: 200, headers: headers.into(), body: body.to_string() }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_left_out_are_told_with_their_reason() {
    let ward = Ward::new().await;
    let issuer = ward.running.issuer();
    let mut keys = issuer.jwks()["keys"].as_array().unwrap().clone();
    keys.push(json!({"kty": "oct", "k": "c2VjcmV0", "kid": "shared"}));
    keys.push(json!({"kty": "RSA", "n": "AQAB", "e": "AQAB", "use": "enc", "kid": "a\u{1b}[31m"}));
    issuer.inject(JWKS_PATH, None, answers(&json!({ "keys": keys })));
    let both = "auth.issuers.main.algorithms = ['ES256', 'RS256']";
    let checkup = ward.doctor_with(both, &[]).await;
    checkup.says(
        KEYS,
        "ok 1 usable for ES256, none for RS256; 2 ignored (",
        &["shared: unsupported type or curve", "?: not for verifying signatures"],
    );
    assert!(!checkup.said.contains('\u{1b}'), "{}", checkup.said);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_set_that_can_not_be_had_is_told_with_what_to_do() {
    let ward = Ward::new().await;
    let issuer = ward.running.issuer();
    let other = json!({"issuer": "https://other.example", "jwks_uri": issuer.jwks_url()});
    let shared = json!({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]});
    let broken = Fault::Status { status: 500, headers: [].into(), body: String::new() };
    for (path, fault, told, fix) in [
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
        let checkup = ward.doctor().await;
        checkup.says(KEYS, "FAILED failed to fetch JWKS: ", &[told, fix]);
        checkup.failed_only(1);
    }
}

/// Settings whose issuer has its keys from there.
fn keys_from(ward: &Ward, source: &str) -> String {
    ward.settings().replace("discovery = true", source)
}

async fn doctor_by(ward: &Ward, settings: &str) -> super::Checkup {
    let file = ward.path("own.toml");
    fs::write(&file, settings).unwrap();
    let ended = super::run(super::bff(&["doctor", "--config", file.to_str().unwrap()])).await;
    super::Checkup::of(ended, &ward.api_key)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_source_of_keys_is_named_by_its_setting() {
    let ward = Ward::new().await;
    let nobody = "jwks_url = 'https://issuer.invalid/keys'";
    let checkup = doctor_by(&ward, &keys_from(&ward, nobody)).await;
    checkup.says(
        KEYS,
        "FAILED failed to fetch JWKS: failed to connect",
        &["auth.issuers.main.jwks_url", "auth.issuers.main.ca_file"],
    );
    let by_url = format!("jwks_url = '{}'", ward.running.issuer().jwks_url());
    let checkup = doctor_by(&ward, &keys_from(&ward, &by_url)).await;
    checkup.says(KEYS, "ok 1 usable for ES256", &[]);
    checkup.says("issuer main clock", "ok ", &[]);
    let set = ward.path("keys.json");
    fs::write(&set, ward.running.issuer().jwks().to_string()).unwrap();
    let by_file = keys_from(&ward, &format!("jwks_file = '{}'", set.display()));
    let checkup = doctor_by(&ward, &by_file).await;
    checkup.says(KEYS, "ok 1 usable for ES256", &[]);
    assert!(checkup.lines("issuer main clock").is_empty(), "a file has none");
    fs::write(&set, "{}").unwrap();
    let checkup = doctor_by(&ward, &by_file).await;
    checkup.says(KEYS, "FAILED ", &["not a JWK set", "auth.issuers.main.jwks_file"]);
}

fn asked(url: &str, secret: &Path) -> String {
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
async fn an_introspection_endpoint_is_asked_about_nonsense() {
    let ward = Ward::new().await;
    let issuer = ward.running.issuer();
    let subject = "issuer opaque introspection";
    let over = asked(&issuer.introspection_url(), &ward.secret("client", DEFAULT_CLIENT.1));
    ward.doctor_with(&over, &[]).await.says(subject, "ok accepts the client credentials", &[]);

    for (fault, told, fix) in [
        (answers(&json!({"active": true})), "any token would be accepted", "introspection_url"),
        (Fault::Html, "not valid by RFC 7662", "introspection_url"),
        (Fault::Reset, "the connection failed", "auth.issuers.opaque.ca_file"),
    ] {
        issuer.clear_faults();
        issuer.inject(INTROSPECTION_PATH, None, fault);
        let checkup = ward.doctor_with(&over, &[]).await;
        checkup.says(subject, "FAILED ", &[told, fix]);
        checkup.failed_only(1);
    }
    issuer.clear_faults();
    issuer.set_client(DEFAULT_CLIENT.0, "another");
    let checkup = ward.doctor_with(&over, &[]).await;
    checkup.says(
        subject,
        "FAILED introspection failed: the issuer rejected the client credentials",
        &[
            "auth.issuers.opaque.introspection_client_id",
            "auth.issuers.opaque.introspection_client_secret_file",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_secrets_are_counted_and_never_shown() {
    let ward = Ward::new().await;
    let current = format!("canary_hmac_{}", "a".repeat(52));
    let previous = format!("canary_hmac_{}", "b".repeat(60));
    for (lines, algorithms, told) in [
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
        let file = ward.secret("shared", &lines);
        let over = format!(
            "auth.shared_customer_ids = true
            [auth.issuers.shared]
            issuer = 'https://shared.example'
            audiences = ['a']
            algorithms = {algorithms}
            hmac_secret_file = '{}'",
            file.display()
        );
        let checkup = ward.doctor_with(&over, &[]).await;
        assert_eq!(checkup.lines("issuer shared keys"), [format!("ok {told}")]);
        assert!(checkup.lines("issuer shared clock").is_empty(), "a file has none");
        checkup.says(KEYS, "ok 1 usable for ES256", &[]);
        checkup.failed_only(0);
        for secret in [&current, &previous] {
            let hash = digest(&SHA256, secret.as_bytes());
            let start = hash.as_ref()[..4].try_into().map(u32::from_be_bytes).unwrap();
            assert!(
                !checkup.said.contains(&format!("{start:08x}")),
                "a hash of a secret: {}",
                checkup.said
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_gateway_there_are_no_issuers() {
    let ward = Ward::new().await;
    let settings = ward.settings();
    let (base, _issuer) = settings.split_once("[auth.issuers.main]").unwrap();
    let settings = format!("{base}\n[auth.gateway]\nheader = 'x-customer'");
    let checkup = doctor_by(&ward, &settings).await;
    checkup.says("auth.gateway", "ok set", &[]);
    checkup.failed_only(0);
}
