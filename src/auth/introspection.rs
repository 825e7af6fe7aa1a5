//! Tokens that say nothing by themselves: their issuer is asked (RFC 7662).
//!
//! `ask` puts the question, `client` sees to it that a token is asked about once at a time, and
//! that nobody waits for ever; the answer is held to the rules of claims by `token`, and `verified`
//! remembers what comes of it, for `auth.introspection_cache` at most. Whether a token is good is
//! the issuer's word alone: an answer that isn't understood, and none, leave the question open and
//! turn nobody's token down (promise P6). Only that a token is active is remembered; a failure
//! is no reason not to ask about the next token, for a stranger's token may have caused it.

mod ask;
mod client;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use rustls::ClientConfig;

pub(crate) use self::ask::AskError;
#[cfg(test)]
use self::ask::Asker;
pub(super) use self::client::UNAVAILABLE;
use self::{
    ask::Endpoint,
    client::{IntrospectionClient, IntrospectionResponse},
};
use super::{
    AuthError, Authenticator, Caller, Reason, Token,
    bearer::Scheme,
    revocations::TokenIdentity,
    token::{Accepted, Introspected, names_issuer},
    verified::{Epoch, Finding},
};
use crate::{
    clock::{Clock, later},
    concurrency::ConcurrencyLimits,
    metrics,
    secret_file::{Secret, SecretFileError},
    settings::{self, KeySource},
};

/// The issuer that is asked.
pub(super) struct Introspection {
    /// Its index.
    issuer: usize,
    client: IntrospectionClient,
    /// What it says counts for so long.
    remembered: Duration,
    secret: Option<Arc<Secret>>,
}

impl Introspection {
    /// The first issuer with an `introspection_url`, if there is one; the settings have no second.
    pub(super) fn new(
        auth: &settings::Auth,
        tls: &BTreeMap<&str, Arc<ClientConfig>>,
        limits: &ConcurrencyLimits,
        clock: &Arc<dyn Clock>,
        metrics: &metrics::Auth,
    ) -> Result<Option<Self>, SecretFileError> {
        for (index, (name, issuer)) in auth.issuers.iter().enumerate() {
            if let KeySource::Introspection(settings) = &issuer.keys
                && let Some(tls) = tls.get(name.as_str())
            {
                let secret = Arc::new(Secret::open(&settings.client_secret_file)?);
                let endpoint = Endpoint::new(settings, Arc::clone(&secret), Arc::clone(tls));
                let endpoint = Arc::new(endpoint);
                let client = IntrospectionClient::new(name, endpoint, limits, clock, metrics);
                let remembered = auth.introspection_cache;
                return Ok(Some(Self { issuer: index, client, remembered, secret: Some(secret) }));
            }
        }
        Ok(None)
    }

    /// One whose questions go to `asker`.
    #[cfg(test)]
    fn by(
        asker: Arc<dyn Asker>,
        auth: &settings::Auth,
        limits: &ConcurrencyLimits,
        clock: &Arc<dyn Clock>,
        metrics: &metrics::Auth,
    ) -> Self {
        let is_asked = |issuer: &settings::Issuer| is_asked(&issuer.keys);
        let index = auth.issuers.values().position(is_asked).unwrap();
        let name = auth.issuers.keys().nth(index).unwrap();
        let client = IntrospectionClient::new(name, asker, limits, clock, metrics);
        Self { issuer: index, client, remembered: auth.introspection_cache, secret: None }
    }

    /// Its issuer's index.
    pub(super) const fn issuer(&self) -> usize {
        self.issuer
    }

    /// Asks about a token for an operator; nothing is remembered of it.
    pub(super) async fn probe(&self, token: &str) -> Result<Option<Introspected>, AskError> {
        self.client.probe(token).await
    }

    /// Until when an answer to a question of that time counts.
    fn end(&self, asked: Timestamp, accepted: &Accepted) -> Timestamp {
        accepted.end.min(later(asked, self.remembered))
    }
}

impl Authenticator {
    /// The secret that the issuer is asked with, to be followed.
    #[must_use]
    pub fn introspection_secret(&self) -> Option<Arc<Secret>> {
        self.introspection.as_ref()?.secret.clone()
    }

    /// The issuer to ask about a token that leads to no keys, for the `reason` that it is refused
    /// for else. What names an issuer with keys is that one's, however broken: another isn't told
    /// of it.
    pub(super) fn introspection_of(
        &self,
        token: &Token,
        reason: Reason,
    ) -> Result<&Introspection, Reason> {
        let introspection = self.introspection.as_ref().ok_or(reason)?;
        let mut signing = self.issuers.iter().filter(|issuer| issuer.has_keys());
        let is_anothers =
            signing.any(|issuer| names_issuer(&token.text, &issuer.rules.settings.issuer));
        if is_anothers { Err(reason) } else { Ok(introspection) }
    }

    /// Who shows a token that its issuer vouches for.
    pub(super) async fn introspect(
        &self,
        introspection: &Introspection,
        token: Token,
        scheme: Scheme,
        epoch: Epoch,
    ) -> Result<Caller, AuthError> {
        let index = introspection.issuer;
        let issuer = self.issuers.get(index).ok_or(Reason::UnknownIssuer)?;
        let response = introspection.client.introspect(&token, epoch).await?;
        let IntrospectionResponse { introspected, asked } = &*response;
        let token_identity =
            TokenIdentity::new(index, Arc::clone(&issuer.name), introspected.identity());
        let token_identity = Arc::new(token_identity);
        // Before its age: only what is good in all else is told that it has expired.
        self.revocations.check(&token_identity)?;
        let now = self.clock.moment();
        let accepted = introspected.check(&issuer.rules, scheme, now.wall)?;
        let end = introspection.end(*asked, &accepted);
        let caller = Caller::new(accepted.customer, token_identity, accepted.bound_to);
        let finding = Finding { caller: caller.clone(), signed: None, end };
        if now.wall < end {
            self.verified.remember(token.digest, finding, epoch, now);
        }
        Ok(caller)
    }
}

/// Whether an issuer has no keys, but is asked about its tokens.
pub(super) const fn is_asked(keys: &KeySource) -> bool {
    match keys {
        KeySource::Introspection(_) => true,
        KeySource::Url(_) | KeySource::File(_) | KeySource::Discovery(_) | KeySource::Hmac(_) => {
            false
        }
    }
}
