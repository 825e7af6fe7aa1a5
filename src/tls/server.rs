//! TLS of the public listener. Certificate, key and client authorities are files, which are
//! reloaded when they change.
//!
//! TLS 1.2 and 1.3, HTTP/1.1 only. Each change creates a new configuration, so that sessions of a
//! removed authority can't be resumed. Invalid files leave the previous configuration in use.

use std::{fmt, path::Path, sync::Arc};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, pem::PemObject as _},
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
};
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    ALPN,
    certificate::not_after,
    key::{PrivateKey, private_key_in, signing_key},
};
use crate::{
    secret_file::{self, SecretFileError},
    settings::{ClientAuth, ServerTls as Settings},
};

const CERT: &str = "server.tls.cert_file";
const KEY: &str = "server.tls.key_file";
const CLIENT_CA: &str = "server.tls.client_ca_file";

/// Why a file can't be used for TLS. Never contains any of its content.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It can't be read.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// It isn't PEM.
    #[error("the file is not PEM")]
    NotPem,
    /// Valid PEM without this kind of content.
    #[error("the file contains no {0}")]
    Lacks(&'static str),
    /// This kind of content in it is invalid.
    #[error("a {0} in the file is invalid")]
    Unusable(&'static str),
}

/// Why the TLS of the public listener can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum ServerTlsError {
    /// A file is invalid. Contains its setting.
    #[error("{0}: {1}")]
    File(&'static str, FileError),
    /// The key isn't the certificate's.
    #[error("server.tls.cert_file: the certificate does not match the key in server.tls.key_file")]
    Mismatch,
    /// rustls rejects the configuration.
    #[error("server.tls: failed to set up TLS")]
    SetUp,
}

/// The result of a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reloaded {
    /// The files are the ones in use.
    Unchanged,
    /// The files have changed, and are in use now.
    Changed,
}

/// The TLS configuration of a listener, which is reloaded from its files.
pub struct ServerTls {
    settings: Settings,
    current: ArcSwap<Current>,
}

struct Current {
    config: Arc<ServerConfig>,
    not_after: Option<Timestamp>,
    /// Digest of all files.
    digest: Vec<u8>,
}

impl ServerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// If they are invalid.
    pub fn open(settings: &Settings) -> Result<Self, ServerTlsError> {
        let current = ArcSwap::from_pointee(Current::of(&FileContents::read(settings)?, settings)?);
        Ok(Self { settings: settings.clone(), current })
    }

    /// The configuration for the next handshake.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().config)
    }

    /// The time at which the certificate expires.
    #[must_use]
    pub fn not_after(&self) -> Option<Timestamp> {
        self.current.load().not_after
    }

    /// Reads the files again, and replaces the configuration if they have changed.
    ///
    /// # Errors
    /// If they are invalid. The previous configuration remains in use.
    pub async fn reload(&self) -> Result<Reloaded, ServerTlsError> {
        let new = Current::of(&FileContents::reread(&self.settings).await?, &self.settings)?;
        if new.digest == self.current.load().digest {
            return Ok(Reloaded::Unchanged);
        }
        self.current.store(Arc::new(new));
        Ok(Reloaded::Changed)
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The content of the files.
struct FileContents {
    cert: SecretString,
    key: SecretString,
    client_ca: Option<SecretString>,
}

impl FileContents {
    fn read(settings: &Settings) -> Result<Self, ServerTlsError> {
        let read = |key, path: &Path| secret_file::read_blocking(path).map_err(file_error(key));
        let client_ca = settings.client_ca_file.as_deref();
        Ok(Self {
            cert: read(CERT, &settings.cert_file)?,
            key: read(KEY, &settings.key_file)?,
            client_ca: client_ca.map(|path| read(CLIENT_CA, path)).transpose()?,
        })
    }

    async fn reread(settings: &Settings) -> Result<Self, ServerTlsError> {
        let read = async |key, path: &Path| secret_file::read(path).await.map_err(file_error(key));
        let client_ca = match &settings.client_ca_file {
            Some(path) => Some(read(CLIENT_CA, path).await?),
            None => None,
        };
        Ok(Self {
            cert: read(CERT, &settings.cert_file).await?,
            key: read(KEY, &settings.key_file).await?,
            client_ca,
        })
    }
}

fn file_error<E: Into<FileError>>(key: &'static str) -> impl FnOnce(E) -> ServerTlsError {
    move |error| ServerTlsError::File(key, error.into())
}

impl Current {
    fn of(contents: &FileContents, settings: &Settings) -> Result<Self, ServerTlsError> {
        let chain = certificates_in(&contents.cert).map_err(file_error(CERT))?;
        let key = private_key_in(&contents.key).map_err(file_error(KEY))?;
        let mut digest = aws_lc_rs_digest();
        for certificate in &chain {
            digest.update(certificate);
        }
        digest.update(key.secret_der());
        let authorities = contents.client_ca.as_ref().map(certificates_in).transpose();
        let authorities = authorities.map_err(file_error(CLIENT_CA))?;
        for authority in authorities.iter().flatten() {
            digest.update(authority);
        }
        let not_after = chain.first().and_then(|certificate| not_after(certificate));
        let pair = certified_key(chain, &key).map_err(|_| ServerTlsError::Mismatch)?;
        let clients = authorities.map(|certificates| verifier(certificates, settings.client_auth));
        let clients = clients.transpose().map_err(file_error(CLIENT_CA))?;
        let config = config(pair, clients).map_err(|_| ServerTlsError::SetUp)?;
        let digest = digest.finish().as_ref().to_vec();
        Ok(Self { config: Arc::new(config), not_after, digest })
    }
}

fn aws_lc_rs_digest() -> ::aws_lc_rs::digest::Context {
    ::aws_lc_rs::digest::Context::new(&::aws_lc_rs::digest::SHA256)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn config(
    pair: CertifiedKey,
    clients: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<ServerConfig, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    let has_clients = clients.is_some();
    let builder = match clients {
        Some(clients) => builder.with_client_cert_verifier(clients),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    if has_clients {
        // A resumed session could outlive the client's certificate.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

/// Combines a certificate chain and its key.
///
/// # Errors
/// If they don't match.
pub fn certified_key(
    chain: Vec<CertificateDer<'static>>,
    key: &PrivateKey,
) -> Result<CertifiedKey, rustls::Error> {
    let pair = CertifiedKey::new(chain, signing_key(key)?);
    pair.keys_match().map(|()| pair)
}

/// The certificates in a file, the server's own first.
///
/// # Errors
/// If there is no usable one.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    certificates_in(&secret_file::read_blocking(path)?)
}

fn certificates_in(text: &SecretString) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let certificates = CertificateDer::pem_slice_iter(text.expose_secret().as_bytes());
    let certificates: Vec<_> =
        certificates.collect::<Result<_, _>>().map_err(|_| FileError::NotPem)?;
    let first = certificates.first().ok_or(FileError::Lacks("certificate"))?;
    rustls::server::ParsedCertificate::try_from(first)
        .map_err(|_| FileError::Unusable("certificate"))?;
    Ok(certificates)
}

/// The authorities of client certificates in a file.
///
/// # Errors
/// If there is no usable one.
pub fn client_authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let certificates = certificates(path)?;
    verifier(certificates.clone(), ClientAuth::Required).map(|_| certificates)
}

fn verifier(
    authorities: Vec<CertificateDer<'static>>,
    auth: ClientAuth,
) -> Result<Arc<dyn ClientCertVerifier>, FileError> {
    let unusable = || FileError::Unusable("certificate");
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority).map_err(|_| unusable())?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    let builder = match auth {
        ClientAuth::Optional => builder.allow_unauthenticated(),
        ClientAuth::Required | ClientAuth::Off => builder,
    };
    builder.build().map_err(|_| unusable())
}
