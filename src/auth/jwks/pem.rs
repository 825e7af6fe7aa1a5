//! Public keys and certificates in PEM (RFC 7468), converted to JWKs without `kid`.
//!
//! Only files may be PEM; a URL returns a JWK set. A file with a private key in any block is
//! rejected. The validity of certificates is not checked, because the operator chose the file.
//!
//! x509-parser parses the keys. The blocks are read here, because one invalid block must reject the
//! file: rustls-pki-types skips "RSA PUBLIC KEY", x509-parser's reader ignores the label of an END
//! line, and the crate pem skips a block without one.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use x509_parser::{
    certificate::X509Certificate,
    error::X509Error,
    oid_registry::{OID_EC_P256, OID_NIST_EC_P384, OID_SIG_ED25519},
    prelude::FromDer,
    public_key::{PublicKey, RSAPublicKey},
    x509::SubjectPublicKeyInfo,
};

use super::SetError;
use crate::tls::pem_block;

/// Maximum number of keys in a file. A token is checked with each of them.
pub(super) const MAX_KEYS: usize = 4;

const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";

/// First byte of an uncompressed point (SEC 1 §2.3.3).
const UNCOMPRESSED: u8 = 0x04;

/// Whether a file is PEM. A JWK set starts with a brace.
pub(super) fn is_pem(text: &[u8]) -> bool {
    let text = text.trim_ascii_start();
    !text.starts_with(b"{") && text.windows(BEGIN.len()).any(|it| it == BEGIN.as_bytes())
}

/// The key of each block; `null` for a block that cannot be parsed.
pub(super) fn keys(text: &[u8]) -> Result<Vec<Value>, SetError> {
    let text = str::from_utf8(text).map_err(|_| SetError::Pem)?;
    if text.lines().filter_map(label).any(|label| label.contains("PRIVATE")) {
        return Err(SetError::PrivateKey);
    }
    let mut keys = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(begin) = lines.next() {
        let Some(label) = label(begin) else { continue };
        if keys.len() == MAX_KEYS {
            return Err(SetError::TooManyInPem);
        }
        let to_jwk: fn(&[u8]) -> Option<Value> = match label {
            "PUBLIC KEY" => |der| jwk(&whole::<SubjectPublicKeyInfo<'_>>(der)?),
            "RSA PUBLIC KEY" => |der| Some(rsa_jwk(&whole(der)?)),
            "CERTIFICATE" => |der| jwk(whole::<X509Certificate<'_>>(der)?.public_key()),
            _ => return Err(SetError::Pem),
        };
        let der = pem_block(&mut lines, label, text.len()).ok_or(SetError::Pem)?;
        keys.push(to_jwk(&der).unwrap_or_default());
    }
    Ok(keys)
}

fn label(line: &str) -> Option<&str> {
    line.trim().strip_prefix(BEGIN)?.strip_suffix(DASHES)
}

/// Parses DER without anything after it.
fn whole<'a, T: FromDer<'a, X509Error>>(der: &'a [u8]) -> Option<T> {
    T::from_der(der).ok().filter(|(rest, _)| rest.is_empty()).map(|(_, parsed)| parsed)
}

/// `None` for a malformed key. The strength of keys is checked later.
fn jwk(info: &SubjectPublicKeyInfo<'_>) -> Option<Value> {
    // A JWK of a type that is never used.
    let other = || Some(json!({"kty": ""}));
    if info.subject_public_key.unused_bits != 0 {
        return None;
    }
    match info.parsed().ok()? {
        PublicKey::RSA(key) => Some(rsa_jwk(&key)),
        PublicKey::EC(point) => {
            let oid = info.algorithm.parameters.as_ref()?.as_oid().ok()?;
            let mut curves = [("P-256", OID_EC_P256), ("P-384", OID_NIST_EC_P384)].into_iter();
            let Some((curve, _)) = curves.find(|(_, of_curve)| *of_curve == oid) else {
                return other();
            };
            let coordinates = point.data().strip_prefix(&[UNCOMPRESSED])?;
            let (x, y) = coordinates.split_at_checked(coordinates.len() / 2)?;
            Some(json!({"kty": "EC", "crv": curve, "x": base64url(x), "y": base64url(y)}))
        }
        PublicKey::Unknown(x) if info.algorithm.algorithm == OID_SIG_ED25519 => {
            Some(json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(x)}))
        }
        PublicKey::DSA(_)
        | PublicKey::GostR3410(_)
        | PublicKey::GostR3410_2012(_)
        | PublicKey::Unknown(_) => other(),
    }
}

fn rsa_jwk(key: &RSAPublicKey<'_>) -> Value {
    json!({"kty": "RSA", "n": base64url(key.modulus), "e": base64url(key.exponent)})
}

fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};

    use super::*;
    use crate::auth::{
        jwks::{KeySelector, KeySet, UnusableKey},
        testing::{P256, P384, RSA, base64url, issuer},
    };
    use crate::settings::Algorithm;

    const END: &str = "-----END ";

    fn block(label: &str, der: &[u8]) -> String {
        let text = STANDARD.encode(der);
        let lines: Vec<_> =
            text.as_bytes().chunks(64).map(|it| str::from_utf8(it).unwrap()).collect();
        format!("{BEGIN}{label}{DASHES}\n{}\n{END}{label}{DASHES}\n", lines.join("\n"))
    }

    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82], &length[..], content].concat()
    }

    fn rsa_of(modulus: &[u8]) -> Vec<u8> {
        let integers = [der(0x02, &[&[0], modulus].concat()), der(0x02, &[1, 0, 1])];
        der(0x30, &integers.concat())
    }

    fn rsa() -> Vec<u8> {
        rsa_of(&URL_SAFE_NO_PAD.decode(RSA.public["n"].as_str().unwrap()).unwrap())
    }

    fn spki(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
        der(0x30, &[der(0x30, algorithm), der(0x03, &[&[0], key].concat())].concat())
    }

    fn rsa_info(key: &[u8]) -> Vec<u8> {
        let oid = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
        spki(&oid, key)
    }

    fn generated(algorithm: &'static rcgen::SignatureAlgorithm) -> KeyPair {
        KeyPair::generate_for(algorithm).unwrap()
    }

    fn file(text: &str) -> Result<(KeySet, Vec<UnusableKey>), SetError> {
        let parsed = KeySet::parse_file(text.as_bytes(), &issuer().algorithms);
        parsed.map(|(set, out)| (set, out.into_iter().map(|out| out.why).collect()))
    }

    fn fitting(set: &KeySet, kid: Option<&str>, algorithm: Algorithm) -> usize {
        set.candidates(KeySelector { kid, algorithm }).len()
    }

    #[test]
    fn pem_and_jwks_give_the_same_keys() {
        let as_jwk = KeySet::parse_file(
            json!({"keys": [RSA.public]}).to_string().as_bytes(),
            &issuer().algorithms,
        );
        let (as_jwk, _) = as_jwk.unwrap();
        let key_selector = KeySelector { kid: None, algorithm: Algorithm::RS256 };
        for text in [
            block("RSA PUBLIC KEY", &rsa()),
            block("PUBLIC KEY", &rsa_info(&rsa())),
            block("PUBLIC KEY", &rsa_info(&rsa())).replace('\n', "\r\n"),
            format!("Bag Attributes: none\n\n{}\ntrailing text", block("RSA PUBLIC KEY", &rsa())),
        ] {
            let (set, left_out) = file(&text).unwrap();
            assert_eq!((set.len(), left_out.len()), (1, 0), "{text}");
            let [key] = set.candidates(key_selector)[..] else { panic!("{text}") };
            assert_eq!(key.thumbprint(), as_jwk.candidates(key_selector)[0].thumbprint());
        }
    }

    #[test]
    fn pem_keys_and_certificates_verify_tokens_with_any_kid() {
        let pairs = [
            (&rcgen::PKCS_ECDSA_P256_SHA256, Algorithm::ES256),
            (&rcgen::PKCS_ECDSA_P384_SHA384, Algorithm::ES384),
            (&rcgen::PKCS_ED25519, Algorithm::EdDSA),
        ];
        let mut text = block("RSA PUBLIC KEY", &rsa());
        for (kind, algorithm) in pairs {
            let pair = generated(kind);
            let info = pair.subject_public_key_info();
            let certificate = CertificateParams::default().self_signed(&pair).unwrap();
            let both = block("PUBLIC KEY", &info) + &certificate.pem();
            let (set, left_out) = file(&both).unwrap();
            assert_eq!((set.len(), left_out.len()), (2, 0), "{algorithm:?}");
            for kid in [None, Some("any")] {
                assert_eq!(fitting(&set, kid, algorithm), 2, "{algorithm:?} {kid:?}");
            }
            assert!(set.may_have_kid("any"), "no fetch is made for an unknown kid");
            let [one, other] = set.candidates(KeySelector { kid: None, algorithm })[..] else {
                panic!()
            };
            assert_eq!(one.thumbprint(), other.thumbprint(), "{algorithm:?}");
            text.push_str(&certificate.pem());
        }
        assert_eq!(file(&text).unwrap().0.len(), MAX_KEYS);
        text.push_str(&block("RSA PUBLIC KEY", &rsa()));
        assert_eq!(file(&text).err(), Some(SetError::TooManyInPem));
    }

    #[test]
    fn jwk_sets_in_files_follow_the_rules_of_jwk_sets() {
        let set = json!({"keys": [P256.jwk("a"), P256.jwk("b"), P384.public]});
        let (set, _) = file(&format!("\n {set}")).unwrap();
        assert_eq!(fitting(&set, None, Algorithm::ES256), 0, "two keys match");
        assert_eq!(fitting(&set, Some("c"), Algorithm::ES256), 0);
        assert!(!set.may_have_kid("c"));
    }

    #[test]
    fn files_with_a_private_key_are_rejected() {
        let public = block("RSA PUBLIC KEY", &rsa());
        let pair = generated(&rcgen::PKCS_ED25519);
        for private in [
            pair.serialize_pem(),
            block("RSA PRIVATE KEY", b"x"),
            block("EC PRIVATE KEY", b"x"),
            block("ENCRYPTED PRIVATE KEY", b"x"),
            block("OPENSSH PRIVATE KEY", b"x"),
        ] {
            for text in
                [private.clone(), format!("{public}{private}"), format!("{private}{public}")]
            {
                assert_eq!(file(&text).err(), Some(SetError::PrivateKey), "{text}");
            }
        }
    }

    #[test]
    fn weak_malformed_and_unsupported_keys_are_not_used() {
        let odd = |bytes: usize| [vec![0x81_u8; bytes], vec![0x01]].concat();
        // DER has no needless leading zeros (X.690 §8.3.2).
        let exponent = der(0x02, &[0, 1, 0, 1]);
        let needless_zero =
            der(0x30, &[der(0x02, &[&[0], &odd(255)[..]].concat()), exponent].concat());
        for (text, why) in [
            (block("RSA PUBLIC KEY", &rsa_of(&odd(127))), UnusableKey::Material),
            (block("RSA PUBLIC KEY", &rsa_of(&odd(254))), UnusableKey::Material),
            (block("PUBLIC KEY", &rsa_info(&rsa_of(&odd(127)))), UnusableKey::Material),
            (block("RSA PUBLIC KEY", &[rsa(), vec![0]].concat()), UnusableKey::Malformed),
            (block("RSA PUBLIC KEY", &needless_zero), UnusableKey::Malformed),
            (block("PUBLIC KEY", &rsa()), UnusableKey::Malformed),
            (block("RSA PUBLIC KEY", &rsa_info(&rsa())), UnusableKey::Malformed),
            (block("PUBLIC KEY", b""), UnusableKey::Malformed),
            (block("CERTIFICATE", &rsa_info(&rsa())), UnusableKey::Malformed),
            (block("PUBLIC KEY", &spki(&[0x06, 0x01, 0x2a], &[0; 32])), UnusableKey::Type),
        ] {
            assert_eq!(file(&text).err(), Some(SetError::NoUsableKey(Some(why))), "{text}");
            let (set, left_out) =
                file(&format!("{text}{}", block("RSA PUBLIC KEY", &rsa()))).unwrap();
            assert_eq!(
                (set.len(), left_out),
                (1, vec![why]),
                "an invalid key does not affect others"
            );
        }
        let valid = block("RSA PUBLIC KEY", &rsa());
        for text in [
            block("CERTIFICATE REQUEST", b"x"),
            block("X509 CRL", b"x"),
            valid.replacen(END, BEGIN, 1),
            valid.replacen("END RSA", "END", 1),
            valid.split(END).next().unwrap().to_owned(),
            valid.replacen("\nM", "\n!", 1),
            format!("{}\nhush\n", BEGIN.trim_end()),
        ] {
            assert!(
                matches!(file(&text).err(), Some(SetError::Pem | SetError::Malformed)),
                "{text}"
            );
        }
        assert_eq!(file(&base64url("x")).err(), Some(SetError::Malformed));
        let fetched = KeySet::parse(valid.as_bytes(), &issuer().algorithms).err();
        assert_eq!(fetched, Some(SetError::Malformed), "PEM is accepted in files only");
    }
}
