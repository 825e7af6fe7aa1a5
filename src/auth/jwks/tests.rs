//! Which keys of a set are used, and for which algorithms.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use serde_json::{Value, json};

use super::{
    FetchError, JwksCache, JwksRefresher, KeyFetcher, KeySelector, KeySet, MAX_SET_BYTES, Schedule,
    SetError, UnusableKey,
};
use crate::{
    auth::testing::{
        ED25519, OTHER_P256, P256, P384, RSA, base64url, clock, issuer, locally, set, settle, with,
    },
    clock::{Clock, manual::ManualClock},
    concurrency::Limit,
    metrics::Metrics,
    settings::Algorithm,
};

fn parse(keys: &[Value]) -> Result<KeySet, SetError> {
    KeySet::parse(&set(keys), &issuer().algorithms).map(|(keys, _)| keys)
}

/// Why `key` is not used; `None` if it is used.
fn left_out(key: &Value) -> Option<UnusableKey> {
    let keys = [key.clone(), OTHER_P256.jwk("valid")];
    let (keys, left_out) = KeySet::parse(&set(&keys), &issuer().algorithms).unwrap();
    assert!(keys.may_have_kid("valid"), "an invalid key does not affect others");
    assert_eq!(left_out.len(), usize::from(keys.len() == 1));
    left_out.first().map(|left_out| left_out.why)
}

#[test]
fn usable_keys_are_used() {
    for key in [&RSA, &P256, &P384, &ED25519].map(|pair| pair.jwk("k")) {
        assert_eq!(left_out(&key), None, "{key}");
        for change in [
            json!({"use": "sig"}),
            json!({"key_ops": ["verify"]}),
            json!({"key_ops": ["sign", "verify"]}),
            json!({"use": "sig", "x5c": ["AA"], "x5t": 1}),
            json!({"kid": null}),
        ] {
            assert_eq!(left_out(&with(&key, change.clone())), None, "{key} {change}");
        }
    }
    let zeros = format!("AAAA{}", base64url([1, 0, 1]));
    assert_eq!(left_out(&with(&RSA.jwk("k"), json!({ "e": zeros }))), None, "leading zeros");
}

#[test]
fn keys_for_other_purposes_are_left_out() {
    let cases = [
        (&*RSA, json!({"use": "enc"}), UnusableKey::Purpose),
        (&*RSA, json!({"use": ""}), UnusableKey::Purpose),
        (&*RSA, json!({"key_ops": []}), UnusableKey::Purpose),
        (&*RSA, json!({"key_ops": ["sign", "encrypt"]}), UnusableKey::Purpose),
        (&*RSA, json!({"use": "sig", "key_ops": ["wrapKey"]}), UnusableKey::Purpose),
        (&*RSA, json!({"use": "enc", "key_ops": ["verify"]}), UnusableKey::Purpose),
        (&*RSA, json!({"alg": "ES256"}), UnusableKey::Algorithm),
        (&*RSA, json!({"alg": "HS256"}), UnusableKey::Algorithm),
        (&*RSA, json!({"alg": "none"}), UnusableKey::Algorithm),
        (&*RSA, json!({"alg": "RSA-OAEP"}), UnusableKey::Algorithm),
        (&*P256, json!({"alg": "ES384"}), UnusableKey::Algorithm),
        (&*P256, json!({"alg": "ES256K"}), UnusableKey::Algorithm),
        (&*ED25519, json!({"alg": "ES256"}), UnusableKey::Algorithm),
        (&*RSA, json!({"d": "AQAB"}), UnusableKey::Private),
        (&*P256, json!({"d": "AQAB"}), UnusableKey::Private),
        (&*RSA, json!({"p": "AQAB"}), UnusableKey::Private),
        (&*RSA, json!({"q": ""}), UnusableKey::Private),
        (&*RSA, json!({"kty": "oct", "k": "c2VjcmV0"}), UnusableKey::Type),
        (&*RSA, json!({"kty": "rsa"}), UnusableKey::Type),
        (&*P256, json!({"crv": "P-521"}), UnusableKey::Type),
        (&*P256, json!({"crv": "secp256k1"}), UnusableKey::Type),
        (&*P256, json!({"crv": null}), UnusableKey::Type),
        (&*ED25519, json!({"crv": "X25519"}), UnusableKey::Type),
        (&*ED25519, json!({"crv": "Ed448"}), UnusableKey::Type),
        (&*RSA, json!({"kty": null}), UnusableKey::Malformed),
        (&*RSA, json!({"kid": 1}), UnusableKey::Malformed),
        (&*RSA, json!({"n": null}), UnusableKey::Malformed),
        (&*RSA, json!({"e": null}), UnusableKey::Malformed),
        (&*RSA, json!({"e": "AQAB=="}), UnusableKey::Malformed),
        (&*RSA, json!({"n": "+/+/"}), UnusableKey::Malformed),
    ];
    for (pair, change, why) in cases {
        let key = with(&pair.jwk("k"), change);
        assert_eq!(left_out(&key), Some(why), "{key}");
    }
    for no_key in [json!(1), json!([]), Value::Null, json!("kty")] {
        assert_eq!(left_out(&no_key), Some(UnusableKey::Malformed), "{no_key}");
    }
}

#[test]
fn a_list_instead_of_an_object_is_not_a_key() {
    let x = &ED25519.public["x"];
    let values = json!([
        "OKP",
        "sig",
        ["verify"],
        "EdDSA",
        "k",
        "Ed25519",
        null,
        null,
        x,
        null,
        null,
        null,
        null
    ]);
    assert_eq!(left_out(&values), Some(UnusableKey::Malformed));
}

#[test]
fn weak_and_malformed_keys_are_left_out() {
    let short = base64url([1; 31]);
    let cases = [
        (&*RSA, json!({"n": ""}), UnusableKey::Material),
        (&*RSA, json!({"e": ""}), UnusableKey::Material),
        (&*RSA, json!({"e": base64url([1])}), UnusableKey::Material),
        (&*RSA, json!({"e": base64url([1, 0, 0])}), UnusableKey::Material),
        (&*RSA, json!({"e": base64url([1, 0, 0, 0, 1])}), UnusableKey::Material),
        (&*P256, json!({"y": null}), UnusableKey::Malformed),
        (&*P256, json!({"x": short}), UnusableKey::Material),
        (&*P256, json!({"y": short}), UnusableKey::Material),
        (&*P256, json!({"x": base64url([1; 32])}), UnusableKey::Material),
        (&*P256, json!({"crv": "P-384"}), UnusableKey::Material),
        (&*P384, json!({"y": base64url([1; 48])}), UnusableKey::Material),
        (&*ED25519, json!({"x": short}), UnusableKey::Material),
        (&*ED25519, json!({"x": null}), UnusableKey::Malformed),
        (&*ED25519, json!({"x": base64url([0; 32])}), UnusableKey::Material),
    ];
    for (pair, change, why) in cases {
        let key = with(&pair.jwk("k"), change);
        assert_eq!(left_out(&key), Some(why), "{key}");
    }
}

#[test]
fn coordinates_must_have_their_exact_length() {
    let decode = |name: &str| URL_SAFE_NO_PAD.decode(P256.public[name].as_str().unwrap()).unwrap();
    let point = [decode("x"), decode("y")].concat();
    let (x, y) = point.split_at(31);
    let key = with(&P256.jwk("k"), json!({"x": base64url(x), "y": base64url(y)}));
    assert_eq!(left_out(&key), Some(UnusableKey::Material));
}

#[test]
fn rsa_keys_must_have_2048_to_8192_bits() {
    let modulus = |first: u8, bytes: usize, last: u8| {
        let mut modulus = vec![0; bytes];
        modulus[0] = first;
        modulus[bytes - 1] = last;
        with(&RSA.jwk("k"), json!({"n": base64url(modulus)}))
    };
    assert_eq!(left_out(&modulus(0x80, 256, 1)), None, "2048");
    assert_eq!(left_out(&modulus(0x7f, 256, 1)), Some(UnusableKey::Material), "2047");
    assert_eq!(left_out(&modulus(0xff, 128, 1)), Some(UnusableKey::Material), "1024");
    assert_eq!(left_out(&modulus(0xff, 1024, 1)), None, "8192");
    assert_eq!(left_out(&modulus(0x01, 1025, 1)), Some(UnusableKey::Material), "8193");
    assert_eq!(left_out(&modulus(0x80, 256, 2)), Some(UnusableKey::Material), "even");
    for (exponent, why) in
        [(&[3][..], None), (&[0xff, 0xff, 0xff, 0xff], None), (&[2], Some(UnusableKey::Material))]
    {
        let key = with(&RSA.jwk("k"), json!({"e": base64url(exponent)}));
        assert_eq!(left_out(&key), why, "{exponent:?}");
    }
}

#[test]
fn keys_support_only_their_own_and_their_issuers_algorithms() {
    let fits = |keys: &KeySet, kid, algorithm| {
        !keys.candidates(KeySelector { kid: Some(kid), algorithm }).is_empty()
    };
    let keys = parse(&[
        RSA.jwk("any"),
        with(&RSA.jwk("one"), json!({"alg": "PS384"})),
        P256.jwk("p256"),
        P384.jwk("p384"),
        ED25519.jwk("ed"),
    ])
    .unwrap();
    for algorithm in issuer().algorithms {
        let is_rsa = !matches!(algorithm, Algorithm::ES256 | Algorithm::ES384 | Algorithm::EdDSA);
        assert_eq!(fits(&keys, "any", algorithm), is_rsa, "{algorithm:?}");
        assert_eq!(fits(&keys, "one", algorithm), algorithm == Algorithm::PS384, "{algorithm:?}");
        assert_eq!(fits(&keys, "p256", algorithm), algorithm == Algorithm::ES256, "{algorithm:?}");
        assert_eq!(fits(&keys, "p384", algorithm), algorithm == Algorithm::ES384, "{algorithm:?}");
        assert_eq!(fits(&keys, "ed", algorithm), algorithm == Algorithm::EdDSA, "{algorithm:?}");
        assert!(!fits(&keys, "none", algorithm));
    }
    let json = set(&[RSA.jwk("k"), P256.jwk("p256")]);
    let (keys, left_out) = KeySet::parse(&json, &[Algorithm::RS256]).unwrap();
    assert!(fits(&keys, "k", Algorithm::RS256) && !fits(&keys, "k", Algorithm::PS256));
    assert_eq!(left_out[0].why, UnusableKey::Algorithm);
}

#[test]
fn large_sets_and_sets_without_usable_keys_are_rejected() {
    let key = P256.jwk("k");
    let many =
        |number: usize| -> Vec<_> { (0..number).map(|n| P256.jwk(&n.to_string())).collect() };
    assert_eq!(parse(&many(100)).map(|keys| keys.len()), Ok(100));
    assert_eq!(parse(&many(101)).err(), Some(SetError::TooMany));
    assert_eq!(parse(&[]).err(), Some(SetError::NoUsableKey(None)));
    let symmetric = parse(&[json!({"kty": "oct", "k": "AA"})]).err().unwrap();
    assert_eq!(symmetric, SetError::NoUsableKey(Some(UnusableKey::Type)));
    let expected = "no usable key; first key: unsupported type or curve";
    assert_eq!(symmetric.to_string(), expected);
    let keys_only = format!("[[{key}]]");
    for text in
        ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[]"#, r#"{"keys":[],"keys":[]}"#, &keys_only]
    {
        let parsed = KeySet::parse(text.as_bytes(), &issuer().algorithms);
        assert_eq!(parsed.err(), Some(SetError::Malformed), "{text}");
    }
    let mut json = set(&[key]).to_vec();
    json.resize(MAX_SET_BYTES, b' ');
    assert!(KeySet::parse(&json, &issuer().algorithms).is_ok());
    json.push(b' ');
    let parsed = KeySet::parse(&json, &issuer().algorithms);
    assert_eq!(parsed.err(), Some(SetError::TooLarge));
}

#[test]
fn keys_per_kid_are_limited() {
    let nameless = with(&P256.jwk("k"), json!({"kid": null}));
    let keys = [vec![P256.jwk("k"); 5], vec![nameless; 5], vec![P256.jwk("other")]].concat();
    let (keys, left_out) = KeySet::parse(&set(&keys), &issuer().algorithms).unwrap();
    assert_eq!((keys.len(), left_out.len()), (10, 1));
    assert_eq!(left_out[0].why, UnusableKey::TooManyWithKid);
    let key_selector = KeySelector { kid: Some("k"), algorithm: Algorithm::ES256 };
    assert_eq!(keys.candidates(key_selector).len(), 4);
}

#[test]
fn malformed_sets_are_rejected() {
    let deep = format!("{{\"keys\":[{}{}]}}", "[".repeat(100_000), "]".repeat(100_000));
    let member = |member: &str| format!("{{\"keys\":[{{\"kty\":\"EC\",{member}}}]}}");
    for text in [
        deep.as_bytes(),
        b"\xef\xbb\xbf{\"keys\":[]}",
        b"{\"keys\":[]}{\"keys\":[]}",
        b"{\"keys\":[]}\0",
        b"{\"keys\":[{\"kid\":\"\xff\"}]}",
        member(r#""kid":"\ud800""#).as_bytes(),
        member(r#""kid":"k","exp":1e999"#).as_bytes(),
        member("\"kid\":\"a\nb\"").as_bytes(),
    ] {
        let parsed = KeySet::parse(text, &issuer().algorithms);
        assert_eq!(parsed.err(), Some(SetError::Malformed), "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn unusual_kids_are_not_shown() {
    for (kid, shown) in [
        (json!("2026-01_a.b:c="), "2026-01_a.b:c="),
        (json!("a\nb"), "?"),
        (json!("a b"), "?"),
        (json!("x".repeat(65)), "?"),
        (json!(5), "?"),
    ] {
        let keys = [json!({ "kid": kid }), P256.jwk("k")];
        let (_, left_out) = KeySet::parse(&set(&keys), &issuer().algorithms).unwrap();
        assert_eq!(left_out[0].kid, shown);
    }
    let longest = "x".repeat(64);
    let keys = [json!({ "kid": longest }), P256.jwk("k")];
    let (_, left_out) = KeySet::parse(&set(&keys), &issuer().algorithms).unwrap();
    assert_eq!(left_out[0].kid, longest);
}

/// RFC 7638 §3.1 and RFC 8037 appendix A.3.
#[test]
fn thumbprints_match_the_rfc_examples() {
    let rsa = json!({
        "kty": "RSA", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tS\
              oc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65\
              YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyr\
              dkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzK\
              nqDKgw",
    });
    let ed = json!({
        "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    });
    for (key, algorithm, thumbprint) in [
        (rsa, Algorithm::RS256, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"),
        (ed, Algorithm::EdDSA, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"),
    ] {
        let keys = parse(&[key]).unwrap();
        let fitting = keys.candidates(KeySelector { kid: None, algorithm });
        assert_eq!(base64url(fitting[0].thumbprint()), thumbprint);
    }
}

/// Elliptic keys: the hashed text has the required members in order.
#[test]
fn thumbprints_of_elliptic_keys_hash_the_members_in_order() {
    for (pair, curve, algorithm) in
        [(&P256, "P-256", Algorithm::ES256), (&P384, "P-384", Algorithm::ES384)]
    {
        let (x, y) = (&pair.public["x"], &pair.public["y"]);
        let members = format!(r#"{{"crv":"{curve}","kty":"EC","x":{x},"y":{y}}}"#);
        let keys = parse(&[pair.jwk("k")]).unwrap();
        let fitting = keys.candidates(KeySelector { kid: None, algorithm });
        assert_eq!(*fitting[0].thumbprint(), crate::auth::digest::sha256(members.as_bytes()));
    }
}

struct Panicking;

impl KeyFetcher for Panicking {
    fn fetch(&self) -> LocalBoxFuture<'static, Result<Bytes, FetchError>> {
        Box::pin(async { panic!("as a client library might") })
    }
}

#[tokio::test]
async fn a_panic_is_a_failed_fetch_and_the_refresher_continues() {
    let clock = clock();
    let metrics = Metrics::new("0", "0").unwrap();
    let minute = Duration::from_mins(1);
    let store = JwksCache::new(
        Arc::<ManualClock>::clone(&clock),
        minute,
        minute,
        Duration::ZERO,
        Limit::new(&metrics.http.waiting, 1000),
    );
    let shared: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
    let refresher = JwksRefresher::new(
        &"main".into(),
        &issuer().algorithms,
        Schedule { refresh: minute, retry: minute },
        Box::new(Panicking),
        &Arc::new(store),
        &shared,
        &metrics.auth,
    );
    locally(async {
        tokio::task::spawn_local(refresher.run());
        settle().await;
        clock.advance(minute);
        settle().await;
        let failures = metrics.auth.jwks_refreshes.with_label_values(&["main", "failure"]);
        assert_eq!(failures.get(), 2);
    })
    .await;
}
