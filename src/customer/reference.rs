//! Pseudonyms of customers in logs: keyed hashes. Log lines of one customer share one; without the
//! key, it doesn't reveal the customer.

use std::{fmt, sync::Arc};

use aws_lc_rs::hmac;
use secrecy::ExposeSecret;

use super::CustomerId;
use crate::secret_file::Secret;

/// The key of the pseudonyms (`log.customer_ref_key_file`).
#[derive(Debug, Clone)]
pub struct CustomerRefKey(Arc<Secret>);

/// The first 64 bits of HMAC-SHA256 of the customer's id, as 16 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CustomerRef([u8; 8]);

impl CustomerRefKey {
    /// Uses a key that is reloaded when its file changes.
    #[must_use]
    pub fn new(key: Arc<Secret>) -> Self {
        Self(key)
    }

    /// Uses a random key. The pseudonyms can't be matched with those of another process.
    #[must_use]
    pub fn random() -> Self {
        Self(Arc::new(Secret::random()))
    }

    /// A number that changes with the key.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.0.changes()
    }

    /// The customer's pseudonym.
    #[must_use]
    pub fn reference(&self, customer: &CustomerId) -> CustomerRef {
        let key = self.0.current();
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose_secret().as_bytes());
        let tag = hmac::sign(&key, customer.as_str().as_bytes());
        CustomerRef(tag.as_ref().first_chunk().copied().unwrap_or_default())
    }
}

impl fmt::Display for CustomerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_is_the_hmac_of_the_id() {
        let refs = CustomerRefKey::new(Arc::new(Secret::fixed("Jefe".into())));
        let id = CustomerId::parse("what do ya want for nothing?").unwrap();
        // RFC 4231, test case 2.
        assert_eq!(refs.reference(&id).to_string(), "5bdcc146bf60754e");
    }

    #[test]
    fn random_keys_yield_different_references() {
        let id = CustomerId::parse("alice").unwrap();
        let reference = || CustomerRefKey::random().reference(&id);
        assert_ne!(reference(), reference());
    }
}
