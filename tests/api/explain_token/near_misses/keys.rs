//! Named differences of algorithms, types, keys, bindings and sizes.

use serde_json::json;
use simulator::{Algorithm, MintRequest};

use super::{block, explained, settings, wish};
use crate::explain_token::{Fixture, ends};

#[tokio::test(flavor = "multi_thread")]
async fn types_are_shown_as_they_are_compared() {
    let fixture = Fixture::new().await;
    let typed = |typ: &str| MintRequest { typ: typ.to_owned(), ..wish() };
    let token = fixture.mint(&typed("application/AT+JWT"));
    let ended = fixture.explain_by(&settings(&fixture, ""), &token, "", &["--offline"]).await;
    ends(&ended, &[], "accepted");
    let line = "ok       typ            \"application/AT+JWT\", compared as \"at+jwt\": letter case and the \
                prefix application/ do not count; expected one of \"at+jwt\", \"jwt\", \"\" \
                (auth.issuers.main.typ)\n";
    assert!(ended.stdout.contains(line), "{}", ended.stdout);
    let expected = "expected       \"at+jwt\" (auth.issuers.main.typ)";
    for (typ, lines) in [
        (
            "JWT",
            vec![
                expected,
                "found          \"JWT\", compared as \"jwt\": letter case and the prefix application/ do not \
                 count",
                "to accept such tokens: auth.issuers.main.typ = [\"at+jwt\", \"jwt\"]",
                "meaning        only if the issuer's access tokens have this type: ID tokens often have it \
                 too; \"\" stands for tokens without typ",
            ],
        ),
        (
            "refresh+jwt",
            vec![
                expected,
                "found          \"refresh+jwt\"",
                "hint           the type names a refresh token; the app must send its access token",
            ],
        ),
        (
            "session+jwt",
            vec![
                expected,
                "found          \"session+jwt\"",
                "hint           it may be another kind of token; if the issuer's access tokens have this \
                 type, add it to auth.issuers.main.typ",
            ],
        ),
    ] {
        explained(&fixture, "typ = ['at+jwt']", &typed(typ), "typ", &lines).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn algorithms_of_the_other_key_type_are_never_suggested() {
    let fixture = Fixture::new().await;
    explained(
        &fixture,
        "algorithms = ['RS256', 'PS256', 'ES256']",
        &MintRequest { algorithm: Algorithm::EdDSA, ..wish() },
        "alg",
        &[
            "expected       one of \"RS256\", \"PS256\", \"ES256\" (auth.issuers.main.algorithms)",
            "found          \"EdDSA\"",
            "to accept such tokens: auth.issuers.main.algorithms = [\"RS256\", \"PS256\", \"ES256\", \
             \"EdDSA\"]",
            "meaning        the issuer's key set must have a key for it; the token's signature is unproven: \
             anyone may have written its values",
        ],
    )
    .await;
    let token = fixture.mint(&wish());
    let (_, rest) = token.split_once('.').unwrap();
    // {"alg":"HS256"}
    let token = format!("eyJhbGciOiJIUzI1NiJ9.{rest}");
    let ended = fixture.explain_by(&settings(&fixture, ""), &token, "", &["--offline"]).await;
    assert_eq!(
        block(&ended.stdout, "alg"),
        [
            "expected       \"ES256\" (auth.issuers.main.algorithms)",
            "found          \"HS256\"",
            "hint           HS256 is signed with a shared secret, but auth.issuers.main has public keys; the \
             token is of another issuer, or the issuer must sign with a private key",
        ]
    );
    let secret = fixture.file("secret", &"x".repeat(32));
    let keys = format!("jwks_file = '{}'\nalgorithms = ['HS256']", secret.display());
    let settings = settings(&fixture, &keys).replace("jwks_file", "hmac_secret_file");
    let ended = fixture.explain_by(&settings, &fixture.mint(&wish()), "", &["--offline"]).await;
    assert_eq!(
        block(&ended.stdout, "alg"),
        [
            "expected       \"HS256\" (auth.issuers.main.algorithms)",
            "found          \"ES256\"",
            "hint           ES256 is signed with a private key, but auth.issuers.main has a shared secret \
             (hmac_secret_file); tokens signed so need an issuer with jwks_url, jwks_file or discovery",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_do_not_match_are_explained() {
    let fixture = Fixture::new().await;
    let token = fixture.mint(&wish());
    let jwks = fixture.running.issuer().jwks();
    let kid = jwks["keys"][0]["kid"].as_str().unwrap();
    let expected = format!("expected       the key of auth.issuers.main, kid \"{kid}\"");
    let algorithms = "algorithms = ['ES256', 'RS256', 'EdDSA']";
    let gone = "the key was removed, or the token is from another issuer or environment";
    let meanwhile = "a service that last fetched the keys less than auth.leeway after the token's iat \
                     answers 503 until its next fetch";
    let iss = fixture.running.issuer().issuer_url();
    // Before the issuer has another key.
    let settings = settings(&fixture, algorithms);
    let upper = kid.to_uppercase();
    for (alg, kid, hint) in [
        (
            Algorithm::EdDSA,
            None,
            "without kid, exactly one key must be for EdDSA; the issuer should send kid".to_owned(),
        ),
        (Algorithm::EdDSA, Some(kid), "the key of that kid is not for EdDSA".to_owned()),
        (Algorithm::ES256, Some("other"), format!("{gone}; {meanwhile}")),
        (
            Algorithm::ES256,
            Some(&upper),
            format!("{gone}; the kid differs only by letter case; {meanwhile}"),
        ),
    ] {
        let header = kid.map_or_else(
            || json!({"alg": alg.name()}),
            |kid| json!({"alg": alg.name(), "kid": kid}),
        );
        let found = kid.map_or_else(|| "no kid".to_owned(), |kid| format!("kid \"{kid}\""));
        let claims = json!({"iss": iss, "aud": "juspay-bff-demo", "sub": "alice"});
        let token =
            fixture.running.issuer().sign_raw(&header.to_string(), &claims.to_string(), alg);
        let ended = fixture.explain_by(&settings, &token.unwrap(), "", &["--offline"]).await;
        assert_eq!(
            block(&ended.stdout, "keys"),
            [
                expected.clone(),
                format!("found          {found}; fitting keys: 0"),
                format!("hint           {hint}"),
            ]
        );
    }
    let ended = fixture.explain_by(&settings, &token, "", &["--offline"]).await;
    ends(&ended, &[], "accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn bound_tokens_are_suggested_only_with_their_proof() {
    let fixture = Fixture::new().await;
    let expected =
        "expected       a token bound to no key, sent as Bearer (auth.issuers.main.dpop: off)";
    let found = "found          bound to a key (cnf), sent as Bearer";
    for (cnf, rest) in [
        (
            json!({"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}),
            vec![
                "hint           the app has to send such a token as DPoP, with a proof in each request",
                "to accept such tokens: auth.issuers.main.dpop = \"optional\"",
                "meaning        tokens bound to a key are accepted with their DPoP proof only",
            ],
        ),
        (
            json!({"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}),
            vec![
                "hint           cnf has no jkt: the binding is not DPoP, and this service cannot check it",
            ],
        ),
    ] {
        let token = fixture.mint(&wish().with("cnf", cnf));
        let ended = fixture.explain_by(&settings(&fixture, ""), &token, "", &["--offline"]).await;
        let lines = [vec![expected, found], rest].concat();
        assert_eq!(block(&ended.stdout, "cnf"), lines, "{}", ended.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_above_the_limit_are_shown_with_a_sufficient_limit() {
    let fixture = Fixture::new().await;
    let token = fixture.mint(&wish().with("groups", "x".repeat(9000)));
    let settings = settings(&fixture, "");
    let ended = fixture.explain_by(&settings, &token, "", &["--offline"]).await;
    assert_eq!(
        block(&ended.stdout, "header"),
        [
            "expected       at most 8192 bytes (auth.max_token_bytes)".to_owned(),
            format!("found          {} bytes", token.len()),
            "to accept such tokens: auth.max_token_bytes = 16384".to_owned(),
            "meaning        larger tokens use more memory for each waiting request; the token's signature \
             is unproven: anyone may have written its values"
                .to_owned(),
        ]
    );
    let over = "auth.max_token_bytes = 16384";
    let ended = fixture.explain_by(&settings, &token, over, &["--offline"]).await;
    ends(&ended, &[], "accepted");
}
