//! What operators' commands see of the issuers (`doctor`, `explain-token`): the service's own ways to
//! them, each gone once, and what came of it in more detail than a request needs.

use std::sync::Arc;

use jiff::SignedDuration;
use rand::random;

use super::{
    Authenticator, JwksRefreshers, SetUpError,
    introspection::AskError,
    jwks::{FetchError, JwksRefresher, LeftOut},
};
use crate::{
    clock::{Clock, ahead},
    metrics::Metrics,
    settings::{Algorithm, Settings},
    waiting::Rooms,
};

/// What came of fetching an issuer's key set.
pub(crate) struct KeySetSeen {
    /// The issuer's name in the settings.
    pub(crate) issuer: Arc<str>,
    pub(crate) fetched: Result<KeysFound, FetchError>,
    /// How far the issuer's clock is ahead of ours, if it told.
    pub(crate) ahead: Option<SignedDuration>,
}

/// The keys of a set.
pub(crate) struct KeysFound {
    pub(crate) usable: usize,
    /// Those of the issuer's algorithms that a key is there for.
    pub(crate) served: Vec<Algorithm>,
    /// `kid` and reason of each key that isn't used.
    pub(crate) left_out: Vec<(String, String)>,
}

/// How an issuer's introspection endpoint has taken a token that nobody has issued.
pub(crate) struct Introspectable {
    /// The issuer's name in the settings.
    pub(crate) issuer: Arc<str>,
    /// Whether it calls that token active.
    pub(crate) vouches: Result<bool, AskError>,
}

/// The shared secrets of an issuer, as its file was read.
pub(crate) struct SecretsSeen {
    /// The issuer's name in the settings.
    pub(crate) issuer: Arc<str>,
    /// How many there are.
    pub(crate) count: usize,
}

impl Authenticator {
    /// An authenticator without a service around it.
    ///
    /// # Errors
    /// As [`Authenticator::new`].
    pub(crate) fn alone(
        settings: &Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, JwksRefreshers), SetUpError> {
        let metrics = Arc::new(Metrics::new(crate::VERSION, crate::COMMIT)?);
        let server = &settings.server;
        let (waiting, verifying) = (&metrics.http.waiting, &metrics.auth.verifications);
        let rooms = Rooms::new(waiting, verifying, server.max_in_flight, server.max_waiting);
        Self::new(&settings.auth, settings.secrets.poll, &rooms, clock, metrics)
    }

    /// How many shared secrets each issuer has that signs with them.
    pub(crate) fn secrets_seen(&self) -> Vec<SecretsSeen> {
        let secrets = self.hmac_secrets().into_iter();
        secrets
            .map(|(issuer, secrets)| SecretsSeen { issuer, count: secrets.current().len() })
            .collect()
    }

    /// Asks about a token that nobody has issued; `None` where no issuer is asked about tokens.
    pub(crate) async fn probe_introspection(&self) -> Option<Introspectable> {
        let introspection = self.introspection.as_ref()?;
        let issuer = Arc::clone(&self.issuers.get(introspection.issuer())?.name);
        let nonsense = format!("juspay-bff-doctor-{:032x}", random::<u128>());
        let told = introspection.probe(&nonsense).await;
        Some(Introspectable { issuer, vouches: told.map(|active| active.is_some()) })
    }
}

impl JwksRefreshers {
    /// Fetches each issuer's keys once.
    pub(crate) async fn fetch_once(&mut self) -> Vec<KeySetSeen> {
        let mut seen = Vec::new();
        for refresher in &mut self.0 {
            let asked = refresher.now();
            let fetched = refresher.fetch_once().await;
            let ahead = refresher.date().map(|date| ahead(date, asked, refresher.now()));
            let fetched = fetched.map(|left_out| KeysFound::of(refresher, left_out));
            seen.push(KeySetSeen { issuer: Arc::clone(refresher.issuer()), fetched, ahead });
        }
        seen
    }

    /// Those of one issuer.
    pub(super) fn of(self, issuer: &str) -> Self {
        Self(self.0.into_iter().filter(|refresher| **refresher.issuer() == *issuer).collect())
    }
}

impl KeysFound {
    fn of(refresher: &JwksRefresher, left_out: Vec<LeftOut>) -> Self {
        let (usable, served) = refresher.usable_keys();
        let left_out = left_out.into_iter().map(|out| (out.kid, out.why.to_string())).collect();
        Self { usable, served, left_out }
    }
}
