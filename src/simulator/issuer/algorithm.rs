//! The algorithms by name, and which key each needs.

use serde::{Deserialize, Deserializer, de};

use super::key::Family;
use crate::settings::Algorithm;

/// What tokens are signed with when nobody says otherwise.
pub(super) const DEFAULT: Algorithm = Algorithm::ES256;

/// Every algorithm.
const ALL: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// The names of all, in the same order.
pub(super) const NAMES: [&str; 9] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

/// Its name as `alg` has it.
pub(super) const fn name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::RS256 => "RS256",
        Algorithm::RS384 => "RS384",
        Algorithm::RS512 => "RS512",
        Algorithm::PS256 => "PS256",
        Algorithm::PS384 => "PS384",
        Algorithm::PS512 => "PS512",
        Algorithm::ES256 => "ES256",
        Algorithm::ES384 => "ES384",
        Algorithm::EdDSA => "EdDSA",
    }
}

/// The sort of key that it needs.
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

/// Reads a name.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Algorithm, D::Error> {
    let text = String::deserialize(from)?;
    ALL.into_iter()
        .find(|algorithm| name(*algorithm) == text)
        .ok_or_else(|| de::Error::unknown_variant(&text, &NAMES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_is_read_by_its_name() {
        assert_eq!(ALL.map(name), NAMES);
        for algorithm in ALL {
            assert_eq!(deserialize(serde_json::json!(name(algorithm))).unwrap(), algorithm);
        }
        let error = deserialize(serde_json::json!("HS256")).unwrap_err().to_string();
        assert!(error.contains("HS256") && error.contains("EdDSA"), "{error}");
    }
}
