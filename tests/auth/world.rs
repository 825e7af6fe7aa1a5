//! What every test of `auth` needs: tokens, scripted issuers, and an authenticator with a manual clock.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    iter,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix_http::Request;
use actix_web::{http::header::AUTHORIZATION, test::TestRequest};
use bytes::Bytes;
use futures_util::{FutureExt as _, future::LocalBoxFuture};
use juspay_bff::{
    auth::{AuthError, Authenticator, Caller, FetchError, IntrospectionEndpoint, KeyFetcher},
    clock::{Clock as _, Throttle, manual::ManualClock},
    concurrency::{Limits, Permit},
    metrics::Metrics,
    settings,
    traces::Span,
};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::testing::{
    ISSUER, P256, Pair, START, base64url, clock, issuer, set, settings, settle, with,
};

/// The maximum number of waiting requests.
pub(super) const MAX_WAITING: usize = 1000;

impl Pair {
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
        origin.fetches.update(|fetches| fetches + 1);
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
    world_introspecting(auth, issuers, None).await
}

/// Like [`world_of_auth`], with this introspection endpoint.
pub(super) async fn world_introspecting<const N: usize>(
    auth: settings::Auth,
    issuers: [(&str, settings::Issuer, Bytes); N],
    endpoint: Option<Arc<dyn IntrospectionEndpoint>>,
) -> World {
    let world = unfetched_of(auth, issuers, endpoint);
    settle().await;
    world
}

/// Like [`world_of`], before the first fetch.
pub(super) fn unfetched<const N: usize>(issuers: [(&str, settings::Issuer, Bytes); N]) -> World {
    unfetched_of(settings(), issuers, None)
}

fn unfetched_of<const N: usize>(
    mut auth: settings::Auth,
    issuers: [(&str, settings::Issuer, Bytes); N],
    endpoint: Option<Arc<dyn IntrospectionEndpoint>>,
) -> World {
    let mut origins = BTreeMap::new();
    for (name, issuer, keys) in issuers {
        origins.insert(name.to_owned(), Origin::new(keys));
        auth.issuers.insert(name.to_owned(), issuer);
    }
    let clock = clock();
    let metrics = Arc::new(Metrics::new("0", "0").unwrap());
    let limits = limits(&metrics);
    let (auth, refreshers) = Authenticator::with_sources(
        &auth,
        Duration::from_secs(10),
        &limits,
        Arc::<ManualClock>::clone(&clock),
        Arc::clone(&metrics),
        |name, _| Some(Box::new(Scripted(Rc::clone(&origins[name])))),
        endpoint,
    )
    .unwrap();
    tokio::task::spawn_local(refreshers.run());
    World { auth: Arc::new(auth), clock, metrics, origins, limits }
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
        let (auth, now) = (Arc::clone(&self.auth), self.clock.moment());
        tokio::task::spawn_local(async move {
            let request = request(&format!("Bearer {token}"));
            auth.authenticate(&request, now, &Span::default()).await
        })
    }

    /// Advances the clock and runs the tasks that are due.
    pub(super) async fn advance(&self, duration: Duration) {
        self.clock.advance(duration);
        settle().await;
    }

    /// Whether the token is cached, and valid as a bearer token: whether it is accepted while no token
    /// can be verified. Counts a failure if it is not.
    pub(super) fn has_cached(&self, token: &str) -> bool {
        let _permits: Vec<_> = iter::from_fn(|| self.limits.verification.try_acquire()).collect();
        self.check(token).now_or_never().expect("a cached token needs no wait").is_ok()
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
