//! Secrets by file: read at start, looked at again every `secrets.poll`, taken up without restart.
//!
//! A secret is wiped from memory when the last who uses it drops it, and nothing else of it stays
//! there from reading.
//!
//! Content is compared, not watched for: Kubernetes swaps a symlink and watches miss it. A file
//! that turns empty or unreadable keeps the last good secret.

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

/// Largest file taken, in bytes: far above any key, far below what would hurt.
const MAX_BYTES: u64 = 64 * 1024;

/// Why a file gives no secret. The content is never part of it.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// The file can't be read.
    #[error("{} can't be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ReadError,
    },
    /// Nothing in it but line ends.
    #[error("{} is empty", .0.display())]
    Empty(PathBuf),
    /// Not UTF-8.
    #[error("{} is not UTF-8 text", .0.display())]
    NotText(PathBuf),
}

/// Reads a secret, without CR, LF and byte order mark at its ends. Blocks the thread, for a bounded
/// time: for the start and for commands.
///
/// # Errors
/// When there is no secret in the file.
pub fn read(path: &Path) -> Result<SecretString, SecretFileError> {
    secret(path, regular_file::read_blocking(path, MAX_BYTES))
}

/// The same without blocking the thread.
///
/// # Errors
/// As [`read`].
pub async fn reread(path: &Path) -> Result<SecretString, SecretFileError> {
    secret(path, regular_file::read(path, MAX_BYTES).await)
}

/// The secret in what was read of a file.
fn secret(
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

/// What a look at the file found.
#[derive(Debug)]
pub enum Polled {
    /// The secret in use.
    Unchanged,
    /// Another one; it is in use now.
    Changed,
    /// None; the one in use stays.
    Failed(SecretFileError),
}

/// A secret that follows its file, or stays what it is when it has none.
pub struct Secret {
    path: Option<PathBuf>,
    current: ArcSwap<SecretString>,
    changes: AtomicU64,
}

impl Secret {
    /// A secret that never changes.
    #[must_use]
    pub fn fixed(secret: SecretString) -> Self {
        Self { path: None, current: ArcSwap::from_pointee(secret), changes: AtomicU64::default() }
    }

    /// One of 256 bits that no other process knows, and that never changes.
    #[must_use]
    pub fn random() -> Self {
        let mut bits = Zeroizing::new([0_u8; 32]);
        rand::fill(&mut *bits);
        Self::fixed(STANDARD.encode(*bits).into())
    }

    /// The secret in a file.
    ///
    /// # Errors
    /// When there is none in it.
    pub fn open(path: &Path) -> Result<Self, SecretFileError> {
        let current = ArcSwap::from_pointee(read(path)?);
        Ok(Self { path: Some(path.to_owned()), current, changes: AtomicU64::default() })
    }

    /// Whether it can change.
    #[must_use]
    pub fn has_file(&self) -> bool {
        self.path.is_some()
    }

    /// The secret in use.
    #[must_use]
    pub fn current(&self) -> Arc<SecretString> {
        self.current.load_full()
    }

    /// How often the secret has changed.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Looks at the file again.
    pub async fn poll(&self) -> Polled {
        let Some(path) = &self.path else { return Polled::Unchanged };
        match reread(path).await {
            Ok(new) if new.expose_secret() == self.current.load().expose_secret() => {
                Polled::Unchanged
            }
            Ok(new) => {
                self.current.store(Arc::new(new));
                self.changes.fetch_add(1, Ordering::Release);
                Polled::Changed
            }
            Err(error) => Polled::Failed(error),
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
    fn line_ends_and_byte_order_marks_are_no_part_of_a_secret() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for content in ["key", "key\n", "key\r\n", "\u{feff}key\r\n\n", "\nkey"] {
            std::fs::write(&file, content).unwrap();
            assert_eq!(read(file.path()).unwrap().expose_secret(), "key", "{content:?}");
        }
        std::fs::write(&file, " key ").unwrap();
        assert_eq!(read(file.path()).unwrap().expose_secret(), " key ", "spaces may be meant");
    }

    #[test]
    fn what_holds_no_secret_says_why_and_never_what() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let at_most = usize::try_from(MAX_BYTES).unwrap();
        for (content, why) in [
            (b"\r\n".to_vec(), "is empty"),
            (b"\xffhush".to_vec(), "is not UTF-8"),
            (vec![b'x'; at_most + 1], "larger"),
        ] {
            std::fs::write(&file, content).unwrap();
            let error = format!("{0} {0:?}", read(file.path()).unwrap_err());
            assert!(error.contains(why) || why == "is empty", "{error}");
            assert!(!error.contains("hush") && !error.contains("xxx"), "{error}");
        }
        std::fs::write(&file, vec![b'x'; at_most]).unwrap();
        assert!(read(file.path()).is_ok());
        assert!(read(Path::new("/nonexistent")).unwrap_err().to_string().contains("can't be read"));
    }

    #[tokio::test]
    async fn a_secret_follows_its_file_and_outlives_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        std::fs::write(&path, "one").unwrap();
        let secret = Secret::open(&path).unwrap();
        assert!(matches!(secret.poll().await, Polled::Unchanged));
        std::fs::write(&path, "two\n").unwrap();
        assert!(matches!(secret.poll().await, Polled::Changed));
        assert_eq!(secret.current().expose_secret(), "two");
        std::fs::write(&path, "").unwrap();
        assert!(matches!(secret.poll().await, Polled::Failed(SecretFileError::Empty(_))));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(secret.poll().await, Polled::Failed(SecretFileError::Unreadable { .. })));
        assert_eq!(secret.current().expose_secret(), "two");
        assert_eq!(secret.changes(), 1);
    }

    #[test]
    fn debug_shows_no_secret() {
        assert!(!format!("{:?}", Secret::fixed("hush".into())).contains("hush"));
    }
}
