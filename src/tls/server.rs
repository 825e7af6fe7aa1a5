//! TLS of the public listener. Certificate, key and client authorities are files, which are
//! reloaded when they change.
//!
//! TLS 1.2 and 1.3, HTTP/1.1 only. Each change creates a new configuration, so that sessions of a
//! removed authority can't be resumed. Invalid files leave the previous configuration in use.

use std::{fmt, path::Path, sync::Arc};

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
    watched_file::{FileSource, ReadResult, WatchedFile},
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

/// The TLS configuration of a listener, which is reloaded from its files.
pub type ServerTls = WatchedFile<TlsConfig, ServerTlsError>;

/// The TLS configuration of a listener.
pub struct TlsConfig {
    config: Arc<ServerConfig>,
    not_after: Option<Timestamp>,
}

impl ServerTls {
    /// Reads the files. Blocks the thread for a bounded time.
    ///
    /// # Errors
    /// If they are invalid.
    pub fn open(settings: &Settings) -> Result<Self, ServerTlsError> {
        let Settings { cert_file, key_file, client_ca_file, client_auth } = settings.clone();
        let paths: Vec<_> = [cert_file, key_file].into_iter().chain(client_ca_file).collect();
        let own_paths = paths.clone();
        let parse = move |contents: Vec<ReadResult>| {
            let files = own_paths.iter().zip(contents).zip([CERT, KEY, CLIENT_CA]);
            let texts = files.map(|((path, content), key)| {
                secret_file::parse(path, content).map_err(file_error(key))
            });
            let texts: Vec<_> = texts.collect::<Result<_, _>>()?;
            match &texts[..] {
                [cert, key, rest @ ..] => TlsConfig::parse(cert, key, rest.first(), client_auth),
                _ => Err(ServerTlsError::SetUp),
            }
        };
        FileSource::open_all(paths, secret_file::MAX_BYTES, parse).map(Self::from)
    }

    /// The configuration for the next handshake.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current().config)
    }

    /// The time at which the certificate expires.
    #[must_use]
    pub fn not_after(&self) -> Option<Timestamp> {
        self.current().not_after
    }
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfig").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

fn file_error<E: Into<FileError>>(key: &'static str) -> impl FnOnce(E) -> ServerTlsError {
    move |error| ServerTlsError::File(key, error.into())
}

impl TlsConfig {
    fn parse(
        cert: &SecretString,
        key: &SecretString,
        client_ca: Option<&SecretString>,
        client_auth: ClientAuth,
    ) -> Result<Self, ServerTlsError> {
        let chain = certificates_in(cert).map_err(file_error(CERT))?;
        let key = private_key_in(key).map_err(file_error(KEY))?;
        let not_after = chain.first().and_then(|certificate| not_after(certificate));
        let authorities = client_ca.map(certificates_in).transpose();
        let authorities = authorities.map_err(file_error(CLIENT_CA))?;
        let pair = certified_key(chain, &key).map_err(|_| ServerTlsError::Mismatch)?;
        let clients = authorities.map(|certificates| verifier(certificates, client_auth));
        let clients = clients.transpose().map_err(file_error(CLIENT_CA))?;
        let config = config(pair, clients).map_err(|_| ServerTlsError::SetUp)?;
        Ok(Self { config: Arc::new(config), not_after })
    }
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
