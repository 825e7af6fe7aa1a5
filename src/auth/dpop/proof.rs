//! One proof (RFC 9449 §4.2): a JWS that contains its own key.
//!
//! This is the only place that uses a key from a request. The proof shows only that the client has the
//! key; the token names the key that it is bound to. The key must be as strong as an issuer's.

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    auth::{
        digest::Sha256,
        error::{AuthError, ProofFault, Reason},
        jwks::Key,
        jwt::{Header, Jws, TokenAlgorithm, digest_in, numeric_date},
    },
    json::UniqueMembers,
    settings::Algorithm,
};

/// The required `typ`.
const TYP: &str = "dpop+jwt";

/// Maximum length of `jti`, in bytes. A UUID has 36.
const MAX_JTI_BYTES: usize = 256;

/// Private members of a JWK (RFC 7518 §6.2.2, §6.3.2, §6.4).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// A parsed proof. No `Debug`: it belongs to its sender.
pub(in crate::auth) struct Proof {
    /// The signing input.
    message: Box<str>,
    signature: Vec<u8>,
    algorithm: Algorithm,
    jwk: Value,
    pub(super) htm: Box<str>,
    pub(super) htu: Box<str>,
    pub(super) iat: Timestamp,
    pub(super) jti: Box<str>,
    /// The digest of the token that the proof is for.
    pub(super) ath: Sha256,
    pub(super) nonce: Option<Box<str>>,
}

impl Proof {
    /// Parses a proof (RFC 9449 §4.3, 2 to 5).
    pub(super) fn parse(text: &str) -> Result<Self, ProofFault> {
        let malformed = |_: Reason| ProofFault::Malformed;
        let jws = Jws::parse(text).map_err(malformed)?;
        let Jws { message, header: members, payload: claims, signature } = jws;
        let header = Header::parse(&members).map_err(malformed)?;
        if header.typ != TYP {
            return Err(ProofFault::Malformed);
        }
        // A shared secret does not prove possession.
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
            signature,
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

    /// Checks that the key has this thumbprint and made the signature.
    pub(in crate::auth) fn verify(&self, thumbprint: &Sha256) -> Result<(), AuthError> {
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

/// The header's `jwk`, without private members.
fn public_key(header: &UniqueMembers) -> Result<&Value, ProofFault> {
    let jwk = header.get("jwk").filter(|jwk| jwk.is_object()).ok_or(ProofFault::Key)?;
    if PRIVATE.iter().any(|name| jwk.get(name).is_some()) {
        return Err(ProofFault::Key);
    }
    Ok(jwk)
}

fn text_of<'a>(claims: &'a UniqueMembers, name: &str) -> Result<&'a str, ProofFault> {
    claims.get(name).and_then(Value::as_str).ok_or(ProofFault::Malformed)
}
