//! The JOSE header of a token (RFC 7515 §4). Members that aren't known here are ignored, `zip` among
//! them, which belongs to JWE; a token that says that one must be understood (`crit`) is rejected.
//!
//! Keys that a token brings along (`jwk`, `jku`, `x5u`, `x5c`) are never looked at: the key comes
//! from the issuer's set, found by `kid`.

use serde_json::Value;

use super::{Rules, json::Object};
use crate::{
    auth::error::Reason,
    settings::{Algorithm, HmacAlgorithm},
};

/// Longest `kid` taken, in bytes: it is kept in memory for a while when no key has it.
const MAX_KID_BYTES: usize = 256;

/// Members that say that it must be read in another way: `crit` names extensions, none of which is
/// implemented here (RFC 7515 §4.1.11), `b64` is about an unencoded payload (RFC 7797 §3), `enc`
/// makes it a JWE (RFC 7516 §9).
const REFUSED: [&str; 3] = ["crit", "b64", "enc"];

/// RFC 7515 §4.1.9: it may be left out.
const TYP_PREFIX: &str = "application/";

/// Types that a logout token may have.
const LOGOUT_TYPES: [&str; 3] = ["logout+jwt", "jwt", ""];

/// What an `alg` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::auth) enum TokenAlgorithm {
    /// A signature that public keys check.
    Signature(Algorithm),
    /// A signature that a shared secret checks.
    Hmac(HmacAlgorithm),
}

impl TokenAlgorithm {
    fn named(name: &str) -> Option<Self> {
        let signature = Algorithm::named(name).map(Self::Signature);
        signature.or_else(|| HmacAlgorithm::named(name).map(Self::Hmac))
    }

    pub(in crate::auth) const fn name(self) -> &'static str {
        match self {
            Self::Signature(algorithm) => algorithm.name(),
            Self::Hmac(algorithm) => algorithm.name(),
        }
    }
}

/// What we need of a header.
pub(in crate::auth) struct Header {
    pub(in crate::auth) algorithm: TokenAlgorithm,
    pub(super) kid: Option<Box<str>>,
    /// In lower case without `application/`; empty when there is none.
    pub(in crate::auth) typ: String,
}

impl Header {
    pub(in crate::auth) fn parse(members: &Object) -> Result<Self, Reason> {
        if REFUSED.iter().any(|name| members.has(name)) {
            return Err(Reason::Header);
        }
        let name = text(members, "alg")?.ok_or(Reason::Header)?;
        let kid = text(members, "kid")?;
        if kid.is_some_and(|kid| kid.len() > MAX_KID_BYTES) {
            return Err(Reason::Header);
        }
        let typ = text(members, "typ")?.unwrap_or_default().to_ascii_lowercase();
        Ok(Self {
            algorithm: TokenAlgorithm::named(name).ok_or(Reason::Algorithm)?,
            kid: kid.map(Box::from),
            typ: without_prefix(&typ).to_owned(),
        })
    }

    /// Checks what the issuer's settings say about headers.
    pub(super) fn check(&self, rules: &Rules) -> Result<(), Reason> {
        self.check_algorithm(rules)?;
        self.check_typ(rules)
    }

    pub(super) fn check_algorithm(&self, rules: &Rules) -> Result<(), Reason> {
        let settings = &rules.settings;
        let is_taken = match self.algorithm {
            TokenAlgorithm::Signature(algorithm) => settings.algorithms.contains(&algorithm),
            TokenAlgorithm::Hmac(algorithm) => {
                settings.keys.hmac().is_some_and(|hmac| hmac.algorithms.contains(&algorithm))
            }
        };
        if is_taken { Ok(()) } else { Err(Reason::Algorithm) }
    }

    pub(super) fn check_typ(&self, rules: &Rules) -> Result<(), Reason> {
        if !rules.settings.typ.iter().any(|typ| typ.eq_ignore_ascii_case(&self.typ)) {
            return Err(Reason::Type);
        }
        Ok(())
    }

    /// The same for a logout token, whose type needn't be said (OpenID Connect Back-Channel
    /// Logout 1.0 §2.4).
    pub(super) fn check_logout(&self, rules: &Rules) -> Result<(), Reason> {
        self.check_algorithm(rules)?;
        if LOGOUT_TYPES.contains(&&*self.typ) { Ok(()) } else { Err(Reason::Type) }
    }

    /// RFC 9068: an access token that says so.
    pub(super) fn says_access_token(&self) -> bool {
        self.typ == "at+jwt"
    }
}

/// What is nothing but the prefix is a type all the same, and not an absent one.
fn without_prefix(typ: &str) -> &str {
    typ.strip_prefix(TYP_PREFIX).filter(|rest| !rest.is_empty()).unwrap_or(typ)
}

fn text<'a>(members: &'a Object, name: &str) -> Result<Option<&'a str>, Reason> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Reason::Header),
    }
}
