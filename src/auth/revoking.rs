//! What a revocation does besides: whose customers are to be forgotten, and how a request that
//! waits learns that its token has ended.
//!
//! A customer in memory holds a client auth token that the revoked person may have had. Whose that
//! is follows from the subject where `customer_id_claim` is `sub`; in other cases it is known of
//! the tokens that are remembered.

use std::{collections::HashSet, future::Future};

use super::{
    AuthError, Authenticator, Caller, Reason,
    revocations::{List, RevokeError},
};
use crate::{customer::CustomerId, revocation::Entry};

impl Authenticator {
    /// Revokes tokens, until the entry's end or the end of the process. Gives the customers that
    /// are to be forgotten.
    ///
    /// # Errors
    /// When the entry isn't taken.
    pub fn revoke(&self, entry: Entry) -> Result<Vec<CustomerId>, RevokeError> {
        let added = self.revocations.add(entry)?;
        Ok(self.affected(&added))
    }

    /// Looks at `auth.revocations_file` again. Gives the customers that are to be forgotten; `None`
    /// when there is no file.
    pub async fn reload_revocations(&self) -> Option<Vec<CustomerId>> {
        let added = self.revocations.reload().await?;
        Some(self.affected(&added))
    }

    /// Reads the key sets that are files again.
    pub fn reload_key_files(&self) {
        for issuer in self.issuers.iter().filter(|issuer| issuer.has_key_file()) {
            issuer.keys.fetch_now();
        }
    }

    /// What comes of `work`, unless the caller's token is revoked by then: the caller doesn't wait
    /// for what isn't theirs any more.
    ///
    /// # Errors
    /// When the token was revoked; it is counted by then.
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
            () = self.revocations.reach(token_identity) => Err(self.counted(Reason::Revoked.into())),
        }
    }

    /// The customers whose tokens these entries end.
    pub(super) fn affected(&self, added: &List) -> Vec<CustomerId> {
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
            let ended = callers.filter(|caller| added.ends(caller.token_identity(), now));
            customers.extend(ended.map(|caller| caller.customer().clone()));
        }
        customers.into_iter().collect()
    }
}
