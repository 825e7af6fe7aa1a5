//! Reads secrets from files.
//!
//! A secret is wiped from memory when its last user drops it, and reading it leaves no other copy.

// Untrusted input is parsed here.
#![cfg_attr(
    not(test),
    deny(clippy::as_conversions, clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::{SecretString, zeroize::Zeroizing};

use crate::{
    regular_file::{self, ReadError},
    watched_file::{FileSource, ReadResult, WatchedFile},
};

/// Maximum size of a file, in bytes. Every key is far smaller.
pub(crate) const MAX_BYTES: u64 = 64 * 1024;

/// A secret that is reloaded from its file, or is constant if it has none.
pub type Secret = WatchedFile<SecretString, SecretFileError>;

/// Why a file contains no secret. Never contains any of its content.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// The file can't be read.
    #[error("{} can't be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: ReadError,
    },
    /// Empty, except for line ends.
    #[error("{} is empty", .0.display())]
    Empty(PathBuf),
    /// Not UTF-8 text.
    #[error("{} is not UTF-8 text", .0.display())]
    NotText(PathBuf),
}

/// Reads a secret and strips CR, LF and byte order marks at both ends. Blocks the thread, for a
/// bounded time. For the start and for commands.
///
/// # Errors
/// If the file contains no secret.
pub fn read_blocking(path: &Path) -> Result<SecretString, SecretFileError> {
    parse(path, regular_file::read_blocking(path, MAX_BYTES))
}

/// Extracts the secret from a file's content.
pub(crate) fn parse(path: &Path, content: ReadResult) -> Result<SecretString, SecretFileError> {
    let unreadable = |source| SecretFileError::Unreadable { path: path.to_owned(), source };
    let bytes = content.map_err(unreadable)?;
    let text = str::from_utf8(&bytes).map_err(|_| SecretFileError::NotText(path.to_owned()))?;
    match text.trim_matches(['\u{feff}', '\r', '\n']) {
        "" => Err(SecretFileError::Empty(path.to_owned())),
        trimmed => Ok(SecretString::from(trimmed)),
    }
}

impl Secret {
    /// A random secret of 256 bits, which is constant for the life of this process.
    #[must_use]
    pub fn random() -> Self {
        let mut bits = Zeroizing::new([0_u8; 32]);
        rand::fill(&mut *bits);
        Self::fixed(STANDARD.encode(*bits).into())
    }

    /// Reads a secret from a file.
    ///
    /// # Errors
    /// If the file contains none.
    pub fn open(path: &Path) -> Result<Self, SecretFileError> {
        let own_path = path.to_owned();
        let parse = move |content| parse(&own_path, content);
        FileSource::open(path, MAX_BYTES, parse).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn line_ends_and_byte_order_marks_are_stripped() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for content in ["key", "key\n", "key\r\n", "\u{feff}key\r\n\n", "\nkey"] {
            std::fs::write(&file, content).unwrap();
            assert_eq!(read_blocking(file.path()).unwrap().expose_secret(), "key", "{content:?}");
        }
        std::fs::write(&file, " key ").unwrap();
        assert_eq!(
            read_blocking(file.path()).unwrap().expose_secret(),
            " key ",
            "spaces may be meant"
        );
    }

    #[test]
    fn invalid_secret_files_are_rejected_and_not_quoted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let at_most = usize::try_from(MAX_BYTES).unwrap();
        for (content, why) in [
            (b"\r\n".to_vec(), "is empty"),
            (b"\xffhush".to_vec(), "is not UTF-8"),
            (vec![b'x'; at_most + 1], "larger"),
        ] {
            std::fs::write(&file, content).unwrap();
            let error = format!("{0} {0:?}", read_blocking(file.path()).unwrap_err());
            assert!(error.contains(why) || why == "is empty", "{error}");
            assert!(!error.contains("hush") && !error.contains("xxx"), "{error}");
        }
        std::fs::write(&file, vec![b'x'; at_most]).unwrap();
        assert!(read_blocking(file.path()).is_ok());
        assert!(
            read_blocking(Path::new("/nonexistent"))
                .unwrap_err()
                .to_string()
                .contains("can't be read")
        );
    }

    #[tokio::test]
    async fn secret_is_reloaded_and_survives_the_loss_of_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        std::fs::write(&path, "one").unwrap();
        let secret = Secret::open(&path).unwrap();
        assert!(!secret.reload().await.unwrap());
        std::fs::write(&path, "two\n").unwrap();
        assert!(secret.reload().await.unwrap());
        assert_eq!(secret.current().expose_secret(), "two");
        std::fs::write(&path, "").unwrap();
        assert!(matches!(secret.reload().await, Err(SecretFileError::Empty(_))));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(secret.reload().await, Err(SecretFileError::Unreadable { .. })));
        assert_eq!(secret.current().expose_secret(), "two");
        assert_eq!(secret.changes(), 1);
    }

    #[test]
    fn debug_shows_no_secret() {
        assert!(!format!("{:?}", Secret::fixed("hush".into())).contains("hush"));
    }
}
