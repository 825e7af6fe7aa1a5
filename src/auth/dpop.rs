//! Proof of possession (DPoP, RFC 9449): each request with a token that is bound to a key must prove
//! that the client has the key.
//!
//! - `nonces`: makes and checks nonces
//! - `proof`: parses a proof and checks its signature
//! - `replays`: remembers accepted proofs
//! - `request`: the request that a proof must be made for
//! - `target`: compares addresses

#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
mod nonces;
mod proof;
mod replays;
mod request;
mod target;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use prometheus::IntGauge;

pub(super) use self::request::DpopRequest;
use self::{
    nonces::Nonces,
    proof::Proof,
    replays::{ReplayError, Replays},
    target::Target,
};
use super::{
    digest::Sha256,
    error::{AuthError, ProofFault},
};
use crate::{
    clock::{Moment, later},
    secret_file::Secret,
    settings::{self, DpopMode},
};

/// The settings and the state that proofs are checked against.
pub(super) struct Dpop {
    /// Whether an issuer's tokens may be bound.
    is_accepted: bool,
    max_age: Duration,
    leeway: Duration,
    public_url: Option<Box<str>>,
    nonces: Option<Nonces>,
    replays: Replays,
}

impl Dpop {
    pub(super) fn new(auth: &settings::Auth, remembered: IntGauge) -> Self {
        let settings::Dpop { max_age, max_proofs, nonces, nonce_key_file: _ } = auth.dpop;
        Self {
            is_accepted: auth.issuers.values().any(|issuer| issuer.dpop != DpopMode::Off),
            max_age,
            leeway: auth.leeway,
            public_url: None,
            nonces: nonces.then(|| Nonces::random(max_age)),
            replays: Replays::new(max_proofs, longest_use(&auth.dpop, auth.leeway), remembered),
        }
    }

    /// Whether the scheme `DPoP` is accepted.
    pub(super) const fn is_accepted(&self) -> bool {
        self.is_accepted
    }

    /// Sets the address that clients call, and the key of nonces that other replicas share.
    pub(super) fn configure(&mut self, public_url: Option<&str>, nonce_key: Option<Arc<Secret>>) {
        self.public_url = public_url.map(Box::from);
        if let (Some(nonces), Some(key)) = (&mut self.nonces, nonce_key) {
            nonces.use_key(key);
        }
    }

    /// Removes proofs that cannot be used again.
    pub(super) fn sweep(&self, now: Moment) {
        self.replays.sweep(now);
    }

    /// Makes all checks of a proof that need no key. Also returns the nonce to use next if it is another
    /// one.
    pub(super) fn examine(
        &self,
        request: &DpopRequest,
        token: &Sha256,
        now: Timestamp,
    ) -> Result<(Proof, Option<Arc<str>>), AuthError> {
        let proof = Proof::parse(request.proof()?)?;
        if &*proof.htm != request.method() {
            return Err(ProofFault::Method.into());
        }
        let expected = request.target(self.public_url.as_deref());
        if expected.is_none() || Target::parse(&proof.htu) != expected {
            return Err(ProofFault::Target.into());
        }
        if proof.ath != *token {
            return Err(ProofFault::Token.into());
        }
        let next_nonce = self.check_time(&proof, now)?;
        Ok((proof, next_nonce))
    }

    /// Remembers a verified proof. Rejects one that was used before.
    pub(super) fn accept_once(
        &self,
        proof: &Proof,
        thumbprint: &Sha256,
        now: Moment,
    ) -> Result<(), AuthError> {
        Ok(self.replays.insert(thumbprint, &proof.jti, now)?)
    }

    /// Checks the nonce, or `iat` if nonces are off (RFC 9449 §4.3, 10 and 11). Returns the nonce to use
    /// next if it is another one.
    fn check_time(&self, proof: &Proof, now: Timestamp) -> Result<Option<Arc<str>>, AuthError> {
        if let Some(nonces) = &self.nonces {
            return nonces.check(proof.nonce.as_deref(), now).map_err(AuthError::UseDpopNonce);
        }
        let end = later(later(proof.iat, self.max_age), self.leeway);
        if proof.iat > later(now, self.leeway) || now > end {
            return Err(ProofFault::Time.into());
        }
        Ok(None)
    }
}

/// How long after its first use a proof could be accepted again: its `iat` may be `leeway` ahead, and
/// its nonce may be new.
fn longest_use(dpop: &settings::Dpop, leeway: Duration) -> Duration {
    if dpop.nonces {
        nonces::longest_use(dpop.max_age)
    } else {
        dpop.max_age.saturating_add(leeway).saturating_add(leeway)
    }
}

impl From<ReplayError> for AuthError {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::Replayed => ProofFault::Replayed.into(),
            ReplayError::TooMany(retry_after) => Self::TooManyProofs { retry_after },
            ReplayError::Full => Self::Overloaded,
        }
    }
}
