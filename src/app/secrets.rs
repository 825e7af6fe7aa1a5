//! The secrets that follow their files while the service runs.

use std::{path::Path, sync::Arc};

use futures_util::future::{BoxFuture, FutureExt as _, join_all};
use prometheus::GaugeVec;

use crate::{
    auth::HmacSecrets,
    clock::Clock,
    metrics::Metrics,
    secret_file::{PollOutcome, Secret, SecretFileError},
    settings::{SecretSource, Settings},
    tls::{Reloaded, ServerTls},
};

use super::{StartError, polling::Polling};

/// Every secret by file; the API key may stand in the settings themselves.
#[derive(Debug)]
pub(super) struct Secrets {
    pub(super) api_key: Arc<Secret>,
    pub(super) api_key_next: Option<Arc<Secret>>,
    pub(super) admin_token: Option<Arc<Secret>>,
    pub(super) customer_ref_key: Option<Arc<Secret>>,
    /// The authenticator's, which opens it itself.
    pub(super) introspection: Option<Arc<Secret>>,
    /// The same, by the names of their issuers.
    pub(super) hmac: Vec<(Arc<str>, Arc<HmacSecrets>)>,
    pub(super) dpop_nonce_key: Option<Arc<Secret>>,
    /// What the collector of traces wants to see.
    pub(super) traces_headers: Option<Arc<Secret>>,
    pub(super) tls: Option<Arc<ServerTls>>,
}

/// Something by file, as it is followed.
trait ByFile {
    /// Looks at its files again: whether they have changed, or why they can't be used.
    fn look(&self) -> BoxFuture<'_, Result<bool, String>>;
}

impl ByFile for Secret {
    fn look(&self) -> BoxFuture<'_, Result<bool, String>> {
        let look = async {
            match self.poll().await {
                PollOutcome::Unchanged => Ok(false),
                PollOutcome::Changed => Ok(true),
                PollOutcome::Failed(error) => Err(error.to_string()),
            }
        };
        look.boxed()
    }
}

impl ByFile for HmacSecrets {
    fn look(&self) -> BoxFuture<'_, Result<bool, String>> {
        async { self.reload().await.map_err(|error| error.to_string()) }.boxed()
    }
}

impl ByFile for ServerTls {
    fn look(&self) -> BoxFuture<'_, Result<bool, String>> {
        let look = async {
            let reloaded = self.reload().await.map_err(|error| error.to_string())?;
            Ok(reloaded == Reloaded::Changed)
        };
        look.boxed()
    }
}

impl Secrets {
    pub(super) fn open(settings: &Settings) -> Result<Self, StartError> {
        let by_file = |path: &Option<_>| path.as_deref().map(open).transpose();
        Ok(Self {
            api_key: match &settings.juspay.api_key {
                SecretSource::File(path) => open(path)?,
                SecretSource::Inline(key) => Arc::new(Secret::fixed(key.clone())),
            },
            api_key_next: by_file(&settings.juspay.api_key_next)?,
            admin_token: by_file(&settings.server.admin_token_file)?,
            customer_ref_key: by_file(&settings.log.customer_ref_key_file)?,
            introspection: None,
            hmac: Vec::new(),
            dpop_nonce_key: by_file(&settings.auth.dpop.nonce_key_file)?,
            traces_headers: by_file(&settings.traces.headers_file)?,
            tls: settings.server.tls.as_ref().map(ServerTls::open).transpose()?.map(Arc::new),
        })
    }

    /// Follows the files, looking at all of them whenever they are due, for as long as it is polled
    /// itself. They are read at once, so that one on a hung mount does not hold up the others.
    pub(super) async fn follow(self, polling: Polling, metrics: Arc<Metrics>) {
        let named = [
            ("api_key", Some(self.api_key)),
            ("api_key_next", self.api_key_next),
            ("admin_token", self.admin_token),
            ("customer_ref_key", self.customer_ref_key),
            ("introspection_client_secret", self.introspection),
            ("dpop_nonce_key", self.dpop_nonce_key),
            ("traces_headers", self.traces_headers),
        ];
        let (read, clock) = (&metrics.secret_last_reload_success, &*polling.clock);
        let secrets = named.into_iter().filter_map(|(name, secret)| {
            let by_file: Arc<dyn ByFile> = secret.filter(|it| it.has_file())?;
            Some((name.to_owned(), by_file))
        });
        let hmac = self.hmac.into_iter().map(|(issuer, secrets)| {
            let by_file: Arc<dyn ByFile> = secrets;
            (format!("hmac_secret_{issuer}"), by_file)
        });
        let tls = self.tls.clone().map(|tls| {
            let by_file: Arc<dyn ByFile> = tls;
            ("server_tls".to_owned(), by_file)
        });
        let followed = secrets.chain(hmac).chain(tls);
        let mut followed: Vec<_> =
            followed.map(|(name, secret)| Followed::new(name, secret, read, clock)).collect();
        loop {
            note_certificate(self.tls.as_deref(), &metrics);
            polling.due().await;
            join_all(followed.iter_mut().map(|secret| secret.look(read, clock))).await;
        }
    }
}

fn open(path: &Path) -> Result<Arc<Secret>, SecretFileError> {
    Secret::open(path).map(Arc::new)
}

fn note_certificate(tls: Option<&ServerTls>, metrics: &Metrics) {
    if let Some(not_after) = tls.and_then(ServerTls::not_after) {
        let seconds = not_after.as_duration().as_secs_f64();
        metrics.certificate_not_after.with_label_values(&["server"]).set(seconds);
    }
}

struct Followed {
    name: String,
    secret: Arc<dyn ByFile>,
    /// The last look found nothing usable; told once, not at each look.
    failing: bool,
}

impl Followed {
    fn new(name: String, secret: Arc<dyn ByFile>, read: &GaugeVec, clock: &dyn Clock) -> Self {
        let followed = Self { name, secret, failing: false };
        followed.note_success(read, clock);
        followed
    }

    async fn look(&mut self, read: &GaugeVec, clock: &dyn Clock) {
        let looked = self.secret.look().await;
        if let Err(error) = looked {
            if !self.failing {
                tracing::warn!(
                    secret = &*self.name,
                    "failed to reload secret file: {error}; keeping the previous value"
                );
            }
            self.failing = true;
            return;
        }
        if looked == Ok(true) || self.failing {
            tracing::info!(secret = &*self.name, "secret reloaded");
        }
        self.failing = false;
        self.note_success(read, clock);
    }

    fn note_success(&self, read: &GaugeVec, clock: &dyn Clock) {
        let now = clock.now().as_duration().as_secs_f64();
        read.with_label_values(&[&*self.name]).set(now);
    }
}
