//! Ends tokens before they expire: for operators, for `auth.revocations_file`, and for logout tokens
//! of issuers (OpenID Connect Back-Channel Logout 1.0).
//!
//! The signature of a logout token is checked with the issuer's keys, as that of an access token is.
//! A cached customer contains a client auth token that the revoked person may have received, so each
//! function returns the customers to remove from the cache. The customer follows from the subject if
//! `customer_id_claim` is `sub`; otherwise, only customers of cached access tokens are known.

#[cfg(test)]
mod tests;

use std::{collections::HashSet, future::Future};

use super::{
    Authenticator, LOGOUT_SUCCESS,
    caller::Caller,
    error::{AuthError, LogoutError, Reason, RevokeError},
    jwt::Unverified,
    revocation::List,
};
use crate::{customer::CustomerId, revocation::Entry};

impl Authenticator {
    /// Revokes tokens until the entry expires or the process ends. Returns the customers to forget.
    ///
    /// # Errors
    /// If the entry is not accepted.
    pub fn revoke(&self, entry: Entry) -> Result<Vec<CustomerId>, RevokeError> {
        let added = self.revocations.add(entry)?;
        Ok(self.affected(&added))
    }

    /// Reloads `auth.revocations_file`. Returns the customers to forget; `None` if there is no file.
    pub async fn reload_revocations(&self) -> Option<Vec<CustomerId>> {
        let added = self.revocations.reload().await?;
        Some(self.affected(&added))
    }

    /// Revokes what a logout token names. Returns the customers to forget.
    ///
    /// # Errors
    /// If the token is not accepted. The failure has been counted and logged.
    pub async fn log_out(&self, token: &str) -> Result<Vec<CustomerId>, LogoutError> {
        let logged_out = self.log_out_uncounted(token).await;
        let outcome = logged_out.as_ref().map_or_else(LogoutError::outcome, |_| LOGOUT_SUCCESS);
        self.metrics.auth.logouts.with_label_values(&[outcome]).inc();
        match &logged_out {
            Ok(_) => tracing::info!("logout token accepted"),
            Err(error) => tracing::warn!(outcome, "logout token rejected: {error}"),
        }
        Ok(self.affected(&logged_out?))
    }

    async fn log_out_uncounted(&self, token: &str) -> Result<List, LogoutError> {
        let rejected = |reason: Reason| LogoutError::from(AuthError::from(reason));
        if token.len() > self.max_token_bytes {
            return Err(AuthError::TokenTooLarge.into());
        }
        let unverified = Unverified::parse(token).map_err(rejected)?;
        let (index, issuer) = self.issuer_of(&unverified).map_err(rejected)?;
        unverified.check_logout_header(&issuer.rules).map_err(rejected)?;
        // Never closed.
        let _permit = self.logouts.acquire().await.map_err(|_| AuthError::Overloaded)?;
        let proof = self.prove(&unverified, issuer).await?;
        let logout = proof.verified.check_logout(&issuer.rules, self.clock.now())?;
        self.revocations.log_out(index, logout)
    }

    /// The output of `work`, unless the caller's token is revoked in the meantime.
    ///
    /// # Errors
    /// If the token was revoked. The failure has been counted.
    pub async fn unless_revoked<F: Future>(
        &self,
        caller: &Caller,
        work: F,
    ) -> Result<F::Output, AuthError> {
        let token_identity = caller.token_identity();
        tokio::select! {
            biased;
            output = work => match self.revocations.check(token_identity) {
                Ok(()) => Ok(output),
                Err(reason) => Err(self.counted(reason.into())),
            },
            () = self.revocations.wait_for(token_identity) => Err(self.counted(Reason::Revoked.into())),
        }
    }

    /// The customers whose tokens these entries revoke.
    fn affected(&self, added: &List) -> Vec<CustomerId> {
        let mut is_incomplete = added.names_tokens_or_sessions();
        let mut customers = HashSet::new();
        for (issuer, sub) in added.subjects() {
            let settings = self.issuers.get(issuer).map(|issuer| &issuer.rules.settings);
            let Some(settings) = settings else { continue };
            if settings.customer_id_claim.is("sub") {
                let id = format!("{}{sub}", settings.customer_id_prefix);
                customers.extend(CustomerId::parse(&id));
            } else {
                is_incomplete = true;
            }
        }
        if is_incomplete {
            let now = self.clock.now();
            let callers = self.tokens.callers();
            let revoked = callers.filter(|caller| added.revokes(caller.token_identity(), now));
            customers.extend(revoked.map(|caller| caller.customer().clone()));
        }
        customers.into_iter().collect()
    }
}
