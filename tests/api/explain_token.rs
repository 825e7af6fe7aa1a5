//! `juspay-bff explain-token`, with the real binary: what an operator reads of a token, and that it is
//! nothing of the token itself. That it agrees with the service is held over the corpus of attacks
//! (`auth::corpus`).

use std::{path::PathBuf, process::Stdio};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::SignedDuration;
use juspay_bff::simulator::{
    self, Fault, MintRequest, Running,
    issuer::{DEFAULT_CLIENT, INTROSPECTION_PATH, JWKS_PATH},
};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;

use crate::support::{
    process::{Ended, bff},
    prover::Prover,
    within_reason,
};

/// An issuer, and settings for its tokens.
struct Desk {
    running: Running,
    files: TempDir,
}

impl Desk {
    async fn new() -> Self {
        let running =
            simulator::start(simulator::Config::on_free_ports()).await.expect("free ports");
        Self { running, files: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.files.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn settings(&self, keys: &str) -> String {
        format!(
            r#"
            juspay = {{ base_url = "http://127.0.0.1:9", merchant_id = "m", api_key = "k" }}
            [auth.issuers.main]
            issuer = "{}"
            audiences = ["juspay-bff-demo"]
            algorithms = ["ES256"]
            {keys}
            "#,
            self.running.issuer().issuer_url()
        )
    }

    fn mint(&self, wish: &MintRequest) -> String {
        self.running.issuer().mint(wish).unwrap()
    }

    async fn explain(&self, pasted: &str, over: &str, flags: &[&str]) -> Ended {
        self.explain_by(&self.settings("discovery = true"), pasted, over, flags).await
    }

    async fn explain_by(&self, settings: &str, pasted: &str, over: &str, flags: &[&str]) -> Ended {
        let files = [self.file("usual.toml", settings), self.file("over.toml", over)];
        let [usual, over] = files.each_ref().map(|path| path.to_str().unwrap());
        let arguments = [&["explain-token", "--config", usual, "--config", over], flags].concat();
        let ended = run_with_input(&arguments, pasted).await;
        let told = format!("{}{}", ended.stdout, ended.stderr);
        for part in pasted.split(['.', ' ', '\n']).filter(|part| part.len() > 20) {
            assert!(!told.contains(part), "a part of the token: {told}");
        }
        ended
    }
}

async fn run_with_input(arguments: &[&str], input: &str) -> Ended {
    let mut child = bff(arguments).stdin(Stdio::piped()).spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    let running = async {
        // What ends without reading is no failure here.
        drop(stdin.write_all(input.as_bytes()).await);
        drop(stdin);
        child.wait_with_output().await.expect("it ends")
    };
    let output = within_reason("the end of a command", running).await;
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}

/// Exactly these checks fail, and the verdict begins so.
#[track_caller]
fn told(ended: &Ended, failed: &[&str], verdict: &str) {
    let lines = ended.stdout.lines().filter(|line| line.starts_with("FAILED "));
    let names: Vec<_> = lines.filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(names, failed, "{}", ended.stdout);
    let said = ended.stdout.lines().last().unwrap();
    assert!(said.starts_with(&format!("verdict:  {verdict}")), "{}", ended.stdout);
    let code = i32::from(!verdict.starts_with("good"));
    assert_eq!(ended.code, Some(code), "{}", ended.stderr);
    assert_eq!(ended.stderr.is_empty(), code == 0, "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_token_passes_each_check() {
    let desk = Desk::new().await;
    let token = desk.mint(&MintRequest::of("alice"));
    for pasted in [token.clone(), format!("{token}\n"), format!("Bearer {token}\r\n")] {
        let ended = desk.explain(&pasted, "", &[]).await;
        told(&ended, &[], "good, by auth.issuers.main");
        assert!(!ended.stdout.contains("alice"), "{}", ended.stdout);
        assert!(ended.stdout.contains("customer: not told: set log.customer_ref_key_file"));
        for names in [
            r#"three parts; claims "aud", "client_id", "exp", "iat", "iss", "jti", "sub""#,
            r#"members "alg", "kid", "typ"; alg "ES256", typ "at+jwt", kid ""#,
        ] {
            assert!(ended.stdout.contains(names), "{names} in {}", ended.stdout);
        }
    }
    let ended = desk.explain(&token, "", &["--show-customer"]).await;
    assert!(ended.stdout.contains("customer: id \"alice\"\n"), "{}", ended.stdout);
    let key = desk.file("ref.key", "Jefe");
    let over = format!("log.customer_ref_key_file = '{}'", key.display());
    let ended = desk.explain(&token, &over, &[]).await;
    // HMAC-SHA256 of "alice" by that key.
    let reference = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"Jefe");
    let reference = aws_lc_rs::hmac::sign(&reference, b"alice");
    let first = u64::from_be_bytes(reference.as_ref()[..8].try_into().unwrap());
    assert!(
        ended.stdout.contains(&format!("customer: customer_ref {first:016x}\n")),
        "{}",
        ended.stdout
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_wrong_is_told_with_its_setting() {
    let desk = Desk::new().await;
    let mut wish = MintRequest::of("alice");
    wish.audience = "another".to_owned();
    wish.life = SignedDuration::from_mins(-5);
    wish.typ = "rt+jwt".to_owned();
    let over = "auth.issuers.main = { required_scopes = ['pay'], customer_id_claim = 'email' }";
    let ended = desk.explain(&desk.mint(&wish), over, &[]).await;
    told(
        &ended,
        &["typ", "aud", "expiry", "scope", "customer"],
        "refused with 401 invalid_token, reason type",
    );
    for line in [
        r#""rt+jwt"; auth.issuers.main.typ: "at+jwt", "jwt", "": its type is not accepted"#,
        r#""another"; auth.issuers.main.audiences: "juspay-bff-demo": it is for another"#,
        "auth.leeway 30s): the token has expired (expired)",
        r#"auth.issuers.main.required_scopes: "pay": the token lacks"#,
        r#"the claim "email" of auth.issuers.main.customer_id_claim names none: the claim is missing"#,
    ] {
        assert!(ended.stdout.contains(line), "{line} in {}", ended.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audience_is_shown_with_the_claim_that_it_is_in() {
    let desk = Desk::new().await;
    let mut wish =
        MintRequest::of("alice").with("client_id", "juspay-bff-demo").with("aud", json!([]));
    let stand_in = "aud []; auth.issuers.main.audiences: \"juspay-bff-demo\"; \
                    auth.issuers.main.audience_claim could name one of these: client_id \"juspay-bff-demo\"";
    let ended = desk.explain(&desk.mint(&wish), "", &[]).await;
    told(&ended, &["aud"], "refused with 401 invalid_token, reason audience");
    assert!(ended.stdout.contains(stand_in), "{}", ended.stdout);
    let over = "auth.issuers.main.audience_claim = 'client_id'";
    let ended = desk.explain(&desk.mint(&wish), over, &[]).await;
    told(&ended, &[], "good");
    wish = wish.with("client_id", "another");
    let ended = desk.explain(&desk.mint(&wish), over, &[]).await;
    told(&ended, &["aud"], "refused with 401 invalid_token, reason audience");
    let named = "client_id \"another\"; auth.issuers.main.audience_claim: \"client_id\", \
                 auth.issuers.main.audiences: \"juspay-bff-demo\"";
    assert!(ended.stdout.contains(named), "{}", ended.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_required_claim_is_shown_with_its_value() {
    let desk = Desk::new().await;
    let over = "auth.issuers.main.required_claims = { token_use = 'access', '/a/b' = [1, false] }";
    let wish = MintRequest::of("alice").with("token_use", "web").with("a", json!({"b": false}));
    let ended = desk.explain(&desk.mint(&wish), over, &[]).await;
    told(&ended, &["required"], "refused with 401 invalid_token, reason claims");
    for line in [
        "token_use \"web\"; auth.issuers.main.required_claims: \"access\": a claim is missing",
        "/a/b false; auth.issuers.main.required_claims: 1 or false",
    ] {
        assert!(ended.stdout.contains(line), "{line} in {}", ended.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_applications_own_token_is_told() {
    let desk = Desk::new().await;
    for (sub, client) in [("app", "cid"), ("app@clients", "azp")] {
        let token = desk.mint(&MintRequest::of(sub).with(client, "app"));
        let ended = desk.explain(&token, "", &[]).await;
        told(&ended, &["customer"], "refused with 403 no_customer, reason no_customer");
        let found = "names none: it is the application's own token: sub names the client";
        assert!(ended.stdout.contains(found), "{}", ended.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_kid_is_told_with_what_the_service_answers_meanwhile() {
    let desk = Desk::new().await;
    let token = desk.mint(&MintRequest::of("alice"));
    desk.running.issuer().rotate(false).unwrap();
    let ended = desk.explain(&token, "", &[]).await;
    told(&ended, &["keys"], "refused with 401 invalid_token, reason unknown_key");
    assert!(ended.stdout.contains("answers 503 until its next fetch"), "{}", ended.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_something_else_is_told_by_what_shows_it() {
    let desk = Desk::new().await;
    let typed = |typ: &str| {
        let mut wish = MintRequest::of("alice");
        wish.typ = typ.to_owned();
        wish
    };
    let events = json!({"http://schemas.openid.net/event/backchannel-logout": {}});
    let by_hash = "it is an ID token: it has the claim at_hash, and its typ isn't at+jwt; \
                   auth.issuers.main.id_tokens: reject";
    let by_name = "it is a refresh token: its claim typ says so";
    let by_events = "it is a logout token or another event: it has the claim events";
    let neither = "neither an ID token nor a refresh or logout token";
    for (wish, found, is_good) in [
        (typed("JWT"), neither, true),
        (typed("at+jwt").with("at_hash", "h"), neither, true),
        (typed("JWT").with("nonce", "n"), neither, true),
        (typed("JWT").with("at_hash", "h"), by_hash, false),
        (typed("JWT").with("typ", "Refresh"), by_name, false),
        (typed("at+jwt").with("events", events), by_events, false),
    ] {
        let ended = desk.explain(&desk.mint(&wish), "", &[]).await;
        let (failed, verdict) =
            if is_good { (&[][..], "good") } else { (&["use"][..], "refused with 401") };
        told(&ended, failed, verdict);
        assert!(ended.stdout.contains(found), "{found} in {}", ended.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_revoked_is_told() {
    let desk = Desk::new().await;
    let entries = json!({"issuer": "main", "sub": "alice", "issued_before": "2090-01-01T00:00:00Z", "expires": "2100-01-01T00:00:00Z"});
    let file = desk.file("revoked.json", &json!({"revocations": [entries]}).to_string());
    let over = format!("auth.revocations_file = '{}'", file.display());
    let ended = desk.explain(&desk.mint(&MintRequest::of("alice")), &over, &[]).await;
    told(&ended, &["revoked"], "refused with 401 invalid_token, reason revoked");
    let ended = desk.explain(&desk.mint(&MintRequest::of("bob")), &over, &[]).await;
    told(&ended, &[], "good");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_no_issuer_of_ours_is_told_once() {
    let desk = Desk::new().await;
    let es256 = juspay_bff::settings::Algorithm::ES256;
    for (claims, failed, found) in [
        (json!({"iss": "https://other.example"}), "issuer", "equals its iss"),
        (json!({"sub": "alice"}), "issuer", "it has no iss"),
        (json!({"iss": 1}), "iss", "1"),
    ] {
        let signed =
            desk.running.issuer().sign_raw(r#"{"alg":"ES256"}"#, &claims.to_string(), es256);
        let ended = desk.explain(&signed.unwrap(), "", &[]).await;
        told(&ended, &[failed], "refused with 401 invalid_token, reason unknown_issuer");
        assert!(ended.stdout.contains(found), "{}", ended.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_signed_with_a_shared_secret_is_explained_offline_too() {
    let desk = Desk::new().await;
    let secret = "0123456789abcdef0123456789abcdef";
    let file = desk.file("secret", &format!("{}\n{secret}\n", "x".repeat(32)));
    let settings = desk.settings(&format!("hmac_secret_file = '{}'", file.display()));
    let settings = settings.replace("ES256", "HS256");
    let claims = json!({
        "iss": desk.running.issuer().issuer_url(), "aud": "juspay-bff-demo", "sub": "alice",
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
        (sign("HS256", secret), &[][..], "good", "made with the secret of line 2"),
        (
            sign("HS256", "another"),
            &["signature"],
            "refused with 401 invalid_token, reason signature",
            "made with none of these secrets",
        ),
        (
            sign("ES256", secret),
            &["alg"],
            "refused with 401 invalid_token, reason algorithm",
            "ES256; auth.issuers.main.algorithms: \"HS256\"",
        ),
    ] {
        let ended = desk.explain_by(&settings, &token, "", &["--offline"]).await;
        told(&ended, failed, verdict);
        assert!(ended.stdout.contains(found), "{}", ended.stdout);
        assert!(!ended.stdout.contains(secret), "{}", ended.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn offline_nobody_is_asked() {
    let desk = Desk::new().await;
    let token = desk.mint(&MintRequest::of("alice"));
    let ended = desk.explain(&token, "", &["--offline"]).await;
    told(&ended, &[], "none, as nobody was asked");
    assert!(ended.stdout.contains("not checked: what follows is unproven"), "{}", ended.stdout);
    assert!(ended.stderr.contains("can't be told offline"), "{}", ended.stderr);
    assert_eq!(desk.running.issuer().requests().len(), 0);

    // With the keys at hand there is a verdict all the same.
    let set = desk.file("keys.json", &desk.running.issuer().jwks().to_string());
    let settings = desk.settings(&format!("jwks_file = '{}'", set.display()));
    let ended = desk.explain_by(&settings, &token, "", &["--offline"]).await;
    told(&ended, &[], "good");
    let (message, _) = token.rsplit_once('.').unwrap();
    let ended = desk
        .explain_by(&settings, &format!("{message}.{}", "A".repeat(86)), "", &["--offline"])
        .await;
    told(&ended, &["signature"], "refused with 401 invalid_token, reason signature");
    assert_eq!(desk.running.issuer().requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_can_not_be_had_are_no_refusal() {
    let desk = Desk::new().await;
    let token = desk.mint(&MintRequest::of("alice"));
    desk.running.issuer().inject(JWKS_PATH, None, Fault::Html);
    let ended = desk.explain(&token, "", &[]).await;
    told(&ended, &["keys"], "refused with 503 keys_unavailable");
    assert!(
        ended.stdout.contains("auth.issuers.main has no keys: invalid key set: not a JWK set"),
        "{}",
        ended.stdout
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opaque_token_is_asked_about() {
    let desk = Desk::new().await;
    let secret = desk.file("secret", DEFAULT_CLIENT.1);
    let settings = format!(
        "juspay = {{ base_url = 'http://127.0.0.1:9', merchant_id = 'm', api_key = 'k' }}
        [auth.issuers.opaque]
        issuer = '{}'
        audiences = ['juspay-bff-demo']
        introspection_url = '{}'
        introspection_client_id = '{}'
        introspection_client_secret_file = '{}'",
        desk.running.issuer().issuer_url(),
        desk.running.issuer().introspection_url(),
        DEFAULT_CLIENT.0,
        secret.display()
    );
    let token = desk.mint(&MintRequest::opaque("alice"));
    let ended = desk.explain_by(&settings, &token, "", &[]).await;
    told(&ended, &[], "good, by auth.issuers.opaque");
    let calls = desk.running.issuer().calls(INTROSPECTION_PATH);
    let ended = desk.explain_by(&settings, &token, "", &["--offline"]).await;
    told(&ended, &[], "none, as nobody was asked");
    assert!(ended.stdout.contains("auth.issuers.opaque.introspection_url would be asked"));
    assert_eq!(desk.running.issuer().calls(INTROSPECTION_PATH), calls);

    let mut other = MintRequest::opaque("alice");
    other.audience = "another".to_owned();
    let ended = desk.explain_by(&settings, &desk.mint(&other), "", &[]).await;
    told(&ended, &["aud"], "refused with 401 invalid_token, reason audience");
    desk.running.issuer().revoke(&token);
    let ended = desk.explain_by(&settings, &token, "", &[]).await;
    told(&ended, &["introspection"], "refused with 401 invalid_token, reason inactive");
    desk.running.issuer().set_client(DEFAULT_CLIENT.0, "another");
    let ended = desk.explain_by(&settings, &token, "", &[]).await;
    told(&ended, &["introspection"], "refused with 503 keys_unavailable");
    assert!(
        ended.stdout.contains("the issuer rejected the client credentials"),
        "{}",
        ended.stdout
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_token_is_good_as_dpop_only() {
    let desk = Desk::new().await;
    let token = desk.mint(&Prover::new().wish("alice"));
    let over = "auth.issuers.main.dpop = 'optional'";
    let ended = desk.explain(&format!("DPoP {token}"), over, &[]).await;
    told(&ended, &[], "good, by auth.issuers.main; a DPoP proof must come with each request");
    let ended = desk.explain(&token, over, &[]).await;
    told(&ended, &["cnf"], "refused with 401 invalid_token, reason confirmation");
    let ended = desk.explain(&format!("DPoP {token}"), "", &[]).await;
    told(&ended, &["header"], "refused with 401 missing_token");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_token_is_said_so() {
    let desk = Desk::new().await;
    for empty in ["", "\n"] {
        let ended = desk.explain(empty, "", &[]).await;
        assert_eq!((ended.code, &*ended.stdout), (Some(1), ""));
        assert!(ended.stderr.contains("no token on standard input"), "{}", ended.stderr);
    }
    for (pasted, failed, verdict) in [
        ("two words", "header", "refused with 400 invalid_request"),
        ("opaque", "form", "refused with 401 invalid_token, reason not_jws"),
        (&"x".repeat(9000), "header", "refused with 400 token_too_large, reason too_long"),
    ] {
        told(&desk.explain(pasted, "", &[]).await, &[failed], verdict);
    }
    let gateway = "juspay = { base_url = 'http://127.0.0.1:9', merchant_id = 'm', api_key = 'k' }
        server.listen = '127.0.0.1:0'
        auth.gateway.header = 'x-customer'";
    let ended = desk.explain_by(gateway, "token", "", &[]).await;
    assert_eq!((ended.code, &*ended.stdout), (Some(1), ""));
    assert!(ended.stderr.contains("auth.gateway is on"), "{}", ended.stderr);
    let ended = desk.explain_by("server.listne = 1", "token", "", &[]).await;
    assert_eq!((ended.code, &*ended.stdout), (Some(2), ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_in_a_token_reaches_the_terminal_as_it_is() {
    let desk = Desk::new().await;
    let header = json!({"alg": "ES256", "typ": "\u{1b}[2J", "kid": "\u{202e}\n"}).to_string();
    let claims = json!({"iss": desk.running.issuer().issuer_url(), "aud": "\u{7}", "\u{9b}": 1});
    let token = desk
        .running
        .issuer()
        .sign_raw(&header, &claims.to_string(), juspay_bff::settings::Algorithm::ES256)
        .unwrap();
    let ended = desk.explain(&token, "", &[]).await;
    assert_eq!(ended.code, Some(1));
    for bad in ['\u{1b}', '\u{202e}', '\u{7}', '\u{9b}'] {
        assert!(!ended.stdout.contains(bad), "{:?}", ended.stdout);
    }
}
