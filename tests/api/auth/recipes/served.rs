//! A service with the settings of one recipe, and the signer of its tokens.

use std::fs;

use aws_lc_rs::hmac::HMAC_SHA256;
use serde_json::{Value, json};
use simulator::{Algorithm, Issuer, Running};
use tempfile::TempDir;

use crate::{
    auth::{
        corpus::{changed, mac},
        der::public_key_pem,
    },
    support::{Stage, World, recipes::Recipe},
};

const SECRET: &str = "a secret of more than thirty-two bytes, as a recipe demands";
const OTHER_SECRET: &str = "another secret of more than thirty-two bytes, which is in no file";

/// Claims with a time.
const TIMES: [&str; 4] = ["exp", "iat", "nbf", "auth_time"];

pub struct Served {
    pub world: World,
    pub recipe: Recipe,
    /// The name below `auth.issuers`, and the recipe's settings.
    pub name: String,
    pub settings: toml::Table,
    _files: TempDir,
}

/// An issuer that no service trusts.
pub struct UntrustedIssuer(Running);

impl UntrustedIssuer {
    pub async fn new() -> Self {
        Self(simulator::start(simulator::Config::on_free_ports()).await.expect("free ports"))
    }
}

impl Served {
    pub async fn new(recipe: &Recipe) -> Self {
        let stage = Stage::set().await;
        let files = tempfile::tempdir().unwrap();
        let settings = local(recipe, &files, stage.issuer());
        let world = stage.open_without_issuers(&settings);
        world.until_ready().await;
        let (name, settings) = recipe.issuer();
        Self { world, recipe: recipe.clone(), name, settings, _files: files }
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        self.settings.get(key)?.as_str()
    }

    /// The strings of a list; empty if it is not set.
    pub fn texts(&self, key: &str) -> Vec<String> {
        let list = self.settings.get(key).and_then(toml::Value::as_array);
        let list = list.into_iter().flatten();
        list.map(|item| item.as_str().expect("a text").to_owned()).collect()
    }

    pub fn accepts_id_tokens(&self) -> bool {
        self.text("id_tokens") == Some("accept")
    }

    /// Each of `required_claims` with its accepted values.
    pub fn required(&self) -> Vec<(String, Vec<Value>)> {
        let required = self.settings.get("required_claims").and_then(toml::Value::as_table);
        let of = |value: &toml::Value| serde_json::to_value(value).expect("JSON");
        let values = |value: &toml::Value| match value.as_array() {
            Some(values) => values.iter().map(of).collect(),
            None => vec![of(value)],
        };
        let required = required.into_iter().flatten();
        required.map(|(claim, value)| (claim.clone(), values(value))).collect()
    }

    /// The claims that the document shows, issued now.
    pub fn claims(&self) -> Value {
        let issued = self.recipe.payload["iat"].as_f64().expect("a time");
        self.claims_moved_by(self.world.clock_seconds() - whole(issued))
    }

    /// The same claims, expired just before the leeway.
    pub fn expired(&self) -> Value {
        let end = self.recipe.payload["exp"].as_f64().expect("a time");
        self.claims_moved_by(self.world.clock_seconds() - 31 - whole(end))
    }

    fn claims_moved_by(&self, seconds: i64) -> Value {
        let mut claims = self.recipe.payload.clone();
        for name in TIMES {
            let Some(time) = claims.get_mut(name) else { continue };
            *time = match time.as_i64() {
                Some(whole) => json!(whole + seconds),
                None => json!(
                    time.as_f64().expect("a time") + f64::from(i32::try_from(seconds).unwrap())
                ),
            };
        }
        claims
    }

    /// Changes that the recipe accepts too.
    pub fn also_accepted(&self) -> Vec<(String, Value)> {
        let mut rows = Vec::new();
        for (claim, values) in self.required() {
            for value in values {
                let claims = with(self.claims(), &claim, Some(value.clone()));
                rows.push((format!("{claim} {value}"), claims));
            }
        }
        if self.accepts_id_tokens() {
            rows.push(("an ID token".to_owned(), changed(self.claims(), &json!({"at_hash": "h"}))));
        }
        rows
    }

    /// The header that the document shows, with the issuer's algorithm and key.
    pub fn header(&self) -> Value {
        let header = self.recipe.header.clone().unwrap_or_else(|| json!({"typ": "JWT"}));
        let kid = match self.algorithm() {
            // PEM files and secrets have no key ids.
            Some(algorithm) if self.text("jwks_file").is_none() => {
                json!(self.world.issuer().kid(algorithm).unwrap())
            }
            _ => Value::Null,
        };
        changed(header, &json!({"alg": self.texts("algorithms")[0], "kid": kid}))
    }

    /// Signed by the issuer.
    pub fn token(&self, claims: &Value) -> String {
        self.signed(&self.header(), claims)
    }

    pub fn signed(&self, header: &Value, claims: &Value) -> String {
        match self.algorithm() {
            Some(algorithm) => sign(self.world.issuer(), header, claims, algorithm),
            None => mac(header, claims, HMAC_SHA256, SECRET.as_bytes()),
        }
    }

    /// Signed by another key, or with another secret.
    pub fn forged(&self, untrusted: &UntrustedIssuer, claims: &Value) -> String {
        match self.algorithm() {
            Some(algorithm) => sign(untrusted.0.issuer(), &self.header(), claims, algorithm),
            None => mac(&self.header(), claims, HMAC_SHA256, OTHER_SECRET.as_bytes()),
        }
    }

    /// `None` for a shared secret, which signs with HS256.
    fn algorithm(&self) -> Option<Algorithm> {
        let algorithms = self.texts("algorithms");
        assert_eq!(algorithms.len(), 1, "{}", self.recipe.heading);
        let algorithm = Algorithm::from_name(&algorithms[0]);
        assert!(algorithm.is_some() || algorithms == ["HS256"], "{algorithms:?}");
        algorithm
    }
}

fn sign(issuer: &Issuer, header: &Value, claims: &Value, algorithm: Algorithm) -> String {
    issuer.sign_raw(&header.to_string(), &claims.to_string(), algorithm).expect("a token")
}

/// The settings of a recipe, unchanged except for the source of the keys.
fn local(recipe: &Recipe, files: &TempDir, issuer: &Issuer) -> String {
    let algorithm = &recipe.issuer().1["algorithms"][0];
    // The simulator creates a key on first use.
    if let Some(algorithm) = Algorithm::from_name(algorithm.as_str().unwrap()) {
        issuer.kid(algorithm).unwrap();
    }
    let file = |key: &str, content: &str| {
        let path = files.path().join(key);
        fs::write(&path, content).unwrap();
        format!("{key} = '{}'\n", path.display())
    };
    let line = |line: &str| match line.split_once(" = ").map(|(key, _)| key) {
        Some("discovery" | "jwks_url") => format!("jwks_url = '{}'\n", issuer.jwks_url()),
        Some("hmac_secret_file") => file("hmac_secret_file", SECRET),
        Some("jwks_file") => {
            let keys = issuer.jwks()["keys"].as_array().unwrap().clone();
            let rsa = keys.into_iter().find(|key| key["kty"] == "RSA").expect("an RSA key");
            file("jwks_file", &public_key_pem(&rsa))
        }
        _ => format!("{line}\n"),
    };
    recipe.settings.lines().map(line).collect()
}

/// The claims with another value at this name or JSON Pointer, or without one.
pub fn with(mut claims: Value, path: &str, value: Option<Value>) -> Value {
    let (parent, name) = match path.strip_prefix('/') {
        Some(_) => path.rsplit_once('/').expect("it has a slash"),
        None => ("", path),
    };
    let parent = claims.pointer_mut(parent).expect("a parent").as_object_mut().expect("an object");
    match value {
        Some(value) => parent.insert(name.to_owned(), value),
        None => parent.remove(name),
    };
    claims
}

#[expect(clippy::cast_possible_truncation, reason = "a time in seconds")]
fn whole(seconds: f64) -> i64 {
    seconds.floor() as i64
}
