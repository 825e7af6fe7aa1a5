//! `juspay-bff explain-token` with each source of keys: fetched, in a file, a shared secret, and
//! introspection.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;
use simulator::{
    Fault, MintRequest,
    issuer::{DEFAULT_CLIENT, INTROSPECTION_PATH, JWKS_PATH},
};

use super::{Fixture, ends, near_misses::block};

#[tokio::test(flavor = "multi_thread")]
async fn tokens_signed_with_a_shared_secret_are_explained_offline() {
    let fixture = Fixture::new().await;
    let secret = "0123456789abcdef0123456789abcdef";
    let file = fixture.file("secret", &format!("{}\n{secret}\n", "x".repeat(32)));
    let settings = fixture.settings(&format!("hmac_secret_file = '{}'", file.display()));
    let settings = settings.replace("ES256", "HS256");
    let claims = json!({
        "iss": fixture.running.issuer().issuer_url(), "aud": "juspay-bff-demo", "sub": "alice",
        "exp": 4_102_444_800_u64,
    });
    let sign = |alg: &str, secret: &str| {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
        let [header, claims] = [json!({ "alg": alg }), claims.clone()]
            .map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signature = aws_lc_rs::hmac::sign(&key, format!("{header}.{claims}").as_bytes());
        format!("{header}.{claims}.{}", URL_SAFE_NO_PAD.encode(signature))
    };
    for (token, failed, verdict, found) in [
        (sign("HS256", secret), &[][..], "accepted", "made with the secret of line 2"),
        (
            sign("HS256", "another"),
            &["signature"],
            "rejected with 401 invalid_token, reason signature",
            "made with none of these secrets",
        ),
        (
            sign("ES256", secret),
            &["alg"],
            "rejected with 401 invalid_token, reason algorithm",
            "expected       \"HS256\" (auth.issuers.main.algorithms)\n         found          \"ES256\"\n",
        ),
    ] {
        let ended = fixture.explain_by(&settings, &token, "", &["--offline"]).await;
        ends(&ended, failed, verdict);
        assert!(ended.stdout.contains(found), "{}", ended.stdout);
        assert!(!ended.stdout.contains(secret), "{}", ended.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn offline_calls_no_issuer() {
    let fixture = Fixture::new().await;
    let token = fixture.mint(&MintRequest::of("alice"));
    let ended = fixture.explain(&token, "", &["--offline"]).await;
    ends(&ended, &[], "none, because of --offline");
    assert!(
        ended.stdout.contains("not checked, because of --offline: what follows is unproven"),
        "{}",
        ended.stdout
    );
    assert!(
        ended.stderr.contains("no verdict: with --offline the signature can't be checked"),
        "{}",
        ended.stderr
    );
    assert_eq!(fixture.running.issuer().requests().len(), 0);

    // With the keys in a file there is a verdict offline, too.
    let set = fixture.file("keys.json", &fixture.running.issuer().jwks().to_string());
    let settings = fixture.settings(&format!("jwks_file = '{}'", set.display()));
    let ended = fixture.explain_by(&settings, &token, "", &["--offline"]).await;
    ends(&ended, &[], "accepted");
    let (message, _) = token.rsplit_once('.').unwrap();
    let ended = fixture
        .explain_by(&settings, &format!("{message}.{}", "A".repeat(86)), "", &["--offline"])
        .await;
    ends(&ended, &["signature"], "rejected with 401 invalid_token, reason signature");
    assert_eq!(fixture.running.issuer().requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn unavailable_keys_are_a_503() {
    let fixture = Fixture::new().await;
    let token = fixture.mint(&MintRequest::of("alice"));
    fixture.running.issuer().inject(JWKS_PATH, None, Fault::Html);
    let ended = fixture.explain(&token, "", &[]).await;
    ends(&ended, &["keys"], "rejected with 503 keys_unavailable");
    assert!(
        ended.stdout.contains("auth.issuers.main has no keys: invalid key set: not a JWK set"),
        "{}",
        ended.stdout
    );
}

/// Settings whose issuer `opaque` validates tokens by introspection.
fn introspecting(fixture: &Fixture) -> String {
    let secret = fixture.file("secret", DEFAULT_CLIENT.1);
    format!(
        "juspay = {{ base_url = 'http://127.0.0.1:9', merchant_id = 'm', api_key = 'k' }}
        [auth.issuers.opaque]
        issuer = '{}'
        audiences = ['juspay-bff-demo']
        introspection_url = '{}'
        introspection_client_id = '{}'
        introspection_client_secret_file = '{}'",
        fixture.running.issuer().issuer_url(),
        fixture.running.issuer().introspection_url(),
        DEFAULT_CLIENT.0,
        secret.display()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn opaque_tokens_are_introspected() {
    let fixture = Fixture::new().await;
    let settings = introspecting(&fixture);
    let token = fixture.mint(&MintRequest::opaque("alice"));
    let ended = fixture.explain_by(&settings, &token, "", &[]).await;
    ends(&ended, &[], "accepted by auth.issuers.opaque");
    let calls = fixture.running.issuer().calls(INTROSPECTION_PATH);
    let ended = fixture.explain_by(&settings, &token, "", &["--offline"]).await;
    ends(&ended, &[], "none, because of --offline");
    assert!(
        ended
            .stdout
            .contains("not sent to auth.issuers.opaque.introspection_url, because of --offline")
    );
    assert_eq!(fixture.running.issuer().calls(INTROSPECTION_PATH), calls);

    let mut other = MintRequest::opaque("alice");
    other.audience = "another".to_owned();
    let ended = fixture.explain_by(&settings, &fixture.mint(&other), "", &[]).await;
    ends(&ended, &["aud"], "rejected with 401 invalid_token, reason audience");
    fixture.running.issuer().revoke(&token);
    let ended = fixture.explain_by(&settings, &token, "", &[]).await;
    ends(&ended, &["introspection"], "rejected with 401 invalid_token, reason inactive");
    fixture.running.issuer().set_client(DEFAULT_CLIENT.0, "another");
    let ended = fixture.explain_by(&settings, &token, "", &[]).await;
    ends(&ended, &["introspection"], "rejected with 503 keys_unavailable");
    assert!(
        ended.stdout.contains("the issuer rejected the client credentials"),
        "{}",
        ended.stdout
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn introspected_tokens_show_the_difference_of_their_issuer() {
    let fixture = Fixture::new().await;
    let settings = introspecting(&fixture);
    let issuer = fixture.running.issuer().issuer_url();
    let token = fixture.mint(&MintRequest::opaque("alice").with("iss", format!("{issuer}/")));
    let ended = fixture.explain_by(&settings, &token, "", &[]).await;
    ends(&ended, &["iss"], "rejected with 401 invalid_token, reason unknown_issuer");
    let suggested = format!("auth.issuers.opaque.issuer = \"{issuer}/\"");
    assert_eq!(
        block(&ended.stdout, "iss"),
        [
            format!("expected       \"{issuer}\" (auth.issuers.opaque.issuer)"),
            format!("found          \"{issuer}/\""),
            "hint           the token's iss differs only by a trailing slash, which the token has"
                .to_owned(),
            format!("to accept such tokens: {suggested}"),
            "meaning        tokens with the previous issuer are then rejected".to_owned(),
        ]
    );
    let ended = fixture.explain_by(&settings, &token, &suggested, &[]).await;
    ends(&ended, &[], "accepted by auth.issuers.opaque");
}

#[tokio::test(flavor = "multi_thread")]
async fn creation_of_the_customer_is_explained_without_values() {
    let fixture = Fixture::new().await;
    let on = "juspay.create_missing_customers = true";
    let token = MintRequest::of("alice").with("phone_number", "+919810012345");
    let verified = token.clone().with("phone_number_verified", true);
    for (over, token, found) in [
        ("", &verified, "the claim \"sub\" names a customer;"),
        (on, &verified, "names a customer, which is created if Juspay doesn't know it;"),
        (
            on,
            &token,
            "which is not created if Juspay doesn't know it: the claim \"phone_number\" is no verified \
             number with a country code;",
        ),
    ] {
        let ended = fixture.explain(&fixture.mint(token), over, &[]).await;
        ends(&ended, &[], "accepted");
        assert!(ended.stdout.contains(found), "{found}: {}", ended.stdout);
        assert!(!ended.stdout.contains("98100"), "{}", ended.stdout);
    }
}
