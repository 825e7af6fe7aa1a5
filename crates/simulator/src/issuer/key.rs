//! Signing keys: generation, JWK, signatures. One RSA key serves all six RSA algorithms.

use aws_lc_rs::{
    rand::SystemRandom,
    rsa,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
        RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    DecodingKey,
    jwk::{Jwk, KeyAlgorithm, PublicKeyUse, ThumbprintHash},
};

use super::algorithm::{self, Algorithm};

/// Why generating a key or signing failed.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The crypto library gives no reason.
    #[error("the crypto library failed")]
    Crypto(#[from] aws_lc_rs::error::Unspecified),
    /// The public key can't be written as a JWK.
    #[error("failed to write the key as a JWK: {0}")]
    Jwk(#[from] jsonwebtoken::errors::Error),
    /// The key isn't one for that algorithm.
    #[error("the key does not match {0:?}")]
    Algorithm(Algorithm),
}

/// The kind of key that an algorithm needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Rsa,
    P256,
    P384,
    Ed25519,
}

enum Pair {
    Rsa(rsa::KeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A key pair.
pub(super) struct SigningKey {
    pair: Pair,
    /// RFC 7638 thumbprint with SHA-256, base64url.
    pub(super) kid: String,
    /// The public key as published.
    pub(super) jwk: Jwk,
}

impl SigningKey {
    /// Generates a key.
    pub(super) fn generate(family: Family) -> Result<Self, SigningError> {
        let (pair, public, algorithm) = match family {
            Family::Rsa => {
                let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048)?;
                let public = DecodingKey::from_rsa_der(pair.public_key().as_ref());
                // Without `alg`, because it serves all RSA algorithms.
                (Pair::Rsa(pair), public, None)
            }
            Family::P256 => {
                let (pair, public) = elliptic(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
                (Pair::P256(pair), public, Some(KeyAlgorithm::ES256))
            }
            Family::P384 => {
                let (pair, public) = elliptic(&ECDSA_P384_SHA384_FIXED_SIGNING)?;
                (Pair::P384(pair), public, Some(KeyAlgorithm::ES384))
            }
            Family::Ed25519 => {
                let pair = Ed25519KeyPair::generate()?;
                let public = DecodingKey::from_ed_der(pair.public_key().as_ref());
                (Pair::Ed25519(pair), public, Some(KeyAlgorithm::EdDSA))
            }
        };
        let mut jwk = Jwk::from_decoding_key(&public, None)?;
        let kid = jwk.thumbprint(ThumbprintHash::SHA256)?;
        jwk.common.key_id = Some(kid.clone());
        jwk.common.key_algorithm = algorithm;
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        Ok(Self { pair, kid, jwk })
    }

    /// The key's family.
    pub(super) const fn family(&self) -> Family {
        match self.pair {
            Pair::Rsa(_) => Family::Rsa,
            Pair::P256(_) => Family::P256,
            Pair::P384(_) => Family::P384,
            Pair::Ed25519(_) => Family::Ed25519,
        }
    }

    /// A JWS in compact serialization (RFC 7515 §7.1) of any header and payload.
    pub(super) fn sign(
        &self,
        algorithm: Algorithm,
        header: &str,
        payload: &str,
    ) -> Result<String, SigningError> {
        let message =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = self.signature(algorithm, message.as_bytes())?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn signature(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, SigningError> {
        if algorithm::family(algorithm) != self.family() {
            return Err(SigningError::Algorithm(algorithm));
        }
        match &self.pair {
            Pair::Rsa(pair) => {
                let padding = padding(algorithm).ok_or(SigningError::Algorithm(algorithm))?;
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &SystemRandom::new(), message, &mut signature)?;
                Ok(signature)
            }
            Pair::P256(pair) | Pair::P384(pair) => {
                Ok(pair.sign(&SystemRandom::new(), message)?.as_ref().to_vec())
            }
            Pair::Ed25519(pair) => Ok(pair.try_sign(message)?.as_ref().to_vec()),
        }
    }
}

fn elliptic(
    algorithm: &'static EcdsaSigningAlgorithm,
) -> Result<(EcdsaKeyPair, DecodingKey), SigningError> {
    let pair = EcdsaKeyPair::generate(algorithm)?;
    let public = DecodingKey::from_ec_der(pair.public_key().as_ref());
    Ok((pair, public))
}

/// The padding of an RSA algorithm (RFC 7518 §3.3, §3.5); `None` for others.
const fn padding(algorithm: Algorithm) -> Option<&'static dyn RsaEncoding> {
    match algorithm {
        Algorithm::RS256 => Some(&RSA_PKCS1_SHA256),
        Algorithm::RS384 => Some(&RSA_PKCS1_SHA384),
        Algorithm::RS512 => Some(&RSA_PKCS1_SHA512),
        Algorithm::PS256 => Some(&RSA_PSS_SHA256),
        Algorithm::PS384 => Some(&RSA_PSS_SHA384),
        Algorithm::PS512 => Some(&RSA_PSS_SHA512),
        Algorithm::ES256 | Algorithm::ES384 | Algorithm::EdDSA => None,
    }
}
