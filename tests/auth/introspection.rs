//! Which tokens are introspected, how often, and for how long a response is cached, with a fake endpoint
//! and a manual clock.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{LocalBoxFuture, join_all};
use jiff::Timestamp;
use juspay_bff::{
    auth::{AuthError, IntrospectionEndpoint, IntrospectionError},
    revocation::{Entry, Target},
    settings,
};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    captured_log::CapturedLog,
    testing::{
        ISSUER, MAX_STALE, P256, START, base64url, introspected_issuer, issuer, locally, set,
        settings, settle, with,
    },
    world::{MAX_WAITING, World, header, token, world, world_introspecting},
};

const SECOND: Duration = Duration::from_secs(1);
const OPAQUE: &str = "https://opaque.example";

/// An endpoint with scripted responses. Unknown tokens are not active.
struct FakeEndpoint {
    responses: Mutex<BTreeMap<String, Result<Bytes, IntrospectionError>>>,
    calls: Mutex<Vec<String>>,
    is_held: watch::Sender<bool>,
    panics: AtomicBool,
}

impl FakeEndpoint {
    fn set_response(&self, token: &str, response: &Value) {
        let response = Ok(response.to_string().into());
        self.responses.lock().unwrap().insert(token.to_owned(), response);
    }

    fn set_error(&self, token: &str, error: IntrospectionError) {
        self.responses.lock().unwrap().insert(token.to_owned(), Err(error));
    }

    fn calls(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    /// Delays all responses, or sends them.
    fn hold(&self, is_held: bool) {
        self.is_held.send_replace(is_held);
    }
}

impl IntrospectionEndpoint for FakeEndpoint {
    fn introspect(
        &self,
        token: &str,
    ) -> LocalBoxFuture<'static, Result<Bytes, IntrospectionError>> {
        assert!(!self.panics.load(Ordering::Relaxed), "scripted panic");
        self.calls.lock().unwrap().push(token.to_owned());
        let inactive = || Ok(r#"{"active":false}"#.into());
        let response = self.responses.lock().unwrap().get(token).cloned().unwrap_or_else(inactive);
        let mut is_held = self.is_held.subscribe();
        Box::pin(async move {
            is_held.wait_for(|is_held| !is_held).await.unwrap();
            response
        })
    }
}

fn active(sub: &str) -> Value {
    json!({"active": true, "aud": "juspay-bff", "sub": sub, "exp": START + 300, "iat": START})
}

/// An issuer `main` with keys, and `opaque` with introspection.
async fn worlds() -> (World, Arc<FakeEndpoint>) {
    worlds_with(settings()).await
}

async fn worlds_with(auth: settings::Auth) -> (World, Arc<FakeEndpoint>) {
    let opaque = settings::Issuer { issuer: OPAQUE.to_owned(), ..introspected_issuer() };
    let issuers = [("opaque", opaque, Bytes::new()), ("main", issuer(), set(&[P256.jwk("k1")]))];
    let endpoint = Arc::new(FakeEndpoint {
        responses: Mutex::default(),
        calls: Mutex::default(),
        is_held: watch::Sender::new(false),
        panics: AtomicBool::new(false),
    });
    let shared: Arc<dyn IntrospectionEndpoint> = Arc::<FakeEndpoint>::clone(&endpoint);
    (world_introspecting(auth, issuers, Some(shared)).await, endpoint)
}

fn count(world: &World, outcome: &str) -> u64 {
    world.metrics.auth.introspections.with_label_values(&["opaque", outcome]).get()
}

#[tokio::test]
async fn p1_each_token_names_its_own_customer_and_is_introspected_once() {
    locally(async {
        let (world, endpoint) = worlds().await;
        for (token, sub) in [("a", "alice"), ("b", "bob")] {
            endpoint.set_response(token, &active(sub));
            for _ in ["introspected", "cached"] {
                assert_eq!(world.outcome(token).await, Ok(sub.to_owned()));
            }
            let caller = world.check(token).await.unwrap();
            assert_eq!(caller.issuer(), "opaque");
        }
        assert_eq!((endpoint.calls(), count(&world, "active")), (2, 2));
    })
    .await;
}

#[tokio::test]
async fn tokens_of_issuers_with_keys_are_never_introspected() {
    locally(async {
        let (world, endpoint) = worlds().await;
        // Tokens of the issuer with keys: valid, forged, expired, and malformed in every part.
        let valid_jwt = token("k1", json!({}));
        let (head, _) = valid_jwt.rsplit_once('.').unwrap();
        let payload = head.split_once('.').unwrap().1;
        let malformed = |header: &str| format!("{}.{payload}.AAAA", base64url(header));
        for (token, outcome) in [
            (valid_jwt.clone(), Ok("alice".to_owned())),
            (format!("{head}.AAAA"), Err("signature")),
            (token("k1", json!({"exp": START - 300})), Err("expired")),
            (malformed("{}"), Err("header")),
            (malformed(r#"{"alg":"ES256","crit":["x"]}"#), Err("header")),
            (malformed("no"), Err("not_jws")),
            (format!("{head}.*"), Err("malformed_header")),
            (format!("{head}.A"), Err("not_jws")),
            (format!("{head}."), Err("signature")),
            (format!("{head}.x.y.z"), Err("not_jws")),
        ] {
            assert_eq!(world.outcome(&token).await, outcome, "{token}");
        }
        assert_eq!(endpoint.calls(), 0);
        // All other tokens: of the issuer with introspection, of unknown issuers, and without an issuer.
        let other = |iss: Value| {
            let claims = with(&json!({"iss": iss, "sub": "alice"}), json!({})).to_string();
            P256.sign(jsonwebtoken::Algorithm::ES256, &header("k1").to_string(), &claims)
        };
        let others =
            [other(json!(OPAQUE)), other(json!("x")), other(json!([ISSUER])), "a.b".into()];
        for (number, token) in others.iter().enumerate() {
            assert_eq!(world.outcome(token).await, Err("inactive"), "{token}");
            assert_eq!(endpoint.calls(), number + 1, "{token}");
        }
    })
    .await;
}

#[tokio::test]
async fn without_introspection_opaque_tokens_are_rejected() {
    locally(async {
        let world = world().await;
        assert_eq!(world.outcome("a").await, Err("not_jws"));
    })
    .await;
}

#[tokio::test]
async fn concurrent_requests_with_one_token_share_a_call() {
    locally(async {
        let (world, endpoint) = worlds().await;
        endpoint.set_response("a", &active("alice"));
        endpoint.set_response("b", &active("bob"));
        endpoint.hold(true);
        let requests: Vec<_> = (0..50).map(|_| world.spawn("a".to_owned())).collect();
        let other = world.spawn("b".to_owned());
        settle().await;
        assert_eq!((endpoint.calls(), world.waiting()), (2, 51));
        // A client that disconnects does not cancel the call, even if its request started it.
        requests[0].abort();
        endpoint.hold(false);
        let callers = join_all(requests.into_iter().skip(1)).await;
        for caller in callers {
            assert_eq!(caller.unwrap().unwrap().customer().as_str(), "alice");
        }
        assert_eq!(other.await.unwrap().unwrap().customer().as_str(), "bob");
        assert_eq!((endpoint.calls(), world.waiting()), (2, 0));
    })
    .await;
}

#[tokio::test]
async fn p6_failed_introspection_is_a_503_and_is_not_cached() {
    locally(async {
        let (world, endpoint) = worlds().await;
        let unavailable = Err(AuthError::KeysUnavailable { retry_after: SECOND });
        for (error, outcome) in [
            (IntrospectionError::Unreachable, "unreachable"),
            (IntrospectionError::Timeout, "timeout"),
            (IntrospectionError::Credentials, "rejected_credentials"),
            (IntrospectionError::Status(500), "error"),
            (IntrospectionError::Status(400), "error"),
            (IntrospectionError::InvalidResponse, "invalid_response"),
        ] {
            endpoint.set_error("a", error);
            let before = count(&world, outcome);
            assert_eq!(world.check("a").await.map(drop), unavailable, "{error}");
            assert_eq!(count(&world, outcome), before + 1, "{error}");
        }
        endpoint.set_response("a", &json!({"active": "yes"}));
        assert_eq!(world.check("a").await.map(drop), unavailable);
        endpoint.panics.store(true, Ordering::Relaxed);
        assert_eq!(world.check("a").await.map(drop), unavailable);
        assert_eq!(count(&world, "invalid_response"), 3);
        endpoint.panics.store(false, Ordering::Relaxed);
        endpoint.set_response("a", &active("alice"));
        assert_eq!(world.outcome("a").await, Ok("alice".to_owned()), "introspected again at once");
    })
    .await;
}

#[tokio::test]
async fn only_the_first_failure_and_the_first_success_are_logged() {
    let (log, _guard) = CapturedLog::on_this_thread();
    locally(async {
        let (world, endpoint) = worlds().await;
        let logged = || {
            let log = log.text();
            let count = |text| log.matches(text).count();
            (count("token introspection failed"), count("token introspection works again"))
        };
        endpoint.set_response("a", &active("alice"));
        assert!(world.check("a").await.is_ok());
        assert_eq!(logged(), (0, 0));
        for _ in 0..2 {
            endpoint.set_error("b", IntrospectionError::Unreachable);
            assert!(world.check("b").await.is_err());
            assert_eq!(logged(), (1, 0));
        }
        for unknown in ["c", "d"] {
            assert!(world.check(unknown).await.is_err());
            assert_eq!(logged(), (1, 1));
        }
    })
    .await;
}

#[tokio::test]
async fn p6_requests_wait_at_most_two_seconds_for_introspection() {
    locally(async {
        let (world, endpoint) = worlds().await;
        endpoint.hold(true);
        // More than can be sent at a time: the rest waits for a permit.
        let requests: Vec<_> = (0..100).map(|number| world.spawn(format!("a{number}"))).collect();
        settle().await;
        assert_eq!((endpoint.calls(), world.waiting()), (64, 100));
        world.advance(Duration::new(1, 999_999_999)).await;
        assert!(!requests.iter().any(tokio::task::JoinHandle::is_finished));
        world.advance(Duration::from_nanos(1)).await;
        for request in join_all(requests).await {
            assert_eq!(request.unwrap().unwrap_err().reason(), "keys_unavailable");
        }
        assert_eq!((count(&world, "timeout"), world.waiting()), (100, 0));
    })
    .await;
}

#[tokio::test]
async fn introspection_calls_are_limited_to_half_of_max_waiting() {
    locally(async {
        let (world, endpoint) = worlds().await;
        endpoint.set_response("a", &active("alice"));
        let known = token("k1", json!({}));
        assert!(world.check("a").await.is_ok() && world.check(&known).await.is_ok());
        endpoint.hold(true);
        for number in 0..MAX_WAITING / 2 {
            drop(world.spawn(format!("new{number}")));
        }
        settle().await;
        assert_eq!(world.check("b").await.map(drop), Err(AuthError::Overloaded));
        assert!(world.check("a").await.is_ok() && world.check(&known).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn p4_one_token_uses_at_most_half_of_the_waiting_permits() {
    locally(async {
        let (world, endpoint) = worlds().await;
        endpoint.set_response("a", &active("alice"));
        endpoint.set_response("b", &active("bob"));
        endpoint.hold(true);
        let requests: Vec<_> = (0..MAX_WAITING / 2).map(|_| world.spawn("a".to_owned())).collect();
        settle().await;
        assert_eq!(world.check("a").await.map(drop), Err(AuthError::TooManyAtOnce));
        let others: Vec<_> = (0..MAX_WAITING / 4).map(|_| world.spawn("b".to_owned())).collect();
        settle().await;
        assert_eq!(
            world.check("b").await.map(drop),
            Err(AuthError::Overloaded),
            "the last quarter is reserved for other tokens"
        );
        assert_eq!(endpoint.calls(), 2);
        endpoint.hold(false);
        for caller in join_all(requests.into_iter().chain(others)).await {
            assert!(caller.unwrap().is_ok());
        }
        assert_eq!(world.waiting(), 0);
    })
    .await;
}

#[tokio::test]
async fn responses_are_cached_from_the_start_of_the_call() {
    locally(async {
        let (world, endpoint) = worlds().await;
        endpoint.set_response("a", &active("alice"));
        endpoint.hold(true);
        let request = world.spawn("a".to_owned());
        settle().await;
        world.advance(SECOND).await;
        endpoint.hold(false);
        assert!(request.await.unwrap().is_ok());
        // Revoked at the issuer. The cached response is used until it expires.
        endpoint.set_response("a", &json!({"active": false}));
        world.advance(Duration::new(58, 999_999_999)).await;
        assert!(world.has_cached("a"));
        world.advance(Duration::from_nanos(1)).await;
        assert_eq!(world.outcome("a").await, Err("inactive"));
        assert_eq!(endpoint.calls(), 2);
        // Inactive tokens are not cached.
        endpoint.set_response("a", &active("alice"));
        assert_eq!(world.outcome("a").await, Ok("alice".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn responses_are_not_cached_beyond_the_tokens_expiry() {
    locally(async {
        let (world, endpoint) = worlds().await;
        endpoint.set_response("a", &with(&active("alice"), json!({"exp": START + 10})));
        assert!(world.check("a").await.is_ok());
        world.advance(Duration::from_secs(9)).await;
        assert!(world.has_cached("a"));
        world.advance(SECOND).await;
        assert!(!world.has_cached("a"));
        assert_eq!(world.outcome("a").await, Ok("alice".to_owned()), "within the leeway");
        assert!(!world.has_cached("a"));
        world.advance(Duration::from_secs(30)).await;
        assert_eq!(world.outcome("a").await, Err("expired"));
    })
    .await;
}

#[tokio::test]
async fn cache_time_zero_introspects_for_each_request() {
    locally(async {
        let auth = settings::Auth { introspection_cache: Duration::ZERO, ..settings() };
        let (world, endpoint) = worlds_with(auth).await;
        endpoint.set_response("a", &active("alice"));
        for number in 1..=3 {
            assert!(world.check("a").await.is_ok() && endpoint.calls() == number);
        }
        assert!(!world.has_cached("a"));
    })
    .await;
}

#[tokio::test]
async fn revocations_apply_to_introspected_tokens() {
    locally(async {
        let (world, endpoint) = worlds().await;
        endpoint.set_response("a", &with(&active("alice"), json!({"jti": "j-1"})));
        endpoint.set_response("b", &with(&active("bob"), json!({"exp": START - 300})));
        let revoke = |target| {
            let issuer = "opaque".into();
            let expires = Timestamp::from_second(START + 1000).unwrap();
            world.auth.revoke(Entry { issuer, target, expires }).unwrap()
        };
        assert!(world.check("a").await.is_ok());
        let customers = revoke(Target::Token("j-1".into()));
        assert_eq!(customers.len(), 1, "found by the cached token");
        assert_eq!(world.outcome("a").await, Err("revoked"));
        let calls = endpoint.calls();
        world.advance(settings().introspection_cache).await;
        assert_eq!(
            world.outcome("a").await,
            Err("revoked"),
            "although the issuer says that it is active"
        );
        assert_eq!(endpoint.calls(), calls + 1);
        let issued_before = Timestamp::from_second(START + 1).unwrap();
        let customers = revoke(Target::Subject { sub: "bob".into(), issued_before });
        assert_eq!(customers[0].as_str(), "bob");
        assert_eq!(world.outcome("b").await, Err("revoked"), "not expired");
        // Tokens of the other issuer with the same subject are not revoked.
        let other = token("k1", json!({"sub": "bob", "jti": "j-1"}));
        assert_eq!(world.outcome(&other).await, Ok("bob".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn issuer_with_introspection_is_ready_and_accepts_no_logout_tokens() {
    locally(async {
        let (world, endpoint) = worlds().await;
        world.advance(MAX_STALE + SECOND).await;
        world.origin().fail();
        assert!(world.auth.ready());
        let claims = json!({"iss": OPAQUE, "aud": "juspay-bff"}).to_string();
        let text = P256.sign(jsonwebtoken::Algorithm::ES256, &header("k1").to_string(), &claims);
        assert!(world.auth.log_out(&text).await.is_err());
        assert_eq!(endpoint.calls(), 0);
    })
    .await;
}
