//! Which keys of a set are used, and for what.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use serde_json::{Value, json};

use super::{
    FetchError, Keeper, KeyFetcher, KeySet, KeyStore, MAX_SET_BYTES, Schedule, SetError, Unusable,
    Wanted,
};
use crate::{
    auth::testing::{
        ED25519, OTHER_P256, P256, P384, RSA, base64url, clock, issuer, locally, set, settle, with,
    },
    clock::{Clock, manual::ManualClock},
    concurrency::ConcurrencyLimit,
    metrics::Metrics,
    settings::Algorithm,
};

fn parse(keys: &[Value]) -> Result<KeySet, SetError> {
    KeySet::parse(&set(keys), &issuer().algorithms).map(|(keys, _)| keys)
}

/// Why `key` is left out; `None` when it is used.
fn left_out(key: &Value) -> Option<Unusable> {
    let keys = [key.clone(), OTHER_P256.jwk("good")];
    let (keys, left_out) = KeySet::parse(&set(&keys), &issuer().algorithms).unwrap();
    assert!(keys.knows("good"), "one bad key spoils only itself");
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
fn keys_for_other_things_are_left_out() {
    let cases = [
        (&*RSA, json!({"use": "enc"}), Unusable::Purpose),
        (&*RSA, json!({"use": ""}), Unusable::Purpose),
        (&*RSA, json!({"key_ops": []}), Unusable::Purpose),
        (&*RSA, json!({"key_ops": ["sign", "encrypt"]}), Unusable::Purpose),
        (&*RSA, json!({"use": "sig", "key_ops": ["wrapKey"]}), Unusable::Purpose),
        (&*RSA, json!({"use": "enc", "key_ops": ["verify"]}), Unusable::Purpose),
        (&*RSA, json!({"alg": "ES256"}), Unusable::Algorithm),
        (&*RSA, json!({"alg": "HS256"}), Unusable::Algorithm),
        (&*RSA, json!({"alg": "none"}), Unusable::Algorithm),
        (&*RSA, json!({"alg": "RSA-OAEP"}), Unusable::Algorithm),
        (&*P256, json!({"alg": "ES384"}), Unusable::Algorithm),
        (&*P256, json!({"alg": "ES256K"}), Unusable::Algorithm),
        (&*ED25519, json!({"alg": "ES256"}), Unusable::Algorithm),
        (&*RSA, json!({"d": "AQAB"}), Unusable::Private),
        (&*P256, json!({"d": "AQAB"}), Unusable::Private),
        (&*RSA, json!({"p": "AQAB"}), Unusable::Private),
        (&*RSA, json!({"q": ""}), Unusable::Private),
        (&*RSA, json!({"kty": "oct", "k": "c2VjcmV0"}), Unusable::Type),
        (&*RSA, json!({"kty": "rsa"}), Unusable::Type),
        (&*P256, json!({"crv": "P-521"}), Unusable::Type),
        (&*P256, json!({"crv": "secp256k1"}), Unusable::Type),
        (&*P256, json!({"crv": null}), Unusable::Type),
        (&*ED25519, json!({"crv": "X25519"}), Unusable::Type),
        (&*ED25519, json!({"crv": "Ed448"}), Unusable::Type),
        (&*RSA, json!({"kty": null}), Unusable::Malformed),
        (&*RSA, json!({"kid": 1}), Unusable::Malformed),
        (&*RSA, json!({"n": null}), Unusable::Malformed),
        (&*RSA, json!({"e": null}), Unusable::Malformed),
        (&*RSA, json!({"e": "AQAB=="}), Unusable::Malformed),
        (&*RSA, json!({"n": "+/+/"}), Unusable::Malformed),
    ];
    for (pair, change, why) in cases {
        let key = with(&pair.jwk("k"), change);
        assert_eq!(left_out(&key), Some(why), "{key}");
    }
    for no_key in [json!(1), json!([]), Value::Null, json!("kty")] {
        assert_eq!(left_out(&no_key), Some(Unusable::Malformed), "{no_key}");
    }
}

#[test]
fn a_list_of_its_members_values_is_no_key() {
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
    assert_eq!(left_out(&values), Some(Unusable::Malformed));
}

#[test]
fn weak_and_broken_keys_are_left_out() {
    let short = base64url([1; 31]);
    let cases = [
        (&*RSA, json!({"n": ""}), Unusable::Material),
        (&*RSA, json!({"e": ""}), Unusable::Material),
        (&*RSA, json!({"e": base64url([1])}), Unusable::Material),
        (&*RSA, json!({"e": base64url([1, 0, 0])}), Unusable::Material),
        (&*RSA, json!({"e": base64url([1, 0, 0, 0, 1])}), Unusable::Material),
        (&*P256, json!({"y": null}), Unusable::Malformed),
        (&*P256, json!({"x": short}), Unusable::Material),
        (&*P256, json!({"y": short}), Unusable::Material),
        (&*P256, json!({"x": base64url([1; 32])}), Unusable::Material),
        (&*P256, json!({"crv": "P-384"}), Unusable::Material),
        (&*P384, json!({"y": base64url([1; 48])}), Unusable::Material),
        (&*ED25519, json!({"x": short}), Unusable::Material),
        (&*ED25519, json!({"x": null}), Unusable::Malformed),
        (&*ED25519, json!({"x": base64url([0; 32])}), Unusable::Material),
    ];
    for (pair, change, why) in cases {
        let key = with(&pair.jwk("k"), change);
        assert_eq!(left_out(&key), Some(why), "{key}");
    }
}

#[test]
fn a_point_is_not_to_be_cut_elsewhere() {
    let decode = |name: &str| URL_SAFE_NO_PAD.decode(P256.public[name].as_str().unwrap()).unwrap();
    let point = [decode("x"), decode("y")].concat();
    let (x, y) = point.split_at(31);
    let key = with(&P256.jwk("k"), json!({"x": base64url(x), "y": base64url(y)}));
    assert_eq!(left_out(&key), Some(Unusable::Material));
}

#[test]
fn rsa_keys_have_from_2048_to_8192_bits() {
    let modulus = |first: u8, bytes: usize, last: u8| {
        let mut modulus = vec![0; bytes];
        modulus[0] = first;
        modulus[bytes - 1] = last;
        with(&RSA.jwk("k"), json!({"n": base64url(modulus)}))
    };
    assert_eq!(left_out(&modulus(0x80, 256, 1)), None, "2048");
    assert_eq!(left_out(&modulus(0x7f, 256, 1)), Some(Unusable::Material), "2047");
    assert_eq!(left_out(&modulus(0xff, 128, 1)), Some(Unusable::Material), "1024");
    assert_eq!(left_out(&modulus(0xff, 1024, 1)), None, "8192");
    assert_eq!(left_out(&modulus(0x01, 1025, 1)), Some(Unusable::Material), "8193");
    assert_eq!(left_out(&modulus(0x80, 256, 2)), Some(Unusable::Material), "even");
    for (exponent, why) in
        [(&[3][..], None), (&[0xff, 0xff, 0xff, 0xff], None), (&[2], Some(Unusable::Material))]
    {
        let key = with(&RSA.jwk("k"), json!({"e": base64url(exponent)}));
        assert_eq!(left_out(&key), why, "{exponent:?}");
    }
}

#[test]
fn a_key_is_for_its_own_algorithms_and_its_issuers_only() {
    let fits = |keys: &KeySet, kid, algorithm| {
        !keys.fitting(Wanted { kid: Some(kid), algorithm }).is_empty()
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
    assert_eq!(left_out[0].why, Unusable::Algorithm);
}

#[test]
fn a_set_is_small_and_has_a_usable_key() {
    let key = P256.jwk("k");
    let many =
        |number: usize| -> Vec<_> { (0..number).map(|n| P256.jwk(&n.to_string())).collect() };
    assert_eq!(parse(&many(100)).map(|keys| keys.len()), Ok(100));
    assert_eq!(parse(&many(101)).err(), Some(SetError::TooMany));
    assert_eq!(parse(&[]).err(), Some(SetError::NoUsableKey(None)));
    let symmetric = parse(&[json!({"kty": "oct", "k": "AA"})]).err().unwrap();
    assert_eq!(symmetric, SetError::NoUsableKey(Some(Unusable::Type)));
    let told = "no usable key; first key: unsupported type or curve";
    assert_eq!(symmetric.to_string(), told);
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
fn a_kid_has_few_keys() {
    let nameless = with(&P256.jwk("k"), json!({"kid": null}));
    let keys = [vec![P256.jwk("k"); 5], vec![nameless; 5], vec![P256.jwk("other")]].concat();
    let (keys, left_out) = KeySet::parse(&set(&keys), &issuer().algorithms).unwrap();
    assert_eq!((keys.len(), left_out.len()), (10, 1));
    assert_eq!(left_out[0].why, Unusable::Sharing);
    let wanted = Wanted { kid: Some("k"), algorithm: Algorithm::ES256 };
    assert_eq!(keys.fitting(wanted).len(), 4);
}

#[test]
fn hostile_texts_are_no_sets() {
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
fn odd_kids_are_not_shown() {
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
fn thumbprints_are_those_of_the_rfcs() {
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
        let fitting = keys.fitting(Wanted { kid: None, algorithm });
        assert_eq!(base64url(fitting[0].thumbprint()), thumbprint);
    }
}

/// For elliptic curves: what is hashed is written out, with the members in order.
#[test]
fn thumbprints_of_elliptic_keys_hash_the_members_in_order() {
    for (pair, curve, algorithm) in
        [(&P256, "P-256", Algorithm::ES256), (&P384, "P-384", Algorithm::ES384)]
    {
        let (x, y) = (&pair.public["x"], &pair.public["y"]);
        let members = format!(r#"{{"crv":"{curve}","kty":"EC","x":{x},"y":{y}}}"#);
        let keys = parse(&[pair.jwk("k")]).unwrap();
        let fitting = keys.fitting(Wanted { kid: None, algorithm });
        assert_eq!(*fitting[0].thumbprint(), crate::auth::sha256(members.as_bytes()));
    }
}

struct Panicking;

impl KeyFetcher for Panicking {
    fn fetch(&self) -> LocalBoxFuture<'static, Result<Bytes, FetchError>> {
        Box::pin(async { panic!("as a client library might") })
    }
}

#[tokio::test]
async fn a_panic_is_a_failed_fetch_and_the_keeper_goes_on() {
    let clock = clock();
    let metrics = Metrics::new("0", "0").unwrap();
    let minute = Duration::from_mins(1);
    let store = KeyStore::new(
        Arc::<ManualClock>::clone(&clock),
        minute,
        minute,
        Duration::ZERO,
        ConcurrencyLimit::new(metrics.http.waiting.clone(), 1000),
    );
    let shared: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
    let keeper = Keeper::new(
        &"main".into(),
        &issuer().algorithms,
        Schedule { refresh: minute, retry: minute },
        Box::new(Panicking),
        &Arc::new(store),
        &shared,
        &metrics.auth,
    );
    locally(async {
        tokio::task::spawn_local(keeper.run());
        settle().await;
        clock.advance(minute);
        settle().await;
        let failures = metrics.auth.jwks_refreshes.with_label_values(&["main", "failure"]);
        assert_eq!(failures.get(), 2);
    })
    .await;
}
