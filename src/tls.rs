//! TLS client configuration for Juspay, issuers and the collector. `server` and `key` are for the
//! public listener; `certificate` reads the names and the expiry of certificates.

mod certificate;
mod key;
mod server;

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};

pub use self::{
    certificate::{PeerCertificate, not_after},
    key::{PrivateKey, pem_block, private_key},
    server::{
        FileError, ServerTls, ServerTlsError, TlsConfig, certificates, certified_key,
        client_authorities,
    },
};

use crate::regular_file::{self, ReadError};

/// HTTP/1.1 only: on one stalled HTTP/2 connection all requests fail, on an HTTP/1.1 connection one
/// does.
const ALPN: &[u8] = b"http/1.1";

/// Maximum size of a file of root certificates, in bytes: about ten times Mozilla's list in PEM.
const MAX_ROOTS_BYTES: u64 = 4 * 1024 * 1024;

/// Why a TLS client configuration can't be created.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file of root certificates can't be read.
    #[error("the file can't be read: {0}")]
    File(#[from] ReadError),
    /// The file isn't valid PEM.
    #[error("the file is not PEM: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// A certificate in it is invalid, or TLS can't be set up.
    #[error("failed to set up TLS: {0}")]
    Rustls(#[from] rustls::Error),
    /// The file contains no certificate.
    #[error("the file contains no certificate; expected PEM with BEGIN CERTIFICATE")]
    NoCertificate,
}

/// Trusts Mozilla's root certificates, and those in `ca_file` (PEM).
///
/// # Errors
/// If `ca_file` contains no usable certificate.
pub fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = ca_file {
        let content = regular_file::read_blocking(path, MAX_ROOTS_BYTES)?;
        let certificates: Vec<_> =
            CertificateDer::pem_slice_iter(&content).collect::<Result<_, _>>()?;
        if certificates.is_empty() {
            return Err(TlsError::NoCertificate);
        }
        for certificate in certificates {
            roots.add(certificate)?;
        }
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_of_ca_file_are_added_to_the_built_in_ones() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let ca = rcgen::generate_simple_self_signed(["ca.example".to_owned()]).unwrap();
        std::fs::write(&file, ca.cert.pem()).unwrap();
        assert!(client_config(Some(file.path())).is_ok());
        assert_eq!(client_config(None).unwrap().alpn_protocols, [b"http/1.1"]);
    }

    #[test]
    fn file_without_certificates_is_rejected() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "hello").unwrap();
        assert!(matches!(client_config(Some(file.path())), Err(TlsError::NoCertificate)));
        assert!(client_config(Some(Path::new("/nonexistent"))).is_err());
    }
}
