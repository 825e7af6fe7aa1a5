//! Inspects issuers for operator commands (`doctor`, `explain-token`). Uses the service's own code
//! to fetch keys and call introspection once, and returns more detail than a request needs.

use std::sync::Arc;

use jiff::SignedDuration;
use rand::random;

use super::{
    SetUpError,
    authenticator::Authenticator,
    introspection::IntrospectionError,
    issuer::JwksRefreshers,
    jwks::{FetchError, JwksRefresher, LeftOut},
};
use crate::{
    clock::{Clock, skew},
    concurrency::Limits,
    metrics::Metrics,
    settings::{Algorithm, Settings},
};

/// The result of fetching an issuer's key set.
pub(crate) struct KeySetInspection {
    /// The issuer's name in the settings.
    pub(crate) issuer: Arc<str>,
    pub(crate) fetched: Result<InspectedKeys, FetchError>,
    /// How far the issuer's clock is ahead of this machine's, if the response had a `Date`.
    pub(crate) ahead: Option<SignedDuration>,
}

/// The keys of a fetched set.
pub(crate) struct InspectedKeys {
    pub(crate) usable: usize,
    /// The issuer's algorithms that a key supports.
    pub(crate) served: Vec<Algorithm>,
    /// `kid` and reason of each unusable key.
    pub(crate) left_out: Vec<(String, String)>,
}

/// How an introspection endpoint responds to a random token.
pub(crate) struct IntrospectionProbe {
    /// The issuer's name in the settings.
    pub(crate) issuer: Arc<str>,
    /// Whether it reports the random token as active.
    pub(crate) is_active: Result<bool, IntrospectionError>,
}

/// The shared secrets in an issuer's file.
pub(crate) struct SecretsInspection {
    /// The issuer's name in the settings.
    pub(crate) issuer: Arc<str>,
    /// How many there are.
    pub(crate) count: usize,
}

impl Authenticator {
    /// An authenticator for operator commands, with its own metrics and limits.
    ///
    /// # Errors
    /// As [`Authenticator::new`].
    pub(crate) fn alone(
        settings: &Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, JwksRefreshers), SetUpError> {
        let metrics = Arc::new(Metrics::new(crate::VERSION, crate::COMMIT)?);
        let server = &settings.server;
        let limits = Limits::new(&metrics, server.max_in_flight, server.max_waiting);
        Self::new(&settings.auth, settings.secrets.poll, &limits, clock, metrics)
    }

    /// The number of shared secrets of each issuer that uses them.
    pub(crate) fn inspect_secrets(&self) -> Vec<SecretsInspection> {
        let secrets = self.hmac_secrets().into_iter();
        secrets
            .map(|(issuer, secrets)| SecretsInspection { issuer, count: secrets.current().len() })
            .collect()
    }

    /// Introspects a random token; `None` if no issuer has introspection.
    pub(crate) async fn probe_introspection(&self) -> Option<IntrospectionProbe> {
        let introspection = self.introspection.as_ref()?;
        let issuer = Arc::clone(&self.issuers.get(introspection.issuer())?.name);
        let random_token = format!("juspay-bff-doctor-{:032x}", random::<u128>());
        let response = introspection.probe(&random_token).await;
        Some(IntrospectionProbe { issuer, is_active: response.map(|active| active.is_some()) })
    }
}

impl JwksRefreshers {
    /// Fetches the keys of each issuer once.
    pub(crate) async fn fetch_once(&mut self) -> Vec<KeySetInspection> {
        let mut inspections = Vec::new();
        for refresher in &mut self.0 {
            let requested = refresher.now();
            let fetched = refresher.fetch_once().await;
            let ahead = refresher.date().map(|date| skew(date, requested, refresher.now()));
            let fetched = fetched.map(|left_out| InspectedKeys::of(refresher, left_out));
            inspections.push(KeySetInspection {
                issuer: Arc::clone(refresher.issuer()),
                fetched,
                ahead,
            });
        }
        inspections
    }

    /// Keeps only the refresher of one issuer.
    pub(super) fn of(self, issuer: &str) -> Self {
        Self(self.0.into_iter().filter(|refresher| **refresher.issuer() == *issuer).collect())
    }
}

impl InspectedKeys {
    fn of(refresher: &JwksRefresher, left_out: Vec<LeftOut>) -> Self {
        let (usable, served) = refresher.usable_keys();
        let left_out = left_out.into_iter().map(|out| (out.kid, out.why.to_string())).collect();
        Self { usable, served, left_out }
    }
}
