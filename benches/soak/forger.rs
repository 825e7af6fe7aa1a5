//! Makes invalid access tokens from a valid one, each different.

use std::sync::atomic::{AtomicU64, Ordering};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// What is invalid in the tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgery {
    /// A random, unknown `kid`. Old `iat` values rule out that a new key explains it.
    RandomKid,
    /// A known `kid`, and the altered signature of another token.
    Signature,
}

/// Makes forged tokens that name the customer of a valid one.
#[derive(Debug)]
pub struct Forger {
    forgery: Forgery,
    header: Value,
    claims: Value,
    signature: Vec<u8>,
    made: AtomicU64,
}

/// The altered bytes of an ES256 signature (RFC 7518 §3.4): the last ones. The signature stays
/// well-formed, so checking it costs as much as checking a valid one.
const ALTERED: usize = 8;

impl Forger {
    /// A forger with this valid token.
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
        // No two tokens are equal, so a cache of tokens would not help.
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
