//! What is kept of a good token, so that it can be asked again whether it was revoked.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use jiff::Timestamp;

use crate::{auth::token::RevocationClaims, customer::CustomerId};

/// No generation: revocations begin at zero and never come so far.
const NEVER: u64 = u64::MAX;

/// On what grounds somebody was let in. No `Debug`: claims are personal.
pub(in crate::auth) struct Grounds {
    /// Index of the issuer.
    pub(in crate::auth) issuer: usize,
    /// Its name in the settings.
    pub(in crate::auth) issuer_name: Arc<str>,
    identity: RevocationClaims,
    /// The generation of revocations that is known not to reach it.
    cleared: AtomicU64,
}

impl Grounds {
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

    /// The customer's id, in the memory of `sub` where that is the same.
    pub(in crate::auth) fn share_with(&self, customer: CustomerId) -> CustomerId {
        match &self.identity.sub {
            Some(sub) => customer.shared_with(sub),
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
