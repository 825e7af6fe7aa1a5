//! Key rotation and unreachable issuers. Failures of an issuer are a 503, never a 401 (promise P6).

mod forged_kids;

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};
use simulator::{
    Algorithm, Fault, MintRequest,
    issuer::{DISCOVERY_PATH, JWKS_PATH},
};

use futures_util::future::join_all;

use super::{
    COOLDOWN, INVALID_TOKEN, assert_rejected, second_issuer,
    tokens::{claims, header},
};
use crate::support::{Reply, Stage, World, tls::TlsTerminator, until};

const SECOND: Duration = Duration::from_secs(1);
const MAX_STALE: Duration = Duration::from_hours(24);

/// A token that is valid throughout each test.
fn long_lived(subject: &str) -> MintRequest {
    MintRequest { life: SignedDuration::from_hours(1000), ..MintRequest::of(subject) }
}

fn unavailable(reply: &Reply) {
    assert_rejected("no keys", reply, 503, "keys_unavailable", None);
    assert!(reply.header("retry-after").is_some());
}

/// Makes the issuer unreachable.
fn stop_issuer(world: &World) {
    world.issuer().inject(DISCOVERY_PATH, None, Fault::Reset);
    world.issuer().inject(JWKS_PATH, None, Fault::Reset);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_keys_work_at_once_and_old_ones_while_published() {
    let world = World::new().await;
    let old = world.client_with(&long_lived("alice"));
    assert_eq!(old.me().await.status, 200);
    assert_eq!(world.issuer().calls(JWKS_PATH), 1);

    world.issuer().rotate(true).unwrap();
    let new = world.client_with(&long_lived("alice"));
    assert_eq!(new.me().await.status, 200);
    assert_eq!(world.issuer().calls(JWKS_PATH), 2, "the unknown kid caused a fetch");
    assert_eq!(old.me().await.status, 200);
    let second = world.client_with(&long_lived("alice"));
    assert_eq!(second.me().await.status, 200);
    assert_eq!(world.issuer().calls(JWKS_PATH), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_end_when_their_key_is_removed() {
    let world = World::new().await;
    let old = world.client_with(&long_lived("alice"));
    assert_eq!(old.me().await.status, 200);
    world.issuer().rotate(false).unwrap();
    assert_eq!(old.me().await.status, 200, "the service has not fetched the keys yet");
    assert_eq!(world.client("alice").me().await.status, 200);
    // That fetch was made for the new key. It removed the old key, but only a fetch for the old key
    // rejects its tokens.
    unavailable(&old.me().await);
    world.clock.advance(COOLDOWN);
    assert_rejected("a removed key", &old.me().await, 401, "invalid_token", Some(INVALID_TOKEN));
}

#[tokio::test(flavor = "multi_thread")]
async fn rotations_are_detected_by_the_scheduled_refresh() {
    let world = World::new().await;
    let old = world.client_with(&long_lived("alice"));
    assert_eq!(old.me().await.status, 200);
    world.issuer().rotate(false).unwrap();
    world.clock.advance(Duration::from_mins(5));
    until("the end of the old token", async || old.me().await.status == 401).await;
    assert_eq!(world.issuer().calls(JWKS_PATH), 3, "one more fetch for the old token");
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_an_issuer_down_at_startup_is_a_503_until_it_recovers() {
    let stage = Stage::set().await;
    stage.issuer().inject(DISCOVERY_PATH, None, Fault::Reset);
    let world = stage.open("");
    let client = world.client("alice");
    unavailable(&client.me().await);
    let readiness = world.admin().get("/readyz").await;
    assert_eq!((readiness.status, &*readiness.text()), (503, "no issuer has keys yet\n"));
    assert_eq!(world.admin().get("/livez").await.status, 200);

    world.issuer().clear_faults();
    unavailable(&client.me().await);
    // The refresher retries on its own, within the cool-down.
    let recovered = async || {
        world.clock.advance(COOLDOWN);
        for _ in 0..100 {
            if world.admin().get("/readyz").await.status == 200 {
                return true;
            }
        }
        false
    };
    until("readiness", recovered).await;
    assert_eq!(client.me().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_retry_after_the_cool_down_succeeds_once_the_issuer_recovers() {
    let stage = Stage::set().await;
    stage.issuer().inject(DISCOVERY_PATH, None, Fault::Reset);
    let world = stage.open("auth.jwks_refresh = \"12h\"");
    let client = world.client("alice");
    unavailable(&client.me().await);
    world.issuer().clear_faults();
    world.clock.advance(COOLDOWN);
    assert_eq!(client.me().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_previous_keys_are_used_until_max_stale_and_then_it_is_a_503() {
    let world = World::new().await;
    let known = world.client_with(&long_lived("alice"));
    assert_eq!(known.me().await.status, 200);
    stop_issuer(&world);
    world.clock.advance(MAX_STALE);
    assert_eq!(known.me().await.status, 200);
    let unknown = world.client_with(&long_lived("alice"));
    assert_eq!(unknown.me().await.status, 200, "its key is known");
    assert_eq!(world.admin().get("/readyz").await.status, 200);

    world.clock.advance(SECOND);
    for client in [&known, &unknown] {
        unavailable(&client.me().await);
    }
    assert_eq!(world.admin().get("/readyz").await.status, 503);
    assert!(
        world.metric("juspay_bff_auth_failures_total{reason=\"keys_unavailable\"}").await > 1.0
    );

    world.issuer().clear_faults();
    world.clock.advance(COOLDOWN);
    assert_eq!(known.me().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_unknown_keys_are_a_503_while_the_issuer_is_unreachable() {
    let world = World::new().await;
    stop_issuer(&world);
    world.issuer().rotate(false).unwrap();
    let client = world.client_with(&long_lived("alice"));
    unavailable(&client.me().await);
    world.issuer().clear_faults();
    unavailable(&client.me().await);
    world.clock.advance(COOLDOWN);
    assert_eq!(client.me().await.status, 200);
}

/// A token signed with an unknown key.
fn with_random_kid(world: &World) -> String {
    let (mut header, claims) = (header(world.issuer()), claims(world).to_string());
    header["kid"] = json!(format!("{:032x}", rand::random::<u128>()));
    world.issuer().sign_raw(&header.to_string(), &claims, Algorithm::ES256).unwrap()
}

/// Sends two floods of tokens from `forge`, one cool-down apart. Each causes one fetch, and cached callers
/// are served in the meantime. `check` validates each response.
async fn flood(world: &World, forge: impl Fn(usize) -> String, check: impl Fn(&Reply)) {
    let known = world.client("alice");
    let mut fetches = world.issuer().calls(JWKS_PATH);
    for _ in 0..2 {
        let tokens: Vec<_> = (0..250).map(&forge).collect();
        // In chunks, because each request needs two file descriptors of this process.
        for portion in tokens.chunks(50) {
            let clients = portion.iter().map(|token| world.client_with_token(token));
            let replies = join_all(clients.map(async |client| client.me().await)).await;
            replies.iter().for_each(&check);
            assert_eq!(known.me().await.status, 200);
        }
        fetches += 1;
        assert_eq!(world.issuer().calls(JWKS_PATH), fetches, "one per cool-down");
        world.clock.advance(COOLDOWN);
    }
    assert_eq!(world.simulator().total_requests(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_unknown_keys_cause_one_fetch_per_cool_down() {
    let world = World::new().await;
    let check = |reply: &Reply| {
        let result = (reply.status, &*reply.code());
        assert!(
            [(401, "invalid_token"), (503, "keys_unavailable")].contains(&result),
            "{result:?}"
        );
    };
    flood(&world, |_| with_random_kid(&world), check).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_forged_signatures_cause_one_fetch_per_cool_down() {
    let stage = Stage::set().await;
    let untrusted = second_issuer(&stage).await;
    let world = stage.open_ready("").await;
    let forged = |n: usize| {
        let (header, mut claims) = (header(world.issuer()).to_string(), claims(&world));
        claims["jti"] = json!(n);
        untrusted.issuer().sign_raw(&header, &claims.to_string(), Algorithm::ES256).unwrap()
    };
    let check =
        |reply: &Reply| assert_rejected("forged", reply, 401, "invalid_token", Some(INVALID_TOKEN));
    flood(&world, forged, check).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_tokens_survive_an_issuer_outage_and_expire_with_the_leeway() {
    let world = World::new().await;
    let life = SignedDuration::from_secs(300);
    let client = world.client_with(&MintRequest { life, ..MintRequest::of("alice") });
    assert_eq!(client.me().await.status, 200);
    stop_issuer(&world);
    world.clock.advance(Duration::from_secs(330) - Duration::from_millis(1));
    assert_eq!(client.me().await.status, 200);
    world.clock.advance(Duration::from_millis(1));
    assert_rejected("expired", &client.me().await, 401, "expired_token", Some(INVALID_TOKEN));
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_tokens_expire_by_the_wall_clock_too() {
    let world = World::new().await;
    let client = world.client("alice");
    assert_eq!(client.me().await.status, 200);
    world.clock.jump_wall(SignedDuration::from_secs(3630));
    assert_rejected("expired", &client.me().await, 401, "expired_token", Some(INVALID_TOKEN));
}

#[tokio::test(flavor = "multi_thread")]
async fn key_files_are_watched() {
    let stage = Stage::set().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, stage.issuer().jwks().to_string()).unwrap();
    let settings = format!(
        "[auth.issuers.main]\ndiscovery = false\njwks_file = {:?}",
        file.path().to_str().unwrap(),
    );
    let world = stage.open_ready(&settings).await;
    let old = world.client("alice");
    assert_eq!(old.me().await.status, 200);

    world.issuer().rotate(false).unwrap();
    std::fs::write(&file, world.issuer().jwks().to_string()).unwrap();
    let has_ended = async || old.me().await.status == 401;
    world.advance_until("the old key to be removed", COOLDOWN, has_ended).await;
    assert_eq!(world.client("alice").me().await.status, 200);
    assert!(world.issuer().requests().is_empty(), "no request to the issuer");
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_of_another_issuer_gives_no_keys() {
    let stage = Stage::set().await;
    let metadata = json!({
        "issuer": "https://other.example",
        "jwks_uri": stage.issuer().jwks_url(),
    });
    let document = Fault::Status { status: 200, headers: [].into(), body: metadata.to_string() };
    stage.issuer().inject(DISCOVERY_PATH, None, document);
    let world = stage.open("");
    let series = "juspay_bff_jwks_refreshes_total{issuer=\"main\",outcome=\"failure\"}";
    for fetches in 1..=3 {
        unavailable(&world.client("alice").me().await);
        until("another fetch", async || world.metric(series).await >= f64::from(fetches)).await;
        assert_eq!(world.admin().get("/readyz").await.status, 503);
        world.clock.advance(COOLDOWN);
    }
    assert_eq!(world.issuer().calls(JWKS_PATH), 0, "the key set is not fetched");
}

/// Replaces the keys that the issuer publishes.
fn publish(world: &World, keys: &Value) {
    world.issuer().clear_faults();
    let body = json!({ "keys": keys }).to_string();
    let fault = Fault::Status { status: 200, headers: [].into(), body };
    world.issuer().inject(JWKS_PATH, None, fault);
}

/// `key` with the `kid` of the issuer.
fn renamed(world: &World, key: &Value) -> Value {
    let mut key = key.clone();
    key["kid"] = header(world.issuer())["kid"].clone();
    key
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_reused_kids_never_cause_a_401_for_new_tokens() {
    let stage = Stage::set().await;
    let other = second_issuer(&stage).await;
    let world = stage.open_ready("").await;
    let old = world.client("alice");
    assert_eq!(old.me().await.status, 200);
    let (header, claims) = (header(world.issuer()).to_string(), claims(&world).to_string());
    let token = other.issuer().sign_raw(&header, &claims, Algorithm::ES256).unwrap();
    let new = world.client_with_token(&token);
    let jwk = renamed(&world, &other.issuer().jwks()["keys"][0]);

    // While the issuer is unreachable, the key may exist.
    stop_issuer(&world);
    unavailable(&new.me().await);
    unavailable(&new.me().await);
    assert_eq!(old.me().await.status, 200);
    publish(&world, &json!([jwk]));
    world.clock.advance(COOLDOWN);
    assert_eq!(new.me().await.status, 200);
    // That fetch was made to check whether the key had changed.
    assert_rejected("the previous key", &old.me().await, 401, "invalid_token", Some(INVALID_TOKEN));
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_valid_tokens_in_a_flood_of_unknown_keys_are_a_503_until_their_key_is_found() {
    let world = World::new().await;
    for _ in 0..3 {
        let known = world.client("alice");
        assert_eq!(known.me().await.status, 200);
        let token = with_random_kid(&world);
        let reply = world.client_with_token(&token).me().await;
        assert_rejected("an unknown key", &reply, 401, "invalid_token", Some(INVALID_TOKEN));
        let fetches = world.issuer().calls(JWKS_PATH);
        world.issuer().rotate(true).unwrap();
        let valid = world.client("alice");
        for _ in 0..5 {
            unavailable(&valid.me().await);
            unavailable(&world.client_with_token(&with_random_kid(&world)).me().await);
            assert_eq!(known.me().await.status, 200);
        }
        assert_eq!(world.issuer().calls(JWKS_PATH), fetches, "one per cool-down");
        world.clock.advance(COOLDOWN);
        assert_eq!(valid.me().await.status, 200);
        world.clock.advance(COOLDOWN);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_an_hour_without_the_issuer_causes_no_401() {
    let world = World::new().await;
    let known = world.client_with(&long_lived("alice"));
    assert_eq!(known.me().await.status, 200);
    stop_issuer(&world);
    for minute in 0..60 {
        world.clock.advance(Duration::from_mins(1));
        assert_eq!(known.me().await.status, 200, "minute {minute}");
        let not_cached = world.client_with(&long_lived("alice").with("jti", minute));
        assert_eq!(not_cached.me().await.status, 200, "minute {minute}");
        let token = with_random_kid(&world);
        unavailable(&world.client_with_token(&token).me().await);
    }
    assert_eq!(world.admin().get("/readyz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_key_sets_are_not_used() {
    let world = World::new().await;
    let refreshes = "juspay_bff_jwks_refreshes_total{issuer=\"main\",outcome=\"failure\"}";
    let gauge =
        async |name: &str| world.count(&format!("juspay_bff_{name}{{issuer=\"main\"}}")).await;
    let valid = world.issuer().jwks()["keys"][0].clone();
    let symmetric = json!({"kty": "oct", "k": "c2VjcmV0", "kid": valid["kid"]});
    let mut off_curve = valid.clone();
    off_curve["x"] = valid["y"].clone();
    let mut private = valid.clone();
    private["d"] = valid["x"].clone();
    for (failures, keys) in
        (1..).zip([json!([]), json!([symmetric]), json!([off_curve, private]), json!(7)])
    {
        publish(&world, &keys);
        world.clock.advance(Duration::from_mins(5));
        until("a failed fetch", async || world.count(refreshes).await >= failures).await;
        assert_eq!(world.client("alice").me().await.status, 200, "{keys}");
        assert_eq!((gauge("jwks_keys").await, gauge("jwks_keys_left_out").await), (1, 0));
    }
    publish(&world, &json!([off_curve, valid, symmetric, private]));
    world.clock.advance(Duration::from_mins(5));
    until("three keys left out", async || gauge("jwks_keys_left_out").await == 3).await;
    assert_eq!(gauge("jwks_keys").await, 1);
    assert_eq!(world.client("alice").me().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn ca_files_are_trusted_only_for_their_issuer() {
    for (at, is_trusted) in [("main", true), ("other", false)] {
        let stage = Stage::set().await;
        let issuer = stage.issuer().issuer_url().strip_prefix("http://").unwrap().parse().unwrap();
        let end = TlsTerminator::new("localhost", issuer).await;
        let ca = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&ca, &end.ca).unwrap();
        let trust = format!("ca_file = '{}'", ca.path().display());
        let [main, other] = ["main", "other"].map(|name| if name == at { &*trust } else { "" });
        let world = stage.open(&format!(
            "auth.shared_customer_ids = true
            [auth.issuers.main]
            discovery = false
            jwks_url = 'https://localhost:{port}{JWKS_PATH}'
            {main}
            [auth.issuers.other]
            issuer = 'https://other.example'
            audiences = ['a']
            algorithms = ['RS256']
            jwks_url = 'https://localhost:{port}{JWKS_PATH}?other'
            {other}",
            port = end.address.port(),
        ));
        let reply = world.client("alice").me().await;
        if is_trusted {
            assert_eq!(reply.status, 200);
        } else {
            unavailable(&reply);
        }
        until("the rejected handshake of the other issuer", async || end.refused() >= 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_from_uncertified_servers_or_another_origin_are_not_used() {
    let stage = Stage::set().await;
    let issuer = stage.issuer().issuer_url().strip_prefix("http://").unwrap().parse().unwrap();
    let end = TlsTerminator::new("localhost", issuer).await;
    let settings = format!(
        "[auth.issuers.main]\ndiscovery = false\njwks_url = \"https://localhost:{}{JWKS_PATH}\"",
        end.address.port(),
    );
    let world = stage.open(&settings);
    unavailable(&world.client("alice").me().await);
    until("a rejected handshake", async || end.refused() >= 1).await;
    assert_eq!(world.issuer().calls(JWKS_PATH), 0, "no request was sent");

    let stage = Stage::set().await;
    let other = second_issuer(&stage).await;
    let headers = [("Location".to_owned(), other.issuer().jwks_url())].into();
    let redirect = Fault::Status { status: 302, headers, body: String::new() };
    stage.issuer().inject(JWKS_PATH, None, redirect);
    let world = stage.open("");
    unavailable(&world.client("alice").me().await);
    assert!(world.issuer().calls(JWKS_PATH) > 0);
    assert!(other.issuer().requests().is_empty(), "the redirect was followed");
}
