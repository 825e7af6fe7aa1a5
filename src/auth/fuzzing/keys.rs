//! JWK sets: which keys are used.

use std::collections::BTreeSet;

use serde_json::Value;

use super::reparsed::may_be_object;
use crate::{
    auth::jwks::{Key, KeySelector, KeySet, MAX_SET_BYTES},
    settings::Algorithm,
};

/// The limits in `jwks`.
const MAX_KEYS: usize = 100;
const MAX_SHARING: usize = 4;

/// The number of `kid`s to check. Each costs a few signature checks.
const MAX_KIDS: usize = 8;

/// A valid signature of any message if the key is the neutral element: the same element, then zero.
const NEUTRAL: [u8; 64] = {
    let mut signature = [0; 64];
    signature[0] = 1;
    signature
};

/// Checks a JWK set.
pub fn key_set(json: &[u8]) {
    let Ok((set, left_out)) = KeySet::parse(json, &Algorithm::ALL) else { return };
    assert!(may_be_object(json), "not an object");
    // serde_json rejects numbers outside its range anywhere in the document.
    let Ok(document) = serde_json::from_slice::<Value>(json) else { return };
    let jwks = document.get("keys").and_then(Value::as_array).expect("an object with keys");
    assert!(json.len() <= MAX_SET_BYTES && jwks.len() <= MAX_KEYS, "above the limits");
    assert_eq!(set.len().checked_add(left_out.len()), Some(jwks.len()), "keys are lost or added");
    assert!(
        set.len() <= jwks.iter().filter(|jwk| is_public(jwk)).count(),
        "an unusable JWK is used"
    );
    assert!(
        left_out.iter().all(|left_out| is_printable(&left_out.kid)),
        "a kid that is unsafe to log"
    );
    for kid in kids(jwks) {
        check_candidates(&set, kid);
    }
    assert!(!set.may_have_kid("unknown") || kids(jwks).contains("unknown"));
    check_fewer_algorithms(json, &set);
}

/// Whether a JWK can be a key for checking signatures, by its members.
fn is_public(jwk: &Value) -> bool {
    let has = |name: &str| jwk.get(name).is_some_and(|value| !value.is_null());
    let is_for_signatures = jwk.get("use").is_none_or(|usage| usage.is_null() || usage == "sig");
    jwk.is_object()
        && is_for_signatures
        && !["d", "p", "q"].into_iter().any(has)
        && ["RSA", "EC", "OKP"].iter().any(|kty| jwk.get("kty").is_some_and(|it| it == kty))
}

fn is_printable(kid: &str) -> bool {
    kid.len() <= 64 && kid.bytes().all(|byte| byte.is_ascii_graphic())
}

fn kids(jwks: &[Value]) -> BTreeSet<&str> {
    jwks.iter().filter_map(|jwk| jwk.get("kid").and_then(Value::as_str)).take(MAX_KIDS).collect()
}

/// Checks the keys for a token with this `kid`.
fn check_candidates(set: &KeySet, kid: &str) {
    let mut is_known = false;
    for algorithm in Algorithm::ALL {
        let candidates = set.candidates(KeySelector { kid: Some(kid), algorithm });
        assert!(candidates.len() <= MAX_SHARING, "{} keys for one token", candidates.len());
        is_known |= !candidates.is_empty();
        for key in candidates {
            assert!(key.kid() == Some(kid) && key.supports(algorithm), "another key");
            check_rejects_forgeries(key, algorithm);
        }
        assert!(
            set.candidates(KeySelector { kid: None, algorithm }).len() <= 1,
            "several keys without a kid"
        );
    }
    assert_eq!(set.may_have_kid(kid), is_known);
}

/// Checks that signatures which need no private key are rejected.
pub(super) fn check_rejects_forgeries(key: &Key, algorithm: Algorithm) {
    for signature in [&[][..], &[0; 64], &NEUTRAL, &[0; 96], &[0; 256], &[0xff; 64]] {
        for message in [&b""[..], b"e30.e30"] {
            assert!(!key.verifies(algorithm, message, signature), "forged");
        }
    }
}

/// Checks that an issuer with fewer algorithms gets no key for others, and no additional keys.
fn check_fewer_algorithms(json: &[u8], whole: &KeySet) {
    let only = Algorithm::ES256;
    let Ok((set, _)) = KeySet::parse(json, &[only]) else { return };
    assert!(set.len() <= whole.len(), "fewer algorithms and more keys");
    for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| *algorithm != only) {
        assert!(
            set.candidates(KeySelector { kid: None, algorithm }).is_empty(),
            "another algorithm"
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    #[test]
    fn stored_key_sets_keep_the_invariants() {
        crate::corpus::replay("key_set", key_set);
    }

    /// Members of a JWK: those of a P-256 key (RFC 7515 §A.3), of an Ed25519 key (RFC 8037 §A.2), and others.
    const MEMBERS: [&str; 20] = [
        r#""kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#,
        r#""kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#,
        r#""kty":"OKP","crv":"Ed25519","x":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA""#,
        r#""kty":"oct","k":"AAAA""#,
        r#""kty":"RSA","n":"AQAB","e":"AQAB""#,
        r#""x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU""#,
        r#""crv":"P-384""#,
        r#""kid":"a""#,
        r#""kid":"a""#,
        r#""kid":"b\n""#,
        r#""kid":7"#,
        r#""use":"sig""#,
        r#""use":"enc""#,
        r#""use":null"#,
        r#""key_ops":["verify"]"#,
        r#""key_ops":["encrypt"]"#,
        r#""alg":"ES256""#,
        r#""alg":"EdDSA""#,
        r#""d":"AA""#,
        r#""d":null"#,
    ];

    fn jwk() -> impl Strategy<Value = String> {
        let keys = (0..MEMBERS.len(), vec(select(&MEMBERS[..]), 0..3)).prop_map(|(first, rest)| {
            let members: Vec<&str> = MEMBERS.into_iter().skip(first).take(1).chain(rest).collect();
            format!("{{{}}}", members.join(","))
        });
        let others = select(&["null", "[]", "{}", "7", "[\"OKP\",\"sig\"]"][..]);
        prop_oneof![9 => keys, 1 => others.prop_map(str::to_owned)]
    }

    proptest! {
        #[test]
        fn generated_key_sets_keep_the_invariants(jwks in vec(jwk(), 0..12)) {
            key_set(format!(r#"{{"keys":[{}]}}"#, jwks.join(",")).as_bytes());
        }
    }
}
