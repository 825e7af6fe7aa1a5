//! What operators' commands see of the issuers (`doctor`, `explain-token`): the service's own ways to
//! them, each gone once, and what came of it in more detail than a request needs.

use std::sync::Arc;

use jiff::SignedDuration;
use rand::random;

use super::{
    Authenticator, Keepers, SetUpError,
    introspection::AskError,
    jwks::{FetchError, Keeper, LeftOut},
};
use crate::{
    clock::{Clock, skew},
    concurrency::ConcurrencyLimits,
    metrics::Metrics,
    settings::{Algorithm, Settings},
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
    ) -> Result<(Self, Keepers), SetUpError> {
        let metrics = Arc::new(Metrics::new(crate::VERSION, crate::COMMIT)?);
        let server = &settings.server;
        let (waiting, verifying) = (&metrics.http.waiting, &metrics.auth.verifications);
        let limits =
            ConcurrencyLimits::new(waiting, verifying, server.max_in_flight, server.max_waiting);
        Self::new(&settings.auth, settings.secrets.poll, &limits, clock, metrics)
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

impl Keepers {
    /// Fetches each issuer's keys once.
    pub(crate) async fn fetch_once(&mut self) -> Vec<KeySetSeen> {
        let mut seen = Vec::new();
        for keeper in &mut self.0 {
            let asked = keeper.now();
            let fetched = keeper.fetch_once().await;
            let ahead = keeper.date().map(|date| skew(date, asked, keeper.now()));
            let fetched = fetched.map(|left_out| KeysFound::of(keeper, left_out));
            seen.push(KeySetSeen { issuer: Arc::clone(keeper.issuer()), fetched, ahead });
        }
        seen
    }

    /// Those of one issuer.
    pub(super) fn of(self, issuer: &str) -> Self {
        Self(self.0.into_iter().filter(|keeper| **keeper.issuer() == *issuer).collect())
    }
}

impl KeysFound {
    fn of(keeper: &Keeper, left_out: Vec<LeftOut>) -> Self {
        let (usable, served) = keeper.held();
        let left_out = left_out.into_iter().map(|out| (out.kid, out.why.to_string())).collect();
        Self { usable, served, left_out }
    }
}
