//! `auth.issuers.NAME.hmac_secret_file`: an issuer that signs with a secret which this service shares
//! (RFC 7518 §3.2).
//!
//! That such an issuer has no public keys, and no introspection, is told by `contradictions`.

use std::path::{Path, PathBuf};

use secrecy::ExposeSecret as _;

use crate::{
    algorithm::HmacAlgorithm,
    secret_file,
    settings::{fault::Wrong, server::unreadable},
};

/// Most secrets of an issuer: the current one and the previous one.
const MAX_SECRETS: usize = 2;

/// How an issuer without public keys signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hmac {
    /// `hmac_secret_file`
    pub secret_file: PathBuf,
    /// `algorithms`. At least one.
    pub algorithms: Vec<HmacAlgorithm>,
}

impl Hmac {
    /// The algorithm that needs the longest secret.
    #[must_use]
    pub fn strictest(&self) -> HmacAlgorithm {
        strictest(&self.algorithms)
    }
}

fn strictest(algorithms: &[HmacAlgorithm]) -> HmacAlgorithm {
    let strictest = algorithms.iter().copied().max_by_key(|it| it.min_secret_bytes());
    strictest.unwrap_or(HmacAlgorithm::HS512)
}

/// Why a text holds no secrets. Nothing of the text is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HmacSecretError {
    /// More than two lines.
    #[error("expected one or two lines (the current and the previous secret), found more")]
    TooMany,
    /// A line with less than its algorithms need (RFC 7518 §3.2).
    #[error("expected at least {least} bytes in line {line} for {}, found {length}", .algorithm.name())]
    TooShort {
        /// From 1 on.
        line: usize,
        /// Its bytes.
        length: usize,
        /// The bytes that it must have.
        least: usize,
        /// The algorithm that needs as many.
        algorithm: HmacAlgorithm,
    },
}

/// The secrets in the text of a file: one a line, to the letter.
///
/// # Errors
/// When there are too many, or one is too short for one of `algorithms`.
pub fn hmac_secrets<'t>(
    text: &'t str,
    algorithms: &[HmacAlgorithm],
) -> Result<Vec<&'t str>, HmacSecretError> {
    let secrets: Vec<_> = text.lines().collect();
    if secrets.len() > MAX_SECRETS {
        return Err(HmacSecretError::TooMany);
    }
    let algorithm = strictest(algorithms);
    let least = algorithm.min_secret_bytes();
    for (line, secret) in (1..).zip(&secrets) {
        let length = secret.len();
        if length < least {
            return Err(HmacSecretError::TooShort { line, length, least, algorithm });
        }
    }
    Ok(secrets)
}

/// Whether a file holds secrets for these algorithms.
pub(super) fn holds_secrets(path: &Path, algorithms: &[HmacAlgorithm]) -> Result<(), Wrong> {
    let text = secret_file::read(path).map_err(|error| unreadable(&error))?;
    hmac_secrets(text.expose_secret(), algorithms).map(drop).map_err(|error| {
        let fix = "write one secret per line, as the issuer shows it: first the current secret, \
                   then the previous one while its tokens are valid; generate a longer secret with \
                   openssl rand -base64 64 | tr -d '\\n'";
        Wrong::new(format!("the file's secrets are invalid: {error}"), fix)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_as_long_as_the_hash_of_its_longest_algorithm() {
        use HmacAlgorithm::{HS256, HS384, HS512};
        for (algorithms, least) in
            [(&[HS256][..], 32), (&[HS384], 48), (&[HS512], 64), (&[HS512, HS256], 64)]
        {
            let [good, short] = [least, least - 1].map(|length| "x".repeat(length));
            assert_eq!(hmac_secrets(&good, algorithms), Ok(vec![&*good]));
            let both = format!("{good}\n{good}");
            assert_eq!(hmac_secrets(&both, algorithms).unwrap().len(), 2);
            for (text, bad) in [(short.clone(), 1), (format!("{good}\n{short}"), 2)] {
                let error = hmac_secrets(&text, algorithms).unwrap_err();
                let HmacSecretError::TooShort { line, least: needed, .. } = error else { panic!() };
                assert_eq!((line, needed), (bad, least));
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
