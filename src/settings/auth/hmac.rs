//! `auth.issuers.NAME.hmac_secret_file`: an issuer that signs with a shared secret (RFC 7518 §3.2).
//!
//! `conflicts` checks that such an issuer has neither public keys nor introspection.

use std::path::{Path, PathBuf};

use secrecy::ExposeSecret as _;

use crate::{
    algorithm::HmacAlgorithm,
    secret_file,
    settings::{fault::Violation, server::unreadable},
};

/// Maximum number of secrets per issuer: the current and the previous one.
const MAX_SECRETS: usize = 2;

/// An issuer's shared secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hmac {
    /// `hmac_secret_file`
    pub secret_file: PathBuf,
    /// `algorithms`, at least one.
    pub algorithms: Vec<HmacAlgorithm>,
}

impl Hmac {
    /// The algorithm that requires the longest secret.
    #[must_use]
    pub fn strictest(&self) -> HmacAlgorithm {
        strictest(&self.algorithms)
    }
}

fn strictest(algorithms: &[HmacAlgorithm]) -> HmacAlgorithm {
    let strictest = algorithms.iter().copied().max_by_key(|it| it.min_secret_bytes());
    strictest.unwrap_or(HmacAlgorithm::HS512)
}

/// Why the content of a secret file is invalid. Never contains any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HmacSecretError {
    /// More than two lines.
    #[error("expected one or two lines (the current and the previous secret), found more")]
    TooMany,
    /// A secret that is shorter than one of its algorithms requires (RFC 7518 §3.2).
    #[error("expected at least {required_length} bytes in line {line} for {}, found {length}", .algorithm.name())]
    TooShort {
        /// Line number, from 1.
        line: usize,
        /// Length of the secret, in bytes.
        length: usize,
        /// Required length, in bytes.
        required_length: usize,
        /// The algorithm that requires it.
        algorithm: HmacAlgorithm,
    },
}

/// Parses the secrets in a file, one per line, without trimming spaces.
///
/// # Errors
/// If there are too many, or one is too short for one of `algorithms`.
pub fn hmac_secrets<'t>(
    text: &'t str,
    algorithms: &[HmacAlgorithm],
) -> Result<Vec<&'t str>, HmacSecretError> {
    let secrets: Vec<_> = text.lines().collect();
    if secrets.len() > MAX_SECRETS {
        return Err(HmacSecretError::TooMany);
    }
    let algorithm = strictest(algorithms);
    let required_length = algorithm.min_secret_bytes();
    for (line, secret) in (1..).zip(&secrets) {
        let length = secret.len();
        if length < required_length {
            return Err(HmacSecretError::TooShort { line, length, required_length, algorithm });
        }
    }
    Ok(secrets)
}

/// Checks that a file contains secrets that are long enough for these algorithms.
pub(super) fn holds_secrets(path: &Path, algorithms: &[HmacAlgorithm]) -> Result<(), Violation> {
    let text = secret_file::read_blocking(path).map_err(|error| unreadable(&error))?;
    hmac_secrets(text.expose_secret(), algorithms).map(drop).map_err(|error| {
        let fix = "write one secret per line, as the issuer shows it: first the current secret, \
                   then the previous one while its tokens are valid; generate a longer secret with \
                   openssl rand -base64 64 | tr -d '\\n'";
        Violation::new(format!("the file's secrets are invalid: {error}"), fix)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_must_be_as_long_as_the_longest_hash() {
        use HmacAlgorithm::{HS256, HS384, HS512};
        for (algorithms, required_length) in
            [(&[HS256][..], 32), (&[HS384], 48), (&[HS512], 64), (&[HS512, HS256], 64)]
        {
            let [sufficient, short] =
                [required_length, required_length - 1].map(|length| "x".repeat(length));
            assert_eq!(hmac_secrets(&sufficient, algorithms), Ok(vec![&*sufficient]));
            let both = format!("{sufficient}\n{sufficient}");
            assert_eq!(hmac_secrets(&both, algorithms).unwrap().len(), 2);
            for (text, invalid) in [(short.clone(), 1), (format!("{sufficient}\n{short}"), 2)] {
                let error = hmac_secrets(&text, algorithms).unwrap_err();
                let HmacSecretError::TooShort { line, required_length: needed, .. } = error else {
                    panic!()
                };
                assert_eq!((line, needed), (invalid, required_length));
            }
        }
        let long = "x".repeat(64);
        let three = format!("{long}\n{long}\n{long}");
        assert_eq!(hmac_secrets(&three, &[HS256]), Err(HmacSecretError::TooMany));
        assert!(hmac_secrets(&format!("{long}\n\n"), &[HS256]).is_err(), "an empty line");
        let spaced = format!(" {} ", "x".repeat(30));
        assert_eq!(hmac_secrets(&spaced, &[HS256]), Ok(vec![&*spaced]), "to the letter");
    }
}
