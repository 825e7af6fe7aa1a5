//! Issuers with shared secrets: which tokens are accepted, and rotation of secrets. `corpus` tests
//! that attacks are rejected, including algorithm confusion.

use std::fs;

use aws_lc_rs::hmac::{Algorithm as Function, HMAC_SHA256, HMAC_SHA384, HMAC_SHA512};
use serde_json::{Value, json};
use simulator::{Algorithm, issuer::JWKS_PATH};
use tempfile::NamedTempFile;

use super::{
    COOLDOWN, INVALID_TOKEN, assert_rejected,
    corpus::{changed, explained_as, mac},
    der::public_key_pem,
    tokens,
};
use crate::support::{Stage, World};

const ISSUER: &str = "https://home-made.example";
const SECRET: &str = "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXowMTIzNDU2Nzg5QUJDREVG";
const OTHER: &str = "another secret of more than thirty-two bytes in all";

/// The settings of an issuer `shared` with this `iss`, next to the public keys of `main`.
fn shared(secrets: &NamedTempFile, issuer: &str, algorithms: &str) -> String {
    let path = secrets.path().display();
    format!(
        "auth.shared_customer_ids = true
        [auth.issuers.shared]
        issuer = '{issuer}'
        audiences = ['shop']
        algorithms = {algorithms}
        hmac_secret_file = '{path}'"
    )
}

fn file(content: &str) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    fs::write(&file, content).unwrap();
    file
}

/// Valid claims of alice with these changes; `null` removes a claim.
fn claims(world: &World, changes: &Value) -> Value {
    let exp = world.clock_seconds() + 3600;
    changed(json!({"iss": ISSUER, "sub": "alice", "aud": "shop", "exp": exp}), changes)
}

fn signed(alg: &str, function: Function, secret: &str, claims: &Value) -> String {
    mac(&json!({"alg": alg, "typ": "JWT"}), claims, function, secret.as_bytes())
}

/// A token signed with HS256.
fn token(world: &World, secret: &str, changes: &Value) -> String {
    signed("HS256", HMAC_SHA256, secret, &claims(world, changes))
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_secrets_and_public_keys_work_side_by_side() {
    let stage = Stage::set().await;
    let secrets = file(&format!("{SECRET}{SECRET}\n"));
    let all = "['HS256', 'HS384', 'HS512']";
    let world = stage.open_ready(&shared(&secrets, ISSUER, all)).await;
    let secret = format!("{SECRET}{SECRET}");
    let functions = [("HS256", HMAC_SHA256), ("HS384", HMAC_SHA384), ("HS512", HMAC_SHA512)];
    for (alg, function) in functions {
        let valid = signed(alg, function, &secret, &claims(&world, &json!({})));
        let reply = world.client_with_token(&valid).me().await;
        assert_eq!(reply.status, 200, "{alg}: {}", reply.text());
        assert_eq!(reply.json()["object_reference_id"], "alice", "{alg}");
    }
    assert_eq!(world.client("alice").me().await.status, 200, "with a public key");
    let expired = json!({"exp": world.clock_seconds() - 31});
    let reply = world.client_with_token(&token(&world, &secret, &expired)).me().await;
    assert_rejected("expired", &reply, 401, "expired_token", Some(INVALID_TOKEN));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_with_a_secret_is_enough_for_readiness() {
    let stage = Stage::set().await;
    let secrets = file(SECRET);
    let settings = shared(&secrets, ISSUER, "['HS256']");
    let settings = settings.replace("issuers.shared]", "issuers.main]\ndiscovery = false");
    let world = stage.open_ready(&settings).await;
    assert_eq!(world.admin().get("/readyz").await.status, 200);
    let valid = world.client_with_token(&token(&world, SECRET, &json!({})));
    assert_eq!(valid.me().await.status, 200);
    assert_eq!(world.issuer().calls(JWKS_PATH), 0, "nothing is fetched");
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_secrets_end_their_tokens_and_invalid_files_do_not() {
    let stage = Stage::set().await;
    let secrets = file(OTHER);
    let world = stage.open_ready(&shared(&secrets, ISSUER, "['HS256']")).await;
    let read = "juspay_bff_secret_last_reload_success_timestamp_seconds\
                {secret=\"hmac_secret_shared\"}";
    let reload = async || {
        let before = world.metric(read).await;
        // Advances the clock repeatedly: a busy service may register its timer late.
        let is_read = async || world.metric(read).await > before;
        world.advance_until("another read of the file", COOLDOWN, is_read).await;
    };
    let old = world.client_with_token(&token(&world, OTHER, &json!({})));
    let new = world.client_with_token(&token(&world, SECRET, &json!({})));
    assert_eq!((old.me().await.status, new.me().await.status), (200, 401));

    fs::write(&secrets, format!("{SECRET}\n{OTHER}\n")).unwrap();
    reload().await;
    assert_eq!((old.me().await.status, new.me().await.status), (200, 200));

    // An invalid file keeps the current secrets.
    let last = world.metric(read).await;
    for invalid in ["", "short", "three\nshort\nlines"] {
        fs::write(&secrets, invalid).unwrap();
        world.clock.advance(COOLDOWN);
        assert_eq!((old.me().await.status, new.me().await.status), (200, 200), "{invalid:?}");
    }
    assert!((world.metric(read).await - last).abs() < f64::EPSILON);

    fs::write(&secrets, format!("{SECRET}\n")).unwrap();
    reload().await;
    assert_rejected("a removed secret", &old.me().await, 401, "invalid_token", Some(INVALID_TOKEN));
    assert_eq!(new.me().await.status, 200);
    assert_eq!(world.client("alice").me().await.status, 200);
    // The metrics reveal nothing about the secrets: labels are names of settings.
    let metrics = world.admin().get("/metrics").await.text();
    assert!(!metrics.contains(SECRET) && !metrics.contains(OTHER));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_issuer_accepts_only_tokens_without_iss() {
    let stage = Stage::set().await;
    let secrets = file(SECRET);
    let world = stage.open_ready(&shared(&secrets, "", "['HS256']")).await;
    let valid = token(&world, SECRET, &json!({"iss": null}));
    assert_eq!(world.client_with_token(&valid).me().await.status, 200);
    let main = world.issuer().issuer_url();
    for (iss, reason) in [
        (json!(""), "unknown_issuer"),
        (json!(ISSUER), "unknown_issuer"),
        (json!([]), "unknown_issuer"),
        (json!(0), "unknown_issuer"),
        (json!(main), "algorithm"),
    ] {
        let invalid = token(&world, SECRET, &json!({ "iss": iss }));
        let reply = world.client_with_token(&invalid).me().await;
        assert_rejected("with iss", &reply, 401, "invalid_token", Some(INVALID_TOKEN));
        explained_as(&world, &iss.to_string(), &invalid, reason).await;
    }
    let mut null = claims(&world, &json!({}));
    null["iss"] = Value::Null;
    let null = signed("HS256", HMAC_SHA256, SECRET, &null);
    explained_as(&world, "iss null", &null, "unknown_issuer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn public_keys_can_verify_tokens_without_iss() {
    let stage = Stage::set().await;
    let set = stage.issuer().jwks();
    let keys = file(&public_key_pem(&set["keys"][0]));
    let world = stage
        .open_ready(&format!(
            "[auth.issuers.main]\ndiscovery = false\nissuer = ''\njwks_file = '{}'",
            keys.path().display()
        ))
        .await;
    let header = tokens::header(world.issuer()).to_string();
    let sign = |claims: &Value| {
        world.issuer().sign_raw(&header, &claims.to_string(), Algorithm::ES256).unwrap()
    };
    let with_iss = tokens::claims(&world);
    let without_iss = sign(&changed(with_iss.clone(), &json!({"iss": null})));
    assert_eq!(world.client_with_token(&without_iss).me().await.status, 200);
    for invalid in [with_iss.clone(), changed(with_iss, &json!({"iss": ""}))] {
        let reply = world.client_with_token(&sign(&invalid)).me().await;
        assert_rejected("with iss", &reply, 401, "invalid_token", Some(INVALID_TOKEN));
    }
}
