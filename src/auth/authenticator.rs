//! Authenticates requests, and revokes tokens before they expire.
//!
//! A cached token identifies its caller at once. Otherwise, a signature check or introspection verifies the
//! token. A token that is bound to a key also needs a proof (DPoP). Revocations come from operators, from
//! `auth.revocations_file`, and from logout tokens of issuers (OpenID Connect Back-Channel Logout 1.0). A
//! cached customer contains a client auth token that the revoked person may have received, so a revocation
//! returns the customers to remove from the cache.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    future::Future,
    sync::Arc,
    time::Duration,
};

use actix_http::Request;
use tokio::sync::Semaphore;

use super::{
    SetUpError,
    caller::Caller,
    credentials::{Credentials, Scheme, Token},
    digest::{Sha256, sha256},
    dpop::{Dpop, DpopRequest},
    error::{AuthError, LogoutError, Reason, RevokeError},
    gateway::Gateway,
    hmac::HmacSecrets,
    introspection::{self, Introspection, IntrospectionEndpoint},
    issuer::{self, Issuer, JwksRefreshers},
    jwks::{KeyFetcher, KeySelector, fetcher},
    jwt::{Accepted, SignatureChecked, Unverified, is_issuer, names_issuer},
    request,
    revocation::{List, Revocations, TokenIdentity},
    token_cache::{Finding, Signed, Signer, TokenCache},
    verification_limit::VerificationLimit,
};
use crate::{
    clock::{Clock, Moment, Throttle},
    concurrency::Limits,
    customer::CustomerId,
    metrics::{Metrics, Series as _},
    revocation::Entry,
    secret_file::Secret,
    settings, tls,
    traces::Span,
};

/// Maximum number of logout tokens that are checked at a time. Any client can send one, so a flood of
/// them must not use up the permits that requests need.
const CONCURRENT_LOGOUTS: usize = 4;

/// The label of an accepted logout token.
const LOGOUT_SUCCESS: &str = "success";

/// Verifies access tokens. Shared by all workers.
pub struct Authenticator {
    pub(super) issuers: Vec<Issuer>,
    pub(super) introspection: Option<Introspection>,
    gateway: Option<Gateway>,
    pub(super) tokens: TokenCache,
    verification_limit: VerificationLimit,
    pub(super) revocations: Revocations,
    logouts: Semaphore,
    pub(super) dpop: Dpop,
    pub(super) max_token_bytes: usize,
    pub(super) clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

/// A signature check that has succeeded.
struct Proof<'t> {
    verified: SignatureChecked<'t>,
    by: Signer,
    /// The generation of the key set or the secrets.
    generation: u64,
}

impl Authenticator {
    /// An authenticator without keys: the [`JwksRefreshers`] must run to fetch them. Key files are polled
    /// every `secrets_poll`. `limits` bounds the requests that wait for signature checks and for keys.
    ///
    /// # Errors
    /// If two issuers have the same `issuer`, or a file is invalid.
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
        let endpoint = introspection::endpoint(auth, &tls)?;
        Self::with_sources(auth, secrets_poll, limits, clock, metrics, fetcher, endpoint)
    }

    /// Like [`new`](Self::new), with other sources of keys and of introspection responses. Tests script them.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn with_sources(
        auth: &settings::Auth,
        secrets_poll: Duration,
        limits: &Limits,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        fetcher: impl Fn(&str, &settings::Issuer) -> Option<Box<dyn KeyFetcher>>,
        endpoint: Option<Arc<dyn IntrospectionEndpoint>>,
    ) -> Result<(Self, JwksRefreshers), SetUpError> {
        let keys = limits.keys();
        let mut issuers: Vec<Issuer> = Vec::new();
        let mut refreshers = Vec::new();
        for (name, settings) in &auth.issuers {
            if let Some(other) =
                issuers.iter().find(|other| other.rules.settings.issuer == settings.issuer)
            {
                return Err(SetUpError::SameIssuer(other.name.to_string(), name.clone()));
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
            introspection: endpoint.and_then(|endpoint| {
                Introspection::new(auth, endpoint, limits, &clock, &metrics.auth)
            }),
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

    /// Sets the address that clients call, and the key of nonces that other replicas share.
    #[must_use]
    pub fn reached_at(mut self, public_url: Option<&str>, nonce_key: Option<Arc<Secret>>) -> Self {
        self.dpop.configure(public_url, nonce_key);
        self
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
        let caller = if let Some(gateway) = &self.gateway {
            request::gateway_caller(gateway, request)
        } else {
            let authorization = request::authorization(request);
            let dpop = || request::dpop(request);
            self.identify(authorization, dpop, now, &mut is_immediate).await
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
    pub(super) async fn identify<'r>(
        &self,
        authorization: impl Iterator<Item = &'r [u8]>,
        dpop: impl FnOnce() -> DpopRequest,
        now: Moment,
        is_immediate: &mut bool,
    ) -> Result<Caller, AuthError> {
        let credentials =
            Credentials::of(authorization, self.max_token_bytes, self.dpop.is_accepted())?;
        let (scheme, digest) = (credentials.scheme, sha256(credentials.token));
        let caller = if let Some(caller) = self.tokens.get(&digest, now, &self.issuers) {
            self.revocations.check(caller.token_identity())?;
            caller
        } else {
            let text = credentials.text()?;
            // Rejects a flood of forged tokens before their claims are parsed.
            if self.verification_limit.is_exhausted() {
                return Err(AuthError::Overloaded);
            }
            *is_immediate = false;
            Box::pin(self.verify(&Token { text, digest }, scheme)).await?
        };
        match scheme {
            Scheme::Bearer if caller.bound_to().is_some() => Err(Reason::Confirmation.into()),
            Scheme::Bearer => Ok(caller),
            Scheme::Dpop => {
                *is_immediate = false;
                Box::pin(self.check_proof(caller, &digest, dpop())).await
            }
        }
    }

    /// Verifies a token that is not cached, and caches it.
    pub(super) async fn verify(
        &self,
        token: &Token<'_>,
        scheme: Scheme,
    ) -> Result<Caller, AuthError> {
        let parsed = Unverified::parse(token.text)
            .and_then(|unverified| self.issuer_of(&unverified).map(|found| (unverified, found)));
        let (unverified, (index, issuer)) = match parsed {
            Ok(parsed) => parsed,
            Err(reason) => {
                let introspection = self.introspection_of(token, reason)?;
                return Box::pin(self.introspect(introspection, token, scheme)).await;
            }
        };
        unverified.check_header(&issuer.rules)?;
        let proof = self.prove(&unverified, issuer).await?;
        let identity = proof.verified.identity();
        let identity = TokenIdentity::new(index, Arc::clone(&issuer.name), identity);
        // Before the expiry: a revoked token is reported as such, also if it has expired.
        self.revocations.check(&identity)?;
        let now = self.clock.moment();
        let accepted = proof.verified.check(&issuer.rules, scheme, now.wall)?;
        let finding = Finding {
            caller: caller_of(&accepted, identity),
            signed: Some(Signed { by: proof.by, generation: proof.generation.into() }),
            end: accepted.end,
        };
        self.cache(token.digest, finding, now)
    }

    /// Caches a token that was verified, and returns its caller.
    fn cache(&self, digest: Sha256, finding: Finding, now: Moment) -> Result<Caller, AuthError> {
        let caller = finding.caller.clone();
        self.tokens.insert(digest, finding, now);
        // Again: a revocation since the first check has not found this token in the cache, and so
        // has not removed its customer.
        self.revocations.check(caller.token_identity())?;
        Ok(caller)
    }

    /// The issuer that the token names, and its index.
    pub(super) fn issuer_of(&self, token: &Unverified<'_>) -> Result<(usize, &Issuer), Reason> {
        let named = token.claimed_issuer();
        let mut issuers = self.issuers.iter().enumerate();
        issuers
            .find(|(_, issuer)| {
                issuer.has_keys() && is_issuer(named, &issuer.rules.settings.issuer)
            })
            .ok_or(Reason::UnknownIssuer)
    }

    /// Checks the signature. Repeats the check if a fetch returns another key set.
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

    /// Introspection for a token that names no issuer with keys; otherwise, the `reason` to reject it. A
    /// token that names an issuer with keys, however malformed, is sent to no other issuer.
    pub(super) fn introspection_of(
        &self,
        token: &Token<'_>,
        reason: Reason,
    ) -> Result<&Introspection, Reason> {
        let introspection = self.introspection.as_ref().ok_or(reason)?;
        let mut signing = self.issuers.iter().filter(|issuer| issuer.has_keys());
        let names_another =
            signing.any(|issuer| names_issuer(token.text, &issuer.rules.settings.issuer));
        if names_another { Err(reason) } else { Ok(introspection) }
    }

    /// Authenticates a token that its issuer validates.
    async fn introspect(
        &self,
        introspection: &Introspection,
        token: &Token<'_>,
        scheme: Scheme,
    ) -> Result<Caller, AuthError> {
        let index = introspection.issuer();
        let issuer = self.issuers.get(index).ok_or(Reason::UnknownIssuer)?;
        let response = introspection.introspect(token).await?;
        let identity = response.introspected.identity();
        let token_identity = TokenIdentity::new(index, Arc::clone(&issuer.name), identity);
        // Before the expiry, as in `verify`.
        self.revocations.check(&token_identity)?;
        let now = self.clock.moment();
        let accepted = response.introspected.check(&issuer.rules, scheme, now.wall)?;
        let end = introspection.end(response.requested_at, &accepted);
        let finding = Finding { caller: caller_of(&accepted, token_identity), signed: None, end };
        self.cache(token.digest, finding, now)
    }

    /// The accepted audience that the caller's token names; `None` if its issuer requires none, and for a
    /// gateway's caller.
    #[must_use]
    pub fn audience(&self, caller: &Caller) -> Option<&str> {
        let issuer = self.issuers.get(caller.token_identity().issuer)?;
        let audiences = &issuer.rules.settings.audiences;
        audiences.get(usize::from(caller.audience()?)).map(String::as_str)
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

    fn counted(&self, error: AuthError) -> AuthError {
        self.metrics.auth.failures.with_label_values(&[error.reason()]).inc();
        error
    }

    /// Revokes tokens until the entry expires or the process ends. Returns the customers to forget.
    ///
    /// # Errors
    /// If the entry is not accepted.
    pub fn revoke(&self, entry: Entry) -> Result<Vec<CustomerId>, RevokeError> {
        let added = self.revocations.add(entry)?;
        Ok(self.affected(&added))
    }

    /// Reloads `auth.revocations_file`. Returns the customers to forget; `None` if there is no file.
    pub async fn reload_revocations(&self) -> Option<Vec<CustomerId>> {
        let added = self.revocations.reload().await?;
        Some(self.affected(&added))
    }

    /// The revocations in memory that are in force.
    #[must_use]
    pub fn revocations_in_memory(&self) -> Vec<Entry> {
        self.revocations.in_memory()
    }

    /// Revokes what a logout token names. Returns the customers to forget, and the entry.
    ///
    /// # Errors
    /// If the token is not accepted. The failure has been counted and logged.
    pub async fn log_out(
        &self,
        token: &str,
    ) -> Result<(Vec<CustomerId>, Option<Entry>), LogoutError> {
        let logged_out = self.log_out_uncounted(token).await;
        let outcome = logged_out.as_ref().map_or_else(LogoutError::outcome, |_| LOGOUT_SUCCESS);
        self.metrics.auth.logouts.with_label_values(&[outcome]).inc();
        match &logged_out {
            Ok(_) => tracing::info!("logout token accepted"),
            Err(error) => tracing::warn!(outcome, "logout token rejected: {error}"),
        }
        let (added, entry) = logged_out?;
        Ok((self.affected(&added), entry))
    }

    async fn log_out_uncounted(&self, token: &str) -> Result<(List, Option<Entry>), LogoutError> {
        let rejected = |reason: Reason| LogoutError::from(AuthError::from(reason));
        if token.len() > self.max_token_bytes {
            return Err(AuthError::TokenTooLarge.into());
        }
        let unverified = Unverified::parse(token).map_err(rejected)?;
        let (index, issuer) = self.issuer_of(&unverified).map_err(rejected)?;
        unverified.check_logout_header(&issuer.rules).map_err(rejected)?;
        // Never an error: the semaphore is not closed.
        let _permit = self.logouts.acquire().await.map_err(|_| AuthError::Overloaded)?;
        let proof = self.prove(&unverified, issuer).await?;
        let logout = proof.verified.check_logout(&issuer.rules, self.clock.now())?;
        self.revocations.log_out(index, logout)
    }

    /// The output of `work`, unless the caller's token is revoked in the meantime.
    ///
    /// # Errors
    /// If the token was revoked. The failure has been counted.
    pub async fn unless_revoked<F: Future>(
        &self,
        caller: &Caller,
        work: F,
    ) -> Result<F::Output, AuthError> {
        let token_identity = caller.token_identity();
        tokio::select! {
            biased;
            output = work => match self.revocations.check(token_identity) {
                Ok(()) => Ok(output),
                Err(reason) => Err(self.counted(reason.into())),
            },
            () = self.revocations.wait_for(token_identity) => Err(self.counted(Reason::Revoked.into())),
        }
    }

    /// The customers whose tokens these entries revoke. The subject names the customer if
    /// `customer_id_claim` is `sub`; otherwise, only customers of cached tokens are known.
    fn affected(&self, added: &List) -> Vec<CustomerId> {
        let mut is_incomplete = added.names_tokens_or_sessions();
        let mut customers = HashSet::new();
        for (issuer, sub) in added.subjects() {
            let settings = self.issuers.get(issuer).map(|issuer| &issuer.rules.settings);
            let Some(settings) = settings else { continue };
            if settings.customer_id_claim.is("sub") {
                let id = format!("{}{sub}", settings.customer_id_prefix);
                customers.extend(CustomerId::parse(&id));
            } else {
                is_incomplete = true;
            }
        }
        if is_incomplete {
            let now = self.clock.now();
            let callers = self.tokens.callers();
            let revoked = callers.filter(|caller| added.revokes(caller.token_identity(), now));
            customers.extend(revoked.map(|caller| caller.customer().clone()));
        }
        customers.into_iter().collect()
    }

    /// Whether a token can be accepted: an issuer has keys, or introspection or a gateway is configured.
    #[must_use]
    pub fn ready(&self) -> bool {
        let now = self.clock.monotonic();
        self.gateway.is_some()
            || self.introspection.is_some()
            || self.issuers.iter().any(|issuer| issuer.in_force(now).is_some())
    }

    /// Whether a caller stays in memory with its token. If not, what it remembers is dropped with it.
    #[must_use]
    pub const fn caches_tokens(&self) -> bool {
        self.gateway.is_none()
    }

    /// The shared secrets of issuers, with the issuers' names, to be reloaded.
    #[must_use]
    pub fn hmac_secrets(&self) -> Vec<(Arc<str>, Arc<HmacSecrets>)> {
        let secrets = |issuer: &Issuer| {
            Some((Arc::clone(&issuer.name), Arc::clone(issuer.secrets.as_ref()?)))
        };
        self.issuers.iter().filter_map(secrets).collect()
    }

    /// The client secret for introspection, to be reloaded.
    #[must_use]
    pub fn introspection_secret(&self) -> Option<Arc<Secret>> {
        self.introspection.as_ref()?.secret()
    }

    /// Reloads the key sets that are files.
    pub fn reload_key_files(&self) {
        for issuer in self.issuers.iter().filter(|issuer| issuer.has_key_file()) {
            issuer.keys.fetch_now();
        }
    }

    /// Removes expired tokens from the cache.
    pub async fn sweep_tokens(&self, throttle: &mut Throttle) {
        self.tokens.sweep(throttle).await;
    }

    /// Removes expired revocations and proofs. Meant to be called every few seconds.
    pub fn sweep(&self) {
        self.revocations.sweep();
        self.dpop.sweep(self.clock.moment());
    }
}

fn caller_of(accepted: &Accepted, identity: TokenIdentity) -> Caller {
    let Accepted { customer, bound_to, audience, new_customer, .. } = accepted;
    Caller::new(customer.clone(), identity, *bound_to, *audience, new_customer.clone())
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.issuers.iter().map(|issuer| &issuer.name).collect();
        f.debug_struct("Authenticator").field("issuers", &names).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
