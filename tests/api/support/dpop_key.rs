//! A client's own key (P-256) and its DPoP proofs (RFC 9449 §4.2).

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use simulator::MintRequest;

use super::{Client, Reply, World};

pub struct DpopKey {
    pair: EcdsaKeyPair,
    pub jwk: Value,
}

impl DpopKey {
    pub fn new() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let jwk = json!({"crv": "P-256", "kty": "EC", "x": base64url(x), "y": base64url(y)});
        Self { pair, jwk }
    }

    /// RFC 7638; the JWK's members are in lexical order.
    pub fn thumbprint(&self) -> String {
        sha256(&self.jwk.to_string())
    }

    /// A request for a token bound to this key.
    pub fn wish(&self, subject: &str) -> MintRequest {
        self.bound(MintRequest::of(subject))
    }

    /// Binds a requested token to this key.
    pub fn bound(&self, wish: MintRequest) -> MintRequest {
        wish.with("cnf", json!({"jkt": self.thumbprint()}))
    }

    /// The world's token for alice, bound to this key.
    pub fn token(&self, world: &World) -> String {
        world.issuer().mint(&self.wish("alice")).unwrap()
    }

    /// A proof for `GET /me/customer` now, with these changes; `null` removes a claim.
    pub fn proof(&self, world: &World, token: &str, changes: &Value) -> String {
        let mut claims = json!({
            "jti": format!("{:032x}", rand::random::<u128>()),
            "htm": "GET",
            "htu": "http://localhost/me/customer",
            "iat": world.clock_seconds(),
            "ath": sha256(token),
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk});
        self.sign(&header, &claims)
    }

    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let [header, claims] = [header, claims].map(|part| base64url(part.to_string()));
        let message = format!("{header}.{claims}");
        let signature = self.pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", base64url(signature))
    }

    /// `GET /me/customer` with a new proof.
    pub async fn me(&self, world: &World, token: &str) -> Reply {
        self.me_with(world, token, &json!({})).await
    }

    pub async fn me_with(&self, world: &World, token: &str, changes: &Value) -> Reply {
        show(&world.anonymous(), "GET", token, &self.proof(world, token, changes)).await
    }
}

/// A request for `/me/customer` with this token and proof.
pub async fn show(client: &Client, method: &str, token: &str, proof: &str) -> Reply {
    let lines = format!("Authorization: DPoP {token}\r\nDPoP: {proof}\r\n");
    client.request(method, "/me/customer", &lines).await
}

fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn sha256(text: &str) -> String {
    base64url(digest(&SHA256, text.as_bytes()))
}
