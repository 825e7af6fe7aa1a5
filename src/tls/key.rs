//! Reads the private key of the public listener without leaving copies of the file, the PEM or the
//! DER in memory. Only aws-lc's own representation remains, which aws-lc wipes when it is dropped.
//!
//! rustls's PEM reader is not used: `from_pem_slice` of rustls-pki-types 1.16 leaves a copy of the
//! base64 in memory, which `tests/memory.rs` finds.

use std::{mem, path::Path, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::{
    crypto::aws_lc_rs::sign::any_supported_type, pki_types::PrivateKeyDer, sign::SigningKey,
};
use secrecy::{ExposeSecret as _, SecretString, zeroize::Zeroizing};

use super::FileError;
use crate::secret_file;

/// A private key in DER, wiped when it is dropped.
pub type PrivateKey = Zeroizing<PrivateKeyDer<'static>>;

/// Constructs a key from DER.
type FromDer = fn(Vec<u8>) -> PrivateKeyDer<'static>;

/// PEM labels of private keys (RFC 7468 §10, RFC 5915 §4, and OpenSSL's for PKCS #1).
const KINDS: [(&str, FromDer); 3] = [
    ("PRIVATE KEY", |der| PrivateKeyDer::Pkcs8(der.into())),
    ("EC PRIVATE KEY", |der| PrivateKeyDer::Sec1(der.into())),
    ("RSA PRIVATE KEY", |der| PrivateKeyDer::Pkcs1(der.into())),
];

/// Reads the private key in a file, by [`secret_file::read_blocking`].
///
/// # Errors
/// If there is no usable key.
pub fn private_key(path: &Path) -> Result<PrivateKey, FileError> {
    private_key_in(&secret_file::read_blocking(path)?)
}

/// The private key in the content of a file.
pub(super) fn private_key_in(text: &SecretString) -> Result<PrivateKey, FileError> {
    let key = first_in(text.expose_secret())?;
    signing_key(&key).map(|_| key).map_err(|_| FileError::Unusable("private key"))
}

/// The signing key of aws-lc.
pub(super) fn signing_key(key: &PrivateKey) -> Result<Arc<dyn SigningKey>, rustls::Error> {
    any_supported_type(key)
}

/// The first private key in PEM. Other content is skipped.
fn first_in(text: &str) -> Result<PrivateKey, FileError> {
    let mut lines = text.split(['\r', '\n']).map(str::trim_ascii);
    let begin =
        lines.find_map(|line| KINDS.iter().find(|(label, _)| is_boundary(line, "BEGIN", label)));
    let (label, kind) = begin.ok_or(FileError::Lacks("private key"))?;
    let mut der = pem_block(&mut lines, label, text.len()).ok_or(FileError::NotPem)?;
    Ok(Zeroizing::new(kind(mem::take(&mut *der))))
}

/// Decodes a PEM block, from the line after its BEGIN line to its END line. `lines` are trimmed and
/// have at most `max_len` bytes.
pub fn pem_block<'t>(
    lines: &mut impl Iterator<Item = &'t str>,
    label: &str,
    max_len: usize,
) -> Option<Zeroizing<Vec<u8>>> {
    // Large enough for all lines: a growing buffer leaves unwiped copies behind.
    let mut encoded = Zeroizing::new(String::with_capacity(max_len));
    loop {
        match lines.next()? {
            line if is_boundary(line, "END", label) => break,
            line => encoded.push_str(line),
        }
    }
    // The base64 is longer than the DER.
    let mut der = Zeroizing::new(vec![0; encoded.len()]);
    let length = STANDARD.decode_slice(&*encoded, &mut der).ok()?;
    der.truncate(length);
    Some(der)
}

/// Whether a line is `-----BEGIN LABEL-----` or `-----END LABEL-----`.
fn is_boundary(line: &str, what: &str, label: &str) -> bool {
    let inner = line.strip_prefix("-----").and_then(|line| line.strip_suffix("-----"));
    inner.and_then(|line| line.strip_prefix(what)?.strip_prefix(' ')) == Some(label)
}

#[cfg(test)]
mod tests {
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
    use rustls::pki_types::pem::PemObject as _;

    use super::*;

    /// SEC 1 after its parameters, as OpenSSL writes it. The key is P-256 of RFC 9500 §2.3.
    const SEC1: &str = "\
-----BEGIN EC PARAMETERS-----
BggqhkjOPQMBBw==
-----END EC PARAMETERS-----
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIObLW92AqkWunJXowVR2Z5/+yVPBaFHnEedDk5WJxk/BoAoGCCqGSM49
AwEHoUQDQgAEQiVI+I+3gv+17KN0RFLHKh5Vj71vc75eSOkyMsxFxbFsTNEMTLjV
uKFxOelIgsiZJXKZNCX0FBmrfpCkKklCcg==
-----END EC PRIVATE KEY-----
";

    #[test]
    fn keys_are_parsed_like_rustls_does() {
        let algorithms = [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519];
        let pems = algorithms.map(|it| KeyPair::generate_for(it).unwrap().serialize_pem());
        for pem in pems.iter().map(String::as_str).chain([SEC1]) {
            let by_rustls = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
            let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
            let pkcs1 = "-----BEGIN RSA PRIVATE KEY-----\nhush";
            for text in [
                pem.to_owned(),
                pem.replace('\n', "\r\n"),
                pem.replace('\n', "\r"),
                pem.replace('\n', " \n"),
                format!("{certificate}a word\n{pem}{pkcs1}"),
            ] {
                let parsed = first_in(&text).unwrap();
                assert_eq!(*parsed, by_rustls, "{text}");
                assert!(signing_key(&parsed).is_ok());
            }
        }
    }

    #[test]
    fn incomplete_key_is_rejected_with_the_reason() {
        let no_key = ["", "hush", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"];
        let encrypted =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----";
        for text in no_key.into_iter().chain([encrypted, "-----BEGIN PRIVATE KEY----\nAAAA"]) {
            assert!(matches!(first_in(text), Err(FileError::Lacks("private key"))), "{text}");
        }
        for inside in [
            "AAAA",
            "AAAA\n-----END EC PRIVATE KEY-----",
            "AAA\n-----END PRIVATE KEY-----",
            "Proc-Type: 4,ENCRYPTED\n\nAAAA\n-----END PRIVATE KEY-----",
        ] {
            let text = format!("-----BEGIN PRIVATE KEY-----\n{inside}");
            assert!(matches!(first_in(&text), Err(FileError::NotPem)), "{text}");
        }
    }
}
