//! A development OIDC issuer: discovery, keys, tokens on request, key rotation.
//!
//! It authenticates no user: every client gets a token for any subject. Keys are generated on first
//! use and never leave the process.

mod algorithm;
mod introspection;
mod key;
mod mint;

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use clock::Clock;
use serde::Deserialize;
use serde_json::{Value, json};

pub use self::{
    algorithm::Algorithm,
    introspection::{DEFAULT_CLIENT, INTROSPECTION_PATH, REVOCATION_PATH},
    key::SigningError,
    mint::{DEFAULT_AUDIENCE, MintRequest},
};
use self::{
    introspection::IssuedTokens,
    key::{Family, SigningKey},
};
use super::{
    control::rejection,
    fault::Fault,
    http::{Handler, Request, Script, Step},
    journal::{Journal, ReceivedRequest},
    latch::{Latch, Latches},
    response::Response,
    rules::{FaultRule, FaultRules},
};

/// Path of the configuration document (OpenID Connect Discovery 1.0 §4).
pub const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";

/// Path of the JWKS.
pub const JWKS_PATH: &str = "/jwks";

/// The issuer. Clones share their state.
#[derive(Debug, Clone)]
pub struct Issuer(Arc<State>);

struct State {
    url: String,
    clock: Arc<dyn Clock>,
    keys: Mutex<Keys>,
    minted: AtomicU64,
    register: IssuedTokens,
    journal: Journal,
    rules: FaultRules,
    latches: Latches,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("url", &self.url).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Keys {
    /// At most one key of each family.
    current: Vec<Arc<SigningKey>>,
    /// Still published, but no longer used to sign.
    former: Vec<Arc<SigningKey>>,
}

impl Issuer {
    pub(super) fn new(url: String, clock: Arc<dyn Clock>) -> Result<Self, SigningError> {
        let issuer = Self(Arc::new(State {
            url,
            clock,
            keys: Mutex::default(),
            minted: AtomicU64::new(0),
            register: IssuedTokens::new(),
            journal: Journal::new(),
            rules: FaultRules::default(),
            latches: Latches::default(),
        }));
        issuer.key(algorithm::family(algorithm::DEFAULT))?;
        Ok(issuer)
    }

    /// The value of `iss`.
    #[must_use]
    pub fn issuer_url(&self) -> &str {
        &self.0.url
    }

    /// URL of the JWKS.
    #[must_use]
    pub fn jwks_url(&self) -> String {
        format!("{}{JWKS_PATH}", self.0.url)
    }

    /// URL of the introspection endpoint (RFC 7662).
    #[must_use]
    pub fn introspection_url(&self) -> String {
        format!("{}{INTROSPECTION_PATH}", self.0.url)
    }

    /// Only this client may introspect and revoke tokens from now on.
    pub fn set_client(&self, id: &str, secret: &str) {
        self.0.register.set_client(id, secret);
    }

    /// Revokes a token. Only introspection shows it; the signature stays valid.
    pub fn revoke(&self, token: &str) {
        self.0.register.revoke(token);
    }

    /// Issues a signed token (RFC 9068, or as requested) or an opaque one.
    ///
    /// # Errors
    /// If generating a key or signing fails.
    pub fn mint(&self, request: &MintRequest) -> Result<String, SigningError> {
        let number = self.0.minted.fetch_add(1, Ordering::Relaxed);
        let claims = request.claims(&self.0.url, self.0.clock.now(), number);
        let token = if request.opaque {
            format!("opq_{:032x}", rand::random::<u128>())
        } else {
            let key = self.key(algorithm::family(request.algorithm))?;
            let header = request.header(&key.kid);
            key.sign(request.algorithm, &header.to_string(), &claims.to_string())?
        };
        self.0.register.note(&token, claims);
        Ok(token)
    }

    /// Signs any header and claims, valid or not, JSON or not, with the current key of the
    /// algorithm.
    ///
    /// # Errors
    /// If generating a key or signing fails.
    pub fn sign_raw(
        &self,
        header: &str,
        claims: &str,
        algorithm: Algorithm,
    ) -> Result<String, SigningError> {
        self.key(algorithm::family(algorithm))?.sign(algorithm, header, claims)
    }

    /// The current `kid` (RFC 7638 thumbprint) of the algorithm.
    ///
    /// # Errors
    /// If generating a key fails.
    pub fn kid(&self, algorithm: Algorithm) -> Result<String, SigningError> {
        Ok(self.key(algorithm::family(algorithm))?.kid.clone())
    }

    /// Rotates the keys. With `overlap` the previous ones stay published until the next rotation;
    /// otherwise they disappear at once.
    ///
    /// # Errors
    /// If generating a key fails; the keys then stay unchanged.
    pub fn rotate(&self, overlap: bool) -> Result<(), SigningError> {
        let new = SigningKey::generate(algorithm::family(algorithm::DEFAULT))?;
        let mut keys = self.0.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let former = std::mem::replace(&mut keys.current, vec![Arc::new(new)]);
        keys.former = if overlap { former } else { Vec::new() };
        Ok(())
    }

    /// The published JWKS (RFC 7517 §5): keys that were used, and the default.
    #[must_use]
    pub fn jwks(&self) -> Value {
        let keys = self.0.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let published = keys.current.iter().chain(&keys.former).map(|key| key.jwk.clone());
        json!({"keys": published.collect::<Vec<_>>()})
    }

    /// Injects a fault into the next `times` responses of a path, or into all. Faults of objects
    /// and tokens have no effect here.
    pub fn inject(&self, path: &str, times: Option<u64>, fault: Fault) {
        self.0.rules.add(FaultRule { customer: Some(path.to_owned()), times, fault });
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.0.rules.clear();
    }

    /// Holds back the responses of a path until the latch is released. They are created when the
    /// request arrives; only sending waits.
    pub fn hold(&self, path: &str) -> Latch {
        self.0.latches.hold(path)
    }

    /// Number of requests for a path.
    #[must_use]
    pub fn calls(&self, path: &str) -> u64 {
        self.0.journal.calls(path)
    }

    /// The last 10,000 requests, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Arc<ReceivedRequest>> {
        self.0.journal.requests()
    }

    /// The current key of a family, generated if missing. The lock is held meanwhile, so that only
    /// one is generated; an RSA key takes a fraction of a second.
    fn key(&self, family: Family) -> Result<Arc<SigningKey>, SigningError> {
        let mut keys = self.0.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = keys.current.iter().find(|key| key.family() == family) {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(SigningKey::generate(family)?);
        keys.current.push(Arc::clone(&key));
        Ok(key)
    }

    fn response(&self, request: &Request) -> Response {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/") => Response::text(200, HELP),
            ("GET", DISCOVERY_PATH) => Response::json(200, &self.configuration()),
            ("GET", JWKS_PATH) => Response::json(200, &self.jwks()),
            ("GET", "/counts") => Response::json(200, &json!(self.0.journal.counts())),
            ("POST", "/token") => self.token(request).unwrap_or_else(|rejection| rejection),
            ("POST", INTROSPECTION_PATH) => self.0.register.introspect(request, self.0.clock.now()),
            ("POST", REVOCATION_PATH) => self.0.register.revocation(request),
            ("POST", "/rotate") => self.rotation(request).unwrap_or_else(|rejection| rejection),
            _ => rejection(404, "no such route; GET / lists all routes"),
        }
    }

    fn configuration(&self) -> Value {
        json!({
            "issuer": self.0.url,
            "jwks_uri": self.jwks_url(),
            "token_endpoint": format!("{}/token", self.0.url),
            "introspection_endpoint": self.introspection_url(),
            "revocation_endpoint": format!("{}{REVOCATION_PATH}", self.0.url),
            "response_types_supported": ["token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": Algorithm::ALL.map(Algorithm::name),
        })
    }

    fn token(&self, request: &Request) -> Result<Response, Response> {
        let wanted: MintRequest = read(request)?;
        let token = self.mint(&wanted).map_err(|error| rejection(500, &error.to_string()))?;
        let response = json!({
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": wanted.life.as_secs(),
        });
        Ok(Response::json(200, &response).with("Cache-Control", "no-store"))
    }

    fn rotation(&self, request: &Request) -> Result<Response, Response> {
        let Rotation { overlap } = read(request)?;
        self.rotate(overlap).map_err(|error| rejection(500, &error.to_string()))?;
        Ok(Response::json(200, &self.jwks()))
    }
}

const HELP: &str = r#"A simulated issuer. It issues a token for any subject.

  GET  /.well-known/openid-configuration
  GET  /jwks     the published signing keys
  POST /token    {"subject": "alice"}; optional: "audience", "life", "scope", "typ",
                 "algorithm", "claims", "opaque": true
  POST /introspect, /revoke   token=TOKEN, by client juspay-bff, secret sim_client_secret
  POST /rotate   {"overlap": true}
  GET  /counts   requests per path
"#;

/// `POST /rotate`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotation {
    overlap: bool,
}

fn read<'r, T: Deserialize<'r>>(request: &'r Request) -> Result<T, Response> {
    serde_json::from_slice(&request.body).map_err(|error| rejection(400, &error.to_string()))
}

impl Handler for Issuer {
    fn handle(&self, request: Request) -> Script {
        let now = self.0.clock.now();
        let path = Some(request.path.as_str());
        self.0.journal.record(&request, path, now);
        let response = self.response(&request).dated(now);
        let mut script = match self.0.rules.take(path) {
            Some(fault) => fault.script(response),
            None => response.script(),
        };
        // Last, because a test that waits for arrivals may rotate the keys then.
        let wait = self.0.latches.arrive(&request.path);
        script.steps.splice(0..0, wait.map(Step::Wait));
        script
    }
}
