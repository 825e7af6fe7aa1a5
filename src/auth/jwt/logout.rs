//! The checks of a logout token (OpenID Connect Back-Channel Logout 1.0 §2.4, §2.6).

use jiff::Timestamp;
use serde_json::Value;

use super::{
    Unverified,
    checks::{CheckContext, ClaimCheck, HeaderCheck, Rules},
    claims::Claims,
};
use crate::{
    auth::{
        credentials::Scheme,
        error::{AuthError, LogoutError, Reason},
        revocation::Logout,
    },
    clock::{later, next_second},
    revocation::{MAX_ID_BYTES, Target},
};

/// Accepted `typ` values. `typ` is optional (§2.4).
const TYPES: [&str; 3] = ["logout+jwt", "jwt", ""];

/// The member of `events` that identifies a logout token.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

impl Unverified<'_> {
    /// Makes the checks that need no signature.
    pub(in crate::auth) fn check_logout_header(&self, rules: &Rules) -> Result<(), Reason> {
        self.check(HeaderCheck::Issuer, rules)?;
        self.check(HeaderCheck::Algorithm, rules)?;
        if TYPES.contains(&&*self.header.typ) { Ok(()) } else { Err(Reason::Type) }
    }
}

impl Claims {
    /// Makes the checks of §2.6.
    pub(super) fn check_logout(
        &self,
        rules: &Rules,
        now: Timestamp,
    ) -> Result<Logout, LogoutError> {
        let (settings, context) =
            (&rules.settings, CheckContext { rules, scheme: Scheme::Bearer, now });
        let clients = if settings.logout_audiences.is_empty() {
            &settings.audiences
        } else {
            &settings.logout_audiences
        };
        self.check(ClaimCheck::Subject, &context)?;
        self.aud(clients).map_err(AuthError::from)?;
        if !self.has_logout_event() {
            return Err(LogoutError::NoEvent);
        }
        if self.members.has("nonce") {
            return Err(AuthError::from(Reason::IdToken).into());
        }
        self.check(ClaimCheck::Expiry, &context)?;
        let end = later(self.end(&context).map_err(AuthError::from)?, rules.leeway);
        let jti = self.logout_id("jti")?.ok_or(Reason::Claims).map_err(AuthError::from)?;
        Ok(Logout { target: self.target()?, jti, end })
    }

    /// Whether `events` contains a back-channel logout.
    fn has_logout_event(&self) -> bool {
        self.members
            .get("events")
            .and_then(|events| events.get(EVENT))
            .is_some_and(Value::is_object)
    }

    /// `sub` revokes all tokens issued to that subject until then. Without `sub`, `sid` revokes the
    /// tokens of that session.
    fn target(&self) -> Result<Target, LogoutError> {
        let iat = self.time("iat").and_then(|iat| iat.ok_or(Reason::Claims));
        // Claims have whole seconds: a token issued in the same second as the logout counts as
        // issued before.
        let issued_before = next_second(iat.map_err(AuthError::from)?);
        match (self.logout_id("sub")?, self.logout_id("sid")?) {
            (Some(sub), _) => Ok(Target::Subject { sub, issued_before }),
            (None, Some(sid)) => Ok(Target::Session(sid)),
            (None, None) => Err(LogoutError::NoTarget),
        }
    }

    fn logout_id(&self, claim: &str) -> Result<Option<Box<str>>, AuthError> {
        let Some(value) = self.members.get(claim) else { return Ok(None) };
        let has_valid_length = |id: &&str| (1..=MAX_ID_BYTES).contains(&id.len());
        let id = value.as_str().filter(has_valid_length).ok_or(Reason::Claims)?;
        Ok(Some(id.into()))
    }
}
