//! Introspection of opaque tokens (RFC 7662). `responses` tests invalid and unexpected responses,
//! `dpop` tokens that are bound to a key.

mod dpop;
mod responses;

use std::time::Duration;

use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};
use simulator::{
    Fault, MintRequest,
    issuer::{DISCOVERY_PATH, INTROSPECTION_PATH, JWKS_PATH},
};
use tempfile::TempDir;

use crate::support::{Client, Reply, Stage, World, guard, tls::TlsTerminator, until};

/// `iss` of opaque tokens. The world's issuer mints them with it, so that one issuer can act as
/// two.
const ISSUER: &str = "https://opaque.example";
const CLIENT: &str = "juspay bff+é";

/// A world in which `main` signs its tokens and those of `opaque` are introspected.
struct Setup {
    world: World,
    secret: String,
    files: TempDir,
}

impl Setup {
    async fn new() -> Self {
        Self::with("").await
    }

    async fn with(settings: &str) -> Self {
        Self::with_issuer_settings(settings, "").await
    }

    /// With further common settings, and further settings of the issuer `opaque`.
    async fn with_issuer_settings(settings: &str, own: &str) -> Self {
        let stage = Stage::set().await;
        let url = stage.issuer().introspection_url();
        Self::with_endpoint(stage, &url, settings, own).await
    }

    /// With the introspection endpoint at `url`.
    async fn with_endpoint(stage: Stage, url: &str, settings: &str, own: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        let secret = format!("{}{:032x}%&+", guard::CLIENT_SECRET, rand::random::<u128>());
        std::fs::write(files.path().join("secret"), format!("{secret}\n")).unwrap();
        stage.issuer().set_client(CLIENT, &secret);
        let setup = format!(
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
        Self { world: stage.open_ready(&setup).await, secret, files }
    }

    fn mint(&self, wish: MintRequest) -> String {
        self.world.issuer().mint(&wish.with("iss", ISSUER)).unwrap()
    }

    fn client(&self, subject: &str) -> Client {
        self.world.client_with_token(&self.mint(MintRequest::opaque(subject)))
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

fn assert_invalid(reply: &Reply) {
    assert_eq!((reply.status, &*reply.code()), (401, "invalid_token"), "{}", reply.text());
    let challenge = r#"Bearer realm="juspay-bff", error="invalid_token""#;
    assert_eq!(reply.header("www-authenticate"), Some(challenge));
}

fn assert_unavailable(reply: &Reply) {
    assert_eq!((reply.status, &*reply.code()), (503, "keys_unavailable"), "{}", reply.text());
    assert!(reply.header("retry-after").is_some());
    assert_eq!(reply.header("www-authenticate"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn application_tokens_name_no_customer() {
    let setup = Setup::new().await;
    for (sub, client) in [("app", "client_id"), ("app", "cid"), ("app@clients", "azp")] {
        let token = setup.mint(MintRequest::opaque(sub).with(client, "app"));
        let reply = setup.world.client_with_token(&token).me().await;
        assert_eq!((reply.status, &*reply.code()), (403, "no_customer"), "{sub} by {client}");
    }
    assert_eq!(setup.world.simulator().total_requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_token_with_an_unknown_key_is_rejected_without_introspection() {
    let setup = Setup::new().await;
    let old = setup.world.issuer().mint(&MintRequest::of("alice")).unwrap();
    setup.world.clock.advance(Duration::from_secs(60));
    setup.world.issuer().rotate(false).unwrap();
    // The new key makes the service fetch the key set, which no longer contains the old key.
    assert_eq!(owner(&setup.world.client("bob").me().await), "bob");
    assert_invalid(&setup.world.client_with_token(&old).me().await);
    assert_eq!(setup.calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_opaque_and_signed_tokens_return_their_own_customers() {
    let setup = Setup::new().await;
    let (alice, bob) = (setup.client("alice"), setup.client("bob"));
    for _ in ["first sight", "known"] {
        assert_eq!(owner(&alice.me().await), "alice");
        assert_eq!(owner(&bob.me().await), "bob");
    }
    assert_eq!((setup.calls(), setup.outcome("active").await), (2, 2));
    assert_eq!(owner(&setup.world.client("carol").me().await), "carol");
    assert_invalid(&setup.world.client_with_token("opq_unknown").me().await);
    assert_eq!((setup.calls(), setup.outcome("inactive").await), (3, 1));
    let duration = "juspay_bff_auth_introspection_duration_seconds_count{issuer=\"opaque\"}";
    assert_eq!(setup.world.count(duration).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_token_is_sent_to_its_issuer_in_the_body_only() {
    let setup = Setup::new().await;
    let token = setup.mint(MintRequest::opaque("alice"));
    assert_eq!(owner(&setup.world.client_with_token(&token).me().await), "alice");
    let with_token: Vec<_> = setup.world.issuer().requests();
    let [introspection] = &with_token
        .iter()
        .filter(|request| format!("{request:?}").contains(&token))
        .collect::<Vec<_>>()[..]
    else {
        panic!("not exactly one request")
    };
    assert_eq!((&*introspection.method, &*introspection.path), ("POST", INTROSPECTION_PATH));
    assert_eq!(introspection.body, format!("token={token}&token_type_hint=access_token"));
    let header = |name| {
        let of_that_name = |(field, _): &&(String, String)| field.eq_ignore_ascii_case(name);
        introspection.headers.iter().find(of_that_name).map(|(_, value)| value.as_str())
    };
    assert_eq!(header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(header("accept"), Some("application/json"));
    assert!(header("authorization").unwrap().starts_with("Basic "));
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_requests_with_one_token_cause_one_call() {
    let setup = Setup::new().await;
    let client = setup.client("alice");
    let latch = setup.world.issuer().hold(INTROSPECTION_PATH);
    let pending = join_all((0..50).map(|_| client.begin())).await;
    setup.world.until_waiting(50).await;
    latch.release();
    for pending in pending {
        assert_eq!(owner(&pending.reply().await), "alice");
    }
    assert_eq!(setup.calls(), 1);
    assert_eq!(setup.world.simulator().calls("alice"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn disconnected_client_does_not_cancel_the_introspection() {
    let setup = Setup::new().await;
    let client = setup.client("alice");
    let latch = setup.world.issuer().hold(INTROSPECTION_PATH);
    let first = client.begin().await;
    setup.world.until_waiting(1).await;
    let second = client.begin().await;
    setup.world.until_waiting(2).await;
    drop(first);
    setup.world.until_waiting(1).await;
    latch.release();
    assert_eq!(owner(&second.reply().await), "alice");
    assert_eq!(setup.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn token_revoked_at_its_issuer_is_rejected_once_the_cached_response_expires() {
    let setup = Setup::new().await;
    let token = setup.mint(MintRequest::opaque("alice"));
    let client = setup.world.client_with_token(&token);
    assert_eq!(owner(&client.me().await), "alice");
    setup.world.issuer().revoke(&token);
    setup.world.clock.advance(Duration::from_secs(59));
    assert_eq!(owner(&client.me().await), "alice");
    setup.world.clock.advance(Duration::from_secs(1));
    assert_invalid(&client.me().await);
    assert_eq!(setup.calls(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn revocations_end_opaque_tokens_at_once() {
    let setup = Setup::new().await;
    let client = setup.client("alice");
    assert_eq!(owner(&client.me().await), "alice");
    let now = setup.world.clock_seconds();
    let entry = json!({
        "issuer": ISSUER, "sub": "alice", "issued_before": now + 1, "expires": now + 1000,
    });
    assert_eq!(setup.world.admin().post("/revocations", &entry).await.status, 200);
    assert_invalid(&client.me().await);
    setup.world.clock.advance(Duration::from_secs(60));
    assert_invalid(&client.me().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_unreachable_issuer_rejects_only_unknown_tokens_with_503() {
    let setup = Setup::new().await;
    let (known, new) = (setup.client("alice"), setup.client("bob"));
    assert_eq!(owner(&known.me().await), "alice");
    setup.world.issuer().inject(INTROSPECTION_PATH, None, Fault::Reset);
    assert_eq!(owner(&known.me().await), "alice");
    assert_unavailable(&new.me().await);
    setup.world.clock.advance(Duration::from_secs(60));
    assert_unavailable(&known.me().await);
    assert_eq!(setup.outcome("unreachable").await, 2);
    assert_eq!(
        owner(&setup.world.client("carol").me().await),
        "carol",
        "token of the other issuer"
    );
    setup.world.issuer().clear_faults();
    assert_eq!(owner(&known.me().await), "alice");
    assert_eq!(owner(&new.me().await), "bob");
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_rejected_client_is_a_503_and_its_new_secret_is_used() {
    let setup = Setup::new().await;
    let client = setup.client("alice");
    let new = setup.secret.replace("%&+", "new");
    setup.world.issuer().set_client(CLIENT, &new);
    assert_unavailable(&client.me().await);
    assert_eq!(setup.outcome("rejected_credentials").await, 1);
    std::fs::write(setup.files.path().join("secret"), new).unwrap();
    setup
        .world
        .advance_until("the new secret", Duration::from_secs(10), async || {
            client.me().await.status == 200
        })
        .await;
    assert_eq!(setup.outcome("rejected_credentials").await + 1, setup.calls());
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_token_is_sent_only_to_an_issuer_with_a_valid_certificate() {
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
        let setup =
            Setup::with_endpoint(stage, &url, "", if is_certified { &trust } else { "" }).await;
        assert_eq!(setup.client("alice").me().await.status, status);
        assert_eq!(setup.calls(), u64::from(is_certified), "no token is sent to another server");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn service_with_an_introspection_endpoint_is_ready_without_keys() {
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
    assert_eq!(owner(&world.client_with(&wish).me().await), "alice");
    assert_eq!(world.client("alice").me().await.code(), "keys_unavailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_of_responses_are_checked() {
    let setup = Setup::new().await;
    for (wish, status, code) in [
        (MintRequest::opaque("alice").with("aud", "another"), 401, "invalid_token"),
        (MintRequest::opaque("alice").with("aud", Value::Null), 401, "invalid_token"),
        (MintRequest::opaque("alice").with("exp", Value::Null), 401, "invalid_token"),
        (MintRequest::opaque("alice").with("token_type", "DPoP"), 401, "invalid_token"),
        (MintRequest::opaque("alice").with("token_use", "refresh_token"), 401, "invalid_token"),
        (MintRequest::opaque("alice").with("cnf", json!({"jkt": "x"})), 401, "invalid_token"),
        (MintRequest::opaque("alice").with("sub", "juspay-bff-demo-app"), 403, "no_customer"),
    ] {
        let reply = setup.world.client_with_token(&setup.mint(wish.clone())).me().await;
        assert_eq!((reply.status, &*reply.code()), (status, code), "{wish:?}");
    }
    // A token of another issuer, according to the response.
    let foreign = MintRequest::opaque("alice");
    assert_invalid(&setup.world.client_with(&foreign).me().await);
    let life = SignedDuration::from_secs(10);
    let short = MintRequest { life, ..MintRequest::opaque("alice") };
    let client = setup.world.client_with_token(&setup.mint(short));
    assert_eq!(owner(&client.me().await), "alice");
    setup.world.clock.advance(Duration::from_secs(10));
    assert_invalid(&client.me().await);
    assert_eq!(setup.world.simulator().total_requests(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_customer_is_created_from_the_response() {
    let setup = Setup::with("juspay.create_missing_customers = true").await;
    setup.world.simulator().set_provision(false);
    let wish = MintRequest::opaque("newcomer").with("phone_number", "+919810012345");
    let unverified = setup.mint(wish.clone());
    let client = setup.world.client_with_token(&unverified);
    assert_eq!(client.me().await.code(), "customer_not_creatable");
    setup.world.clock.advance(Duration::from_secs(1));
    let verified = setup.mint(wish.with("phone_number_verified", true));
    let reply = setup.world.client_with_token(&verified).me().await;
    assert_eq!(reply.json()["mobile_number"], "9810012345", "{}", reply.text());
}
