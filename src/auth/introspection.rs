//! Token introspection (RFC 7662), for tokens that only their issuer can validate.
//!
//! `endpoint` sends a request; `client` shares it between concurrent requests with the same token. The
//! claims of a response pass the same checks as signed claims, and `token_cache` caches active tokens for at
//! most `auth.introspection_cache`. A failed or invalid response never rejects a token (promise P6). It does
//! not stop calls for other tokens either, because a single unusual token may have caused it.

mod client;
mod endpoint;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use rustls::ClientConfig;

pub(super) use self::client::{IntrospectionResponse, UNAVAILABLE};
#[cfg(test)]
use self::endpoint::IntrospectionEndpoint;
pub(crate) use self::endpoint::IntrospectionError;
use self::{client::IntrospectionClient, endpoint::HttpEndpoint};
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

/// The issuer with introspection.
pub(super) struct Introspection {
    /// Index of the issuer.
    issuer: usize,
    client: IntrospectionClient,
    /// `auth.introspection_cache`
    max_age: Duration,
    secret: Option<Arc<Secret>>,
}

impl Introspection {
    /// The issuer with an `introspection_url`, if there is one. The settings allow only one.
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
                let endpoint = HttpEndpoint::new(settings, Arc::clone(&secret), Arc::clone(tls));
                let endpoint = Arc::new(endpoint);
                let client = IntrospectionClient::new(name, endpoint, limits, clock, metrics);
                let max_age = auth.introspection_cache;
                return Ok(Some(Self { issuer: index, client, max_age, secret: Some(secret) }));
            }
        }
        Ok(None)
    }

    #[cfg(test)]
    fn with_endpoint(
        endpoint: Arc<dyn IntrospectionEndpoint>,
        auth: &settings::Auth,
        limits: &Limits,
        clock: &Arc<dyn Clock>,
        metrics: &metrics::Auth,
    ) -> Self {
        let is_introspected =
            |issuer: &settings::Issuer| matches!(issuer.keys, KeySource::Introspection(_));
        let index = auth.issuers.values().position(is_introspected).unwrap();
        let name = auth.issuers.keys().nth(index).unwrap();
        let client = IntrospectionClient::new(name, endpoint, limits, clock, metrics);
        Self { issuer: index, client, max_age: auth.introspection_cache, secret: None }
    }

    /// Index of the issuer.
    pub(super) const fn issuer(&self) -> usize {
        self.issuer
    }

    /// Introspects a token for an operator. The result is not cached.
    pub(super) async fn probe(
        &self,
        token: &str,
    ) -> Result<Option<Introspected>, IntrospectionError> {
        self.client.probe(token).await
    }

    /// Introspects a token. The caller caches the result.
    pub(super) async fn introspect(
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

    /// The time until which a response may be cached.
    pub(super) fn end(&self, requested_at: Timestamp, accepted: &Accepted) -> Timestamp {
        accepted.end.min(later(requested_at, self.max_age))
    }
}
