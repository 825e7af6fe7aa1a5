//! Key files: JWK sets, and public keys and certificates in PEM. A PEM file gives at most four
//! keys, and none if it contains a private key.

use aws_lc_rs::{
    rsa,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        Ed25519KeyPair,
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::keys::check_rejects_forgeries;
use crate::{
    auth::jwks::{KeySelector, KeySet, MAX_SET_BYTES},
    settings::Algorithm,
};

/// The limit in `jwks::pem`.
const MAX_KEYS: usize = 4;

/// Checks a key file.
pub fn key_file(text: &[u8]) {
    let Ok((set, left_out)) = KeySet::parse_file(text, &Algorithm::ALL) else { return };
    assert!(text.len() <= MAX_SET_BYTES, "above the size limit");
    let blocks = blocks(text);
    if blocks.is_empty() {
        let (fetched, others) = KeySet::parse(text, &Algorithm::ALL).expect("the same set");
        assert_eq!((set.len(), left_out.len()), (fetched.len(), others.len()));
        return;
    }
    assert!(blocks.len() <= MAX_KEYS && set.len() > 0, "{} blocks", blocks.len());
    assert_eq!(set.len().checked_add(left_out.len()), Some(blocks.len()), "keys are lost or added");
    for (number, (label, content)) in (1..).zip(&blocks) {
        assert!(["PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE"].contains(&&**label), "{label}");
        let der = STANDARD.decode(content).expect("Base64");
        let is_used = left_out.iter().all(|left_out| left_out.kid != format!("block {number}"));
        assert!(!is_used || !is_private(&der), "the private key of block {number} is used");
    }
    check_candidates(&set);
    check_line_endings(text, &set);
}

/// Label and content of each PEM block.
fn blocks(text: &[u8]) -> Vec<(String, String)> {
    let Ok(text) = str::from_utf8(text) else { return Vec::new() };
    let mut blocks: Vec<(String, String)> = Vec::new();
    let mut is_inside = false;
    for line in text.split('\n').map(str::trim) {
        let label = line.strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----"));
        if let Some(label) = label {
            blocks.push((label.to_owned(), String::new()));
            is_inside = true;
        } else if line.starts_with("-----END ") {
            is_inside = false;
        } else if let Some((_, content)) = blocks.last_mut().filter(|_| is_inside) {
            content.push_str(line);
        }
    }
    blocks
}

/// Whether this is a private key.
fn is_private(der: &[u8]) -> bool {
    let elliptic = [&ECDSA_P256_SHA256_FIXED_SIGNING, &ECDSA_P384_SHA384_FIXED_SIGNING];
    rsa::KeyPair::from_der(der).is_ok()
        || rsa::KeyPair::from_pkcs8(der).is_ok()
        || Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).is_ok()
        || elliptic.into_iter().any(|it| EcdsaKeyPair::from_pkcs8(it, der).is_ok())
        || elliptic.into_iter().any(|it| EcdsaKeyPair::from_private_key_der(it, der).is_ok())
}

/// Checks that PEM keys, which have no `kid`, match tokens with any `kid` and without one.
fn check_candidates(set: &KeySet) {
    assert!(set.may_have_kid("any"), "an unknown kid would cause a fetch");
    for algorithm in Algorithm::ALL {
        let candidates = set.candidates(KeySelector { kid: None, algorithm });
        assert!(candidates.len() <= MAX_KEYS, "{} keys for one token", candidates.len());
        assert_eq!(
            candidates.len(),
            set.candidates(KeySelector { kid: Some("any"), algorithm }).len()
        );
        for key in candidates {
            assert!(key.kid().is_none() && key.supports(algorithm), "another key");
            check_rejects_forgeries(key, algorithm);
        }
    }
}

/// Checks that the keys do not depend on line endings.
fn check_line_endings(text: &[u8], set: &KeySet) {
    let text = str::from_utf8(text).expect("PEM is text").replace('\n', "\r\n");
    if text.len() > MAX_SET_BYTES {
        return;
    }
    let (other, _) = KeySet::parse_file(text.as_bytes(), &Algorithm::ALL).expect("the same keys");
    for algorithm in Algorithm::ALL {
        let key_selector = KeySelector { kid: None, algorithm };
        let [one, other] = [set, &other].map(|set| {
            set.candidates(key_selector)
                .into_iter()
                .map(|key| *key.thumbprint())
                .collect::<Vec<_>>()
        });
        assert_eq!(one, other, "different keys");
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    #[test]
    fn stored_key_files_keep_the_invariants() {
        crate::corpus::replay("key_file", key_file);
    }

    /// The public key of RFC 8410 §10.1, and the private key of §10.3.
    const PUBLIC: &str = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=";
    const PRIVATE: &str = "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC";

    fn block(label: &str, content: &str) -> String {
        format!("-----BEGIN {label}-----\n{content}\n-----END {label}-----\n")
    }

    #[test]
    fn the_invariants_are_exercised() {
        let file = block("PUBLIC KEY", PUBLIC).repeat(MAX_KEYS);
        let (set, _) = KeySet::parse_file(file.as_bytes(), &Algorithm::ALL).unwrap();
        assert_eq!((set.len(), blocks(file.as_bytes()).len()), (MAX_KEYS, MAX_KEYS));
        key_file(file.as_bytes());
        assert!(is_private(&STANDARD.decode(PRIVATE).unwrap()));
        assert!(!is_private(&STANDARD.decode(PUBLIC).unwrap()));
    }

    proptest! {
        #[test]
        fn generated_key_files_keep_the_invariants(
            parts in vec(
                (
                    select(&["PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE", "PRIVATE KEY"][..]),
                    select(&[PUBLIC, PRIVATE, "", "AAAA", "!"][..]),
                    select(&["", "\n", " ", "Key Attributes: none\n", "\r\n", "{", "-----"][..]),
                ),
                0..6,
            ),
            cut in 0..400_usize,
        ) {
            let parts = parts.iter().map(|(label, content, between)| block(label, content) + between);
            let text = block("PUBLIC KEY", PUBLIC) + &parts.collect::<String>();
            key_file(text.as_bytes());
            key_file(&text.as_bytes()[..cut.min(text.len())]);
        }
    }
}
