//! The secrets that an issuer without public keys signs with (RFC 7518 §3.2), from a watched file.
//!
//! A cached token names its secret by a random number that no other process knows: a hash of the
//! secret would be a means to guess it. The secrets themselves leave this module in no form.

use std::{fmt, path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use aws_lc_rs::hmac::{self, HMAC_SHA256, HMAC_SHA384, HMAC_SHA512};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    secret_file::{self, SecretFileError},
    settings::{self, HmacAlgorithm, HmacSecretError, hmac_secrets},
};

/// A secret, by a number that says nothing about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SecretId(u64);

/// Why a file gives no secrets.
#[derive(Debug, thiserror::Error)]
pub enum HmacFileError {
    /// The file.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// What is in it.
    #[error("{} can't be used: {why}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        why: HmacSecretError,
    },
}

/// An issuer's secrets, as its file has them.
pub struct HmacSecrets {
    settings: settings::Hmac,
    current: ArcSwap<SecretSet>,
}

/// The secrets in force.
pub(super) struct SecretSet {
    secrets: Vec<Arc<Loaded>>,
    /// Another number, other secrets.
    pub(super) generation: u64,
}

struct Loaded {
    id: SecretId,
    text: SecretString,
    keys: Vec<(HmacAlgorithm, hmac::Key)>,
}

impl HmacSecrets {
    /// Reads the file. Blocks the thread, for a bounded time.
    ///
    /// # Errors
    /// When there is no secret in it, or one that is too short.
    pub(super) fn open(settings: &settings::Hmac) -> Result<Self, HmacFileError> {
        let text = secret_file::read_blocking(&settings.secret_file)?;
        let secrets = load(settings, &text, &[])?;
        let current = ArcSwap::from_pointee(SecretSet { secrets, generation: 0 });
        Ok(Self { settings: settings.clone(), current })
    }

    /// Reads the file again, and whether it has changed. The secrets in force stay when it can't be
    /// used.
    ///
    /// # Errors
    /// As for the first time.
    pub async fn reload(&self) -> Result<bool, HmacFileError> {
        let text = secret_file::read(&self.settings.secret_file).await?;
        let current = self.current.load();
        let secrets = load(&self.settings, &text, &current.secrets)?;
        let is_same = secrets.iter().map(|it| it.id).eq(current.secrets.iter().map(|it| it.id));
        if !is_same {
            let generation = current.generation.wrapping_add(1);
            self.current.store(Arc::new(SecretSet { secrets, generation }));
        }
        Ok(!is_same)
    }

    /// The secrets in force.
    pub(super) fn current(&self) -> Arc<SecretSet> {
        self.current.load_full()
    }

    /// Another number, other secrets.
    pub(super) fn generation(&self) -> u64 {
        self.current.load().generation
    }
}

impl SecretSet {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.secrets.len()
    }

    /// The secret that made this signature, and its place in the file, from 1 on. Compares in
    /// constant time.
    pub(super) fn signer(
        &self,
        algorithm: HmacAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Option<(SecretId, usize)> {
        let has_signed = |secret: &Loaded| {
            let key = secret.keys.iter().find(|(ours, _)| *ours == algorithm);
            key.is_some_and(|(_, key)| hmac::verify(key, message, signature).is_ok())
        };
        let found = (1..).zip(&self.secrets).find(|(_, secret)| has_signed(secret));
        found.map(|(line, secret)| (secret.id, line))
    }

    /// A set with one secret.
    #[cfg(any(test, fuzzing))]
    pub(super) fn of_one(text: &str, algorithms: &[HmacAlgorithm]) -> Self {
        Self { secrets: vec![Arc::new(Loaded::new(text, algorithms))], generation: 0 }
    }

    /// Whether that secret is in force.
    pub(super) fn holds(&self, id: SecretId) -> bool {
        self.secrets.iter().any(|secret| secret.id == id)
    }
}

/// The secrets in a file's text. One that was in force before stays the same.
fn load(
    settings: &settings::Hmac,
    text: &SecretString,
    before: &[Arc<Loaded>],
) -> Result<Vec<Arc<Loaded>>, HmacFileError> {
    let texts = hmac_secrets(text.expose_secret(), &settings.algorithms).map_err(|why| {
        let path = settings.secret_file.clone();
        HmacFileError::Content { path, why }
    })?;
    let load = |text: &str| {
        let same = before.iter().find(|loaded| loaded.text.expose_secret() == text);
        same.map_or_else(|| Arc::new(Loaded::new(text, &settings.algorithms)), Arc::clone)
    };
    Ok(texts.into_iter().map(load).collect())
}

impl Loaded {
    fn new(text: &str, algorithms: &[HmacAlgorithm]) -> Self {
        let key = |algorithm: &HmacAlgorithm| {
            (*algorithm, hmac::Key::new(function(*algorithm), text.as_bytes()))
        };
        Self {
            id: SecretId(rand::random()),
            text: SecretString::from(text),
            keys: algorithms.iter().map(key).collect(),
        }
    }
}

const fn function(algorithm: HmacAlgorithm) -> hmac::Algorithm {
    match algorithm {
        HmacAlgorithm::HS256 => HMAC_SHA256,
        HmacAlgorithm::HS384 => HMAC_SHA384,
        HmacAlgorithm::HS512 => HMAC_SHA512,
    }
}

impl fmt::Debug for HmacSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HmacSecrets")
            .field("file", &self.settings.secret_file)
            .finish_non_exhaustive()
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
    async fn secrets_follow_their_file_and_keep_their_identity() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, format!("{ONE}\n")).unwrap();
        let secrets = HmacSecrets::open(&settings(&file)).unwrap();
        let first = secrets.current();
        assert_eq!(signed_by(&first, ONE, HmacAlgorithm::HS256), Some(1));
        assert_eq!(signed_by(&first, TWO, HmacAlgorithm::HS256), None);
        assert_eq!(signed_by(&first, ONE, HmacAlgorithm::HS512), None, "it isn't listed");
        assert!(!secrets.reload().await.unwrap());

        std::fs::write(&file, format!("{TWO}\r\n{ONE}\r\n")).unwrap();
        assert!(secrets.reload().await.unwrap());
        let both = secrets.current();
        assert_eq!(signed_by(&both, TWO, HmacAlgorithm::HS256), Some(1));
        assert_eq!(signed_by(&both, ONE, HmacAlgorithm::HS256), Some(2));
        assert!(both.holds(first.secrets[0].id) && !first.holds(both.secrets[0].id));

        for bad in
            ["", "short", "a\nb", &format!("{ONE}\n{TWO}\n{THREE}"), &format!("{ONE}\n\n{TWO}")]
        {
            std::fs::write(&file, bad).unwrap();
            let error = secrets.reload().await.unwrap_err();
            assert!(!format!("{error} {error:?}").contains(ONE), "{error:?}");
            assert_eq!(secrets.generation(), both.generation, "{bad:?}");
        }
        std::fs::write(&file, TWO).unwrap();
        assert!(secrets.reload().await.unwrap());
        let last = secrets.current();
        assert!(last.holds(both.secrets[0].id) && !last.holds(first.secrets[0].id));
        assert!(first.generation != both.generation && both.generation != last.generation);
    }

    #[test]
    fn the_number_of_a_secret_says_nothing_about_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, ONE).unwrap();
        let open = || HmacSecrets::open(&settings(&file)).unwrap();
        let (one, other) = (open(), open());
        assert_ne!(one.current().secrets[0].id, other.current().secrets[0].id);
        assert!(!format!("{one:?}").contains(ONE));
    }
}
