//! Parses a JWS in compact form (RFC 7515 §3.1) whose payload is a JSON object: an access token, a
//! logout token or a DPoP proof. Does not check the signature.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::json::Object;
use crate::auth::error::Reason;

/// The decoded parts of a JWS.
pub(in crate::auth) struct Jws<'a> {
    /// The signing input (RFC 7515 §5.1): header and payload, exactly as received.
    pub(in crate::auth) message: &'a str,
    pub(in crate::auth) header: Object,
    pub(in crate::auth) payload: Object,
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
pub(in crate::auth) fn object(part: &str) -> Result<Object, Reason> {
    serde_json::from_slice(&decode(part)?).map_err(|_| Reason::NotJws)
}

/// Decodes base64url without padding. Unused trailing bits must be zero, so each part has exactly
/// one valid form.
pub(in crate::auth) fn decode(part: &str) -> Result<Vec<u8>, Reason> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Reason::NotJws)
}
