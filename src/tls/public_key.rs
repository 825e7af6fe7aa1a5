//! Parses public keys in X.509 format (RFC 5280 §4.1.2.7), in certificates or alone, and RSA keys
//! in PKCS #1 format (RFC 8017 appendix A.1.1). It checks neither the strength of a key nor the
//! validity of its certificate.

use super::certificate::{expect, public_key_of};

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT_ID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;

/// rsaEncryption, 1.2.840.113549.1.1.1 (RFC 3279 §2.3.1)
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// id-ecPublicKey, 1.2.840.10045.2.1 (RFC 5480 §2.1.1)
const ELLIPTIC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// secp256r1 1.2.840.10045.3.1.7, and secp384r1 1.3.132.0.34 (RFC 5480 §2.1.1.1)
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
/// id-Ed25519, 1.3.101.112 (RFC 8410 §3)
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// First byte of an uncompressed point (SEC 1 §2.3.3).
const UNCOMPRESSED: u8 = 0x04;

/// A public key.
#[derive(Debug, PartialEq, Eq)]
pub enum PublicKey<'a> {
    /// Big-endian integers.
    Rsa {
        /// n
        modulus: &'a [u8],
        /// e
        exponent: &'a [u8],
    },
    /// A point of a NIST curve.
    Elliptic {
        /// The curve's name in JWKs.
        curve: &'static str,
        /// The x coordinate.
        x: &'a [u8],
        /// The y coordinate.
        y: &'a [u8],
    },
    /// A point of edwards25519.
    Ed25519(&'a [u8]),
    /// Another kind of key.
    Other,
}

impl<'a> PublicKey<'a> {
    /// The subject's key in a certificate (DER).
    #[must_use]
    pub fn of_certificate(der: &'a [u8]) -> Option<Self> {
        Self::of_info(public_key_of(der)?)
    }

    /// A key in a `SubjectPublicKeyInfo` (DER).
    #[must_use]
    pub fn of_spki(mut der: &'a [u8]) -> Option<Self> {
        let info = expect(&mut der, SEQUENCE)?;
        if der.is_empty() { Self::of_info(info) } else { None }
    }

    /// A key in an `RSAPublicKey` (DER).
    #[must_use]
    pub fn of_pkcs1(mut der: &'a [u8]) -> Option<Self> {
        let mut key = expect(&mut der, SEQUENCE)?;
        let modulus = expect(&mut key, INTEGER)?;
        let exponent = expect(&mut key, INTEGER)?;
        (der.is_empty() && key.is_empty()).then_some(Self::Rsa { modulus, exponent })
    }

    /// A key in the content of a `SubjectPublicKeyInfo`.
    fn of_info(mut info: &'a [u8]) -> Option<Self> {
        let mut algorithm = expect(&mut info, SEQUENCE)?;
        let kind = expect(&mut algorithm, OBJECT_ID)?;
        // Keys have whole bytes, so the number of unused bits is 0.
        let key = expect(&mut info, BIT_STRING)?.strip_prefix(&[0])?;
        match kind {
            RSA => Self::of_pkcs1(key),
            ED25519 => Some(Self::Ed25519(key)),
            ELLIPTIC => match expect(&mut algorithm, OBJECT_ID)? {
                P256 => Self::of_point("P-256", key),
                P384 => Self::of_point("P-384", key),
                _ => Some(Self::Other),
            },
            _ => Some(Self::Other),
        }
    }

    fn of_point(curve: &'static str, point: &'a [u8]) -> Option<Self> {
        let coordinates = point.strip_prefix(&[UNCOMPRESSED])?;
        let (x, y) = coordinates.split_at_checked(coordinates.len() / 2)?;
        Some(Self::Elliptic { curve, x, y })
    }
}
