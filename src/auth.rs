//! ① Who is calling? From the `Authorization` header to a [`Caller`].
//!
//! `bearer` finds the token, `verified` knows those seen before, `token` checks the others with the
//! keys of its `issuer`, which `jwks` fetches, when `turns` says so, and `caller` is the permit that
//! comes of it. `dpop` asks for a proof besides where a token is bound to a key. `introspection` asks
//! the issuer of tokens that say nothing by themselves; `gateway` is in the place of all of these where
//! a gateway has verified callers already. `revocations` holds what ends tokens before their time,
//! `revoking` what that does, `logout` what issuers say about it. `explanation` and `inspection` are for
//! operators: why a token is refused, and what the issuers answer; `near_miss` names common differences. `hmac` holds the secrets of issuers that have no public keys. Owns the [`Authenticator`] that leads
//! a request along that way and counts who is turned away. Refuses to learn more of a token than its
//! customer, and knows no HTTP but for `caller`.

mod algorithm;
mod bearer;
mod caller;
mod dpop;
mod error;
mod explanation;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod gateway;
mod hmac;
mod inspection;
mod introspection;
mod issuer;
mod jwks;
mod known;
mod logout;
mod near_miss;
mod revocations;
mod revoking;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod token;
mod turns;
mod verified;

use std::{collections::BTreeMap, fmt, num::NonZeroUsize, sync::Arc, thread, time::Duration};

use self::{
    bearer::{Credentials, Scheme},
    dpop::{Bound, Dpop},
    gateway::Gateway,
    introspection::Introspection,
    issuer::Issuer,
    jwks::{KeyFetcher, KeyLookupError, KeySelector, fetcher},
    logout::Queue,
    revocations::{Revocations, TokenIdentity},
    token::{SignatureChecked, Unverified, is_issuer},
    turns::Turns,
    verified::{Finding, Signed, Signer, VerifiedTokens},
};
pub use self::{
    caller::Caller,
    error::{AuthError, ProofFault, Reason},
    explanation::{Check, Explanation, Outcome, Suggestion, explain},
    hmac::{HmacFileError, HmacSecrets},
    issuer::JwksRefreshers,
    known::{Known, KnownCaller},
    logout::LogoutError,
    revocations::RevokeError,
};
pub(crate) use self::{
    inspection::{InspectedKeys, IntrospectionProbe, KeySetInspection, SecretsInspection},
    introspection::AskError,
    jwks::{FetchError, SetError},
};
use crate::{
    clock::{Clock, Throttle},
    concurrency::ConcurrencyLimits,
    metrics::{Metrics, Series as _},
    revocation::file::FileError,
    secret_file::SecretFileError,
    settings,
    tls::{self, TlsError},
};

/// What a caller is told after a bug of ours.
const BUG_RETRY: Duration = Duration::from_secs(1);

/// A SHA-256 digest.
type Sha256 = [u8; 32];

/// A bearer token's digest: what it is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest(Sha256);

/// Why no [`Authenticator`] can be made.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// The TLS configuration for what is fetched from an issuer, whose name this is.
    #[error("auth.issuers.{0}.ca_file: {1}")]
    Tls(String, TlsError),
    /// Two entries of `auth.issuers` with the same `issuer`: whose keys would count?
    #[error("auth.issuers.{0} and auth.issuers.{1} have the same issuer")]
    SameIssuer(String, String),
    /// `auth.revocations_file` changed for the worse since the settings were read.
    #[error("auth.revocations_file: {0}")]
    Revocations(#[from] FileError),
    /// `introspection_client_secret_file` did.
    #[error(transparent)]
    Secret(#[from] SecretFileError),
    /// `hmac_secret_file` did, of the issuer whose name this is.
    #[error("auth.issuers.{0}.hmac_secret_file: {1}")]
    Hmac(String, HmacFileError),
    /// A bug of ours.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// Verifies bearer tokens. Shared by all workers.
pub struct Authenticator {
    issuers: Vec<Issuer>,
    introspection: Option<Introspection>,
    gateway: Option<Gateway>,
    verified: VerifiedTokens,
    turns: Turns,
    revocations: Revocations,
    logouts: Queue,
    dpop: Dpop,
    max_token_bytes: usize,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

/// A token that isn't known, and its digest. No `Debug`: tokens are printed nowhere.
struct Token {
    text: Box<str>,
    digest: Sha256,
}

/// A signature check that has succeeded.
struct Proof<'t> {
    verified: SignatureChecked<'t>,
    by: Signer,
    /// The key set's, or the secrets'.
    generation: u64,
}

/// What becomes of a request that can't be let in at once.
enum FirstSight {
    Refused(AuthError),
    Token(Token),
    Bound(Box<Bound>),
}

impl Authenticator {
    /// An authenticator for these issuers, without keys yet: the [`JwksRefreshers`] must run to get them.
    /// Key files are looked at each `secrets_poll`; requests wait in `limits` for their turn
    /// and for keys.
    ///
    /// # Errors
    /// When two issuers can't be told apart, or TLS can't be set up.
    pub fn new(
        auth: &settings::Auth,
        secrets_poll: Duration,
        limits: &ConcurrencyLimits,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, JwksRefreshers), SetUpError> {
        let mut tls = BTreeMap::new();
        for (name, issuer) in &auth.issuers {
            let config = tls::client_config(issuer.ca_file.as_deref());
            let config = config.map_err(|error| SetUpError::Tls(name.clone(), error))?;
            tls.insert(name.as_str(), config);
        }
        let fetcher = |name: &str, issuer: &settings::Issuer| {
            fetcher(issuer, &auth.plain_http_hosts, tls.get(name)?)
        };
        let introspection = Introspection::new(auth, &tls, limits, &clock, &metrics.auth)?;
        let made = Self::with_fetchers(auth, secrets_poll, limits, clock, metrics, fetcher);
        made.map(|(authenticator, refreshers)| {
            (Self { introspection, ..authenticator }, refreshers)
        })
    }

    fn with_fetchers(
        auth: &settings::Auth,
        secrets_poll: Duration,
        limits: &ConcurrencyLimits,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        fetcher: impl Fn(&str, &settings::Issuer) -> Option<Box<dyn KeyFetcher>>,
    ) -> Result<(Self, JwksRefreshers), SetUpError> {
        let keys = limits.keys();
        let mut issuers: Vec<Issuer> = Vec::new();
        let mut refreshers = Vec::new();
        for (name, settings) in &auth.issuers {
            if let Some(twin) =
                issuers.iter().find(|twin| twin.rules.settings.issuer == settings.issuer)
            {
                return Err(SetUpError::SameIssuer(twin.name.to_string(), name.clone()));
            }
            let secrets = settings.keys.hmac().map(HmacSecrets::open).transpose();
            let secrets = secrets.map_err(|error| SetUpError::Hmac(name.clone(), error))?;
            let issuer =
                Issuer::new(name, settings, auth, &clock, keys.clone(), secrets.map(Arc::new));
            if let Some(fetcher) = fetcher(name, settings) {
                let schedule = issuer::schedule(&settings.keys, auth, secrets_poll);
                refreshers.push(issuer.refresher(schedule, fetcher, &clock, &metrics.auth));
            }
            issuers.push(issuer);
        }
        metrics.auth.failures.initialize(AuthError::REASONS.iter().copied().flatten().copied());
        metrics.auth.logouts.initialize(LogoutError::outcomes());
        let verified = VerifiedTokens::new(auth.verified_tokens);
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let turns = Turns::new(cores, limits.verification.clone(), Arc::clone(&clock));
        let max_token_bytes = auth.max_token_bytes;
        let revocations = Revocations::new(auth, Arc::clone(&clock), &metrics)?;
        let logouts = Queue::default();
        let dpop = Dpop::new(auth, metrics.auth.dpop_proofs.clone());
        let authenticator = Self {
            issuers,
            introspection: None,
            gateway: auth.gateway.as_ref().map(Gateway::new),
            verified,
            turns,
            revocations,
            logouts,
            dpop,
            max_token_bytes,
            clock,
            metrics,
        };
        Ok((authenticator, JwksRefreshers::new(refreshers)))
    }

    /// Who is calling, by the values of all `Authorization` headers of the request. Without the
    /// rest of it, nobody with a token that is bound to a key gets in.
    ///
    /// # Errors
    /// When nobody has shown who they are; it is counted by then.
    pub async fn authenticate<'a>(
        &self,
        authorization: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Caller, AuthError> {
        match self.at_once(authorization) {
            Ok(caller) => Ok(caller),
            Err(FirstSight::Refused(error)) => Err(error),
            Err(FirstSight::Token(token)) => self.verify(token).await,
            Err(FirstSight::Bound(_)) => Err(self.counted(ProofFault::Missing.into())),
        }
    }

    /// What can be told without a signature check.
    fn at_once<'a>(
        &self,
        authorization: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Caller, FirstSight> {
        let accepts_dpop = self.dpop.is_taken();
        let refused = |error| FirstSight::Refused(self.counted(error));
        let credentials = Credentials::of(authorization, self.max_token_bytes, accepts_dpop);
        let credentials = credentials.map_err(refused)?;
        let Credentials { scheme, token } = credentials;
        let digest = sha256(token);
        let now = self.clock.moment();
        let keys = |index: usize| self.issuers.get(index)?.in_force(now.monotonic);
        if let Some(caller) = self.verified.get(&digest, now, keys) {
            let reason = match (self.revocations.check(caller.token_identity()), scheme) {
                (Err(reason), _) => reason,
                (Ok(()), Scheme::Dpop) => {
                    let token = Token { text: Box::default(), digest };
                    return Err(FirstSight::Bound(Box::new(Bound { token, known: Some(caller) })));
                }
                (Ok(()), Scheme::Bearer) if caller.bound_to().is_some() => Reason::Confirmation,
                (Ok(()), Scheme::Bearer) => return Ok(caller),
            };
            return Err(refused(reason.into()));
        }
        let text = credentials.text().map_err(refused)?;
        // There may be a place by the time that the token needs it, but then a flood would be read
        // before it is turned away.
        if self.turns.are_all_taken() {
            return Err(refused(AuthError::Overloaded));
        }
        let token = Token { text: text.into(), digest };
        Err(match scheme {
            Scheme::Bearer => FirstSight::Token(token),
            Scheme::Dpop => FirstSight::Bound(Box::new(Bound { token, known: None })),
        })
    }

    async fn verify(&self, token: Token) -> Result<Caller, AuthError> {
        self.verify_uncounted(token, Scheme::Bearer).await.map_err(|error| self.counted(error))
    }

    async fn verify_uncounted(&self, token: Token, scheme: Scheme) -> Result<Caller, AuthError> {
        let epoch = self.verified.epoch();
        let parsed = Unverified::parse(&token.text)
            .and_then(|unverified| self.issuer_of(&unverified).map(|found| (unverified, found)));
        let (unverified, (index, issuer)) = match parsed {
            Ok(parsed) => parsed,
            Err(reason) => {
                let introspection = self.introspection_of(&token, reason)?;
                // In memory of its own: what most tokens need takes a fraction of that.
                return Box::pin(self.introspect(introspection, token, scheme, epoch)).await;
            }
        };
        unverified.check_header(&issuer.rules)?;
        let proof = self.prove(&unverified, issuer).await?;
        let identity = proof.verified.identity();
        let token_identity =
            Arc::new(TokenIdentity::new(index, Arc::clone(&issuer.name), identity));
        // Before its age: only what is good in all else is told that it has expired.
        self.revocations.check(&token_identity)?;
        let now = self.clock.moment();
        let accepted = proof.verified.check(&issuer.rules, scheme, now.wall)?;
        let caller = Caller::new(accepted.customer, token_identity, accepted.bound_to);
        let finding = Finding {
            caller: caller.clone(),
            signed: Some(Signed { by: proof.by, generation: proof.generation.into() }),
            end: accepted.end,
        };
        self.verified.remember(token.digest, finding, epoch, now);
        Ok(caller)
    }

    /// The issuer that the token names, and its index.
    fn issuer_of(&self, token: &Unverified<'_>) -> Result<(usize, &Issuer), Reason> {
        let named = token.claimed_issuer();
        let mut issuers = self.issuers.iter().enumerate();
        issuers
            .find(|(_, issuer)| {
                issuer.has_keys() && is_issuer(named, &issuer.rules.settings.issuer)
            })
            .ok_or(Reason::UnknownIssuer)
    }

    /// Checks the signature: once, unless another key set turns out to be in force.
    async fn prove<'t>(
        &self,
        unverified: &'t Unverified<'_>,
        issuer: &Issuer,
    ) -> Result<Proof<'t>, AuthError> {
        if let Some(secrets) = &issuer.secrets {
            let _turn = self.turns.take().await?;
            let current = secrets.current();
            let (verified, (id, _)) = unverified.verify_hmac(&current)?;
            return Ok(Proof { verified, by: Signer::Secret(id), generation: current.generation });
        }
        let KeySelector { kid, algorithm } = unverified.key_selector().ok_or(Reason::Algorithm)?;
        let issue_time = kid.and(unverified.claimed_issue_time());
        let mut current = issuer.keys.for_kid(kid, issue_time).await?;
        loop {
            let turn = self.turns.take().await?;
            let reason = match unverified.verify(&current.set) {
                Ok((verified, key)) => {
                    let (key, names_key) = (Arc::clone(key), kid.is_some());
                    let by = Signer::Key { key, algorithm, names_key };
                    return Ok(Proof { verified, by, generation: current.generation });
                }
                Err(reason) => reason,
            };
            drop(turn);
            current =
                issuer.keys.refetch_if_unchanged(&current, issue_time).await?.ok_or(reason)?;
        }
    }

    /// Whether an issuer has keys, or can be asked, or a gateway says who is calling: without any,
    /// nobody can be let in.
    #[must_use]
    pub fn ready(&self) -> bool {
        let now = self.clock.monotonic();
        self.gateway.is_some()
            || self.introspection.is_some()
            || self.issuers.iter().any(|issuer| issuer.in_force(now).is_some())
    }

    /// The shared secrets of issuers by their names, to be followed.
    #[must_use]
    pub fn hmac_secrets(&self) -> Vec<(Arc<str>, Arc<HmacSecrets>)> {
        let secrets = |issuer: &Issuer| {
            Some((Arc::clone(&issuer.name), Arc::clone(issuer.secrets.as_ref()?)))
        };
        self.issuers.iter().filter_map(secrets).collect()
    }

    /// Forgets all verified tokens, also those that are being verified right now: each is checked
    /// anew when it comes again.
    pub fn forget_all(&self) {
        self.verified.forget_all();
    }

    /// Lets verified tokens that are dead leave memory. Looks at every one.
    pub async fn sweep_tokens(&self, throttle: &mut Throttle) {
        self.verified.sweep(throttle).await;
    }

    /// Lets all else that is dead leave memory: for once in some seconds.
    pub fn sweep(&self) {
        self.revocations.sweep();
        self.dpop.sweep(self.clock.moment());
    }

    fn counted(&self, error: AuthError) -> AuthError {
        self.metrics.auth.failures.with_label_values(&[error.reason()]).inc();
        error
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.issuers.iter().map(|issuer| &issuer.name).collect();
        f.debug_struct("Authenticator").field("issuers", &names).finish_non_exhaustive()
    }
}

impl From<KeyLookupError> for AuthError {
    fn from(no_key: KeyLookupError) -> Self {
        match no_key {
            KeyLookupError::Unknown => Reason::UnknownKey.into(),
            KeyLookupError::TooManyWaiting => Self::Overloaded,
            KeyLookupError::Unavailable(retry_after) => Self::KeysUnavailable { retry_after },
        }
    }
}

fn sha256(bytes: &[u8]) -> Sha256 {
    let mut digest = Sha256::default();
    digest.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    digest
}
