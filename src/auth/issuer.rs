//! An issuer of `auth.issuers`: its rules, its keys, and the task that refreshes them.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::join_all;

use super::{
    hmac::{HmacSecrets, SecretSet},
    jwks::{CurrentKeySet, JwksCache, JwksRefresher, KeyFetcher, Schedule},
    jwt::Rules,
};
use crate::{
    clock::{Clock, Monotonic},
    concurrency::Limit,
    metrics,
    settings::{self, KeySource},
};

/// The keys or secrets that an issuer's tokens are verified with.
pub(super) enum InForce {
    Keys(Arc<CurrentKeySet>),
    Secrets(Arc<SecretSet>),
}

/// An issuer whose tokens are accepted.
pub(super) struct Issuer {
    /// Its name in the settings.
    pub(super) name: Arc<str>,
    pub(super) rules: Rules,
    pub(super) keys: Arc<JwksCache>,
    /// Shared secrets, for an issuer without public keys.
    pub(super) secrets: Option<Arc<HmacSecrets>>,
}

impl Issuer {
    pub(super) fn new(
        name: &str,
        settings: &settings::Issuer,
        auth: &settings::Auth,
        clock: &Arc<dyn Clock>,
        waiting: Limit,
        secrets: Option<Arc<HmacSecrets>>,
    ) -> Self {
        let own = settings.customer_id_prefix.as_str();
        let foreign_prefixes = auth
            .issuers
            .values()
            .map(|issuer| issuer.customer_id_prefix.clone())
            .filter(|prefix| prefix.len() > own.len() && prefix.starts_with(own))
            .collect();
        let keys = JwksCache::new(
            Arc::clone(clock),
            auth.jwks_cooldown,
            auth.jwks_max_stale,
            auth.leeway,
            waiting,
        );
        Self {
            name: name.into(),
            rules: Rules {
                table: format!("auth.issuers.{name}"),
                settings: settings.clone(),
                leeway: auth.leeway,
                foreign_prefixes,
            },
            keys: Arc::new(keys),
            secrets,
        }
    }

    /// The keys or secrets that its tokens are verified with now.
    pub(super) fn in_force(&self, now: Monotonic) -> Option<InForce> {
        match &self.secrets {
            Some(secrets) => Some(InForce::Secrets(secrets.current())),
            None => self.keys.usable(now).map(InForce::Keys),
        }
    }

    /// The generation of these keys or secrets.
    pub(super) fn generation(&self, now: Monotonic) -> Option<u64> {
        match &self.secrets {
            Some(secrets) => Some(secrets.current().generation),
            None => self.keys.generation(now),
        }
    }

    /// Whether its tokens are verified here, with a public key or a shared secret.
    pub(super) const fn has_keys(&self) -> bool {
        !matches!(self.rules.settings.keys, KeySource::Introspection(_))
    }

    /// Whether its keys are in a file.
    pub(super) const fn has_key_file(&self) -> bool {
        matches!(self.rules.settings.keys, KeySource::File(_))
    }

    /// The task that refreshes its keys.
    pub(super) fn refresher(
        &self,
        schedule: Schedule,
        fetcher: Box<dyn KeyFetcher>,
        clock: &Arc<dyn Clock>,
        metrics: &metrics::Auth,
    ) -> JwksRefresher {
        let algorithms = &self.rules.settings.algorithms;
        JwksRefresher::new(&self.name, algorithms, schedule, fetcher, &self.keys, clock, metrics)
    }
}

/// When keys are refreshed without a request for it. Files are cheap to read, so they are polled
/// more often than URLs.
pub(super) fn schedule(
    source: &KeySource,
    auth: &settings::Auth,
    secrets_poll: Duration,
) -> Schedule {
    match source {
        KeySource::File(_) | KeySource::Hmac(_) => {
            Schedule { refresh: secrets_poll, retry: secrets_poll }
        }
        KeySource::Url(_) | KeySource::Discovery(_) | KeySource::Introspection(_) => Schedule {
            refresh: auth.jwks_refresh,
            retry: auth.jwks_cooldown.min(auth.jwks_refresh),
        },
    }
}

/// The tasks that fetch key sets.
#[must_use = "without them no issuer has keys"]
#[derive(Default)]
pub struct JwksRefreshers(pub(super) Vec<JwksRefresher>);

impl JwksRefreshers {
    pub(super) const fn new(refreshers: Vec<JwksRefresher>) -> Self {
        Self(refreshers)
    }

    /// Fetches and refreshes the keys of all issuers until dropped. Must be polled within a
    /// `LocalSet` or an actix runtime.
    pub async fn run(self) {
        join_all(self.0.into_iter().map(JwksRefresher::run)).await;
    }
}

impl fmt::Debug for JwksRefreshers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JwksRefreshers({} issuers)", self.0.len())
    }
}
