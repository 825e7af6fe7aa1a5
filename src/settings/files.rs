//! Checks files that settings name: whether they are readable, and what they contain. No message
//! quotes the content.

use std::path::Path;

use secrecy::ExposeSecret as _;

use super::fault::Violation;
use crate::{
    secret_file::{self, SecretFileError},
    tls::{self, FileError, TlsError},
};

/// Checks only that the file can be read, not its content.
pub(super) fn is_readable(path: &Path) -> Result<(), Violation> {
    read_text(path, |_| Ok(()))
}

/// Checks the text of a file.
pub(super) fn read_text<E: From<Violation>>(
    path: &Path,
    check: impl FnOnce(&str) -> Result<(), E>,
) -> Result<(), E> {
    let text = secret_file::read_blocking(path).map_err(|error| unreadable(&error))?;
    check(text.expose_secret())
}

/// Checks a file of root certificates, in addition to the built-in ones.
pub(super) fn validate_roots(path: &Path) -> Result<(), Violation> {
    let fix = "write the path of a file with certificates in PEM (BEGIN CERTIFICATE)";
    tls::client_config(Some(path)).map(drop).map_err(|error| match error {
        TlsError::File(error) => Violation::unreadable(path, error),
        TlsError::Pem(_) => Violation::new("the file is not PEM", fix),
        TlsError::NoCertificate => Violation::new("the file holds no certificate", fix),
        TlsError::Rustls(_) => Violation::new("a certificate in the file is invalid", fix),
    })
}

/// Checks the server's certificate chain.
pub(super) fn validate_certificate(path: &Path) -> Result<(), Violation> {
    let fix = "write the path of a file with the server's certificate chain in PEM (BEGIN \
               CERTIFICATE), the server's own certificate first";
    tls::certificates(path).map(drop).map_err(|error| invalid_file(error, fix))
}

/// Checks the server's private key.
pub(super) fn validate_key(path: &Path) -> Result<(), Violation> {
    let fix = "write the path of a file with the certificate's unencrypted private key in PEM \
               (BEGIN PRIVATE KEY): RSA of at least 2048 bits, P-256, P-384, P-521 or Ed25519";
    tls::private_key(path).map(drop).map_err(|error| invalid_file(error, fix))
}

/// Checks the authorities of client certificates.
pub(super) fn validate_authorities(path: &Path) -> Result<(), Violation> {
    let fix = "write the path of a file with the certificates of the client CAs in PEM (BEGIN \
               CERTIFICATE)";
    tls::client_authorities(path).map(drop).map_err(|error| invalid_file(error, fix))
}

fn invalid_file(error: FileError, fix: &str) -> Violation {
    match error {
        FileError::File(error) => unreadable(&error),
        FileError::NotPem => Violation::new("the file is not PEM", fix),
        FileError::Lacks(what) => Violation::new(format!("the file contains no {what}"), fix),
        FileError::Unusable(what) => {
            Violation::new(format!("a {what} in the file is invalid"), fix)
        }
    }
}

fn unreadable(error: &SecretFileError) -> Violation {
    let fix = "write the path of a file that this process can read and that is not empty";
    match error {
        SecretFileError::Unreadable { path, source } => Violation::unreadable(path, *source),
        SecretFileError::Empty(_) => Violation::new("the file is empty", fix),
        SecretFileError::NotText(_) => Violation::new("the file is not UTF-8 text", fix),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusable_root_certificates_are_rejected_and_not_quoted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let ca = rcgen::generate_simple_self_signed(["ca.example".to_owned()]).unwrap();
        std::fs::write(&file, ca.cert.pem()).unwrap();
        assert_eq!(validate_roots(file.path()), Ok(()));
        for (content, reason) in [
            ("hush", "no certificate"),
            ("-----BEGIN hush\nhush", "is not PEM"),
            ("-----BEGIN CERTIFICATE-----\nhush", "is not PEM"),
            ("-----BEGIN CERTIFICATE-----\naHVzaA==\n-----END CERTIFICATE-----\n", "is invalid"),
        ] {
            std::fs::write(&file, content).unwrap();
            let violation = validate_roots(file.path()).unwrap_err();
            assert!(violation.reason.contains(reason), "{content}: {}", violation.reason);
            assert!(!format!("{violation:?}").contains("hush"));
        }
        assert!(
            validate_roots(Path::new("/nonexistent")).unwrap_err().reason.contains("no such file")
        );
    }
}
