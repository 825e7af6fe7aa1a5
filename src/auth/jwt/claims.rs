//! Reads the claims of a token or of an introspection response. `checks` decides which values are valid.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::{
    auth::{error::Reason, revocation::RevocationClaims},
    clock::calendar,
    json::UniqueMembers,
    revocation::MAX_ID_BYTES,
};

/// Claims that grant scopes, as a space-separated string or a list: RFC 9068 §2.2.3, Okta and
/// Microsoft Entra (`scp`), Laravel Passport (`scopes`). Duende writes `scope` as a list.
pub(in crate::auth) const SCOPE_CLAIMS: [&str; 3] = ["scope", "scp", "scopes"];

/// The source of claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::auth) enum Source {
    /// A signed token.
    Jwt {
        /// Its header names an access token.
        has_access_token_type: bool,
    },
    /// The issuer's response about a token.
    Introspection,
}

/// Claims. Except for `iss` and [`Claims::issue_time`], they are used only after they were proven.
pub(in crate::auth) struct Claims {
    pub(in crate::auth) members: UniqueMembers,
    pub(in crate::auth) source: Source,
}

impl Claims {
    pub(super) const fn new(members: UniqueMembers, source: Source) -> Self {
        Self { members, source }
    }

    /// `iat` if it is a valid time. Also read before the signature is checked.
    pub(super) fn issue_time(&self) -> Option<Timestamp> {
        self.time("iat").ok().flatten()
    }

    /// The claims by which the token can be revoked.
    pub(in crate::auth) fn identity(&self) -> RevocationClaims {
        RevocationClaims {
            sub: self.id("sub"),
            jti: self.id("jti"),
            sid: self.id("sid"),
            iat: self.issue_time(),
        }
    }

    fn id<T: From<String>>(&self, claim: &str) -> Option<T> {
        let id = self.members.get(claim).and_then(name)?;
        (1..=MAX_ID_BYTES).contains(&id.len()).then(|| id.into())
    }

    pub(in crate::auth) fn text(&self, name: &str) -> Option<&str> {
        self.members.get(name).and_then(Value::as_str)
    }

    pub(in crate::auth) fn time(&self, name: &str) -> Result<Option<Timestamp>, Reason> {
        self.members.get(name).map(|value| numeric_date(value).ok_or(Reason::Claims)).transpose()
    }
}

/// An id in a claim: a string, or an integer in decimal.
pub(super) fn name(claim: &Value) -> Option<String> {
    let number = claim.as_number().filter(|number| number.is_i64() || number.is_u64());
    claim.as_str().map(str::to_owned).or_else(|| number.map(ToString::to_string))
}

/// Parses a `NumericDate` (RFC 7519 §2): seconds since 1970, possibly with a fraction. `None` if
/// the time is outside the supported calendar.
pub(in crate::auth) fn numeric_date(value: &Value) -> Option<Timestamp> {
    let number = value.as_number()?;
    let since = if let Some(seconds) = number.as_i64() {
        SignedDuration::from_secs(seconds)
    } else {
        SignedDuration::try_from_secs_f64(number.as_f64()?).ok()?
    };
    calendar::since_1970(since).filter(|date| *date >= Timestamp::UNIX_EPOCH)
}
