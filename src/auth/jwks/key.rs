//! One signing key of an issuer, parsed from its JWK (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2).
//!
//! Rejects keys that cannot verify a signature of the issuer's algorithms: symmetric keys,
//! encryption keys, weak or malformed keys, and keys published with their private part.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
    RsaPublicKeyComponents, VerificationAlgorithm,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use super::small_order;
use crate::{
    auth::digest::{Sha256, sha256},
    settings::Algorithm,
};

/// In bits. NIST SP 800-131A disallows shorter keys; longer ones take too long to verify.
const RSA_MODULUS_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// All exponents in use have 17 bits; 32 bits are accepted.
const MAX_RSA_EXPONENT_BYTES: usize = 4;

/// The first byte of an uncompressed point (SEC 1 §2.3.3).
const UNCOMPRESSED: u8 = 0x04;

const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// Why a JWK is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnusableKey {
    #[error("not a JWK")]
    Malformed,
    #[error("not for verifying signatures")]
    Purpose,
    #[error("unsupported type or curve")]
    Type,
    #[error("matches none of the issuer's algorithms")]
    Algorithm,
    #[error("weak or broken")]
    Material,
    #[error("contains the private key")]
    Private,
    #[error("too many keys have the same kid")]
    TooManyWithKid,
}

/// A public key and the algorithms that it supports.
pub(crate) struct Key {
    kid: Option<Box<str>>,
    /// The key, parsed for each algorithm that it supports.
    parsed: Vec<(Algorithm, ParsedPublicKey)>,
    thumbprint: Sha256,
}

/// The members of a JWK that are used; others (`x5c`, …) are ignored.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<IgnoredAny>,
    p: Option<IgnoredAny>,
    q: Option<IgnoredAny>,
}

/// The parts of a key, checked as far as its members allow.
struct Material {
    algorithms: &'static [Algorithm],
    public: Public,
    /// The required members in order, without white space (RFC 7638 §3.2).
    canonical: String,
}

enum Public {
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
    /// A point of an elliptic curve.
    Point(Vec<u8>),
}

/// How a signature is checked, by the type of key.
enum Parameters {
    /// RFC 7518 §3.3 and §3.5; the salt of PSS is as long as the hash.
    Rsa(&'static RsaParameters),
    /// RFC 7518 §3.4: two numbers of fixed length, not DER; RFC 8037 §3.1.
    Curve(&'static dyn VerificationAlgorithm),
}

/// The parameters of the crypto library.
const fn parameters(algorithm: Algorithm) -> Parameters {
    match algorithm {
        Algorithm::RS256 => Parameters::Rsa(&RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Parameters::Rsa(&RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Parameters::Rsa(&RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Parameters::Rsa(&RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Parameters::Rsa(&RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Parameters::Rsa(&RSA_PSS_2048_8192_SHA512),
        Algorithm::ES256 => Parameters::Curve(&ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => Parameters::Curve(&ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDSA => Parameters::Curve(&ED25519),
    }
}

impl Key {
    /// Parses a JWK. `accepted` are the algorithms in the issuer's settings.
    pub(crate) fn parse(jwk: &Value, accepted: &[Algorithm]) -> Result<Self, UnusableKey> {
        // serde would also accept a list of the members' values.
        let jwk = jwk.as_object().ok_or(UnusableKey::Malformed)?;
        let jwk = Jwk::deserialize(jwk).map_err(|_| UnusableKey::Malformed)?;
        if jwk.usage.as_ref().is_some_and(|usage| usage != "sig")
            || jwk.key_ops.as_ref().is_some_and(|ops| !ops.iter().any(|op| op == "verify"))
        {
            return Err(UnusableKey::Purpose);
        }
        if jwk.d.is_some() || jwk.p.is_some() || jwk.q.is_some() {
            return Err(UnusableKey::Private);
        }
        let Material { algorithms, public, canonical } = jwk.material()?;
        let named = jwk.alg.as_deref().map(Algorithm::from_name);
        let parsed: Vec<_> = algorithms
            .iter()
            .copied()
            .filter(|fitting| accepted.contains(fitting))
            .filter(|fitting| named.is_none_or(|named| named == Some(*fitting)))
            .map(|algorithm| Ok((algorithm, public.parsed_for(algorithm)?)))
            .collect::<Result<_, _>>()?;
        if parsed.is_empty() {
            return Err(UnusableKey::Algorithm);
        }
        Ok(Self { kid: jwk.kid.map(Box::from), parsed, thumbprint: sha256(canonical.as_bytes()) })
    }

    pub(crate) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The SHA-256 thumbprint (RFC 7638). It does not depend on the `kid`.
    pub(crate) const fn thumbprint(&self) -> &Sha256 {
        &self.thumbprint
    }

    /// Whether it can verify signatures of this algorithm.
    pub(crate) fn supports(&self, algorithm: Algorithm) -> bool {
        self.parsed_for(algorithm).is_some()
    }

    /// Whether it made this signature.
    pub(crate) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        self.parsed_for(algorithm).is_some_and(|key| key.verify_sig(message, signature).is_ok())
    }

    fn parsed_for(&self, algorithm: Algorithm) -> Option<&ParsedPublicKey> {
        self.parsed.iter().find(|(supported, _)| *supported == algorithm).map(|(_, key)| key)
    }
}

impl Public {
    /// Parses the key once, so that signature checks do not have to.
    fn parsed_for(&self, algorithm: Algorithm) -> Result<ParsedPublicKey, UnusableKey> {
        let parsed = match (self, parameters(algorithm)) {
            (Self::Rsa(key), Parameters::Rsa(parameters)) => key.to_parsed_public_key(parameters),
            (Self::Point(point), Parameters::Curve(curve)) => ParsedPublicKey::new(curve, point),
            (Self::Rsa(_), Parameters::Curve(_)) | (Self::Point(_), Parameters::Rsa(_)) => {
                return Err(UnusableKey::Algorithm);
            }
        };
        parsed.map_err(|_| UnusableKey::Material)
    }
}

impl Jwk {
    fn material(&self) -> Result<Material, UnusableKey> {
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => self.rsa(),
            ("EC", Some("P-256")) => self.elliptic("P-256", 32, &[Algorithm::ES256]),
            ("EC", Some("P-384")) => self.elliptic("P-384", 48, &[Algorithm::ES384]),
            ("OKP", Some("Ed25519")) => self.edwards(),
            _ => Err(UnusableKey::Type),
        }
    }

    fn rsa(&self) -> Result<Material, UnusableKey> {
        let modulus = integer(self.n.as_deref())?;
        let exponent = integer(self.e.as_deref())?;
        let is_odd = |integer: &[u8]| integer.last().is_some_and(|byte| byte % 2 == 1);
        let is_sound = RSA_MODULUS_BITS.contains(&bits(&modulus))
            && exponent.len() <= MAX_RSA_EXPONENT_BYTES
            && exponent != [1]
            && is_odd(&modulus)
            && is_odd(&exponent);
        if !is_sound {
            return Err(UnusableKey::Material);
        }
        Ok(Material {
            algorithms: RSA,
            canonical: format!(
                r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#,
                URL_SAFE_NO_PAD.encode(&exponent),
                URL_SAFE_NO_PAD.encode(&modulus)
            ),
            public: Public::Rsa(RsaPublicKeyComponents { n: modulus, e: exponent }),
        })
    }

    /// Whether the point is on its curve is checked when the key is parsed.
    fn elliptic(
        &self,
        curve: &str,
        coordinate_bytes: usize,
        algorithms: &'static [Algorithm],
    ) -> Result<Material, UnusableKey> {
        let x = octets(self.x.as_deref())?;
        let y = octets(self.y.as_deref())?;
        if [&x, &y].iter().any(|coordinate| coordinate.len() != coordinate_bytes) {
            return Err(UnusableKey::Material);
        }
        Ok(Material {
            algorithms,
            public: Public::Point([&[UNCOMPRESSED], x.as_slice(), y.as_slice()].concat()),
            canonical: format!(
                r#"{{"crv":"{curve}","kty":"EC","x":"{}","y":"{}"}}"#,
                URL_SAFE_NO_PAD.encode(x),
                URL_SAFE_NO_PAD.encode(y)
            ),
        })
    }

    fn edwards(&self) -> Result<Material, UnusableKey> {
        let x = octets(self.x.as_deref())?;
        if small_order::is_small_order(&x) {
            return Err(UnusableKey::Material);
        }
        Ok(Material {
            algorithms: &[Algorithm::EdDSA],
            canonical: format!(
                r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#,
                URL_SAFE_NO_PAD.encode(&x)
            ),
            public: Public::Point(x),
        })
    }
}

fn octets(base64url: Option<&str>) -> Result<Vec<u8>, UnusableKey> {
    URL_SAFE_NO_PAD
        .decode(base64url.ok_or(UnusableKey::Malformed)?)
        .map_err(|_| UnusableKey::Malformed)
}

/// A big-endian integer. Leading zeros are removed: some issuers send them, although RFC 7518 §2
/// forbids that.
fn integer(base64url: Option<&str>) -> Result<Vec<u8>, UnusableKey> {
    Ok(octets(base64url)?.into_iter().skip_while(|byte| *byte == 0).collect())
}

/// The bit length of an integer without leading zeros.
fn bits(integer: &[u8]) -> usize {
    let unused = integer.first().map_or(0, |first| first.leading_zeros());
    integer.len().saturating_mul(8).saturating_sub(usize::try_from(unused).unwrap_or(usize::MAX))
}
