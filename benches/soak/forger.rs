//! Makes bearer tokens that no issuer has signed, each another one, from a token that one has.

use std::sync::atomic::{AtomicU64, Ordering};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// What is wrong with a forger's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgery {
    /// Their `kid` is nobody's, each another. They were issued long ago, so that no new key explains it.
    RandomKid,
    /// Their `kid` is good; the signature is one of another token, altered.
    Signature,
}

/// Makes forged tokens that name the customer of a good one.
#[derive(Debug)]
pub struct Forger {
    forgery: Forgery,
    header: Value,
    claims: Value,
    signature: Vec<u8>,
    made: AtomicU64,
}

/// Of a signature of ES256 (RFC 7518 §3.4) the last bytes are altered: it stays well-formed, so that
/// checking it costs as much as checking a good one.
const ALTERED: usize = 8;

impl Forger {
    /// A forger who has got hold of this token.
    pub fn new(forgery: Forgery, token: &str) -> Self {
        let parts: Vec<_> =
            token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
        let [header, claims, signature] = parts.try_into().unwrap();
        let json = |part: Vec<u8>| serde_json::from_slice(&part).unwrap();
        let made = AtomicU64::default();
        Self { forgery, header: json(header), claims: json(claims), signature, made }
    }

    /// The next forged token.
    pub fn token(&self) -> String {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let (mut header, mut claims) = (self.header.clone(), self.claims.clone());
        let mut signature = self.signature.clone();
        // No two are the same: a cache of tokens would be of no use.
        claims["jti"] = json!(format!("forged-{number}"));
        match self.forgery {
            Forgery::RandomKid => {
                header["kid"] = json!(random_kid());
                claims["iat"] = json!(0);
            }
            Forgery::Signature => {
                let intact = signature.len() - ALTERED;
                signature[intact..].copy_from_slice(&rand::random::<[u8; ALTERED]>());
            }
        }
        let parts = [header.to_string().into(), claims.to_string().into(), signature];
        parts.map(|part: Vec<u8>| URL_SAFE_NO_PAD.encode(part)).join(".")
    }
}

/// As long as an RFC 7638 thumbprint.
fn random_kid() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}
