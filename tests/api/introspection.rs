//! Opaque tokens: the service asks their issuer (RFC 7662). `answers` is about answers that can't
//! be gone by, `dpop` about tokens that are bound to a key.

mod answers;
mod dpop;

use std::time::Duration;

use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};
use simulator::{
    Fault, MintRequest,
    issuer::{DISCOVERY_PATH, INTROSPECTION_PATH, JWKS_PATH},
};
use tempfile::TempDir;

use crate::support::{Phone, Reply, Stage, World, guard, tls::TlsTerminator, until};

/// What `iss` is in the tokens that are asked about. The world's issuer mints them with it, so that
/// it can be two.
const ISSUER: &str = "https://opaque.example";
const CLIENT: &str = "juspay bff+é";

/// A world in which `main` signs its tokens and `opaque` is asked about them.
struct Asked {
    world: World,
    secret: String,
    files: TempDir,
}

impl Asked {
    async fn new() -> Self {
        Self::with("").await
    }

    async fn with(settings: &str) -> Self {
        Self::with_own(settings, "").await
    }

    /// With further settings of all, and of the issuer that is asked.
    async fn with_own(settings: &str, own: &str) -> Self {
        let stage = Stage::set().await;
        let url = stage.issuer().introspection_url();
        Self::at(stage, &url, settings, own).await
    }

    /// Whose issuer is asked at `url`.
    async fn at(stage: Stage, url: &str, settings: &str, own: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        let secret = format!("{}{:032x}%&+", guard::CLIENT_SECRET, rand::random::<u128>());
        std::fs::write(files.path().join("secret"), format!("{secret}\n")).unwrap();
        stage.issuer().set_client(CLIENT, &secret);
        let asked = format!(
            "auth.shared_customer_ids = true
            {settings}
            [auth.issuers.opaque]
            issuer = '{ISSUER}'
            audiences = ['juspay-bff-demo']
            introspection_url = '{url}'
            introspection_client_id = '{CLIENT}'
            introspection_client_secret_file = '{}/secret'
            {own}",
            files.path().display(),
        );
        Self { world: stage.open_ready(&asked).await, secret, files }
    }

    fn mint(&self, wish: MintRequest) -> String {
        self.world.issuer().mint(&wish.with("iss", ISSUER)).unwrap()
    }

    fn phone(&self, subject: &str) -> Phone {
        self.world.phone_holding(&self.mint(MintRequest::opaque(subject)))
    }

    fn calls(&self) -> u64 {
        self.world.issuer().calls(INTROSPECTION_PATH)
    }

    async fn outcome(&self, outcome: &str) -> u64 {
        let labels = format!("{{issuer=\"opaque\",outcome=\"{outcome}\"}}");
        self.world.count(&format!("juspay_bff_auth_introspections_total{labels}")).await
    }
}

fn owner(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["object_reference_id"].as_str().unwrap().to_owned()
}

fn invalid(reply: &Reply) {
    assert_eq!((reply.status, &*reply.code()), (401, "invalid_token"), "{}", reply.text());
    let challenge = r#"Bearer realm="juspay-bff", error="invalid_token""#;
    assert_eq!(reply.header("www-authenticate"), Some(challenge));
}

fn unavailable(reply: &Reply) {
    assert_eq!((reply.status, &*reply.code()), (503, "keys_unavailable"), "{}", reply.text());
    assert!(reply.header("retry-after").is_some());
    assert_eq!(reply.header("www-authenticate"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn application_tokens_name_no_customer() {
    let asked = Asked::new().await;
    for (sub, client) in [("app", "client_id"), ("app", "cid"), ("app@clients", "azp")] {
        let token = asked.mint(MintRequest::opaque(sub).with(client, "app"));
        let reply = asked.world.phone_holding(&token).me().await;
        assert_eq!((reply.status, &*reply.code()), (403, "no_customer"), "{sub} by {client}");
    }
    assert_eq!(asked.world.simulator().total_requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_token_with_an_unknown_key_is_refused_and_its_issuer_not_asked() {
    let asked = Asked::new().await;
    let old = asked.world.issuer().mint(&MintRequest::of("alice")).unwrap();
    asked.world.clock.advance(Duration::from_secs(60));
    asked.world.issuer().rotate(false).unwrap();
    // The new key makes the service fetch the set; the old one has left it.
    assert_eq!(owner(&asked.world.phone("bob").me().await), "bob");
    invalid(&asked.world.phone_holding(&old).me().await);
    assert_eq!(asked.calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_opaque_tokens_get_their_own_customer_beside_signed_ones() {
    let asked = Asked::new().await;
    let (alice, bob) = (asked.phone("alice"), asked.phone("bob"));
    for _ in ["first sight", "known"] {
        assert_eq!(owner(&alice.me().await), "alice");
        assert_eq!(owner(&bob.me().await), "bob");
    }
    assert_eq!((asked.calls(), asked.outcome("active").await), (2, 2));
    assert_eq!(owner(&asked.world.phone("carol").me().await), "carol");
    invalid(&asked.world.phone_holding("opq_nobodys").me().await);
    assert_eq!((asked.calls(), asked.outcome("inactive").await), (3, 1));
    let duration = "juspay_bff_auth_introspection_duration_seconds_count{issuer=\"opaque\"}";
    assert_eq!(asked.world.count(duration).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_token_goes_to_its_issuer_in_the_body_and_nowhere_else() {
    let asked = Asked::new().await;
    let token = asked.mint(MintRequest::opaque("alice"));
    assert_eq!(owner(&asked.world.phone_holding(&token).me().await), "alice");
    let with_token: Vec<_> = asked.world.issuer().requests();
    let [question] = &with_token
        .iter()
        .filter(|request| format!("{request:?}").contains(&token))
        .collect::<Vec<_>>()[..]
    else {
        panic!("not one question")
    };
    assert_eq!((&*question.method, &*question.path), ("POST", INTROSPECTION_PATH));
    assert_eq!(question.body, format!("token={token}&token_type_hint=access_token"));
    let header = |name| {
        let of_that_name = |(field, _): &&(String, String)| field.eq_ignore_ascii_case(name);
        question.headers.iter().find(of_that_name).map(|(_, value)| value.as_str())
    };
    assert_eq!(header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(header("accept"), Some("application/json"));
    assert!(header("authorization").unwrap().starts_with("Basic "));
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_phones_with_one_token_make_one_call() {
    let asked = Asked::new().await;
    let phone = asked.phone("alice");
    let gate = asked.world.issuer().hold(INTROSPECTION_PATH);
    let pending = join_all((0..50).map(|_| phone.begin())).await;
    asked.world.until_waiting(50).await;
    gate.release();
    for pending in pending {
        assert_eq!(owner(&pending.reply().await), "alice");
    }
    assert_eq!(asked.calls(), 1);
    assert_eq!(asked.world.simulator().calls("alice"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_up_leaves_the_answer_to_the_others() {
    let asked = Asked::new().await;
    let phone = asked.phone("alice");
    let gate = asked.world.issuer().hold(INTROSPECTION_PATH);
    let first = phone.begin().await;
    asked.world.until_waiting(1).await;
    let second = phone.begin().await;
    asked.world.until_waiting(2).await;
    drop(first);
    asked.world.until_waiting(1).await;
    gate.release();
    assert_eq!(owner(&second.reply().await), "alice");
    assert_eq!(asked.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_revoked_at_its_issuer_is_refused_when_the_answer_has_had_its_time() {
    let asked = Asked::new().await;
    let token = asked.mint(MintRequest::opaque("alice"));
    let phone = asked.world.phone_holding(&token);
    assert_eq!(owner(&phone.me().await), "alice");
    asked.world.issuer().revoke(&token);
    asked.world.clock.advance(Duration::from_secs(59));
    assert_eq!(owner(&phone.me().await), "alice");
    asked.world.clock.advance(Duration::from_secs(1));
    invalid(&phone.me().await);
    assert_eq!(asked.calls(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn revocations_end_opaque_tokens_at_once() {
    let asked = Asked::new().await;
    let phone = asked.phone("alice");
    assert_eq!(owner(&phone.me().await), "alice");
    let now = asked.world.clock_seconds();
    let entry = json!({
        "issuer": ISSUER, "sub": "alice", "issued_before": now + 1, "expires": now + 1000,
    });
    assert_eq!(asked.world.admin().post("/revocations", &entry).await.status, 200);
    invalid(&phone.me().await);
    asked.world.clock.advance(Duration::from_secs(60));
    invalid(&phone.me().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_while_the_issuer_is_down_known_tokens_serve_and_others_get_503() {
    let asked = Asked::new().await;
    let (known, new) = (asked.phone("alice"), asked.phone("bob"));
    assert_eq!(owner(&known.me().await), "alice");
    asked.world.issuer().inject(INTROSPECTION_PATH, None, Fault::Reset);
    assert_eq!(owner(&known.me().await), "alice");
    unavailable(&new.me().await);
    asked.world.clock.advance(Duration::from_secs(60));
    unavailable(&known.me().await);
    assert_eq!(asked.outcome("unreachable").await, 2);
    assert_eq!(owner(&asked.world.phone("carol").me().await), "carol", "of the other issuer");
    asked.world.issuer().clear_faults();
    assert_eq!(owner(&known.me().await), "alice");
    assert_eq!(owner(&new.me().await), "bob");
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_client_that_is_refused_is_no_401_and_its_new_secret_is_taken_up() {
    let asked = Asked::new().await;
    let phone = asked.phone("alice");
    let new = asked.secret.replace("%&+", "new");
    asked.world.issuer().set_client(CLIENT, &new);
    unavailable(&phone.me().await);
    assert_eq!(asked.outcome("rejected_credentials").await, 1);
    std::fs::write(asked.files.path().join("secret"), new).unwrap();
    asked
        .world
        .turn_until("the new secret", Duration::from_secs(10), async || {
            phone.me().await.status == 200
        })
        .await;
    assert_eq!(asked.outcome("rejected_credentials").await + 1, asked.calls());
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_an_issuer_is_asked_over_tls_when_its_ca_file_has_certified_it() {
    for (is_certified, status) in [(true, 200), (false, 503)] {
        let stage = Stage::set().await;
        let plain = stage.issuer().introspection_url();
        let (origin, _) = plain.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let end = TlsTerminator::new("localhost", origin.parse().unwrap()).await;
        let ca = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&ca, &end.ca).unwrap();
        let url = plain.replace(
            &format!("http://{origin}"),
            &format!("https://localhost:{}", end.address.port()),
        );
        let trust = format!("ca_file = '{}'", ca.path().display());
        let asked = Asked::at(stage, &url, "", if is_certified { &trust } else { "" }).await;
        assert_eq!(asked.phone("alice").me().await.status, status);
        assert_eq!(asked.calls(), u64::from(is_certified), "no token leaves for anybody else");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_is_ready_by_an_issuer_that_it_can_ask() {
    let files = tempfile::tempdir().unwrap();
    let secret = files.path().join("secret");
    std::fs::write(&secret, guard::CLIENT_SECRET).unwrap();
    let stage = Stage::set().await;
    stage.issuer().set_client("a", guard::CLIENT_SECRET);
    for path in [DISCOVERY_PATH, JWKS_PATH] {
        stage.issuer().inject(path, None, Fault::Reset);
    }
    let settings = format!(
        "auth.shared_customer_ids = true\n[auth.issuers.opaque]\nissuer = '{ISSUER}'
        audiences = ['juspay-bff-demo']\nintrospection_url = '{}'\nintrospection_client_id = 'a'
        introspection_client_secret_file = '{}'",
        stage.issuer().introspection_url(),
        secret.display(),
    );
    let world = stage.open(&settings);
    until("readiness", async || world.admin().get("/readyz").await.status == 200).await;
    let wish = MintRequest::opaque("alice").with("iss", ISSUER);
    assert_eq!(owner(&world.phone_with(&wish).me().await), "alice");
    assert_eq!(world.phone("alice").me().await.code(), "keys_unavailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_of_answers_are_held_to_the_settings() {
    let asked = Asked::new().await;
    for (wish, status, code) in [
        (MintRequest::opaque("alice").with("aud", "another"), 401, "invalid_token"),
        (MintRequest::opaque("alice").with("aud", Value::Null), 401, "invalid_token"),
        (MintRequest::opaque("alice").with("exp", Value::Null), 401, "invalid_token"),
        (MintRequest::opaque("alice").with("token_type", "DPoP"), 401, "invalid_token"),
        (MintRequest::opaque("alice").with("token_use", "refresh_token"), 401, "invalid_token"),
        (MintRequest::opaque("alice").with("cnf", json!({"jkt": "x"})), 401, "invalid_token"),
        (MintRequest::opaque("alice").with("sub", "juspay-bff-demo-app"), 403, "no_customer"),
    ] {
        let reply = asked.world.phone_holding(&asked.mint(wish.clone())).me().await;
        assert_eq!((reply.status, &*reply.code()), (status, code), "{wish:?}");
    }
    // Another issuer's, by what the endpoint says.
    let foreign = MintRequest::opaque("alice");
    invalid(&asked.world.phone_with(&foreign).me().await);
    let life = SignedDuration::from_secs(10);
    let short = MintRequest { life, ..MintRequest::opaque("alice") };
    let phone = asked.world.phone_holding(&asked.mint(short));
    assert_eq!(owner(&phone.me().await), "alice");
    asked.world.clock.advance(Duration::from_secs(10));
    invalid(&phone.me().await);
    assert_eq!(asked.world.simulator().total_requests(), 1);
}
