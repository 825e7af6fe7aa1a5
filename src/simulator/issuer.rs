//! A dev OIDC issuer: discovery, keys, tokens for the asking, rotation.
//!
//! It vouches for nobody: whoever can reach it gets a token for any subject. Keys are made when
//! an algorithm is first used and never leave the process.

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

use serde::Deserialize;
use serde_json::{Value, json};

use self::{
    introspection::Register,
    key::{Family, SigningKey},
};
pub use self::{
    introspection::{DEFAULT_CLIENT, INTROSPECTION_PATH, REVOCATION_PATH},
    key::SigningError,
    mint::{DEFAULT_AUDIENCE, MintRequest},
};
use super::{
    answer::Answer,
    control::refusal,
    fault::Fault,
    gate::{Gate, Gates},
    http::{Handler, Request, Script, Step},
    journal::{Journal, ReceivedRequest},
    rules::{FaultRule, Rules},
};
use crate::{clock::Clock, settings::Algorithm};

/// Where the configuration document is (OpenID Connect Discovery 1.0 §4).
pub const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";

/// Where the key set is.
pub const JWKS_PATH: &str = "/jwks";

/// The issuer. Clones share their state.
#[derive(Debug, Clone)]
pub struct Issuer(Arc<State>);

struct State {
    url: String,
    clock: Arc<dyn Clock>,
    keys: Mutex<Keys>,
    minted: AtomicU64,
    register: Register,
    journal: Journal,
    rules: Rules,
    gates: Gates,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("url", &self.url).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Keys {
    /// At most one of each family.
    current: Vec<Arc<SigningKey>>,
    /// Published still, but not signed with any more.
    former: Vec<Arc<SigningKey>>,
}

impl Issuer {
    pub(super) fn new(url: String, clock: Arc<dyn Clock>) -> Result<Self, SigningError> {
        let issuer = Self(Arc::new(State {
            url,
            clock,
            keys: Mutex::default(),
            minted: AtomicU64::new(0),
            register: Register::new(),
            journal: Journal::new(),
            rules: Rules::default(),
            gates: Gates::default(),
        }));
        issuer.key(algorithm::family(algorithm::DEFAULT))?;
        Ok(issuer)
    }

    /// What `iss` is.
    #[must_use]
    pub fn issuer_url(&self) -> &str {
        &self.0.url
    }

    /// Where the key set is.
    #[must_use]
    pub fn jwks_url(&self) -> String {
        format!("{}{JWKS_PATH}", self.0.url)
    }

    /// Where it says whether a token is good (RFC 7662).
    #[must_use]
    pub fn introspection_url(&self) -> String {
        format!("{}{INTROSPECTION_PATH}", self.0.url)
    }

    /// From now on only this client may ask about tokens, and revoke them.
    pub fn set_client(&self, id: &str, secret: &str) {
        self.0.register.set_client(id, secret);
    }

    /// The token isn't active any more. Who checks its signature doesn't notice.
    pub fn revoke(&self, token: &str) {
        self.0.register.revoke(token);
    }

    /// A signed token (RFC 9068, or as the request wants it), or one that says nothing by itself.
    ///
    /// # Errors
    /// When no key can be made or signed with.
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

    /// A token of any header and claims, right or not, JSON or not, truly signed with the current
    /// key of that algorithm.
    ///
    /// # Errors
    /// When no key can be made or signed with.
    pub fn sign_raw(
        &self,
        header: &str,
        claims: &str,
        algorithm: Algorithm,
    ) -> Result<String, SigningError> {
        self.key(algorithm::family(algorithm))?.sign(algorithm, header, claims)
    }

    /// The `kid` (RFC 7638 thumbprint) that tokens of that algorithm have now.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn kid(&self, algorithm: Algorithm) -> Result<String, SigningError> {
        Ok(self.key(algorithm::family(algorithm))?.kid.clone())
    }

    /// Takes new keys. With `overlap` the ones of until now stay published up to the next
    /// rotation; without, they are gone at once.
    ///
    /// # Errors
    /// When no key can be made; then all stays as it was.
    pub fn rotate(&self, overlap: bool) -> Result<(), SigningError> {
        let new = SigningKey::generate(algorithm::family(algorithm::DEFAULT))?;
        let mut keys = self.0.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let former = std::mem::replace(&mut keys.current, vec![Arc::new(new)]);
        keys.former = if overlap { former } else { Vec::new() };
        Ok(())
    }

    /// The key set as it is published (RFC 7517 §5): keys that were used or are the default.
    #[must_use]
    pub fn jwks(&self) -> Value {
        let keys = self.0.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let published = keys.current.iter().chain(&keys.former).map(|key| key.jwk.clone());
        json!({"keys": published.collect::<Vec<_>>()})
    }

    /// Lets the answers at a path go wrong, so often or for ever. Faults of objects and tokens
    /// mean nothing here.
    pub fn inject(&self, path: &str, times: Option<u64>, fault: Fault) {
        self.0.rules.add(FaultRule { customer: Some(path.to_owned()), times, fault });
    }

    /// Forgets all faults.
    pub fn clear_faults(&self) {
        self.0.rules.clear();
    }

    /// Holds back the answers at a path until the gate is released. They are made when the
    /// request comes; only sending them waits.
    pub fn hold(&self, path: &str) -> Gate {
        self.0.gates.hold(path)
    }

    /// How many requests there were for a path.
    #[must_use]
    pub fn calls(&self, path: &str) -> u64 {
        self.0.journal.calls(path)
    }

    /// The last 10,000 requests, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Arc<ReceivedRequest>> {
        self.0.journal.requests()
    }

    /// The current key of a family; made when there is none. The lock is held meanwhile, so that
    /// no second one is made: an RSA key takes a fraction of a second, once.
    fn key(&self, family: Family) -> Result<Arc<SigningKey>, SigningError> {
        let mut keys = self.0.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = keys.current.iter().find(|key| key.family() == family) {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(SigningKey::generate(family)?);
        keys.current.push(Arc::clone(&key));
        Ok(key)
    }

    fn answer(&self, request: &Request) -> Answer {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/") => Answer::text(200, HELP),
            ("GET", DISCOVERY_PATH) => Answer::json(200, &self.configuration()),
            ("GET", JWKS_PATH) => Answer::json(200, &self.jwks()),
            ("GET", "/counts") => Answer::json(200, &json!(self.0.journal.counts())),
            ("POST", "/token") => self.token(request).unwrap_or_else(|refusal| refusal),
            ("POST", INTROSPECTION_PATH) => self.0.register.introspect(request, self.0.clock.now()),
            ("POST", REVOCATION_PATH) => self.0.register.revocation(request),
            ("POST", "/rotate") => self.rotation(request).unwrap_or_else(|refusal| refusal),
            _ => refusal(404, "no such route; GET / lists all routes"),
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

    fn token(&self, request: &Request) -> Result<Answer, Answer> {
        let wanted: MintRequest = read(request)?;
        let token = self.mint(&wanted).map_err(|error| refusal(500, &error.to_string()))?;
        let answer = json!({
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": wanted.life.as_secs(),
        });
        Ok(Answer::json(200, &answer).with("Cache-Control", "no-store"))
    }

    fn rotation(&self, request: &Request) -> Result<Answer, Answer> {
        let Rotation { overlap } = read(request)?;
        self.rotate(overlap).map_err(|error| refusal(500, &error.to_string()))?;
        Ok(Answer::json(200, &self.jwks()))
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

fn read<'r, T: Deserialize<'r>>(request: &'r Request) -> Result<T, Answer> {
    serde_json::from_slice(&request.body).map_err(|error| refusal(400, &error.to_string()))
}

impl Handler for Issuer {
    fn handle(&self, request: Request) -> Script {
        let now = self.0.clock.now();
        let path = Some(request.path.as_str());
        self.0.journal.record(&request, path, now);
        let answer = self.answer(&request).dated(now);
        let mut script = match self.0.rules.take(path) {
            Some(fault) => fault.script(answer),
            None => answer.script(),
        };
        // The last thing: whoever waits for arrivals may rotate the keys then.
        let passage = self.0.gates.arrive(&request.path);
        script.steps.splice(0..0, passage.map(Step::Wait));
        script
    }
}
