//! Sources of an issuer's keys: PEM files, redirects, plain http on listed hosts.

use serde_json::{Value, json};
use simulator::{Algorithm, Fault, MintRequest, issuer::JWKS_PATH};

use super::{
    COOLDOWN, INVALID_TOKEN, assert_rejected, der::public_key_pem, second_issuer, tokens::claims,
};
use crate::support::{Stage, World};

/// The issuer's public key of that type.
fn jwk(world: &Stage, kty: &str) -> Value {
    let set = world.issuer().jwks();
    set["keys"].as_array().unwrap().iter().find(|key| key["kty"] == *kty).unwrap().clone()
}

fn by_file(path: &std::path::Path) -> String {
    let path = path.display();
    format!(
        "[auth.issuers.main]\ndiscovery = false\njwks_file = '{path}'\n\
         algorithms = ['ES256', 'RS256']"
    )
}

/// A valid token of alice whose header names this key.
fn token(world: &World, algorithm: Algorithm, kid: Option<&str>) -> String {
    let mut header = json!({"alg": algorithm.name(), "typ": "at+jwt"});
    if let Some(kid) = kid {
        header["kid"] = json!(kid);
    }
    world.issuer().sign_raw(&header.to_string(), &claims(world).to_string(), algorithm).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn pem_keys_verify_tokens_with_any_kid() {
    let stage = Stage::set().await;
    let untrusted = second_issuer(&stage).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    // The simulator creates a key on first use.
    let by_rsa = MintRequest { algorithm: Algorithm::RS256, ..MintRequest::of("alice") };
    stage.issuer().mint(&by_rsa).unwrap();
    let [elliptic, rsa] = ["EC", "RSA"].map(|kty| public_key_pem(&jwk(&stage, kty)));
    let untrusted_key = public_key_pem(&untrusted.issuer().jwks()["keys"][0]);
    // Two keys support ES256, and the second one made the signature.
    std::fs::write(&file, format!("{untrusted_key}{elliptic}{rsa}")).unwrap();
    let world = stage.open_ready(&by_file(file.path())).await;
    for algorithm in [Algorithm::ES256, Algorithm::RS256] {
        for kid in [None, Some("any"), Some("another")] {
            let reply = world.client_with_token(&token(&world, algorithm, kid)).me().await;
            assert_eq!(reply.status, 200, "{algorithm:?} {kid:?}: {}", reply.text());
        }
    }
    assert!(world.issuer().requests().is_empty(), "the issuer was called");

    std::fs::write(&file, format!("{untrusted_key}{rsa}")).unwrap();
    let old = world.client_with_token(&token(&world, Algorithm::ES256, None));
    let has_ended = async || old.me().await.status == 401;
    world.advance_until("the end of the old key", COOLDOWN, has_ended).await;
    assert_rejected("a removed key", &old.me().await, 401, "invalid_token", Some(INVALID_TOKEN));
    let rsa = world.client_with_token(&token(&world, Algorithm::RS256, None));
    assert_eq!(rsa.me().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn key_files_with_a_private_key_are_not_used() {
    let stage = Stage::set().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let pair = rcgen::KeyPair::generate().unwrap();
    std::fs::write(&file, pair.public_key_pem()).unwrap();
    let world = stage.open_ready(&by_file(file.path())).await;
    let failures = "juspay_bff_jwks_refreshes_total{issuer=\"main\",outcome=\"failure\"}";
    std::fs::write(&file, pair.serialize_pem()).unwrap();
    let has_failed = async || world.count(failures).await >= 1;
    world.advance_until("a failed look at the file", COOLDOWN, has_failed).await;
    let keys = world.count("juspay_bff_jwks_keys{issuer=\"main\"}").await;
    assert_eq!(keys, 1, "the previous key is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn redirected_key_sets_and_byte_order_marks_are_accepted() {
    let stage = Stage::set().await;
    let to = |target: String| {
        let headers = [("Location".to_owned(), target)].into();
        Fault::Status { status: 307, headers, body: String::new() }
    };
    let moved = [format!("{JWKS_PATH}?moved"), stage.issuer().jwks_url()];
    for target in moved {
        stage.issuer().inject(JWKS_PATH, Some(1), to(target));
    }
    let body = format!("\u{feff}{}", stage.issuer().jwks());
    let marked = Fault::Status { status: 200, headers: [].into(), body };
    stage.issuer().inject(JWKS_PATH, None, marked);
    let world = stage.open_ready("").await;
    assert_eq!(world.client("alice").me().await.status, 200);
    assert_eq!(world.issuer().calls(JWKS_PATH), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn key_sets_are_fetched_over_plain_http_from_listed_hosts() {
    let stage = Stage::set().await;
    // This machine, but not a loopback address by its number.
    let url = stage.issuer().jwks_url().replace("127.0.0.1", "0.0.0.0");
    let world = stage
        .open_ready(&format!(
            "auth.plain_http_hosts = ['0.0.0.0']\n\
             [auth.issuers.main]\ndiscovery = false\njwks_url = '{url}'"
        ))
        .await;
    assert_eq!(world.client("alice").me().await.status, 200);
}
