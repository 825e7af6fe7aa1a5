//! Which key family each algorithm needs.

use serde::{Deserialize, Deserializer, de};

use super::key::Family;
use crate::settings::Algorithm;

/// The default signing algorithm.
pub(super) const DEFAULT: Algorithm = Algorithm::ES256;

/// The key family of an algorithm.
pub(super) const fn family(algorithm: Algorithm) -> Family {
    match algorithm {
        Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512 => Family::Rsa,
        Algorithm::ES256 => Family::P256,
        Algorithm::ES384 => Family::P384,
        Algorithm::EdDSA => Family::Ed25519,
    }
}

/// Deserializes an algorithm's name.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Algorithm, D::Error> {
    let text = String::deserialize(from)?;
    Algorithm::from_name(&text).ok_or_else(|| {
        let names = Algorithm::ALL.map(Algorithm::name).join(", ");
        de::Error::custom(format!("expected one of {names}, found `{text}`"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algorithms_are_parsed_by_name() {
        for algorithm in Algorithm::ALL {
            assert_eq!(deserialize(serde_json::json!(algorithm.name())).unwrap(), algorithm);
        }
        let error = deserialize(serde_json::json!("HS256")).unwrap_err().to_string();
        assert!(error.contains("HS256") && error.contains("EdDSA"), "{error}");
    }
}
