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
//! - `request`: reads the headers of a request
//! - `token_cache`: caches verified tokens
//! - `verification_limit`: limits signature checks
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
mod logout;
mod request;
mod revocation;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod token_cache;
mod verification_limit;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use self::{
    credentials::{Credentials, Scheme, Token},
    digest::{Sha256, sha256},
    dpop::{Dpop, DpopRequest},
    gateway::Gateway,
    introspection::Introspection,
    issuer::Issuer,
    jwks::{KeyFetcher, KeySelector, fetcher},
    jwt::{SignatureChecked, Unverified, is_issuer, names_issuer},
    revocation::{Revocations, TokenIdentity},
    token_cache::{Epoch, Finding, Signed, Signer, TokenCache},
    verification_limit::VerificationLimit,
};
use tokio::sync::Semaphore;

pub use self::{
    caller::Caller,
    error::{AuthError, LogoutError, ProofFault, Reason, RevokeError},
    explanation::{Check, Explanation, Outcome, Suggestion, explain},
    hmac::{HmacFileError, HmacSecrets},
    issuer::JwksRefreshers,
};
pub(crate) use self::{
    inspection::{InspectedKeys, IntrospectionProbe, KeySetInspection, SecretsInspection},
    introspection::AskError,
    jwks::{FetchError, SetError},
};
use actix_http::Request;

use crate::{
    clock::{Clock, Moment, Throttle},
    concurrency::Limits,
    metrics::{Metrics, Series as _},
    revocation::file::FileError,
    secret_file::{Secret, SecretFileError},
    settings,
    tls::{self, TlsError},
    traces::Span,
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
    tokens: TokenCache,
    verification_limit: VerificationLimit,
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

impl Authenticator {
    /// An authenticator for these issuers, without keys yet: the [`JwksRefreshers`] must run to get them.
    /// Key files are polled every `secrets_poll`; requests wait within `limits` for signature
    /// checks and for keys.
    ///
    /// # Errors
    /// When two issuers can't be told apart, or TLS can't be set up.
    pub fn new(
        auth: &settings::Auth,
        secrets_poll: Duration,
        limits: &Limits,
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
        limits: &Limits,
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
        let tokens = TokenCache::new(auth.verified_tokens);
        let verification_limit = VerificationLimit::new(limits.verification.clone());
        let max_token_bytes = auth.max_token_bytes;
        let revocations = Revocations::new(auth, Arc::clone(&clock), &metrics)?;
        let logouts = Semaphore::new(CONCURRENT_LOGOUTS);
        let dpop = Dpop::new(auth, metrics.auth.dpop_proofs.clone());
        let authenticator = Self {
            issuers,
            introspection: None,
            gateway: auth.gateway.as_ref().map(Gateway::new),
            tokens,
            verification_limit,
            revocations,
            logouts,
            dpop,
            max_token_bytes,
            clock,
            metrics,
        };
        Ok((authenticator, JwksRefreshers::new(refreshers)))
    }

    /// Authenticates a request that was parsed at `now`. `span` gets the outcome.
    ///
    /// # Errors
    /// If authentication fails. The failure has already been counted.
    pub async fn authenticate(
        &self,
        request: &Request,
        now: Moment,
        span: &Span,
    ) -> Result<Caller, AuthError> {
        let mut is_immediate = true;
        let caller = match &self.gateway {
            Some(gateway) => request::gateway_caller(gateway, request),
            None => {
                let authorization = request::authorization(request);
                let presented = || request::dpop(request);
                self.identify(authorization, presented, now, &mut is_immediate).await
            }
        };
        span.set("juspay_bff.auth.at_once", is_immediate);
        match &caller {
            Ok(caller) => {
                span.set("juspay_bff.auth.outcome", "ok");
                span.name("juspay_bff.auth.issuer", caller.issuer());
            }
            Err(error) => span.set("juspay_bff.auth.outcome", error.reason()),
        }
        caller.map_err(|error| self.counted(error))
    }

    /// Identifies the caller by the values of all `Authorization` headers. Sets `is_immediate` to false for
    /// the slow steps: verifying a token or a proof. They are boxed, because most requests present a cached
    /// bearer token, and their future should be small.
    async fn identify<'r>(
        &self,
        authorization: impl Iterator<Item = &'r [u8]>,
        presented: impl FnOnce() -> DpopRequest,
        now: Moment,
        is_immediate: &mut bool,
    ) -> Result<Caller, AuthError> {
        let Credentials { scheme, token } =
            Credentials::of(authorization, self.max_token_bytes, self.dpop.is_taken())?;
        let digest = sha256(token);
        let caller = match self.tokens.get(&digest, now, &self.issuers) {
            Some(caller) => {
                self.revocations.check(caller.token_identity())?;
                caller
            }
            None => {
                let text = Credentials { scheme, token }.text()?;
                // Rejects a flood of forged tokens before their claims are parsed.
                if self.verification_limit.is_exhausted() {
                    return Err(AuthError::Overloaded);
                }
                *is_immediate = false;
                Box::pin(self.verify(&Token { text, digest }, scheme)).await?
            }
        };
        match scheme {
            Scheme::Bearer if caller.bound_to().is_some() => Err(Reason::Confirmation.into()),
            Scheme::Bearer => Ok(caller),
            Scheme::Dpop => {
                *is_immediate = false;
                Box::pin(self.check_proof(caller, &digest, presented())).await
            }
        }
    }

    /// Verifies a token that is not cached, and caches it.
    async fn verify(&self, token: &Token<'_>, scheme: Scheme) -> Result<Caller, AuthError> {
        let epoch = self.tokens.epoch();
        let parsed = Unverified::parse(token.text)
            .and_then(|unverified| self.issuer_of(&unverified).map(|found| (unverified, found)));
        let (unverified, (index, issuer)) = match parsed {
            Ok(parsed) => parsed,
            Err(reason) => {
                let introspection = self.introspection_of(token, reason)?;
                return Box::pin(self.introspect(introspection, token, scheme, epoch)).await;
            }
        };
        unverified.check_header(&issuer.rules)?;
        let proof = self.prove(&unverified, issuer).await?;
        let identity = proof.verified.identity();
        let identity = TokenIdentity::new(index, Arc::clone(&issuer.name), identity);
        // Before the expiry: only a token that is valid in all other respects is reported as expired.
        self.revocations.check(&identity)?;
        let now = self.clock.moment();
        let accepted = proof.verified.check(&issuer.rules, scheme, now.wall)?;
        let caller = Caller::new(accepted.customer, identity, accepted.bound_to);
        let finding = Finding {
            caller: caller.clone(),
            signed: Some(Signed { by: proof.by, generation: proof.generation.into() }),
            end: accepted.end,
        };
        self.tokens.insert(token.digest, finding, epoch, now);
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
            let _permit = self.verification_limit.acquire().await?;
            let current = secrets.current();
            let (verified, (id, _)) = unverified.verify_hmac(&current)?;
            return Ok(Proof { verified, by: Signer::Secret(id), generation: current.generation });
        }
        let KeySelector { kid, algorithm } = unverified.key_selector().ok_or(Reason::Algorithm)?;
        let issue_time = kid.and(unverified.claimed_issue_time());
        let mut current = issuer.keys.for_kid(kid, issue_time).await?;
        loop {
            let permit = self.verification_limit.acquire().await?;
            let reason = match unverified.verify(&current.set) {
                Ok((verified, key)) => {
                    let (key, names_key) = (Arc::clone(key), kid.is_some());
                    let by = Signer::Key { key, algorithm, names_key };
                    return Ok(Proof { verified, by, generation: current.generation });
                }
                Err(reason) => reason,
            };
            drop(permit);
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

    /// Clears the token cache: each token is verified again.
    pub fn forget_all(&self) {
        self.tokens.clear();
    }

    /// Removes expired tokens from the cache.
    pub async fn sweep_tokens(&self, throttle: &mut Throttle) {
        self.tokens.sweep(throttle).await;
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
    fn introspection_of(
        &self,
        token: &Token<'_>,
        reason: Reason,
    ) -> Result<&Introspection, Reason> {
        let introspection = self.introspection.as_ref().ok_or(reason)?;
        let mut signing = self.issuers.iter().filter(|issuer| issuer.has_keys());
        let is_anothers =
            signing.any(|issuer| names_issuer(token.text, &issuer.rules.settings.issuer));
        if is_anothers { Err(reason) } else { Ok(introspection) }
    }

    /// Authenticates a token that its issuer validates.
    async fn introspect(
        &self,
        introspection: &Introspection,
        token: &Token<'_>,
        scheme: Scheme,
        epoch: Epoch,
    ) -> Result<Caller, AuthError> {
        let index = introspection.issuer();
        let issuer = self.issuers.get(index).ok_or(Reason::UnknownIssuer)?;
        let told = introspection.ask(token, epoch).await?;
        let identity = told.introspected.identity();
        let token_identity = TokenIdentity::new(index, Arc::clone(&issuer.name), identity);
        // Before its age: a token is reported as expired only if it is valid otherwise.
        self.revocations.check(&token_identity)?;
        let now = self.clock.moment();
        let accepted = told.introspected.check(&issuer.rules, scheme, now.wall)?;
        let end = introspection.end(told.asked, &accepted);
        let caller = Caller::new(accepted.customer, token_identity, accepted.bound_to);
        let finding = Finding { caller: caller.clone(), signed: None, end };
        if now.wall < end {
            self.tokens.insert(token.digest, finding, epoch, now);
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

    /// Checks that the caller possesses the key that its token is bound to. The token has been verified:
    /// the proof of an invalid token does not matter.
    async fn check_proof(
        &self,
        caller: Caller,
        token: &Sha256,
        request: DpopRequest,
    ) -> Result<Caller, AuthError> {
        let thumbprint = *caller.bound_to().ok_or(Reason::Unbound)?;
        let (proof, next_nonce) = self.dpop.examine(&request, token, self.clock.now())?;
        let permit = self.verification_limit.acquire().await?;
        proof.verify(&thumbprint)?;
        drop(permit);
        self.dpop.accept_once(&proof, &thumbprint, self.clock.moment())?;
        // The token may have been revoked in the meantime.
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
