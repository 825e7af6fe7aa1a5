//! The signature algorithms of tokens (RFC 7518 §3.1, RFC 8037 §3.1), by name.
//!
//! `none` is not among them. HMAC algorithms have their own type, so that a public key cannot be
//! used as a secret, nor a secret as a key (RFC 8725 §3.1).

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
    /// All algorithms.
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

    /// The name in `alg`.
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

    /// Parses a name exactly as in `alg`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

/// An HMAC with a secret that issuer and service share (RFC 7518 §3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum HmacAlgorithm {
    HS256,
    HS384,
    HS512,
}

impl HmacAlgorithm {
    /// All algorithms.
    pub const ALL: [Self; 3] = [Self::HS256, Self::HS384, Self::HS512];

    /// The name in `alg`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
        }
    }

    /// Parses a name exactly as in `alg`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// The shortest accepted secret: as long as the hash (RFC 7518 §3.2).
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
    fn algorithms_are_found_only_by_their_exact_name() {
        for algorithm in Algorithm::ALL {
            assert_eq!(format!("{algorithm:?}"), algorithm.name());
            assert_eq!(Algorithm::from_name(algorithm.name()), Some(algorithm));
        }
        for name in ["none", "HS256", "ES512", "rs256", ""] {
            assert_eq!(Algorithm::from_name(name), None, "{name}");
        }
        for algorithm in HmacAlgorithm::ALL {
            assert_eq!(format!("{algorithm:?}"), algorithm.name());
            assert_eq!(HmacAlgorithm::from_name(algorithm.name()), Some(algorithm));
        }
        for name in ["none", "ES256", "HS1", "hs256", ""] {
            assert_eq!(HmacAlgorithm::from_name(name), None, "{name}");
        }
    }
}
