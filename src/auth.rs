//! Authenticates requests: from the `Authorization` header to a [`Caller`].
//!
//! The [`Authenticator`] leads a request through the modules below and counts rejections. It learns
//! no more of a token than its customer and the claims by which it can be revoked.
//!
//! - `caller`: the permit that only verification can build
//! - `credentials`: parses the `Authorization` header
//! - `dpop`: proofs of possession for tokens that are bound to a key
//! - `explanation`, `inspection`: why a token is rejected, and what issuers respond, for operators
//! - `gateway`: customers that a trusted gateway names instead of a token
//! - `hmac`: secrets of issuers without public keys
//! - `introspection`: tokens that only their issuer can validate
//! - `issuer`: the rules and keys of one issuer
//! - `jwks`: the public keys of an issuer
//! - `jwt`: parses and verifies tokens
//! - `logout`: what revoked tokens and logout tokens end
//! - `revocation`: the list of revoked tokens
//! - `turns`: limits signature checks
//! - `verified`, `known`: caches verified tokens
//!
//! `tests/layers.rs` lists which of them may use which.

mod caller;
mod credentials;
mod digest;
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
mod jwt;
mod known;
mod logout;
mod revocation;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod turns;
mod verified;

use std::{collections::BTreeMap, fmt, num::NonZeroUsize, sync::Arc, thread, time::Duration};

use tokio::sync::Semaphore;

pub use self::{
    caller::Caller,
    digest::TokenDigest,
    error::{AuthError, LogoutError, ProofFault, Reason, RevokeError},
    explanation::{Check, Explanation, Outcome, Suggestion, explain},
    gateway::Approach,
    hmac::{HmacFileError, HmacSecrets},
    issuer::JwksRefreshers,
    known::{Known, KnownCaller},
};
use self::{
    credentials::{Credentials, Scheme, Token},
    digest::sha256,
    dpop::{Dpop, DpopRequest, DpopToken},
    gateway::Gateway,
    introspection::Introspection,
    issuer::Issuer,
    jwks::{KeyFetcher, KeySelector, fetcher},
    jwt::{SignatureChecked, Unverified, is_issuer, names_issuer},
    revocation::{Revocations, TokenIdentity},
    turns::Turns,
    verified::{Epoch, Finding, Signed, Signer, VerifiedTokens},
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
    secret_file::{Secret, SecretFileError},
    settings,
    tls::{self, TlsError},
};

/// Most logout tokens that are checked at a time. Anybody may send one, so a flood of them must not
/// take the permits that requests need.
const CONCURRENT_LOGOUTS: usize = 4;

/// The label of a logout token that has revoked something.
const LOGOUT_SUCCESS: &str = "success";

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
    logouts: Semaphore,
    dpop: Dpop,
    max_token_bytes: usize,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
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
    Bound(Box<DpopToken>),
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
        let outcomes = LogoutError::FAILURES.iter().copied().chain([LOGOUT_SUCCESS]);
        metrics.auth.logouts.initialize(outcomes);
        let verified = VerifiedTokens::new(auth.verified_tokens);
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let turns = Turns::new(cores, limits.verification.clone(), Arc::clone(&clock));
        let max_token_bytes = auth.max_token_bytes;
        let revocations = Revocations::new(auth, Arc::clone(&clock), &metrics)?;
        let logouts = Semaphore::new(CONCURRENT_LOGOUTS);
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
                    return Err(FirstSight::Bound(Box::new(DpopToken {
                        token,
                        known: Some(caller),
                    })));
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
            Scheme::Dpop => FirstSight::Bound(Box::new(DpopToken { token, known: None })),
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

    /// Fetches the key sets that are files again.
    pub fn reload_key_files(&self) {
        for issuer in self.issuers.iter().filter(|issuer| issuer.has_key_file()) {
            issuer.keys.fetch_now();
        }
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

/// Introspection.
impl Authenticator {
    /// The secret that the issuer is asked with, to be reloaded.
    #[must_use]
    pub fn introspection_secret(&self) -> Option<Arc<Secret>> {
        self.introspection.as_ref()?.secret()
    }

    /// The issuer to ask about a token that leads to no keys, or the `reason` to reject the token. A
    /// token that names an issuer with keys, however malformed, is sent to no other issuer.
    fn introspection_of(&self, token: &Token, reason: Reason) -> Result<&Introspection, Reason> {
        let introspection = self.introspection.as_ref().ok_or(reason)?;
        let mut signing = self.issuers.iter().filter(|issuer| issuer.has_keys());
        let is_anothers =
            signing.any(|issuer| names_issuer(&token.text, &issuer.rules.settings.issuer));
        if is_anothers { Err(reason) } else { Ok(introspection) }
    }

    /// Authenticates a token that its issuer validates.
    async fn introspect(
        &self,
        introspection: &Introspection,
        token: Token,
        scheme: Scheme,
        epoch: Epoch,
    ) -> Result<Caller, AuthError> {
        let index = introspection.issuer();
        let issuer = self.issuers.get(index).ok_or(Reason::UnknownIssuer)?;
        let told = introspection.ask(&token, epoch).await?;
        let identity = told.introspected.identity();
        let token_identity =
            Arc::new(TokenIdentity::new(index, Arc::clone(&issuer.name), identity));
        // Before its age: a token is reported as expired only if it is valid otherwise.
        self.revocations.check(&token_identity)?;
        let now = self.clock.moment();
        let accepted = told.introspected.check(&issuer.rules, scheme, now.wall)?;
        let end = introspection.end(told.asked, &accepted);
        let caller = Caller::new(accepted.customer, token_identity, accepted.bound_to);
        let finding = Finding { caller: caller.clone(), signed: None, end };
        if now.wall < end {
            self.verified.remember(token.digest, finding, epoch, now);
        }
        Ok(caller)
    }
}

/// Tokens that are sent as `DPoP`.
impl Authenticator {
    /// Sets the address that clients call, and the key of nonces that other replicas share.
    #[must_use]
    pub fn reached_at(mut self, public_url: Option<&str>, nonce_key: Option<Arc<Secret>>) -> Self {
        self.dpop.configure(public_url, nonce_key);
        self
    }

    /// Authenticates a request by its token and its proof.
    async fn verify_bound(
        &self,
        token: DpopToken,
        request: &DpopRequest,
    ) -> Result<Caller, AuthError> {
        self.verify_bound_uncounted(token, request).await.map_err(|error| self.counted(error))
    }

    /// Checks the token first: a proof matters only for a valid token.
    async fn verify_bound_uncounted(
        &self,
        DpopToken { token, known }: DpopToken,
        request: &DpopRequest,
    ) -> Result<Caller, AuthError> {
        let digest = token.digest;
        let caller = match known {
            Some(caller) => caller,
            None => self.verify_uncounted(token, Scheme::Dpop).await?,
        };
        let thumbprint = *caller.bound_to().ok_or(Reason::Unbound)?;
        let (proof, next_nonce) = self.dpop.examine(request, &digest, self.clock.now())?;
        let turn = self.turns.take().await?;
        proof.verify(&thumbprint)?;
        drop(turn);
        self.dpop.accept_once(&proof, &thumbprint, self.clock.moment())?;
        // The token may have been revoked while it waited.
        self.revocations.check(caller.token_identity())?;
        Ok(match next_nonce {
            Some(nonce) => caller.with_next_nonce(nonce),
            None => caller,
        })
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.issuers.iter().map(|issuer| &issuer.name).collect();
        f.debug_struct("Authenticator").field("issuers", &names).finish_non_exhaustive()
    }
}
