//! Encrypts what leaves the process, with AES-256-GCM-SIV. The name of its key is authenticated too, so an
//! entry that someone moves to another customer's name does not open (promise P1).
//!
//! Plain GCM is safe for 2^32 messages with one key and random nonces (NIST SP 800-38D §8.3), which five
//! million entries an hour reach in 36 days. With SIV, a repeated nonce reveals only equal entries.

use std::{fmt, path::Path};

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, Nonce, RandomizedNonceKey},
    digest,
};
use secrecy::{ExposeSecret as _, zeroize::Zeroizing};

use super::{SetUpError, key_file};
use crate::{
    settings::{self, SharedKey},
    watched_file::WatchedFile,
};

/// First byte of everything that is encrypted. Changes with its format.
const VERSION: u8 = 1;

/// Length of the version and of a key's id.
const HEAD: usize = 5;

/// Length of a nonce.
const NONCE: usize = 12;

/// The keys in use, reloaded from their file.
pub(super) type SealingKeys = WatchedFile<Sealer, SetUpError>;

/// Reads the keys. Blocks the thread for a bounded time.
pub(super) fn open(path: Option<&Path>) -> Result<SealingKeys, SetUpError> {
    key_file(path, |text| settings::sealing_keys(text).map(|keys| Sealer::new(&keys)))
}

/// Encrypts with the first key, and decrypts with any.
pub(super) struct Sealer(Vec<(Head, Option<RandomizedNonceKey>)>);

/// The version, and the first bits of the key's SHA-256.
type Head = [u8; HEAD];

impl Sealer {
    pub(super) fn new(keys: &[SharedKey]) -> Self {
        Self(keys.iter().map(|key| Self::key(key.expose_secret())).collect())
    }

    fn key(key: &[u8; 32]) -> (Head, Option<RandomizedNonceKey>) {
        let digest = digest::digest(&digest::SHA256, key);
        let id: [u8; 4] = digest.as_ref().first_chunk().copied().unwrap_or_default();
        let [a, b, c, d] = id;
        // Never fails for a key of the right length; without one, nothing is encrypted.
        ([VERSION, a, b, c, d], RandomizedNonceKey::new(&AES_256_GCM_SIV, key).ok())
    }

    /// Encrypts an entry for the key `name`.
    pub(super) fn seal(&self, name: &str, mut entry: Zeroizing<Vec<u8>>) -> Option<Vec<u8>> {
        let (head, key) = self.0.first()?;
        let aad = Aad::from([head, name.as_bytes()].concat());
        let nonce = key.as_ref()?.seal_in_place_append_tag(aad, &mut *entry).ok()?;
        Some([head, nonce.as_ref().as_slice(), &entry].concat())
    }

    /// Decrypts an entry of the key `name`; `None` if it was not made with one of the keys, for this
    /// name.
    pub(super) fn open(&self, name: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (head, rest) = sealed.split_at_checked(HEAD)?;
        let (nonce, encrypted) = rest.split_first_chunk::<NONCE>()?;
        let (_, key) = self.0.iter().find(|(known, _)| known == head)?;
        let aad = Aad::from([head, name.as_bytes()].concat());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let mut entry = Zeroizing::new(encrypted.to_vec());
        let length = key.as_ref()?.open_in_place(nonce, aad, &mut entry).ok()?.len();
        entry.truncate(length);
        Some(entry)
    }
}

/// Shows no key.
impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({} keys)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with_keys(keys: &[u8]) -> Sealer {
        let text: Vec<_> = keys.iter().map(|key| format!("{key:02x}").repeat(32)).collect();
        Sealer::new(&settings::sealing_keys(&text.join("\n")).unwrap())
    }

    fn entry(text: &str) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(text.as_bytes().to_vec())
    }

    #[test]
    fn entry_opens_under_its_name_only() {
        let sealer = with_keys(&[1]);
        let encrypted = sealer.seal("bff:0:{a}:value", entry("tkn_secret")).unwrap();
        assert_eq!(encrypted.len(), "tkn_secret".len() + 33);
        assert!(!encrypted.windows(6).any(|part| part == b"secret"));
        assert_eq!(&**sealer.open("bff:0:{a}:value", &encrypted).unwrap(), b"tkn_secret");
        for name in ["bff:0:{b}:value", "bff:1:{a}:value", "bff:0:{a}:valu", ""] {
            assert_eq!(sealer.open(name, &encrypted), None, "{name}");
        }
    }

    #[test]
    fn keys_are_rotated_in_three_steps_without_losing_an_entry() {
        let steps = [&[1][..], &[1, 2], &[2, 1], &[2]].map(with_keys);
        for (old, new) in steps.iter().zip(&steps[1..]) {
            // Replicas before and after the step read each other's entries.
            for (writer, reader) in [(old, new), (new, old)] {
                let encrypted = writer.seal("name", entry("x")).unwrap();
                assert!(reader.open("name", &encrypted).is_some());
            }
        }
        let encrypted = steps[0].seal("name", entry("x")).unwrap();
        assert_eq!(steps[3].open("name", &encrypted), None, "the old key is gone");
    }

    #[test]
    fn equal_entries_differ_when_encrypted() {
        let sealer = with_keys(&[1]);
        assert_ne!(sealer.seal("name", entry("x")), sealer.seal("name", entry("x")));
        assert_eq!(format!("{sealer:?}"), "Sealer(1 keys)");
    }

    proptest! {
        #[test]
        fn changed_entries_do_not_open(at in 0_usize..42, bit in 0_u8..8, cut in 0_usize..42) {
            let sealer = with_keys(&[1]);
            let encrypted = sealer.seal("name", entry("tkn_1 body")).unwrap();
            let mut changed = encrypted.clone();
            changed[at] ^= 1 << bit;
            prop_assert_eq!(sealer.open("name", &changed), None);
            prop_assert_eq!(sealer.open("name", &encrypted[..cut]), None);
        }
    }
}
