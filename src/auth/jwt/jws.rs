//! Parses a JWS in compact form (RFC 7515 §3.1) whose payload is a JSON object, and its JOSE header (§4):
//! of an access token, a logout token or a DPoP proof. Does not check the signature.
//!
//! Unknown header members are ignored, among them `zip`, which belongs to JWE. A token with `crit` is
//! rejected. Keys inside a token (`jwk`, `jku`, `x5u`, `x5c`) are ignored: the key comes from the
//! issuer's key set, found by `kid`.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::{
    auth::error::Reason,
    json::UniqueMembers,
    settings::{Algorithm, HmacAlgorithm},
};

/// Longest accepted `kid`, in bytes. An unknown `kid` is remembered until the next key fetch.
const MAX_KID_BYTES: usize = 256;

/// Members that change how a token is read: `crit` names extensions, none of which is implemented
/// (RFC 7515 §4.1.11); `b64` is an unencoded payload (RFC 7797 §3); `enc` is a JWE (RFC 7516 §9).
const UNSUPPORTED_MEMBERS: [&str; 3] = ["crit", "b64", "enc"];

/// The optional prefix of `typ` (RFC 7515 §4.1.9).
const TYP_PREFIX: &str = "application/";

/// The decoded parts of a JWS.
pub(in crate::auth) struct Jws<'a> {
    /// The signing input (RFC 7515 §5.1): header and payload, exactly as received.
    pub(in crate::auth) message: &'a str,
    pub(in crate::auth) header: UniqueMembers,
    pub(in crate::auth) payload: UniqueMembers,
    pub(in crate::auth) signature: Vec<u8>,
}

impl<'a> Jws<'a> {
    /// Decodes the three parts.
    pub(in crate::auth) fn parse(text: &'a str) -> Result<Self, Reason> {
        let (message, signature) = text.rsplit_once('.').ok_or(Reason::NotJws)?;
        let (header, payload) = message.split_once('.').ok_or(Reason::NotJws)?;
        // A payload with a dot is not base64url, so a token with more than three parts fails to
        // decode.
        let (header, payload) = (object(header)?, object(payload)?);
        Ok(Self { message, header, payload, signature: decode(signature)? })
    }
}

/// Decodes a part as a JSON object.
pub(in crate::auth) fn object(part: &str) -> Result<UniqueMembers, Reason> {
    serde_json::from_slice(&decode(part)?).map_err(|_| Reason::NotJws)
}

/// Decodes base64url without padding. Unused trailing bits must be zero, so each part has exactly
/// one valid form.
pub(in crate::auth) fn decode(part: &str) -> Result<Vec<u8>, Reason> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Reason::NotJws)
}

/// The algorithm in `alg`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::auth) enum TokenAlgorithm {
    /// Verified with a public key.
    Signature(Algorithm),
    /// Verified with a shared secret.
    Hmac(HmacAlgorithm),
}

impl TokenAlgorithm {
    fn named(name: &str) -> Option<Self> {
        let signature = Algorithm::from_name(name).map(Self::Signature);
        signature.or_else(|| HmacAlgorithm::from_name(name).map(Self::Hmac))
    }

    pub(in crate::auth) const fn name(self) -> &'static str {
        match self {
            Self::Signature(algorithm) => algorithm.name(),
            Self::Hmac(algorithm) => algorithm.name(),
        }
    }
}

/// The header members that the checks use.
pub(in crate::auth) struct Header {
    pub(in crate::auth) algorithm: TokenAlgorithm,
    pub(super) kid: Option<Box<str>>,
    /// Lower case, without `application/`; empty if the header has no `typ`.
    pub(in crate::auth) typ: String,
}

impl Header {
    pub(in crate::auth) fn parse(members: &UniqueMembers) -> Result<Self, Reason> {
        if UNSUPPORTED_MEMBERS.iter().any(|name| members.has(name)) {
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

    /// Whether `typ` is that of an access token (RFC 9068 §2.1).
    pub(super) fn has_access_token_type(&self) -> bool {
        self.typ == "at+jwt"
    }
}

/// Removes `application/`. A type that is only the prefix stays as it is, so that it is not
/// mistaken for a missing type.
fn without_prefix(typ: &str) -> &str {
    typ.strip_prefix(TYP_PREFIX).filter(|rest| !rest.is_empty()).unwrap_or(typ)
}

fn text<'a>(members: &'a UniqueMembers, name: &str) -> Result<Option<&'a str>, Reason> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Reason::Header),
    }
}
