//! Proof of possession (DPoP, RFC 9449): whoever brings a token that is bound to a key shows, with
//! each request, that the key is theirs.
//!
//! `presented` is the request as a proof must fit it, `target` compares addresses, `proof` takes a
//! proof apart, `nonces` makes and knows nonces, `replays` remembers what was taken. The token itself
//! is `token`'s, and is remembered like any other. Refuses a bound token without its proof, and a
//! proof for a token that isn't bound: it would prove nothing.

#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
mod nonces;
mod presented;
mod proof;
mod replays;
mod target;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use prometheus::IntGauge;

use self::{
    nonces::Nonces,
    proof::Proof,
    replays::{Refused, Replays},
    target::Target,
};
pub(super) use self::{presented::Presented, proof::digest_in};
use super::{
    Authenticator, Sha256,
    caller::Caller,
    error::{AuthError, ProofFault, Reason},
};
use crate::{
    clock::later,
    secret_file::Secret,
    settings::{self, DpopMode},
};

/// What proofs are checked against.
pub(super) struct Dpop {
    /// Whether any issuer's tokens may be bound.
    taken: bool,
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
            taken: auth.issuers.values().any(|issuer| issuer.dpop != DpopMode::Off),
            max_age,
            leeway: auth.leeway,
            public_url: None,
            nonces: nonces.then(|| Nonces::random(max_age)),
            replays: Replays::new(max_proofs, longest_use(&auth.dpop, auth.leeway), remembered),
        }
    }

    /// Whether the scheme is one of ours.
    pub(super) const fn is_taken(&self) -> bool {
        self.taken
    }

    /// Lets what can't be used again leave memory.
    pub(super) fn sweep(&self, now: crate::clock::Moment) {
        self.replays.sweep(now);
    }

    /// Checks all of a proof that can be checked without its key.
    fn examine(
        &self,
        presented: &Presented,
        token: &Sha256,
        now: Timestamp,
    ) -> Result<(Proof, Option<Arc<str>>), AuthError> {
        let proof = Proof::parse(presented.proof()?)?;
        if &*proof.htm != presented.method() {
            return Err(ProofFault::Method.into());
        }
        let ours = presented.target(self.public_url.as_deref());
        if ours.is_none() || Target::parse(&proof.htu) != ours {
            return Err(ProofFault::Target.into());
        }
        if proof.ath != *token {
            return Err(ProofFault::Token.into());
        }
        let next_nonce = self.check_time(&proof, now)?;
        Ok((proof, next_nonce))
    }

    /// By its nonce, or else by its `iat` (RFC 9449 §4.3, 10 and 11). Gives the nonce that is to be
    /// used from now on when it is another one.
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

/// How long after it was taken a proof would be taken again: its `iat` may lie `leeway` ahead, and its
/// nonce may have only just been given out.
fn longest_use(dpop: &settings::Dpop, leeway: Duration) -> Duration {
    if dpop.nonces {
        nonces::longest_use(dpop.max_age)
    } else {
        dpop.max_age.saturating_add(leeway).saturating_add(leeway)
    }
}

impl Authenticator {
    /// This authenticator, which is called at `public_url` and makes nonces with `nonce_key`.
    #[must_use]
    pub fn reached_at(mut self, public_url: Option<&str>, nonce_key: Option<Arc<Secret>>) -> Self {
        self.dpop.public_url = public_url.map(Box::from);
        if let (Some(nonces), Some(key)) = (&mut self.dpop.nonces, nonce_key) {
            nonces.use_key(key);
        }
        self
    }

    /// Checks that the caller possesses the key that its token is bound to. The token has been verified:
    /// the proof of an invalid token does not matter.
    pub(super) async fn check_proof(
        &self,
        caller: Caller,
        token: &Sha256,
        presented: Presented,
    ) -> Result<Caller, AuthError> {
        let thumbprint = *caller.bound_to().ok_or(Reason::Unbound)?;
        let (proof, next_nonce) = self.dpop.examine(&presented, token, self.clock.now())?;
        let permit = self.verification_limit.acquire().await?;
        proof.verify(&thumbprint)?;
        drop(permit);
        self.dpop.replays.take(&thumbprint, &proof.jti, self.clock.moment())?;
        // The token may have been revoked in the meantime.
        self.revocations.check(caller.token_identity())?;
        Ok(match next_nonce {
            Some(nonce) => caller.with_next_nonce(nonce),
            None => caller,
        })
    }
}

impl From<Refused> for AuthError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Replayed => ProofFault::Replayed.into(),
            Refused::TooMany(retry_after) => Self::TooManyProofs { retry_after },
            Refused::Full => Self::Overloaded,
        }
    }
}
