//! Shared by the tests of `auth`: keys, tokens, scripted issuers, and a [`World`] that has an authenticator
//! with a manual clock.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::{Arc, LazyLock},
    time::Duration,
};

use actix_http::Request;
use actix_web::{http::header::AUTHORIZATION, test::TestRequest};
use aws_lc_rs::{
    encoding::AsDer as _,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::{FutureExt as _, future::LocalBoxFuture};
use jsonwebtoken::EncodingKey;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    AuthError, Authenticator, Caller,
    digest::sha256,
    jwks::{FetchError, KeyFetcher},
};
use crate::{
    clock::{Clock as _, Throttle, manual::ManualClock},
    concurrency::{Limits, Permit},
    metrics::Metrics,
    settings::{self, Algorithm, KeySource},
    traces::Span,
};

/// The start of the clock: 2026-01-01T00:00:00Z, in seconds since 1970.
pub(super) const START: i64 = 1_767_225_600;
pub(super) const ISSUER: &str = "https://idp.example";
pub(super) const LEEWAY: i64 = 30;
pub(super) const COOLDOWN: Duration = Duration::from_secs(10);
pub(super) const REFRESH: Duration = Duration::from_mins(5);
pub(super) const MAX_STALE: Duration = Duration::from_hours(24);
/// The maximum number of waiting requests.
pub(super) const MAX_WAITING: usize = 1000;

/// A key pair of an issuer.
pub(super) struct Pair {
    pub(super) private: EncodingKey,
    /// The JWK of the public key, without `kid`.
    pub(super) public: Value,
}

pub(super) static RSA: LazyLock<Pair> = LazyLock::new(|| {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let public = pair.public_key();
    let public = json!({
        "kty": "RSA",
        "n": base64url(public.modulus().big_endian_without_leading_zero()),
        "e": base64url(public.exponent().big_endian_without_leading_zero()),
    });
    // The library needs the structure of RFC 8017, which follows the PKCS #8 header of 26 bytes.
    let pkcs8 = pair.as_der().unwrap();
    Pair { private: EncodingKey::from_rsa_der(&pkcs8.as_ref()[26..]), public }
});
pub(super) static P256: LazyLock<Pair> =
    LazyLock::new(|| elliptic("P-256", &ECDSA_P256_SHA256_FIXED_SIGNING));
pub(super) static OTHER_P256: LazyLock<Pair> =
    LazyLock::new(|| elliptic("P-256", &ECDSA_P256_SHA256_FIXED_SIGNING));
pub(super) static P384: LazyLock<Pair> =
    LazyLock::new(|| elliptic("P-384", &ECDSA_P384_SHA384_FIXED_SIGNING));
pub(super) static ED25519: LazyLock<Pair> = LazyLock::new(|| {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
    let x = base64url(pair.public_key().as_ref());
    Pair {
        private: EncodingKey::from_ed_der(pkcs8.as_ref()),
        public: json!({"kty": "OKP", "crv": "Ed25519", "x": x}),
    }
});

fn elliptic(curve: &str, algorithm: &'static EcdsaSigningAlgorithm) -> Pair {
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref()).unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at(pair.public_key().as_ref().len() / 2);
    Pair {
        private: EncodingKey::from_ec_der(pkcs8.as_ref()),
        public: json!({"kty": "EC", "crv": curve, "x": base64url(x), "y": base64url(y)}),
    }
}

pub(super) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Pair {
    /// The JWK with this `kid`.
    pub(super) fn jwk(&self, kid: &str) -> Value {
        with(&self.public, json!({"kid": kid}))
    }

    /// A token with this header and these claims, signed with `algorithm`.
    pub(super) fn sign(
        &self,
        algorithm: jsonwebtoken::Algorithm,
        header: &str,
        claims: &str,
    ) -> String {
        let message = format!("{}.{}", base64url(header), base64url(claims));
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &self.private, algorithm).unwrap();
        format!("{message}.{signature}")
    }
}

/// `object` with the members of `changes`. A `null` removes a member.
pub(super) fn with(object: &Value, changes: Value) -> Value {
    let mut object = object.as_object().unwrap().clone();
    let Value::Object(changes) = changes else { panic!("{changes} is not an object") };
    for (name, value) in changes {
        if value.is_null() {
            object.remove(&name);
        } else {
            object.insert(name, value);
        }
    }
    object.into()
}

/// A JWK set with these keys, as JSON.
pub(super) fn set(keys: &[Value]) -> Bytes {
    json!({ "keys": keys }).to_string().into()
}

/// A token header with this `kid`.
pub(super) fn header(kid: &str) -> Value {
    json!({"alg": "ES256", "typ": "at+jwt", "kid": kid})
}

/// Claims that are valid for five minutes from the start of the clock.
pub(super) fn claims() -> Value {
    json!({"iss": ISSUER, "aud": "juspay-bff", "sub": "alice", "iat": START, "exp": START + 300})
}

/// A token signed with [`P256`] as key `kid`, with changes to the default claims.
pub(super) fn token(kid: &str, changes: Value) -> String {
    signed(&P256, kid, changes)
}

/// Like [`token`], with another key pair.
pub(super) fn signed(pair: &Pair, kid: &str, changes: Value) -> String {
    let claims = with(&claims(), changes).to_string();
    pair.sign(jsonwebtoken::Algorithm::ES256, &header(kid).to_string(), &claims)
}

/// Settings of an issuer that accepts every algorithm.
pub(super) fn issuer() -> settings::Issuer {
    settings::Issuer {
        issuer: ISSUER.to_owned(),
        audience_claim: settings::AudienceClaim::Aud,
        audiences: vec!["juspay-bff".to_owned(), "other-bff".to_owned()],
        algorithms: Algorithm::ALL.to_vec(),
        keys: KeySource::Url("https://idp.example/keys".to_owned()),
        customer_id_claim: settings::ClaimPath::of("sub"),
        assumes_verified: false,
        customer_id_prefix: String::new(),
        required_scopes: Vec::new(),
        required_claims: Vec::new(),
        typ: vec!["at+jwt".to_owned(), "jwt".to_owned(), String::new()],
        max_token_age: None,
        logout_audiences: Vec::new(),
        accepts_id_tokens: false,
        dpop: settings::DpopMode::Off,
        ca_file: None,
    }
}

/// Settings of an issuer with introspection.
pub(super) fn introspected_issuer() -> settings::Issuer {
    let introspection = settings::Introspection {
        url: "https://idp.example/introspect".to_owned(),
        client_id: "juspay-bff".to_owned(),
        client_secret_file: "/nonexistent".into(),
        allow_no_audience: false,
    };
    settings::Issuer {
        algorithms: Vec::new(),
        typ: Vec::new(),
        keys: KeySource::Introspection(introspection),
        ..issuer()
    }
}

/// The scripted server of an issuer's keys.
pub(super) struct Origin {
    response: RefCell<Result<Bytes, FetchError>>,
    held: watch::Sender<bool>,
    fetches: Cell<usize>,
}

impl Origin {
    pub(super) fn new(response: Bytes) -> Rc<Self> {
        Rc::new(Self {
            response: RefCell::new(Ok(response)),
            held: watch::Sender::new(false),
            fetches: Cell::new(0),
        })
    }

    /// Sets the keys of later responses.
    pub(super) fn serve(&self, keys: &[Value]) {
        *self.response.borrow_mut() = Ok(set(keys));
    }

    /// Makes later fetches fail.
    pub(super) fn fail(&self) {
        *self.response.borrow_mut() = Err(FetchError::Status(500));
    }

    /// Delays all responses, or sends them.
    pub(super) fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    /// The number of started fetches.
    pub(super) fn fetches(&self) -> usize {
        self.fetches.get()
    }
}

struct Scripted(Rc<Origin>);

impl KeyFetcher for Scripted {
    fn fetch(&self) -> LocalBoxFuture<'static, Result<Bytes, FetchError>> {
        let origin = Rc::clone(&self.0);
        origin.fetches.set(origin.fetches.get().saturating_add(1));
        let mut held = origin.held.subscribe();
        Box::pin(async move {
            held.wait_for(|held| !held).await.unwrap();
            origin.response.borrow().clone()
        })
    }
}

/// An authenticator with its clock and its issuers.
pub(super) struct World {
    pub(super) auth: Arc<Authenticator>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) origins: BTreeMap<String, Rc<Origin>>,
    pub(super) limits: Limits,
}

/// A world with one issuer `main`, which has [`P256`] as key `k1`.
pub(super) async fn world() -> World {
    world_with(issuer(), &[P256.jwk("k1")]).await
}

/// A world with one issuer `main` with these settings and keys.
pub(super) async fn world_with(issuer: settings::Issuer, keys: &[Value]) -> World {
    world_of([("main", issuer, set(keys))]).await
}

/// A world with these issuers, whose keys have been fetched. Must be called within a `LocalSet`.
pub(super) async fn world_of<const N: usize>(
    issuers: [(&str, settings::Issuer, Bytes); N],
) -> World {
    world_of_auth(settings(), issuers).await
}

/// Like [`world_of`], with other settings.
pub(super) async fn world_of_auth<const N: usize>(
    auth: settings::Auth,
    issuers: [(&str, settings::Issuer, Bytes); N],
) -> World {
    let world = unfetched_of(auth, issuers);
    settle().await;
    world
}

/// Like [`world_of`], before the first fetch.
pub(super) fn unfetched<const N: usize>(issuers: [(&str, settings::Issuer, Bytes); N]) -> World {
    unfetched_of(settings(), issuers)
}

fn unfetched_of<const N: usize>(
    mut auth: settings::Auth,
    issuers: [(&str, settings::Issuer, Bytes); N],
) -> World {
    let mut origins = BTreeMap::new();
    for (name, issuer, keys) in issuers {
        origins.insert(name.to_owned(), Origin::new(keys));
        auth.issuers.insert(name.to_owned(), issuer);
    }
    let clock = clock();
    let metrics = Arc::new(Metrics::new("0", "0").unwrap());
    let limits = limits(&metrics);
    let (auth, refreshers) = Authenticator::with_fetchers(
        &auth,
        Duration::from_secs(10),
        &limits,
        Arc::<ManualClock>::clone(&clock),
        Arc::clone(&metrics),
        |name, _| Some(Box::new(Scripted(Rc::clone(&origins[name])))),
    )
    .unwrap();
    tokio::task::spawn_local(refreshers.run());
    World { auth: Arc::new(auth), clock, metrics, origins, limits }
}

/// A clock at [`START`].
pub(super) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(&jiff::Timestamp::from_second(START).unwrap().to_string()))
}

/// Settings without issuers.
pub(super) fn settings() -> settings::Auth {
    settings::Auth {
        gateway: None,
        issuers: BTreeMap::new(),
        leeway: Duration::from_secs(LEEWAY.unsigned_abs()),
        jwks_refresh: REFRESH,
        jwks_cooldown: COOLDOWN,
        jwks_max_stale: MAX_STALE,
        plain_http_hosts: Vec::new(),
        max_token_bytes: 8192,
        verified_tokens: 100,
        introspection_cache: Duration::from_mins(1),
        revocations_file: None,
        max_revocations: 10,
        logout_ttl: Duration::from_hours(24),
        dpop: settings::Dpop {
            max_age: Duration::from_mins(1),
            max_proofs: 1000,
            nonces: false,
            nonce_key_file: None,
        },
    }
}

/// Runs the other tasks until all of them wait.
pub(super) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// Runs a test in which local tasks can be spawned.
pub(super) async fn locally<F: Future>(test: F) -> F::Output {
    tokio::task::LocalSet::new().run_until(Box::pin(test)).await
}

/// A request with this `Authorization` header.
pub(super) fn request(authorization: &str) -> Request {
    TestRequest::default().insert_header((AUTHORIZATION, authorization)).to_request()
}

impl World {
    /// Removes everything that has expired.
    pub(super) fn sweep(&self) {
        let mut throttle = Throttle::background(Arc::<ManualClock>::clone(&self.clock));
        self.auth.sweep_tokens(&mut throttle).now_or_never().expect("few entries need no pause");
        self.auth.sweep();
    }

    /// The origin of the keys of `main`.
    pub(super) fn origin(&self) -> &Origin {
        &self.origins["main"]
    }

    pub(super) async fn check(&self, token: &str) -> Result<Caller, AuthError> {
        let request = request(&format!("Bearer {token}"));
        self.auth.authenticate(&request, self.clock.moment(), &Span::default()).await
    }

    /// The customer, or the label of the error.
    pub(super) async fn outcome(&self, token: &str) -> Result<String, &'static str> {
        match self.check(token).await {
            Ok(caller) => Ok(caller.customer().as_str().to_owned()),
            Err(error) => Err(error.reason()),
        }
    }

    /// Spawns a request.
    pub(super) fn spawn(
        &self,
        token: String,
    ) -> tokio::task::JoinHandle<Result<Caller, AuthError>> {
        let auth = Arc::clone(&self.auth);
        tokio::task::spawn_local(async move {
            let request = request(&format!("Bearer {token}"));
            auth.authenticate(&request, auth.clock.moment(), &Span::default()).await
        })
    }

    /// Advances the clock and runs the tasks that are due.
    pub(super) async fn advance(&self, duration: Duration) {
        self.clock.advance(duration);
        settle().await;
    }

    /// Whether the token is cached, and valid as a bearer token.
    pub(super) fn has_cached(&self, token: &str) -> bool {
        let auth = &self.auth;
        let caller = auth.tokens.get(&sha256(token.as_bytes()), auth.clock.moment(), &auth.issuers);
        let is_revoked = |it: &Caller| auth.revocations.check(it.token_identity()).is_err();
        caller.is_some_and(|caller| caller.bound_to().is_none() && !is_revoked(&caller))
    }

    /// Takes permits for signature checks.
    pub(super) fn take_permits(&self, number: usize) -> Vec<Permit> {
        (0..number).map(|_| self.limits.verification.try_acquire().unwrap()).collect()
    }

    pub(super) fn waiting(&self) -> i64 {
        self.metrics.http.waiting.get()
    }
}

/// Limits that allow [`MAX_WAITING`] requests.
pub(super) fn limits(metrics: &Metrics) -> Limits {
    Limits::new(metrics, MAX_WAITING, MAX_WAITING)
}
