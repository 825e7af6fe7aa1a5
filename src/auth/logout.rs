//! Logout tokens that issuers send (OpenID Connect Back-Channel Logout 1.0): checked with the
//! issuer's keys as access tokens are, and turned into revocations.
//!
//! Anybody may send one; its signature is the permission. So few are looked at at a time, lest a
//! flood of them take the turns and places that phones need.

#[cfg(test)]
mod tests;

use tokio::sync::Semaphore;

use super::{
    AuthError, Authenticator, Reason,
    revocations::{List, RevokeError},
    token::Unverified,
};
use crate::{customer::CustomerId, metrics};

/// Logout tokens that are looked at at a time. Others wait.
const AT_A_TIME: usize = 4;

/// The outcome of a logout token that has revoked something.
const SUCCESS: &str = "success";

/// Why a logout token has no effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogoutError {
    /// It proves nothing, or can't be checked now.
    #[error(transparent)]
    Token(#[from] AuthError),
    /// No `events` with a logout in it.
    #[error("the token contains no logout event")]
    NoEvent,
    /// Neither `sub` nor `sid`.
    #[error("the token names neither a subject nor a session")]
    NoTarget,
    /// Its `jti` has come before.
    #[error("the token was used before")]
    Replayed,
    /// No room.
    #[error(transparent)]
    Room(#[from] RevokeError),
}

impl LogoutError {
    metrics::labels! {
        /// The label of `juspay_bff_auth_logouts_total{outcome}`.
        const fn outcome(&self) in FAILURES {
            Self::Token(AuthError::KeysUnavailable { .. }) => "keys_unavailable",
            Self::Token(AuthError::Overloaded) => "overloaded",
            Self::Token(_) | Self::NoEvent | Self::NoTarget => "invalid",
            Self::Replayed => "replayed",
            Self::Room(_) => "full",
        }
    }

    /// Every outcome of a logout token.
    pub(super) fn outcomes() -> impl Iterator<Item = &'static str> {
        Self::FAILURES.iter().copied().chain([SUCCESS])
    }
}

/// Those who wait for their logout token to be looked at.
pub(super) struct Queue(Semaphore);

impl Default for Queue {
    fn default() -> Self {
        Self(Semaphore::new(AT_A_TIME))
    }
}

impl Authenticator {
    /// Does what a logout token says. Gives the customers that are to be forgotten.
    ///
    /// # Errors
    /// When it says nothing that counts; that is counted and logged by then.
    pub async fn log_out(&self, token: &str) -> Result<Vec<CustomerId>, LogoutError> {
        let logged_out = self.log_out_uncounted(token).await;
        let outcome = logged_out.as_ref().map_or_else(LogoutError::outcome, |_| SUCCESS);
        self.metrics.auth.logouts.with_label_values(&[outcome]).inc();
        match &logged_out {
            Ok(_) => tracing::info!("logout token accepted"),
            Err(error) => tracing::warn!(outcome, "logout token rejected: {error}"),
        }
        Ok(self.affected(&logged_out?))
    }

    async fn log_out_uncounted(&self, token: &str) -> Result<List, LogoutError> {
        let refused = |reason: Reason| LogoutError::from(AuthError::from(reason));
        if token.len() > self.max_token_bytes {
            return Err(AuthError::TokenTooLarge.into());
        }
        let unverified = Unverified::parse(token).map_err(refused)?;
        let (index, issuer) = self.issuer_of(&unverified).map_err(refused)?;
        unverified.check_logout_header(&issuer.rules).map_err(refused)?;
        // Never closed.
        let _place = self.logouts.0.acquire().await.map_err(|_| AuthError::Overloaded)?;
        let proof = self.prove(&unverified, issuer).await?;
        let logout = proof.verified.check_logout(&issuer.rules, self.clock.now())?;
        self.revocations.log_out(index, logout)
    }
}
