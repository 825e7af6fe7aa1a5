//! The shared secrets of an issuer without public keys (RFC 7518 §3.2), from a watched file.
//!
//! A cached token refers to its secret by a MAC with a random key. A hash of the secret would allow
//! guessing it offline. The secrets never leave this module.

use std::{
    fmt,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use aws_lc_rs::hmac::{self, HMAC_SHA256, HMAC_SHA384, HMAC_SHA512};
use secrecy::ExposeSecret as _;

use crate::{
    secret_file::{self, SecretFileError},
    settings::{self, HmacAlgorithm, HmacSecretError, hmac_secrets},
    watched_file::{FileSource, WatchedFile},
};

/// Identifies a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SecretId([u8; 8]);

/// Why a file contains no usable secrets.
#[derive(Debug, thiserror::Error)]
pub enum HmacFileError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// Its content is invalid.
    #[error("{} is invalid: {why}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why it is invalid.
        why: HmacSecretError,
    },
}

/// The secrets of an issuer, reloaded from its file.
pub type HmacSecrets = WatchedFile<SecretSet, HmacFileError>;

/// The current secrets.
pub struct SecretSet {
    secrets: Vec<Secret>,
    /// Changes with each new set of secrets.
    pub(super) generation: u64,
}

struct Secret {
    id: SecretId,
    keys: Vec<(HmacAlgorithm, hmac::Key)>,
}

impl HmacSecrets {
    /// Reads the file. Blocks the thread for a bounded time.
    ///
    /// # Errors
    /// If the file contains no secret, or one that is too short.
    pub(super) fn open(settings: &settings::Hmac) -> Result<Self, HmacFileError> {
        let settings::Hmac { secret_file: path, algorithms } = settings.clone();
        let (id_key, generations) = (id_key(), AtomicU64::default());
        let parse = move |content| {
            let text = secret_file::parse(&path, content)?;
            let texts = hmac_secrets(text.expose_secret(), &algorithms)
                .map_err(|why| HmacFileError::Content { path: path.clone(), why })?;
            let secret = |text| Secret::new(text, &algorithms, &id_key);
            let secrets = texts.into_iter().map(secret).collect();
            Ok(SecretSet { secrets, generation: generations.fetch_add(1, Ordering::Relaxed) })
        };
        FileSource::open(&settings.secret_file, secret_file::MAX_BYTES, parse).map(Self::from)
    }
}

impl SecretSet {
    /// The number of secrets.
    pub(super) fn len(&self) -> usize {
        self.secrets.len()
    }

    /// The secret that made this signature, and its line in the file, starting at 1. Compares in
    /// constant time.
    pub(super) fn signer(
        &self,
        algorithm: HmacAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Option<(SecretId, usize)> {
        let has_signed = |secret: &Secret| {
            let key = secret.keys.iter().find(|(supported, _)| *supported == algorithm);
            key.is_some_and(|(_, key)| hmac::verify(key, message, signature).is_ok())
        };
        let found = (1..).zip(&self.secrets).find(|(_, secret)| has_signed(secret));
        found.map(|(line, secret)| (secret.id, line))
    }

    /// A set with one secret.
    #[cfg(any(test, fuzzing))]
    pub(super) fn of_one(text: &str, algorithms: &[HmacAlgorithm]) -> Self {
        Self { secrets: vec![Secret::new(text, algorithms, &id_key())], generation: 0 }
    }

    /// Whether this secret is one of the current ones.
    pub(super) fn contains(&self, id: SecretId) -> bool {
        self.secrets.iter().any(|secret| secret.id == id)
    }
}

/// A random key for the ids of secrets. Without it, an id reveals nothing about its secret.
fn id_key() -> hmac::Key {
    hmac::Key::new(HMAC_SHA256, &rand::random::<[u8; 32]>())
}

impl Secret {
    fn new(text: &str, algorithms: &[HmacAlgorithm], id_key: &hmac::Key) -> Self {
        let key = |algorithm: &HmacAlgorithm| {
            (*algorithm, hmac::Key::new(function(*algorithm), text.as_bytes()))
        };
        let tag = hmac::sign(id_key, text.as_bytes());
        let id = tag.as_ref().first_chunk().copied().unwrap_or_default();
        Self { id: SecretId(id), keys: algorithms.iter().map(key).collect() }
    }
}

const fn function(algorithm: HmacAlgorithm) -> hmac::Algorithm {
    match algorithm {
        HmacAlgorithm::HS256 => HMAC_SHA256,
        HmacAlgorithm::HS384 => HMAC_SHA384,
        HmacAlgorithm::HS512 => HMAC_SHA512,
    }
}

impl fmt::Debug for SecretSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretSet").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "0123456789abcdef0123456789abcdef";
    const TWO: &str = "fedcba9876543210fedcba9876543210";
    const THREE: &str = "three three three three three 33";

    fn settings(file: &tempfile::NamedTempFile) -> settings::Hmac {
        let algorithms = vec![HmacAlgorithm::HS256];
        settings::Hmac { secret_file: file.path().to_owned(), algorithms }
    }

    fn signed_by(set: &SecretSet, secret: &str, algorithm: HmacAlgorithm) -> Option<usize> {
        let key = hmac::Key::new(function(algorithm), secret.as_bytes());
        let signature = hmac::sign(&key, b"message");
        set.signer(algorithm, b"message", signature.as_ref()).map(|(_, line)| line)
    }

    #[tokio::test]
    async fn reloaded_secrets_keep_their_id() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, format!("{ONE}\n")).unwrap();
        let secrets = HmacSecrets::open(&settings(&file)).unwrap();
        let first = secrets.current();
        assert_eq!(signed_by(&first, ONE, HmacAlgorithm::HS256), Some(1));
        assert_eq!(signed_by(&first, TWO, HmacAlgorithm::HS256), None);
        assert_eq!(signed_by(&first, ONE, HmacAlgorithm::HS512), None, "not one of the algorithms");
        assert!(!secrets.reload().await.unwrap());

        std::fs::write(&file, format!("{TWO}\r\n{ONE}\r\n")).unwrap();
        assert!(secrets.reload().await.unwrap());
        let both = secrets.current();
        assert_eq!(signed_by(&both, TWO, HmacAlgorithm::HS256), Some(1));
        assert_eq!(signed_by(&both, ONE, HmacAlgorithm::HS256), Some(2));
        assert!(both.contains(first.secrets[0].id) && !first.contains(both.secrets[0].id));

        for invalid in
            ["", "short", "a\nb", &format!("{ONE}\n{TWO}\n{THREE}"), &format!("{ONE}\n\n{TWO}")]
        {
            std::fs::write(&file, invalid).unwrap();
            let error = secrets.reload().await.unwrap_err();
            assert!(!format!("{error} {error:?}").contains(ONE), "{error:?}");
            assert_eq!(secrets.current().generation, both.generation, "{invalid:?}");
        }
        std::fs::write(&file, TWO).unwrap();
        assert!(secrets.reload().await.unwrap());
        let last = secrets.current();
        assert!(last.contains(both.secrets[0].id) && !last.contains(first.secrets[0].id));
        assert!(first.generation != both.generation && both.generation != last.generation);
    }

    #[test]
    fn secret_ids_are_random() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, ONE).unwrap();
        let open = || HmacSecrets::open(&settings(&file)).unwrap();
        let (one, other) = (open(), open());
        assert_ne!(one.current().secrets[0].id, other.current().secrets[0].id);
        assert!(!format!("{one:?}").contains(ONE));
    }
}
