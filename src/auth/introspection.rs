//! Token introspection (RFC 7662), for tokens that only their issuer can validate.
//!
//! `endpoint` sends a request; `client` shares it between concurrent requests with the same token. The
//! claims of a response pass the same checks as signed claims, and `token_cache` caches active tokens for at
//! most `auth.introspection_cache`. A failed or invalid response never rejects a token (promise P6). It does
//! not stop calls for other tokens either, because a single unusual token may have caused it.

mod client;
mod endpoint;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use rustls::ClientConfig;

pub(super) use self::client::{IntrospectionResponse, UNAVAILABLE};
pub use self::endpoint::{IntrospectionEndpoint, IntrospectionError};
use self::{client::IntrospectionClient, endpoint::HttpEndpoint};
use super::{
    credentials::Token,
    error::AuthError,
    jwt::{Accepted, Introspected},
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
}

/// The endpoint of the issuer with an `introspection_url`, if there is one.
pub(super) fn endpoint(
    auth: &settings::Auth,
    tls: &BTreeMap<&str, Arc<ClientConfig>>,
) -> Result<Option<Arc<dyn IntrospectionEndpoint>>, SecretFileError> {
    for (name, issuer) in &auth.issuers {
        if let KeySource::Introspection(settings) = &issuer.keys
            && let Some(tls) = tls.get(name.as_str())
        {
            return Ok(Some(Arc::new(HttpEndpoint::open(settings, Arc::clone(tls))?)));
        }
    }
    Ok(None)
}

impl Introspection {
    /// Introspection for the issuer with an `introspection_url`. The settings allow only one.
    pub(super) fn new(
        auth: &settings::Auth,
        endpoint: Arc<dyn IntrospectionEndpoint>,
        limits: &Limits,
        clock: &Arc<dyn Clock>,
        metrics: &metrics::Auth,
    ) -> Option<Self> {
        let mut issuers = auth.issuers.iter().enumerate();
        let (issuer, (name, _)) =
            issuers.find(|(_, (_, it))| matches!(it.keys, KeySource::Introspection(_)))?;
        let client = IntrospectionClient::new(name, endpoint, limits, clock, metrics);
        Some(Self { issuer, client, max_age: auth.introspection_cache })
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
    ) -> Result<Arc<IntrospectionResponse>, AuthError> {
        self.client.introspect(token).await
    }

    /// The secret that authenticates this service to the issuer.
    pub(super) fn secret(&self) -> Option<Arc<Secret>> {
        self.client.secret()
    }

    /// The time until which a response may be cached.
    pub(super) fn end(&self, requested_at: Timestamp, accepted: &Accepted) -> Timestamp {
        accepted.end.min(later(requested_at, self.max_age))
    }
}
