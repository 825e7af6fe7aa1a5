//! One proof (RFC 9449 §4.2): a JWS that brings its key along.
//!
//! The one place where a key that came with a request is looked at. Its possession is all that it
//! shows: whose key it is, the token says. The key must be as good as an issuer's.

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    auth::{
        Sha256,
        error::{AuthError, ProofFault, Reason},
        jwks::Key,
        token::{Header, Object, TokenAlgorithm, decode, numeric_date, object},
    },
    settings::Algorithm,
};

/// What `typ` must be.
const TYP: &str = "dpop+jwt";

/// Longest `jti`, in bytes: a UUID has 36.
const MAX_JTI_BYTES: usize = 256;

/// Members of a JWK that only who signs may know (RFC 7518 §6.2.2, §6.3.2, §6.4).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// A proof as it came. No `Debug`: it belongs to whoever sent it.
pub(super) struct Proof {
    /// What is signed.
    message: Box<str>,
    signature: Vec<u8>,
    algorithm: Algorithm,
    jwk: Value,
    pub(super) htm: Box<str>,
    pub(super) htu: Box<str>,
    pub(super) iat: Timestamp,
    pub(super) jti: Box<str>,
    /// Of the token that it is for.
    pub(super) ath: Sha256,
    pub(super) nonce: Option<Box<str>>,
}

impl Proof {
    /// Takes the proof apart (RFC 9449 §4.3, 2 to 5).
    pub(super) fn parse(text: &str) -> Result<Self, ProofFault> {
        let malformed = |_: Reason| ProofFault::Malformed;
        let (message, signature) = text.rsplit_once('.').ok_or(ProofFault::Malformed)?;
        let (head, payload) = message.split_once('.').ok_or(ProofFault::Malformed)?;
        let (members, claims) =
            (object(head).map_err(malformed)?, object(payload).map_err(malformed)?);
        let header = Header::parse(&members).map_err(malformed)?;
        if header.typ != TYP {
            return Err(ProofFault::Malformed);
        }
        // A proof shows a key of the phone's own: a secret is none.
        let TokenAlgorithm::Signature(algorithm) = header.algorithm else {
            return Err(ProofFault::Malformed);
        };
        let iat = claims.get("iat").and_then(numeric_date).ok_or(ProofFault::Malformed)?;
        let jti = text_of(&claims, "jti")?;
        if !(1..=MAX_JTI_BYTES).contains(&jti.len()) {
            return Err(ProofFault::Malformed);
        }
        let nonce = claims.has("nonce").then(|| text_of(&claims, "nonce")).transpose()?;
        Ok(Self {
            message: message.into(),
            signature: decode(signature).map_err(malformed)?,
            algorithm,
            jwk: public_key(&members)?.clone(),
            htm: text_of(&claims, "htm")?.into(),
            htu: text_of(&claims, "htu")?.into(),
            iat,
            jti: jti.into(),
            ath: digest_in(text_of(&claims, "ath")?).ok_or(ProofFault::Malformed)?,
            nonce: nonce.map(Box::from),
        })
    }

    /// Checks that its key is the one of that thumbprint, and has made its signature.
    pub(super) fn verify(&self, thumbprint: &Sha256) -> Result<(), AuthError> {
        let algorithm = self.algorithm;
        let key = Key::parse(&self.jwk, &[algorithm]).map_err(|_| ProofFault::Key)?;
        if key.thumbprint() != thumbprint {
            return Err(Reason::Confirmation.into());
        }
        if !key.verifies(algorithm, self.message.as_bytes(), &self.signature) {
            return Err(ProofFault::Signature.into());
        }
        Ok(())
    }
}

/// The header's `jwk`, which must not show what only its owner may know.
fn public_key(header: &Object) -> Result<&Value, ProofFault> {
    let jwk = header.get("jwk").filter(|jwk| jwk.is_object()).ok_or(ProofFault::Key)?;
    if PRIVATE.iter().any(|name| jwk.get(name).is_some()) {
        return Err(ProofFault::Key);
    }
    Ok(jwk)
}

fn text_of<'a>(claims: &'a Object, name: &str) -> Result<&'a str, ProofFault> {
    claims.get(name).and_then(Value::as_str).ok_or(ProofFault::Malformed)
}

/// A SHA-256 digest in base64url, in its one spelling.
pub(in crate::auth) fn digest_in(text: &str) -> Option<Sha256> {
    decode(text).ok()?.try_into().ok()
}
