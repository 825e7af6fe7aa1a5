//! Files with root certificates, of Juspay and of issuers.

use std::path::Path;

use super::fault::Wrong;
use crate::tls::{self, TlsError};

/// Whether the file can be used. The library's own words stay out: they quote lines of it.
pub(super) fn holds_roots(path: &Path) -> Result<(), Wrong> {
    let fix = "write the path of a file with certificates in PEM (BEGIN CERTIFICATE)";
    tls::client_config(Some(path)).map(drop).map_err(|error| match error {
        TlsError::File(error) => Wrong::unreadable(path, error),
        TlsError::Pem(_) => Wrong::new("the file is not PEM", fix),
        TlsError::NoCertificate => Wrong::new("the file holds no certificate", fix),
        TlsError::Rustls(_) => Wrong::new("a certificate in the file is invalid", fix),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_tried_and_never_quoted() {
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
            let wrong = holds_roots(file.path()).unwrap_err();
            assert!(wrong.reason.contains(reason), "{content}: {}", wrong.reason);
            assert!(!format!("{wrong:?}").contains("hush"));
        }
        assert!(
            holds_roots(Path::new("/nonexistent")).unwrap_err().reason.contains("no such file")
        );
    }
}
