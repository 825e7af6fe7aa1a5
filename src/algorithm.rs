//! The signature algorithms that tokens may have (RFC 7518 §3.1, RFC 8037 §3.1), by name.
//!
//! `none` has no place here, so nothing can name it by mistake. The HMAC family has a type of its own,
//! so that no public key can be taken for a secret, nor a secret for a key (RFC 8725 §3.1).

/// A signature algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl Algorithm {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
    ];

    /// Its name, as `alg` has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }

    /// The one of that name, to the letter.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

/// An HMAC with a secret that both sides have (RFC 7518 §3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum HmacAlgorithm {
    HS256,
    HS384,
    HS512,
}

impl HmacAlgorithm {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::HS256, Self::HS384, Self::HS512];

    /// Its name, as `alg` has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
        }
    }

    /// The one of that name, to the letter.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// The least bytes of its secret: as many as its hash has.
    #[must_use]
    pub const fn min_secret_bytes(self) -> usize {
        match self {
            Self::HS256 => 32,
            Self::HS384 => 48,
            Self::HS512 => 64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_is_found_by_its_name_and_no_other() {
        for algorithm in Algorithm::ALL {
            assert_eq!(format!("{algorithm:?}"), algorithm.name());
            assert_eq!(Algorithm::named(algorithm.name()), Some(algorithm));
        }
        for name in ["none", "HS256", "ES512", "rs256", ""] {
            assert_eq!(Algorithm::named(name), None, "{name}");
        }
        for algorithm in HmacAlgorithm::ALL {
            assert_eq!(format!("{algorithm:?}"), algorithm.name());
            assert_eq!(HmacAlgorithm::named(algorithm.name()), Some(algorithm));
        }
        for name in ["none", "ES256", "HS1", "hs256", ""] {
            assert_eq!(HmacAlgorithm::named(name), None, "{name}");
        }
    }
}
