//! One signing key of an issuer, from its JWK (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2).
//!
//! Refuses all that can't check a signature of an algorithm that the issuer uses: symmetric keys,
//! keys for encryption, weak or broken ones, and keys whose private half is published.

use aws_lc_rs::signature::{ParsedPublicKey, RsaPublicKeyComponents};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use super::small_order;
use crate::{
    auth::{
        Sha256,
        algorithm::{Scheme, scheme},
        sha256,
    },
    settings::Algorithm,
};

/// Bits. NIST SP 800-131A forbids less; more takes longer to check than a request may.
const RSA_MODULUS_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// An RSA exponent has at most 32 bits; all in use have 17.
const MAX_RSA_EXPONENT_BYTES: usize = 4;

/// An uncompressed point (SEC 1 §2.3.3) begins with this.
const UNCOMPRESSED: u8 = 0x04;

const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// Why a JWK isn't used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
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
    Sharing,
}

/// A public key, and what it may check.
pub(crate) struct Key {
    kid: Option<Box<str>>,
    /// The key, made ready for each algorithm that it may check.
    ready: Vec<(Algorithm, ParsedPublicKey)>,
    thumbprint: Sha256,
}

/// The members of a JWK that matter here; the rest (`x5c`, …) is ignored.
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

/// What a key consists of, checked as far as its members go.
struct Material {
    algorithms: &'static [Algorithm],
    public: Public,
    /// RFC 7638 §3.2: the members that make the key, in order, without white space.
    canonical: String,
}

enum Public {
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
    /// A point of a curve.
    Point(Vec<u8>),
}

impl Key {
    /// Takes a JWK of an issuer that uses `issuers` algorithms.
    pub(crate) fn parse(jwk: &Value, issuers: &[Algorithm]) -> Result<Self, Unusable> {
        // serde would take a list of the members' values, too.
        let jwk = jwk.as_object().ok_or(Unusable::Malformed)?;
        let jwk = Jwk::deserialize(jwk).map_err(|_| Unusable::Malformed)?;
        if jwk.usage.as_ref().is_some_and(|usage| usage != "sig")
            || jwk.key_ops.as_ref().is_some_and(|ops| !ops.iter().any(|op| op == "verify"))
        {
            return Err(Unusable::Purpose);
        }
        if jwk.d.is_some() || jwk.p.is_some() || jwk.q.is_some() {
            return Err(Unusable::Private);
        }
        let Material { algorithms, public, canonical } = jwk.material()?;
        let named = jwk.alg.as_deref().map(Algorithm::named);
        let ready: Vec<_> = algorithms
            .iter()
            .copied()
            .filter(|fitting| issuers.contains(fitting))
            .filter(|fitting| named.is_none_or(|named| named == Some(*fitting)))
            .map(|algorithm| Ok((algorithm, public.ready_for(algorithm)?)))
            .collect::<Result<_, _>>()?;
        if ready.is_empty() {
            return Err(Unusable::Algorithm);
        }
        Ok(Self { kid: jwk.kid.map(Box::from), ready, thumbprint: sha256(canonical.as_bytes()) })
    }

    pub(crate) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// RFC 7638, with SHA-256: the same for the same key, whatever its `kid`.
    pub(crate) const fn thumbprint(&self) -> &Sha256 {
        &self.thumbprint
    }

    /// Whether it may check signatures of that algorithm.
    pub(crate) fn serves(&self, algorithm: Algorithm) -> bool {
        self.ready_for(algorithm).is_some()
    }

    /// Whether it made this signature of that algorithm.
    pub(crate) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        self.ready_for(algorithm).is_some_and(|key| key.verify_sig(message, signature).is_ok())
    }

    fn ready_for(&self, algorithm: Algorithm) -> Option<&ParsedPublicKey> {
        self.ready.iter().find(|(ours, _)| *ours == algorithm).map(|(_, key)| key)
    }
}

impl Public {
    /// Makes the key ready once, so that no check of a signature has to parse it.
    fn ready_for(&self, algorithm: Algorithm) -> Result<ParsedPublicKey, Unusable> {
        let ready = match (self, scheme(algorithm)) {
            (Self::Rsa(key), Scheme::Rsa(parameters)) => key.to_parsed_public_key(parameters),
            (Self::Point(point), Scheme::Curve(curve)) => ParsedPublicKey::new(curve, point),
            (Self::Rsa(_), Scheme::Curve(_)) | (Self::Point(_), Scheme::Rsa(_)) => {
                return Err(Unusable::Algorithm);
            }
        };
        ready.map_err(|_| Unusable::Material)
    }
}

impl Jwk {
    fn material(&self) -> Result<Material, Unusable> {
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => self.rsa(),
            ("EC", Some("P-256")) => self.elliptic("P-256", 32, &[Algorithm::ES256]),
            ("EC", Some("P-384")) => self.elliptic("P-384", 48, &[Algorithm::ES384]),
            ("OKP", Some("Ed25519")) => self.edwards(),
            _ => Err(Unusable::Type),
        }
    }

    fn rsa(&self) -> Result<Material, Unusable> {
        let modulus = integer(self.n.as_deref())?;
        let exponent = integer(self.e.as_deref())?;
        let is_odd = |integer: &[u8]| integer.last().is_some_and(|byte| byte % 2 == 1);
        let is_sound = RSA_MODULUS_BITS.contains(&bits(&modulus))
            && exponent.len() <= MAX_RSA_EXPONENT_BYTES
            && exponent != [1]
            && is_odd(&modulus)
            && is_odd(&exponent);
        if !is_sound {
            return Err(Unusable::Material);
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

    /// Whether the point is on its curve is told when the key is made ready.
    fn elliptic(
        &self,
        curve: &str,
        coordinate_bytes: usize,
        algorithms: &'static [Algorithm],
    ) -> Result<Material, Unusable> {
        let x = octets(self.x.as_deref())?;
        let y = octets(self.y.as_deref())?;
        if [&x, &y].iter().any(|coordinate| coordinate.len() != coordinate_bytes) {
            return Err(Unusable::Material);
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

    fn edwards(&self) -> Result<Material, Unusable> {
        let x = octets(self.x.as_deref())?;
        if small_order::is_one(&x) {
            return Err(Unusable::Material);
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

fn octets(base64url: Option<&str>) -> Result<Vec<u8>, Unusable> {
    URL_SAFE_NO_PAD.decode(base64url.ok_or(Unusable::Malformed)?).map_err(|_| Unusable::Malformed)
}

/// A big-endian integer without leading zeros, which some issuers write although RFC 7518 §2
/// forbids them.
fn integer(base64url: Option<&str>) -> Result<Vec<u8>, Unusable> {
    Ok(octets(base64url)?.into_iter().skip_while(|byte| *byte == 0).collect())
}

/// The length of an integer without leading zeros.
fn bits(integer: &[u8]) -> usize {
    let unused = integer.first().map_or(0, |first| first.leading_zeros());
    integer.len().saturating_mul(8).saturating_sub(usize::try_from(unused).unwrap_or(usize::MAX))
}
