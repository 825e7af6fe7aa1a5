//! Tokens that only their issuer can validate (RFC 7662).
//!
//! `ask` sends the request, and `client` shares one request between all that show the same token.
//! The claims of the response pass the same checks as signed claims, and `token_cache` caches the result
//! for at most `auth.introspection_cache`. A response that can't be understood, or none, never rejects
//! a token (promise P6). Only active tokens are cached. A failure doesn't stop requests for other
//! tokens, because one client's odd token may have caused it.

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
pub(super) use self::client::{IntrospectionResponse, UNAVAILABLE};
use self::{ask::Endpoint, client::IntrospectionClient};
use super::{
    credentials::Token,
    error::AuthError,
    jwt::{Accepted, Introspected},
    token_cache::Epoch,
};
use crate::{
    clock::{Clock, later},
    concurrency::Limits,
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
        limits: &Limits,
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
        limits: &Limits,
        clock: &Arc<dyn Clock>,
        metrics: &metrics::Auth,
    ) -> Self {
        let is_introspected =
            |issuer: &settings::Issuer| matches!(issuer.keys, KeySource::Introspection(_));
        let index = auth.issuers.values().position(is_introspected).unwrap();
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

    /// What the issuer says about a token.
    pub(super) async fn ask(
        &self,
        token: &Token<'_>,
        epoch: Epoch,
    ) -> Result<Arc<IntrospectionResponse>, AuthError> {
        self.client.introspect(token, epoch).await
    }

    /// The secret that authenticates this service to the issuer.
    pub(super) fn secret(&self) -> Option<Arc<Secret>> {
        self.secret.clone()
    }

    /// Until when a response to a request of that time may be cached.
    pub(super) fn end(&self, asked: Timestamp, accepted: &Accepted) -> Timestamp {
        accepted.end.min(later(asked, self.remembered))
    }
}
