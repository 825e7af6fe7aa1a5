//! Identifies a verified token, so that each request can check whether it was revoked.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use jiff::Timestamp;

use crate::{auth::token::RevocationClaims, customer::CustomerId};

/// No generation: revocations start at zero and never reach this number.
const NEVER: u64 = u64::MAX;

/// The claims and the issuer of a verified token. No `Debug`: claims are personal data.
pub(in crate::auth) struct TokenIdentity {
    /// Index of the issuer.
    pub(in crate::auth) issuer: usize,
    /// Its name in the settings.
    pub(in crate::auth) issuer_name: Arc<str>,
    identity: RevocationClaims,
    /// The latest generation of revocations that does not revoke this token.
    cleared: AtomicU64,
}

impl TokenIdentity {
    pub(in crate::auth) const fn new(
        issuer: usize,
        issuer_name: Arc<str>,
        identity: RevocationClaims,
    ) -> Self {
        Self { issuer, issuer_name, identity, cleared: AtomicU64::new(NEVER) }
    }

    pub(super) fn is_cleared_at(&self, generation: u64) -> bool {
        self.cleared.load(Ordering::Acquire) == generation
    }

    pub(super) fn clear_at(&self, generation: u64) {
        self.cleared.store(generation, Ordering::Release);
    }

    /// The customer id, sharing its memory with `sub` if both are the same.
    pub(in crate::auth) fn share_with(&self, customer: CustomerId) -> CustomerId {
        match &self.identity.sub {
            Some(sub) => customer.reusing(sub),
            None => customer,
        }
    }

    pub(super) fn sub(&self) -> Option<&str> {
        self.identity.sub.as_deref()
    }

    pub(super) fn jti(&self) -> Option<&str> {
        self.identity.jti.as_deref()
    }

    pub(super) fn sid(&self) -> Option<&str> {
        self.identity.sid.as_deref()
    }

    pub(super) const fn iat(&self) -> Option<Timestamp> {
        self.identity.iat
    }
}
