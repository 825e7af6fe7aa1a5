//! The secrets that are reloaded from their files while the service runs.

use std::{path::Path, sync::Arc};

use super::StartError;
use crate::{
    auth::HmacSecrets,
    metrics::Metrics,
    secret_file::{Secret, SecretFileError},
    settings::{SecretSource, Settings},
    tls::ServerTls,
    watched_file::{Polling, Reloadable, watch},
};

/// All secrets. The API key may be in the settings; the others are in files.
pub(super) struct Secrets {
    pub(super) api_key: Arc<Secret>,
    pub(super) api_key_next: Option<Arc<Secret>>,
    pub(super) egress_proxy_credentials: Option<Arc<Secret>>,
    pub(super) admin_token: Option<Arc<Secret>>,
    pub(super) customer_ref_key: Option<Arc<Secret>>,
    /// The client secret for introspection, opened by the authenticator.
    pub(super) introspection: Option<Arc<Secret>>,
    /// HMAC secrets by issuer, opened by the authenticator.
    pub(super) hmac: Vec<(Arc<str>, Arc<HmacSecrets>)>,
    pub(super) dpop_nonce_key: Option<Arc<Secret>>,
    /// Headers for the trace collector.
    pub(super) traces_headers: Option<Arc<Secret>>,
    /// The keys of the shared tier, opened by it, with their names.
    pub(super) shared_tier: Vec<(&'static str, Arc<dyn Reloadable>)>,
    pub(super) tls: Option<Arc<ServerTls>>,
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
            egress_proxy_credentials: by_file(&settings.juspay.egress_proxy_credentials)?,
            admin_token: by_file(&settings.server.admin_token_file)?,
            customer_ref_key: by_file(&settings.log.customer_ref_key_file)?,
            introspection: None,
            hmac: Vec::new(),
            dpop_nonce_key: by_file(&settings.auth.dpop.nonce_key_file)?,
            traces_headers: by_file(&settings.traces.headers_file)?,
            shared_tier: Vec::new(),
            tls: settings.server.tls.as_ref().map(ServerTls::open).transpose()?.map(Arc::new),
        })
    }

    /// Reloads the files until dropped.
    pub(super) async fn watch(self, polling: Polling, metrics: Arc<Metrics>) {
        let secrets = [
            ("api_key", Some(self.api_key)),
            ("api_key_next", self.api_key_next),
            ("egress_proxy_credentials", self.egress_proxy_credentials),
            ("admin_token", self.admin_token),
            ("customer_ref_key", self.customer_ref_key),
            ("introspection_client_secret", self.introspection),
            ("dpop_nonce_key", self.dpop_nonce_key),
            ("traces_headers", self.traces_headers),
        ];
        let mut files: Vec<(String, Arc<dyn Reloadable>)> = Vec::new();
        for (name, secret) in secrets {
            if let Some(secret) = secret {
                files.push((name.to_owned(), secret));
            }
        }
        for (name, keys) in self.shared_tier {
            files.push((name.to_owned(), keys));
        }
        for (issuer, secrets) in self.hmac {
            files.push((format!("hmac_secret_{issuer}"), secrets));
        }
        if let Some(tls) = &self.tls {
            let tls: Arc<dyn Reloadable> = Arc::<ServerTls>::clone(tls);
            files.push(("server_tls".to_owned(), tls));
        }
        let note_certificate = || {
            if let Some(not_after) = self.tls.as_ref().and_then(|tls| tls.not_after()) {
                let seconds = not_after.as_duration().as_secs_f64();
                metrics.certificate_not_after.with_label_values(&["server"]).set(seconds);
            }
        };
        watch(files, polling, &metrics.secret_last_reload_success, note_certificate).await;
    }
}

fn open(path: &Path) -> Result<Arc<Secret>, SecretFileError> {
    Secret::open(path).map(Arc::new)
}
