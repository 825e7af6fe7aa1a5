//! `juspay-bff explain-token`, with the real binary: what it prints about a token, and that it
//! never prints the token. The attack corpus (`auth::corpus`) compares its verdicts with the
//! service's.

mod caution;
mod near_misses;
mod sources;
mod unproven;

use std::{path::PathBuf, process::Stdio};

use jiff::SignedDuration;
use serde_json::json;
use simulator::{MintRequest, Running};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;

use crate::support::{
    dpop_key::DpopKey,
    process::{Ended, bff},
    with_timeout,
};

/// An issuer, and settings for its tokens.
struct Fixture {
    running: Running,
    files: TempDir,
}

impl Fixture {
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
        let output = format!("{}{}", ended.stdout, ended.stderr);
        for part in pasted.split(['.', ' ', '\n']).filter(|part| part.len() > 20) {
            assert!(!output.contains(part), "a part of the token: {output}");
        }
        ended
    }
}

async fn run_with_input(arguments: &[&str], input: &str) -> Ended {
    let mut child = bff(arguments).stdin(Stdio::piped()).spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    let running = async {
        // The process may exit without reading its input.
        drop(stdin.write_all(input.as_bytes()).await);
        drop(stdin);
        child.wait_with_output().await.expect("it ends")
    };
    let output = with_timeout("the end of a command", running).await;
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}

/// Asserts which checks fail and how the verdict begins.
#[track_caller]
fn ends(ended: &Ended, failed: &[&str], verdict: &str) {
    let lines = ended.stdout.lines().filter(|line| line.starts_with("FAILED "));
    let names: Vec<_> = lines.filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(names, failed, "{}", ended.stdout);
    let said = ended.stdout.lines().last().unwrap();
    assert!(said.starts_with(&format!("verdict:  {verdict}")), "{}", ended.stdout);
    let code = i32::from(!verdict.starts_with("accepted"));
    assert_eq!(ended.code, Some(code), "{}", ended.stderr);
    assert_eq!(ended.stderr.is_empty(), code == 0, "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn valid_tokens_pass_each_check() {
    let fixture = Fixture::new().await;
    let token = fixture.mint(&MintRequest::of("alice"));
    for pasted in [token.clone(), format!("{token}\n"), format!("Bearer {token}\r\n")] {
        let ended = fixture.explain(&pasted, "", &[]).await;
        ends(&ended, &[], "accepted by auth.issuers.main");
        assert!(!ended.stdout.contains("alice"), "{}", ended.stdout);
        assert!(ended.stdout.contains("customer: not shown: set log.customer_ref_key_file"));
        for names in [
            r#"three parts; claims "aud", "client_id", "exp", "iat", "iss", "jti", "sub""#,
            r#"members "alg", "kid", "typ"; alg "ES256", typ "at+jwt", kid ""#,
        ] {
            assert!(ended.stdout.contains(names), "{names} in {}", ended.stdout);
        }
    }
    let ended = fixture.explain(&token, "", &["--show-customer"]).await;
    assert!(ended.stdout.contains("customer: id \"alice\"\n"), "{}", ended.stdout);
    let key = fixture.file("ref.key", "Jefe");
    let over = format!("log.customer_ref_key_file = '{}'", key.display());
    let ended = fixture.explain(&token, &over, &[]).await;
    // HMAC-SHA256 of "alice" with that key.
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
async fn failed_checks_are_shown_with_their_setting() {
    let fixture = Fixture::new().await;
    let mut wish = MintRequest::of("alice");
    wish.audience = "another".to_owned();
    wish.life = SignedDuration::from_mins(-5);
    wish.typ = "rt+jwt".to_owned();
    let over = "auth.issuers.main = { required_scopes = ['pay'], customer_id_claim = 'email' }";
    let ended = fixture.explain(&fixture.mint(&wish), over, &[]).await;
    ends(
        &ended,
        &["typ", "aud", "expiry", "scope", "customer"],
        "rejected with 401 invalid_token, reason type",
    );
    for line in [
        "FAILED   typ            its type is not accepted (type)\n",
        "         expected       one of \"at+jwt\", \"jwt\", \"\" (auth.issuers.main.typ)\n",
        "         found          \"rt+jwt\"\n",
        "FAILED   aud            it is for another audience (audience)\n",
        "         expected       aud \"juspay-bff-demo\" (auth.issuers.main.audiences)\n",
        "         found          aud \"another\"\n",
        "FAILED   expiry         the token has expired (expired)\n",
        "         expected       a token before its end (auth.leeway 30s)\n",
        "         hint           expired 5m",
        "FAILED   scope          the token lacks one of the scopes \"pay\" (insufficient_scope)\n",
        "         expected       \"pay\" in scope, scp or scopes (auth.issuers.main.required_scopes)\n",
        "         found          scope none, scp none, scopes none\n",
        "         expected       a customer in the claim \"email\" (auth.issuers.main.customer_id_claim)\n",
        "         found          the claim \"email\" names none: the claim is missing\n",
    ] {
        assert!(ended.stdout.contains(line), "{line} in {}", ended.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn audience_is_shown_with_its_claim() {
    let fixture = Fixture::new().await;
    let mut wish =
        MintRequest::of("alice").with("client_id", "juspay-bff-demo").with("aud", json!([]));
    let stand_in = "         expected       aud \"juspay-bff-demo\" (auth.issuers.main.audiences)
         found          aud []
         hint           aud is missing; auth.issuers.main.audience_claim could name one of these: client_id \"juspay-bff-demo\"
         to accept such tokens: auth.issuers.main.audience_claim = \"client_id\"
         meaning        the app that a token was issued to is then compared, not the API: every token of that app is accepted\n";
    let ended = fixture.explain(&fixture.mint(&wish), "", &[]).await;
    ends(&ended, &["aud"], "rejected with 401 invalid_token, reason audience");
    assert!(ended.stdout.contains(stand_in), "{}", ended.stdout);
    let over = "auth.issuers.main.audience_claim = 'client_id'";
    let ended = fixture.explain(&fixture.mint(&wish), over, &[]).await;
    ends(&ended, &[], "accepted");
    wish = wish.with("client_id", "another");
    let ended = fixture.explain(&fixture.mint(&wish), over, &[]).await;
    ends(&ended, &["aud"], "rejected with 401 invalid_token, reason audience");
    let named = "         expected       client_id \"juspay-bff-demo\" (auth.issuers.main.audiences, auth.issuers.main.audience_claim)
         found          client_id \"another\"\n";
    assert!(ended.stdout.contains(named), "{}", ended.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_required_claim_is_shown_with_its_value() {
    let fixture = Fixture::new().await;
    let over = "auth.issuers.main.required_claims = { token_use = 'access', '/a/b' = [1, false] }";
    let wish = MintRequest::of("alice").with("token_use", "web").with("a", json!({"b": false}));
    let ended = fixture.explain(&fixture.mint(&wish), over, &[]).await;
    ends(&ended, &["required"], "rejected with 401 invalid_token, reason claims");
    for line in [
        "         expected       token_use \"access\" (auth.issuers.main.required_claims)\n",
        "         found          token_use \"web\"\n",
        "required claim /a/b false; expected /a/b 1 or false (auth.issuers.main.required_claims)\n",
    ] {
        assert!(ended.stdout.contains(line), "{line} in {}", ended.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn application_tokens_are_identified() {
    let fixture = Fixture::new().await;
    for (sub, client) in [("app", "cid"), ("app@clients", "azp")] {
        let token = fixture.mint(&MintRequest::of(sub).with(client, "app"));
        let ended = fixture.explain(&token, "", &[]).await;
        ends(&ended, &["customer"], "rejected with 403 no_customer, reason no_customer");
        let found = "names none: it is the application's own token: sub names the client";
        assert!(ended.stdout.contains(found), "{}", ended.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_kids_are_shown_with_the_response_until_the_next_fetch() {
    let fixture = Fixture::new().await;
    let token = fixture.mint(&MintRequest::of("alice"));
    fixture.running.issuer().rotate(false).unwrap();
    let ended = fixture.explain(&token, "", &[]).await;
    ends(&ended, &["keys"], "rejected with 401 invalid_token, reason unknown_key");
    assert!(ended.stdout.contains("answers 503 until its next fetch"), "{}", ended.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_kinds_of_tokens_are_shown_with_their_evidence() {
    let fixture = Fixture::new().await;
    let typed = |typ: &str| {
        let mut wish = MintRequest::of("alice");
        wish.typ = typ.to_owned();
        wish
    };
    let events = json!({"http://schemas.openid.net/event/backchannel-logout": {}});
    let by_hash = "         expected       an access token (auth.issuers.main.id_tokens: reject)
         found          it is an ID token: it has the claim at_hash, and its header typ isn't at+jwt\n";
    let by_name = "found          it is a refresh token: its claim typ says so\n";
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
        let ended = fixture.explain(&fixture.mint(&wish), "", &[]).await;
        let (failed, verdict) =
            if is_good { (&[][..], "accepted") } else { (&["use"][..], "rejected with 401") };
        ends(&ended, failed, verdict);
        assert!(ended.stdout.contains(found), "{found} in {}", ended.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_tokens_are_rejected() {
    let fixture = Fixture::new().await;
    let entries = json!({"issuer": "main", "sub": "alice", "issued_before": "2090-01-01T00:00:00Z", "expires": "2100-01-01T00:00:00Z"});
    let file = fixture.file("revoked.json", &json!({"revocations": [entries]}).to_string());
    let over = format!("auth.revocations_file = '{}'", file.display());
    let ended = fixture.explain(&fixture.mint(&MintRequest::of("alice")), &over, &[]).await;
    ends(&ended, &["revoked"], "rejected with 401 invalid_token, reason revoked");
    let ended = fixture.explain(&fixture.mint(&MintRequest::of("bob")), &over, &[]).await;
    ends(&ended, &[], "accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_issuers_fail_one_check() {
    let fixture = Fixture::new().await;
    let es256 = simulator::Algorithm::ES256;
    for (claims, failed, found) in [
        (json!({"iss": "https://other.example"}), "issuer", "iss \"https://other.example\""),
        (json!({"sub": "alice"}), "issuer", "the token has no iss"),
        (json!({"iss": 1}), "iss", "1"),
    ] {
        let signed =
            fixture.running.issuer().sign_raw(r#"{"alg":"ES256"}"#, &claims.to_string(), es256);
        let ended = fixture.explain(&signed.unwrap(), "", &[]).await;
        ends(&ended, &[failed], "rejected with 401 invalid_token, reason unknown_issuer");
        assert!(ended.stdout.contains(found), "{}", ended.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bound_tokens_are_accepted_only_as_dpop() {
    let fixture = Fixture::new().await;
    let token = fixture.mint(&DpopKey::new().wish("alice"));
    let over = "auth.issuers.main.dpop = 'optional'";
    let ended = fixture.explain(&format!("DPoP {token}"), over, &[]).await;
    ends(&ended, &[], "accepted by auth.issuers.main; each request needs a DPoP proof as well");
    let ended = fixture.explain(&token, over, &[]).await;
    ends(&ended, &["cnf"], "rejected with 401 invalid_token, reason confirmation");
    let ended = fixture.explain(&format!("DPoP {token}"), "", &[]).await;
    ends(&ended, &["header"], "rejected with 401 missing_token");
}

#[tokio::test(flavor = "multi_thread")]
async fn input_without_a_token_is_rejected() {
    let fixture = Fixture::new().await;
    for empty in ["", "\n"] {
        let ended = fixture.explain(empty, "", &[]).await;
        assert_eq!((ended.code, &*ended.stdout), (Some(1), ""));
        assert!(ended.stderr.contains("no token on standard input"), "{}", ended.stderr);
    }
    for (pasted, failed, verdict) in [
        ("two words", "header", "rejected with 400 invalid_request"),
        ("opaque", "form", "rejected with 401 invalid_token, reason not_jws"),
        (&"x".repeat(9000), "header", "rejected with 400 token_too_large, reason too_long"),
    ] {
        ends(&fixture.explain(pasted, "", &[]).await, &[failed], verdict);
    }
    let gateway = "juspay = { base_url = 'http://127.0.0.1:9', merchant_id = 'm', api_key = 'k' }
        server.listen = '127.0.0.1:0'
        auth.gateway.header = 'x-customer'";
    let ended = fixture.explain_by(gateway, "token", "", &[]).await;
    assert_eq!((ended.code, &*ended.stdout), (Some(1), ""));
    assert!(
        ended.stderr.contains("auth.gateway is on: the service reads no tokens"),
        "{}",
        ended.stderr
    );
    let ended = fixture.explain_by("server.listne = 1", "token", "", &[]).await;
    assert_eq!((ended.code, &*ended.stdout), (Some(2), ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn control_characters_of_a_token_are_escaped() {
    let fixture = Fixture::new().await;
    let header = json!({"alg": "ES256", "typ": "\u{1b}[2J", "kid": "\u{202e}\n"}).to_string();
    let claims = json!({"iss": fixture.running.issuer().issuer_url(), "aud": "\u{7}", "\u{9b}": 1});
    let token = fixture
        .running
        .issuer()
        .sign_raw(&header, &claims.to_string(), simulator::Algorithm::ES256)
        .unwrap();
    let ended = fixture.explain(&token, "", &[]).await;
    assert_eq!(ended.code, Some(1));
    for bad in ['\u{1b}', '\u{202e}', '\u{7}', '\u{9b}'] {
        assert!(!ended.stdout.contains(bad), "{:?}", ended.stdout);
    }
}
