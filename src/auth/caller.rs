//! The permit of a verified request: only verification can construct a [`Caller`].
//!
//! Code with a caller as a parameter cannot run without a valid token, or a trusted gateway's header. Of
//! the token, it can read only the customer, the issuer's name, the audience, and what a missing customer
//! is created from (promise P1).

use std::{
    any::Any,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use super::{digest::Sha256, revocation::TokenIdentity};
use crate::customer::{CustomerId, NewCustomer};

/// A verified caller, and the customer that the access token names.
///
/// Only an [`Authenticator`](super::Authenticator) creates it:
///
/// ```compile_fail,E0451
/// # use juspay_bff::auth::Caller;
/// let forged = Caller { token: todo!(), next_nonce: None };
/// ```
#[derive(Clone)]
pub struct Caller {
    token: Arc<VerifiedToken>,
    /// The nonce that the next DPoP proof must have, if it has changed.
    next_nonce: Option<Arc<str>>,
}

struct VerifiedToken {
    customer: CustomerId,
    identity: TokenIdentity,
    /// Thumbprint of the key that the token is bound to.
    bound_to: Option<Sha256>,
    /// Only with `juspay.create_missing_customers`.
    new_customer: Option<Arc<NewCustomer>>,
    /// Index of the issuer's accepted audience that the token names.
    audience: Option<u16>,
    memo: Mutex<Option<Arc<dyn Any + Send + Sync>>>,
}

impl Caller {
    /// `bound_to` is the thumbprint of the key that the caller must prove to possess.
    pub(super) fn new(
        customer: CustomerId,
        identity: TokenIdentity,
        bound_to: Option<Sha256>,
        audience: Option<u16>,
        new_customer: Option<Arc<NewCustomer>>,
    ) -> Self {
        let customer = identity.share_with(customer);
        let memo = Mutex::default();
        let token = VerifiedToken { customer, identity, bound_to, new_customer, audience, memo };
        Self { token: Arc::new(token), next_nonce: None }
    }

    /// The thumbprint of the key that the token is bound to.
    pub(super) fn bound_to(&self) -> Option<&Sha256> {
        self.token.bound_to.as_ref()
    }

    /// The index of the issuer's accepted audience that the token names.
    pub(super) fn audience(&self) -> Option<u16> {
        self.token.audience
    }

    /// The same caller, whose next DPoP proof needs another nonce.
    pub(super) fn with_next_nonce(self, nonce: Arc<str>) -> Self {
        Self { next_nonce: Some(nonce), ..self }
    }

    /// The nonce for the caller's next DPoP proof (RFC 9449 §8.2), if it has changed.
    #[must_use]
    pub fn next_nonce(&self) -> Option<&str> {
        self.next_nonce.as_deref()
    }

    /// The customer that the token names.
    #[must_use]
    pub fn customer(&self) -> &CustomerId {
        &self.token.customer
    }

    /// The name of the token's issuer in the settings.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.token.identity.issuer_name
    }

    /// What the customer is created from if it is missing. `None` if customers aren't created.
    #[must_use]
    pub fn new_customer(&self) -> Option<&Arc<NewCustomer>> {
        self.token.new_customer.as_ref()
    }

    /// Identifies the token in revocations.
    pub(super) fn token_identity(&self) -> &TokenIdentity {
        &self.token.identity
    }

    /// The value that [`Caller::remember`] stored last for this token.
    #[must_use]
    pub fn memo<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let memo = self.token.memo.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(memo.as_ref()?).downcast().ok()
    }

    /// Stores a value for later requests with this token. It is dropped with the cached token.
    pub fn remember<T: Send + Sync + 'static>(&self, value: T) {
        let mut memo = self.token.memo.lock().unwrap_or_else(PoisonError::into_inner);
        *memo = Some(Arc::new(value));
    }
}

/// Shows no personal data.
impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("issuer", &self.issuer()).finish_non_exhaustive()
    }
}
