//! The claims of a logout token (OpenID Connect Back-Channel Logout 1.0 §2.4, §2.6).

use jiff::Timestamp;
use serde_json::Value;

use super::Claims;
use crate::{
    auth::{
        error::{AuthError, Reason},
        logout::LogoutError,
        token::Rules,
    },
    clock::next_second,
    revocation::{MAX_ID_BYTES, Target},
};

/// The member of `events` that identifies a logout token.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// The result of a valid logout token.
#[derive(Debug)]
pub(in crate::auth) struct Logout {
    /// The tokens that the logout revokes.
    pub(in crate::auth) target: Target,
    /// Identifies the logout token if it is sent again.
    pub(in crate::auth) jti: Box<str>,
    /// When the logout token expires.
    pub(in crate::auth) end: Timestamp,
}

impl Claims {
    /// Makes the checks of §2.6.
    pub(in crate::auth::token) fn check_logout(
        &self,
        rules: &Rules,
        now: Timestamp,
    ) -> Result<Logout, LogoutError> {
        let settings = &rules.settings;
        let clients = if settings.logout_audiences.is_empty() {
            &settings.audiences
        } else {
            &settings.logout_audiences
        };
        self.check_issuer(rules).map_err(AuthError::from)?;
        self.check_subject().map_err(AuthError::from)?;
        self.check_aud(clients).map_err(AuthError::from)?;
        if !self.has_logout_event() {
            return Err(LogoutError::NoEvent);
        }
        if self.0.has("nonce") {
            return Err(AuthError::from(Reason::IdToken).into());
        }
        let end = self.check_times(rules, now).map_err(AuthError::from)?;
        if now >= end {
            return Err(AuthError::ExpiredToken.into());
        }
        let jti = self.logout_id("jti")?.ok_or(Reason::Claims).map_err(AuthError::from)?;
        Ok(Logout { target: self.target()?, jti, end })
    }

    /// Whether `events` contains a back-channel logout.
    fn has_logout_event(&self) -> bool {
        self.0.get("events").and_then(|events| events.get(EVENT)).is_some_and(Value::is_object)
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
        let Some(value) = self.0.get(claim) else { return Ok(None) };
        let has_valid_length = |id: &&str| (1..=MAX_ID_BYTES).contains(&id.len());
        let id = value.as_str().filter(has_valid_length).ok_or(Reason::Claims)?;
        Ok(Some(id.into()))
    }
}
