//! Reads secrets from files, and reloads them without a restart when [`Secret::poll`] finds a
//! change.
//!
//! A secret is wiped from memory when its last user drops it, and reading it leaves no other copy.
//!
//! The content is compared on each poll. Watches are not reliable, because Kubernetes replaces
//! files by swapping a symlink. If a file becomes empty or unreadable, the previous secret remains
//! in use.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};

use crate::regular_file::{self, Content, ReadError};

/// Maximum size of a file, in bytes. Every key is far smaller.
const MAX_BYTES: u64 = 64 * 1024;

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

/// Like [`read_blocking`], without blocking the thread.
///
/// # Errors
/// As [`read_blocking`].
pub async fn read(path: &Path) -> Result<SecretString, SecretFileError> {
    parse(path, regular_file::read(path, MAX_BYTES).await)
}

/// Extracts the secret from a file's content.
fn parse(
    path: &Path,
    content: Result<Content, ReadError>,
) -> Result<SecretString, SecretFileError> {
    let unreadable = |source| SecretFileError::Unreadable { path: path.to_owned(), source };
    let bytes = content.map_err(unreadable)?;
    let text = str::from_utf8(&bytes).map_err(|_| SecretFileError::NotText(path.to_owned()))?;
    match text.trim_matches(['\u{feff}', '\r', '\n']) {
        "" => Err(SecretFileError::Empty(path.to_owned())),
        trimmed => Ok(SecretString::from(trimmed)),
    }
}

/// The result of a poll.
#[derive(Debug)]
pub enum PollOutcome {
    /// The file contains the secret in use.
    Unchanged,
    /// The file contained a new secret, which is in use now.
    Changed,
    /// The file contains no secret. The previous one remains in use.
    Failed(SecretFileError),
}

/// A secret that is reloaded from its file, or is constant if it has none.
pub struct Secret {
    path: Option<PathBuf>,
    current: ArcSwap<SecretString>,
    changes: AtomicU64,
}

impl Secret {
    /// A constant secret.
    #[must_use]
    pub fn fixed(secret: SecretString) -> Self {
        Self { path: None, current: ArcSwap::from_pointee(secret), changes: AtomicU64::default() }
    }

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
        let current = ArcSwap::from_pointee(read_blocking(path)?);
        Ok(Self { path: Some(path.to_owned()), current, changes: AtomicU64::default() })
    }

    /// Whether the secret can change.
    #[must_use]
    pub fn has_file(&self) -> bool {
        self.path.is_some()
    }

    /// The secret in use.
    #[must_use]
    pub fn current(&self) -> Arc<SecretString> {
        self.current.load_full()
    }

    /// How often the secret has changed since it was opened.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Reads the file again, and replaces the secret if it has changed.
    pub async fn poll(&self) -> PollOutcome {
        let Some(path) = &self.path else { return PollOutcome::Unchanged };
        match read(path).await {
            Ok(new) if new.expose_secret() == self.current.load().expose_secret() => {
                PollOutcome::Unchanged
            }
            Ok(new) => {
                self.current.store(Arc::new(new));
                self.changes.fetch_add(1, Ordering::Release);
                PollOutcome::Changed
            }
            Err(error) => PollOutcome::Failed(error),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
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
        assert!(matches!(secret.poll().await, PollOutcome::Unchanged));
        std::fs::write(&path, "two\n").unwrap();
        assert!(matches!(secret.poll().await, PollOutcome::Changed));
        assert_eq!(secret.current().expose_secret(), "two");
        std::fs::write(&path, "").unwrap();
        assert!(matches!(secret.poll().await, PollOutcome::Failed(SecretFileError::Empty(_))));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(
            secret.poll().await,
            PollOutcome::Failed(SecretFileError::Unreadable { .. })
        ));
        assert_eq!(secret.current().expose_secret(), "two");
        assert_eq!(secret.changes(), 1);
    }

    #[test]
    fn debug_shows_no_secret() {
        assert!(!format!("{:?}", Secret::fixed("hush".into())).contains("hush"));
    }
}
