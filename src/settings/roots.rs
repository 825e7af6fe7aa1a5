//! Checks files of root certificates, of Juspay, issuers and the trace collector.

use std::path::Path;

use super::fault::Violation;
use crate::tls::{self, TlsError};

/// Checks that the file is usable. The TLS library's message is left out, because it quotes the
/// file.
pub(super) fn holds_roots(path: &Path) -> Result<(), Violation> {
    let fix = "write the path of a file with certificates in PEM (BEGIN CERTIFICATE)";
    tls::client_config(Some(path)).map(drop).map_err(|error| match error {
        TlsError::File(error) => Violation::unreadable(path, error),
        TlsError::Pem(_) => Violation::new("the file is not PEM", fix),
        TlsError::NoCertificate => Violation::new("the file holds no certificate", fix),
        TlsError::Rustls(_) => Violation::new("a certificate in the file is invalid", fix),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusable_root_certificates_are_rejected_and_not_quoted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let ca = rcgen::generate_simple_self_signed(["ca.example".to_owned()]).unwrap();
        std::fs::write(&file, ca.cert.pem()).unwrap();
        assert_eq!(holds_roots(file.path()), Ok(()));
        for (content, reason) in [
            ("hush", "no certificate"),
            ("-----BEGIN hush\nhush", "is not PEM"),
            ("-----BEGIN CERTIFICATE-----\nhush", "is not PEM"),
            ("-----BEGIN CERTIFICATE-----\naHVzaA==\n-----END CERTIFICATE-----\n", "is invalid"),
        ] {
            std::fs::write(&file, content).unwrap();
            let violation = holds_roots(file.path()).unwrap_err();
            assert!(violation.reason.contains(reason), "{content}: {}", violation.reason);
            assert!(!format!("{violation:?}").contains("hush"));
        }
        assert!(
            holds_roots(Path::new("/nonexistent")).unwrap_err().reason.contains("no such file")
        );
    }
}
