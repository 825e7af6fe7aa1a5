//! Proof of possession (RFC 9449): a bound token is accepted only with a proof of its key.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};
use simulator::{Issuer, MintRequest};
use tempfile::{NamedTempFile, TempDir};

use super::second_issuer;
use crate::support::{
    Reply, Stage, World,
    authority::Authority,
    dpop_key::{DpopKey, show},
    until,
};

const OPTIONAL: &str = "auth.issuers.main.dpop = \"optional\"\n";
const REQUIRED: &str = "auth.issuers.main.dpop = \"required\"\n";
const BEARER: &str = r#"Bearer realm="juspay-bff""#;
const ALGS: &str = r#"algs="RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 EdDSA""#;

fn bearer(error: &str) -> String {
    format!("{BEARER}, error=\"{error}\"")
}

fn dpop(error: &str) -> String {
    match error {
        "" => format!(r#"DPoP realm="juspay-bff", {ALGS}"#),
        error => format!(r#"DPoP realm="juspay-bff", error="{error}", {ALGS}"#),
    }
}

/// Checks a rejection with all its challenges.
fn assert_rejected(what: &str, reply: &Reply, code: &str, challenges: &[String]) {
    assert_eq!((reply.status, &*reply.code()), (401, code), "{what}");
    assert_eq!(reply.header("cache-control"), Some("no-store"), "{what}");
    let got: Vec<_> = reply
        .headers
        .iter()
        .filter(|(name, _)| name == "www-authenticate")
        .map(|(_, value)| value)
        .collect();
    assert_eq!(got, challenges.iter().collect::<Vec<_>>(), "{what}");
}

async fn failures(world: &World, reason: &str) -> f64 {
    world.metric(&format!("juspay_bff_auth_failures_total{{reason=\"{reason}\"}}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn bound_tokens_need_a_new_proof_for_each_request() {
    for mode in [OPTIONAL, REQUIRED] {
        let world = World::with(mode).await;
        let prover = DpopKey::new();
        let token = prover.token(&world);
        let invalid = || match mode {
            OPTIONAL => vec![BEARER.to_owned(), dpop("invalid_dpop_proof")],
            _ => vec![dpop("invalid_dpop_proof")],
        };
        for (method, source) in [("GET", "fwd=uri-miss"), ("GET", "hit"), ("HEAD", "hit")] {
            let proof = prover.proof(&world, &token, &json!({"htm": method}));
            let reply = show(&world.anonymous(), method, &token, &proof).await;
            assert_eq!(reply.status, 200, "{method} {}", reply.text());
            assert!(reply.cache_status().contains(source), "{}", reply.cache_status());
            assert_eq!(reply.header("dpop-nonce"), None);
            if method == "GET" {
                assert_eq!(reply.json()["object_reference_id"], "alice");
                let reply = show(&world.anonymous(), method, &token, &proof).await;
                assert_rejected("a replay", &reply, "invalid_dpop_proof", &invalid());
            }
        }
        let reply = world.client_with_token(&token).me().await;
        let challenges = match mode {
            OPTIONAL => vec![bearer("invalid_token"), dpop("")],
            _ => vec![dpop("invalid_token")],
        };
        assert_rejected("as a bearer token", &reply, "invalid_token", &challenges);
        assert_eq!(world.simulator().total_requests(), 1);
        assert!((failures(&world, "dpop_replayed").await - 2.0).abs() < f64::EPSILON);
        assert!((world.metric("juspay_bff_auth_dpop_proofs").await - 3.0).abs() < f64::EPSILON);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_dpop_mode_accepts_only_its_tokens() {
    for (mode, unbound, bound_as_bearer, without_token) in [
        ("", None, vec![bearer("invalid_token")], vec![BEARER.to_owned()]),
        (
            OPTIONAL,
            None,
            vec![bearer("invalid_token"), dpop("")],
            vec![BEARER.to_owned(), dpop("")],
        ),
        (REQUIRED, Some(dpop("invalid_token")), vec![dpop("invalid_token")], vec![dpop("")]),
    ] {
        let world = World::with(mode).await;
        let prover = DpopKey::new();
        let bound = prover.token(&world);
        for attempt in ["first", "second"] {
            let reply = world.client_with_token(&bound).me().await;
            assert_rejected(attempt, &reply, "invalid_token", &bound_as_bearer);
            let reply = world.client("alice").me().await;
            match &unbound {
                None => assert_eq!(reply.status, 200, "{mode}"),
                Some(challenge) => {
                    assert_rejected(
                        attempt,
                        &reply,
                        "invalid_token",
                        std::slice::from_ref(challenge),
                    );
                }
            }
            let reply = prover.me(&world, &bound).await;
            if mode.is_empty() {
                assert_rejected("no such scheme", &reply, "missing_token", &without_token);
            } else {
                assert_eq!(reply.status, 200, "{mode}");
            }
        }
        assert_rejected("no token", &world.anonymous().me().await, "missing_token", &without_token);
        let token = world.client("alice").token.unwrap();
        let reply = prover.me(&world, &token).await;
        assert_eq!(reply.status, 401, "a proof does not bind a token: {mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_invalid_proofs_get_the_same_response() {
    let world = World::with(OPTIONAL).await;
    let (prover, attacker) = (DpopKey::new(), DpopKey::new());
    let (token, other) = (prover.token(&world), prover.token(&world));
    let now = world.clock_seconds();
    let with = |changes: Value| prover.proof(&world, &token, &changes);
    let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": prover.jwk});
    let stolen_key = attacker.sign(
        &header,
        &json!({
            "jti": "a", "htm": "GET", "htu": "http://localhost/me/customer", "iat": now,
            "ath": with_ath(&prover.proof(&world, &token, &json!({}))),
        }),
    );
    let cases = [
        ("another method", "dpop_method", with(json!({"htm": "HEAD"}))),
        ("no method", "dpop_malformed", with(json!({"htm": null}))),
        ("https", "dpop_target", with(json!({"htu": "https://localhost/me/customer"}))),
        ("another host", "dpop_target", with(json!({"htu": "http://evil.example/me/customer"}))),
        ("another path", "dpop_target", with(json!({"htu": "http://localhost/me"}))),
        ("no address", "dpop_malformed", with(json!({"htu": null}))),
        ("too old", "dpop_time", with(json!({"iat": now - 91}))),
        ("from the future", "dpop_time", with(json!({"iat": now + 31}))),
        ("no time", "dpop_malformed", with(json!({"iat": null}))),
        ("no number", "dpop_malformed", with(json!({"jti": null}))),
        ("for another token", "dpop_token", prover.proof(&world, &other, &json!({}))),
        ("for no token", "dpop_malformed", with(json!({"ath": null}))),
        ("by another key", "dpop_signature", stolen_key),
        ("a token", "dpop_malformed", token.clone()),
        ("garbage", "dpop_malformed", "garbage".to_owned()),
        ("nothing", "dpop_malformed", String::new()),
    ];
    let challenges = [BEARER.to_owned(), dpop("invalid_dpop_proof")];
    let mut responses = std::collections::BTreeSet::new();
    for (what, reason, proof) in cases {
        let before = failures(&world, reason).await;
        let reply = show(&world.anonymous(), "GET", &token, &proof).await;
        assert_rejected(what, &reply, "invalid_dpop_proof", &challenges);
        let mut problem = reply.json();
        problem["request_id"].take();
        responses.insert(problem.to_string());
        let after = failures(&world, reason).await;
        assert!((after - before - 1.0).abs() < f64::EPSILON, "{what}: not {reason}");
    }
    assert_eq!(responses.len(), 1, "the responses reveal which check failed: {responses:?}");
    // A proof by the attacker's own key is a fault of the token.
    let reply =
        show(&world.anonymous(), "GET", &token, &attacker.proof(&world, &token, &json!({}))).await;
    let challenges = [BEARER.to_owned(), dpop("invalid_token")];
    assert_rejected("another key", &reply, "invalid_token", &challenges);
    assert_eq!(world.simulator().total_requests(), 0);
    assert_eq!(prover.me(&world, &token).await.status, 200);
}

/// The `ath` in a proof.
fn with_ath(proof: &str) -> Value {
    use base64::Engine as _;
    let payload = proof.split('.').nth(1).unwrap();
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap();
    serde_json::from_slice::<Value>(&payload).unwrap()["ath"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_have_exactly_one_proof_and_one_authorization() {
    let world = World::with(OPTIONAL).await;
    let prover = DpopKey::new();
    let token = prover.token(&world);
    let proof = || prover.proof(&world, &token, &json!({}));
    let [one, other, third] = [proof(), proof(), proof()];
    let authorization = format!("Authorization: DPoP {token}\r\n");
    let send = async |lines: &str| world.anonymous().request("GET", "/me/customer", lines).await;
    let challenges = [BEARER.to_owned(), dpop("invalid_dpop_proof")];
    for (what, proofs) in [
        ("none", String::new()),
        ("two", format!("DPoP: {one}\r\nDPoP: {other}\r\n")),
        ("the same twice", format!("DPoP: {one}\r\ndpop: {one}\r\n")),
        ("two in one", format!("DPoP: {one}, {other}\r\n")),
        ("under another name", format!("X-DPoP: {one}\r\n")),
    ] {
        let reply = send(&format!("{authorization}{proofs}")).await;
        assert_rejected(what, &reply, "invalid_dpop_proof", &challenges);
    }
    for (lines, challenge) in [
        (
            format!("{authorization}Authorization: Bearer {token}\r\nDPoP: {one}\r\n"),
            dpop("invalid_request"),
        ),
        (
            format!("Authorization: Bearer {token}\r\n{authorization}DPoP: {one}\r\n"),
            bearer("invalid_request"),
        ),
        (format!("Authorization: DPoP {token} x\r\nDPoP: {one}\r\n"), dpop("invalid_request")),
        (format!("Authorization: DPoP\r\nDPoP: {one}\r\n"), dpop("invalid_request")),
    ] {
        let reply = send(&lines).await;
        assert_eq!((reply.status, &*reply.code()), (400, "invalid_request"), "{lines}");
        assert_eq!(reply.header("www-authenticate"), Some(&*challenge), "{lines}");
    }
    let reply = send(&format!("authorization: dPOP {token}\r\ndpop: {third}\r\n")).await;
    assert_eq!(reply.status, 200, "names ignore case");
}

#[tokio::test(flavor = "multi_thread")]
async fn public_url_is_the_address_of_proofs() {
    let public = "server.public_url = \"https://api.example/pay/\"\n";
    let world = World::with(&format!("{public}{REQUIRED}")).await;
    let prover = DpopKey::new();
    let token = prover.token(&world);
    for (htu, is_accepted) in [
        ("https://api.example/pay/me/customer", true),
        ("HTTPS://API.example:443/pay/me/customer?x#y", true),
        ("https://api.example/me/customer", false),
        ("http://api.example/pay/me/customer", false),
        ("http://localhost/me/customer", false),
    ] {
        let reply = prover.me_with(&world, &token, &json!({ "htu": htu })).await;
        assert_eq!(reply.status == 200, is_accepted, "{htu}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forwarded_headers_of_clients_are_ignored() {
    let world = World::with(REQUIRED).await;
    let prover = DpopKey::new();
    let token = prover.token(&world);
    let proof = prover.proof(&world, &token, &json!({"htu": "https://api.example/me/customer"}));
    for lines in [
        "X-Forwarded-Proto: https\r\nX-Forwarded-Host: api.example\r\n",
        "Forwarded: proto=https;host=api.example\r\n",
        "X-Original-Host: api.example\r\nX-Forwarded-Ssl: on\r\n",
    ] {
        let lines = format!("Authorization: DPoP {token}\r\nDPoP: {proof}\r\n{lines}");
        let reply = world.anonymous().request("GET", "/me/customer", &lines).await;
        assert_rejected(&lines, &reply, "invalid_dpop_proof", &[dpop("invalid_dpop_proof")]);
    }
    let query = "/me/customer?options.get_client_auth_token=false";
    let proof = prover.proof(&world, &token, &json!({}));
    let lines = format!("Authorization: DPoP {token}\r\nDPoP: {proof}\r\n");
    assert_eq!(world.anonymous().request("GET", query, &lines).await.status, 200);
    let absolute = "http://localhost/me/customer";
    let proof = prover.proof(&world, &token, &json!({}));
    let lines = format!("Authorization: DPoP {token}\r\nDPoP: {proof}\r\n");
    assert_eq!(world.anonymous().request("GET", absolute, &lines).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_over_the_services_own_tls_use_https() {
    let (authority, directory) = (Authority::new(), TempDir::new().unwrap());
    let [certificate, key] = authority.server(2030).write(directory.path());
    let world = World::with(&format!(
        "{REQUIRED}[server.tls]\ncert_file = '{}'\nkey_file = '{}'\n",
        certificate.display(),
        key.display()
    ))
    .await;
    let prover = DpopKey::new();
    let token = prover.token(&world);
    let client = authority.tls_client(world.service.public, None);
    for (htu, status) in
        [("https://localhost/me/customer", 200), ("http://localhost/me/customer", 401)]
    {
        let proof = prover.proof(&world, &token, &json!({ "htu": htu }));
        let request = format!(
            "GET /me/customer HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Authorization: DPoP {token}\r\nDPoP: {proof}\r\n\r\n"
        );
        let mut stream = client.connect().await.unwrap();
        assert_eq!(client.say(&mut stream, &request).await.unwrap().status, status, "{htu}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nonces_are_sent_required_and_renewed() {
    let world = World::with(&format!("{OPTIONAL}auth.dpop.nonces = true\n")).await;
    let prover = DpopKey::new();
    let token = prover.token(&world);
    let challenges = [BEARER.to_owned(), dpop("use_dpop_nonce")];
    let reply = prover.me(&world, &token).await;
    assert_rejected("without", &reply, "use_dpop_nonce", &challenges);
    let nonce = reply.header("dpop-nonce").expect("a nonce").to_owned();
    // The clock of the client is at 1970.
    let valid = json!({"nonce": nonce, "iat": 1});
    let reply = prover.me_with(&world, &token, &valid).await;
    assert_eq!((reply.status, reply.header("dpop-nonce")), (200, None));
    let reply = prover.me_with(&world, &token, &json!({"nonce": "made-up"})).await;
    assert_rejected("unknown nonce", &reply, "use_dpop_nonce", &challenges);
    assert_eq!(reply.header("dpop-nonce"), Some(&*nonce));
    let wrong = json!({"nonce": nonce, "htm": "HEAD"});
    let reply = prover.me_with(&world, &token, &wrong).await;
    let challenges = [BEARER.to_owned(), dpop("invalid_dpop_proof")];
    assert_rejected("another method", &reply, "invalid_dpop_proof", &challenges);
    world.clock.advance(Duration::from_secs(60));
    let reply = prover.me_with(&world, &token, &valid).await;
    let next = reply.header("dpop-nonce").expect("the next nonce").to_owned();
    assert_eq!(reply.status, 200);
    assert_ne!(next, nonce);
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(prover.me_with(&world, &token, &valid).await.code(), "use_dpop_nonce");
    assert_eq!(prover.me_with(&world, &token, &json!({"nonce": next})).await.status, 200);
    let reply = world.client("alice").me().await;
    assert_eq!(
        (reply.status, reply.header("dpop-nonce")),
        (200, None),
        "bearer tokens need no nonce"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bound_tokens_with_an_unknown_key_older_than_the_last_fetch_are_rejected() {
    let world = World::with(REQUIRED).await;
    let prover = DpopKey::new();
    let (old, unseen) = (prover.token(&world), prover.token(&world));
    assert_eq!(prover.me(&world, &old).await.status, 200);
    world.clock.advance(Duration::from_secs(60));
    world.issuer().rotate(false).unwrap();
    assert_eq!(prover.me(&world, &prover.token(&world)).await.status, 200);
    for token in [old, unseen] {
        let reply = prover.me(&world, &token).await;
        assert_rejected("its key was removed", &reply, "invalid_token", &[dpop("invalid_token")]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_with_the_same_nonce_key_accept_each_others_nonces() {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(&file, "a key that replicas share").unwrap();
    let nonces = format!("{REQUIRED}auth.dpop.nonces = true\n");
    let shared = format!("{nonces}auth.dpop.nonce_key_file = '{}'\n", file.path().display());
    let [one, other] = [World::with(&shared).await, World::with(&shared).await];
    let without_shared_key = World::with(&nonces).await;
    let prover = DpopKey::new();
    let nonce = prover.me(&one, &prover.token(&one)).await.header("dpop-nonce").unwrap().to_owned();
    let with = json!({ "nonce": nonce });
    assert_eq!(prover.me_with(&other, &prover.token(&other), &with).await.status, 200);
    let reply =
        prover.me_with(&without_shared_key, &prover.token(&without_shared_key), &with).await;
    assert_eq!(reply.code(), "use_dpop_nonce");
    let read = "juspay_bff_secret_last_reload_success_timestamp_seconds{secret=\"dpop_nonce_key\"}";
    assert!(one.metric(read).await > 0.0);
    // A new key is used without a restart.
    std::fs::write(&file, "another key").unwrap();
    let token = prover.token(&one);
    one.advance(Duration::from_secs(10)).await;
    until("the new key", async || prover.me_with(&one, &token, &with).await.status == 401).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_above_the_limit_are_rejected_only_for_their_key() {
    let world = World::with(&format!("{OPTIONAL}auth.dpop.max_proofs = 100\n")).await;
    for number in 0..50 {
        let prover = DpopKey::new();
        let token = prover.token(&world);
        for _ in 0..2 {
            assert_eq!(prover.me(&world, &token).await.status, 200, "{number}");
        }
        if number == 0 {
            let reply = prover.me(&world, &token).await;
            assert_eq!((reply.status, &*reply.code()), (429, "rate_limited"));
            assert!(reply.header("retry-after").is_some());
        }
    }
    let (prover, before) = (DpopKey::new(), failures(&world, "overloaded").await);
    let token = prover.token(&world);
    let reply = prover.me(&world, &token).await;
    assert_eq!(
        (reply.status, &*reply.code()),
        (503, "overloaded"),
        "rejected if no proof can be remembered"
    );
    assert!((failures(&world, "overloaded").await - before - 1.0).abs() < f64::EPSILON);
    assert_eq!(world.client("alice").me().await.status, 200);
    world.clock.advance(Duration::from_secs(121));
    assert_eq!(prover.me(&world, &token).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn issuers_with_and_without_dpop_work_side_by_side() {
    let stage = Stage::set().await;
    let strict = second_issuer(&stage).await;
    let world = stage
        .open_ready(&format!(
            "auth.issuers.main.customer_id_prefix = \"\"\n[auth.issuers.strict]\n\
             issuer = \"{}\"\naudiences = [\"juspay-bff-demo\"]\nalgorithms = [\"ES256\"]\n\
             discovery = true\ncustomer_id_prefix = \"strict-\"\ndpop = \"required\"\n",
            strict.issuer().issuer_url()
        ))
        .await;
    until("both issuers' keys", async || {
        world.metric("juspay_bff_jwks_keys{issuer=\"strict\"}").await > 0.0
    })
    .await;
    let prover = DpopKey::new();
    let plain = |by: &Issuer| by.mint(&MintRequest::of("alice")).unwrap();
    let bound = |by: &Issuer| by.mint(&prover.wish("alice")).unwrap();
    assert_eq!(world.client_with_token(&plain(world.issuer())).me().await.status, 200);
    let reply = prover.me(&world, &bound(strict.issuer())).await;
    assert_eq!(reply.json()["object_reference_id"], "strict-alice");
    let by_bearer = [bearer("invalid_token"), dpop("")];
    let by_dpop = [BEARER.to_owned(), dpop("invalid_token")];
    for (what, token) in [
        ("unbound, of the strict one", plain(strict.issuer())),
        ("bound, of the strict one", bound(strict.issuer())),
        ("bound, of the other", bound(world.issuer())),
    ] {
        let reply = world.client_with_token(&token).me().await;
        assert_rejected(what, &reply, "invalid_token", &by_bearer);
    }
    for (what, token) in [
        ("unbound, of the strict one", plain(strict.issuer())),
        ("unbound, of the other", plain(world.issuer())),
        ("bound, of the other", bound(world.issuer())),
    ] {
        assert_rejected(what, &prover.me(&world, &token).await, "invalid_token", &by_dpop);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bound_tokens_expire_and_are_revoked_like_others() {
    let world =
        World::with(&format!("{REQUIRED}auth.issuers.main.required_scopes = [\"pay\"]\n")).await;
    let prover = DpopKey::new();
    let valid = MintRequest { scope: Some("pay".to_owned()), ..prover.wish("alice") };
    let mint = |wish: &MintRequest| world.issuer().mint(wish).unwrap();
    let expired = mint(&MintRequest { life: SignedDuration::from_secs(-31), ..valid.clone() });
    let invalid = [dpop("invalid_token")];
    assert_rejected("expired", &prover.me(&world, &expired).await, "expired_token", &invalid);
    let reply = prover.me(&world, &mint(&prover.wish("alice"))).await;
    assert_eq!((reply.status, &*reply.code()), (403, "insufficient_scope"));
    let challenge =
        format!(r#"DPoP realm="juspay-bff", error="insufficient_scope", scope="pay", {ALGS}"#);
    assert_eq!(reply.header("www-authenticate"), Some(&*challenge));
    let token = mint(&valid.with("jti", "the-one"));
    assert_eq!(prover.me(&world, &token).await.status, 200);
    let end = world.clock_seconds() + 3600;
    let entry = json!({"issuer": "main", "jti": "the-one", "expires": end});
    assert!(world.admin().post("/revocations", &entry).await.status < 300);
    assert_rejected("revoked", &prover.me(&world, &token).await, "invalid_token", &invalid);
}
