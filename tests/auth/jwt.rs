//! Which tokens are accepted. Each token is signed with a trusted key, so only the check under test
//! can reject it.

mod audiences;
mod customers;
mod required;
mod token_types;

use std::time::Duration;

use juspay_bff::{auth::AuthError, settings::Algorithm};
use serde_json::{Value, json};

use super::{
    testing::{
        ED25519, ISSUER, LEEWAY, OTHER_P256, P256, P384, Pair, RSA, START, base64url, claim_path,
        issuer, locally, set, with,
    },
    world::{claims, header, signed, token, world, world_of, world_with},
};

const ES256: jsonwebtoken::Algorithm = jsonwebtoken::Algorithm::ES256;

#[tokio::test]
async fn every_algorithm_is_verified_and_altered_signatures_are_rejected() {
    use jsonwebtoken::Algorithm as Jwa;

    let keys = [RSA.jwk("rsa"), P256.jwk("p256"), P384.jwk("p384"), ED25519.jwk("ed")];
    let algorithms: [(&str, Jwa, &Pair, &str); 9] = [
        ("RS256", Jwa::RS256, &RSA, "rsa"),
        ("RS384", Jwa::RS384, &RSA, "rsa"),
        ("RS512", Jwa::RS512, &RSA, "rsa"),
        ("PS256", Jwa::PS256, &RSA, "rsa"),
        ("PS384", Jwa::PS384, &RSA, "rsa"),
        ("PS512", Jwa::PS512, &RSA, "rsa"),
        ("ES256", Jwa::ES256, &P256, "p256"),
        ("ES384", Jwa::ES384, &P384, "p384"),
        ("EdDSA", Jwa::EdDSA, &ED25519, "ed"),
    ];
    locally(async {
        let world = world_with(issuer(), &keys).await;
        for (name, algorithm, pair, kid) in algorithms {
            let header = json!({"alg": name, "kid": kid}).to_string();
            let valid = pair.sign(algorithm, &header, &claims().to_string());
            assert_eq!(world.outcome(&valid).await, Ok("alice".to_owned()), "{name}");

            let (message, signature) = valid.rsplit_once('.').unwrap();
            let mut signature = signature.to_owned();
            let first = if signature.starts_with('A') { "B" } else { "A" };
            signature.replace_range(..1, first);
            let forged = format!("{message}.{signature}");
            assert_eq!(world.outcome(&forged).await, Err("signature"), "{name}");
            let unsigned = format!("{message}.");
            assert_eq!(world.outcome(&unsigned).await, Err("signature"), "{name}");
        }
    })
    .await;
}

#[tokio::test]
async fn algorithms_are_accepted_only_for_their_issuer_and_key() {
    locally(async {
        let mut only_es256 = issuer();
        only_es256.algorithms = vec![Algorithm::ES256];
        let world = world_with(only_es256, &[RSA.jwk("rsa"), P256.jwk("p256")]).await;
        let rs256 = json!({"alg": "RS256", "kid": "p256"}).to_string();
        let by_rsa = RSA.sign(jsonwebtoken::Algorithm::RS256, &rs256, &claims().to_string());
        assert_eq!(world.outcome(&by_rsa).await, Err("algorithm"));

        let world = world_with(issuer(), &[RSA.jwk("rsa"), P256.jwk("p256")]).await;
        for (alg, kid, why) in [
            ("none", "p256", "algorithm"),
            ("None", "p256", "algorithm"),
            ("HS256", "p256", "algorithm"),
            ("HS256", "rsa", "algorithm"),
            ("es256", "p256", "algorithm"),
            ("ES256K", "p256", "algorithm"),
            ("", "p256", "algorithm"),
            ("ES384", "p256", "unknown_key"),
            ("RS256", "p256", "unknown_key"),
            ("EdDSA", "p256", "unknown_key"),
            ("ES256", "rsa", "unknown_key"),
            ("RS256", "rsa", "signature"),
        ] {
            let header = json!({"alg": alg, "kid": kid}).to_string();
            let token = P256.sign(ES256, &header, &claims().to_string());
            assert_eq!(world.outcome(&token).await, Err(why), "{alg} {kid}");
        }
    })
    .await;
}

#[tokio::test]
async fn public_keys_as_hmac_secrets_and_alg_none_are_rejected() {
    locally(async {
        let world = world_with(issuer(), &[RSA.jwk("rsa")]).await;
        let header = json!({"alg": "HS256", "kid": "rsa"}).to_string();
        for secret in [RSA.public["n"].as_str().unwrap(), &RSA.jwk("rsa").to_string()] {
            let hmac = Pair {
                private: jsonwebtoken::EncodingKey::from_secret(secret.as_bytes()),
                public: Value::Null,
            };
            let token = hmac.sign(jsonwebtoken::Algorithm::HS256, &header, &claims().to_string());
            assert_eq!(world.outcome(&token).await, Err("algorithm"));
        }
        let none = base64url(r#"{"alg":"none"}"#);
        let token = format!("{none}.{}.", base64url(claims().to_string()));
        assert_eq!(world.outcome(&token).await, Err("algorithm"));
    })
    .await;
}

#[tokio::test]
async fn tokens_that_are_not_compact_jws_are_rejected() {
    locally(async {
        let world = world().await;
        let valid = token("k1", json!({}));
        let [head, body, signature]: [&str; 3] =
            valid.split('.').collect::<Vec<_>>().try_into().unwrap();
        for text in [
            "a".to_owned(),
            "a.b".to_owned(),
            "...".to_owned(),
            "..".to_owned(),
            format!("{valid}.x"),
            format!("{valid}."),
            format!(".{valid}"),
            format!("{head}.{}.{signature}", base64url("[]")),
            format!("{head}.{}.{signature}", base64url("{}x")),
            format!("{}.{body}.{signature}", base64url("\"ES256\"")),
            format!("{}.{body}.{signature}", base64url([0xff, 0xfe])),
            format!("+{head}.{body}.{signature}"),
        ] {
            assert_eq!(world.outcome(&text).await, Err("not_jws"), "{text}");
        }
        let padded = format!("{head}=.{body}.{signature}");
        assert_eq!(world.outcome(&padded).await, Err("malformed_header"));
        assert_eq!(world.outcome(&format!("{valid}==")).await, Err("not_jws"));
        assert_eq!(world.outcome(&valid).await, Ok("alice".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn tokens_with_a_changed_missing_or_added_character_are_rejected() {
    locally(async {
        let world = world().await;
        let valid = token("k1", json!({}));
        for at in 0..valid.len() {
            let (before, rest) = valid.split_at(at);
            let mut rest_of_it = rest.chars();
            let turned = if rest_of_it.next() == Some('A') { 'B' } else { 'A' };
            let after = rest_of_it.as_str();
            for changed in [
                format!("{before}{turned}{after}"),
                format!("{before}.{after}"),
                format!("{before}{after}"),
                format!("{before}A{rest}"),
                before.to_owned(),
            ] {
                let outcome = world.outcome(&changed).await;
                assert!(outcome.is_err() || changed == valid, "{at}: {changed}");
                assert!(changed == valid || !world.has_cached(&changed), "{at}: {changed}");
            }
        }
        assert_eq!(world.outcome(&valid).await, Ok("alice".to_owned()));
        assert!(world.has_cached(&valid));
    })
    .await;
}

#[tokio::test]
async fn headers_with_unsupported_members_or_wrong_types_are_rejected() {
    let accepted = [
        json!({}),
        json!({"typ": "AT+JWT"}),
        json!({"typ": "application/at+jwt"}),
        json!({"typ": "Application/AT+JWT"}),
        json!({"typ": "JWT"}),
        json!({"typ": null}),
        json!({"typ": ""}),
        json!({"kid": null}),
        json!({"jku": "https://evil.example", "x5u": "https://evil.example", "x5c": ["AA"]}),
        json!({"jwk": OTHER_P256.public}),
        json!({"unknown": {"a": 1}}),
        json!({"zip": "DEF", "zap": 1}),
    ];
    let rejected = [
        (json!({"crit": []}), "header"),
        (json!({"b64": false}), "header"),
        (json!({"b64": true}), "header"),
        (json!({"crit": ["zip"], "zip": "DEF"}), "header"),
        (json!({"enc": "A128GCM"}), "header"),
        (json!({"alg": null}), "header"),
        (json!({"alg": 256}), "header"),
        (json!({"alg": ["ES256"]}), "header"),
        (json!({"kid": 1}), "header"),
        (json!({"kid": "x".repeat(257)}), "header"),
        (json!({"typ": 1}), "header"),
        (json!({"typ": "dpop+jwt"}), "type"),
        (json!({"typ": "application/application/at+jwt"}), "type"),
        (json!({"typ": "logout+jwt"}), "type"),
        (json!({"typ": "application/"}), "type"),
        (json!({"typ": "at+jwt "}), "type"),
    ];
    locally(async {
        let world = world().await;
        for change in accepted {
            let text = with(&header("k1"), change).to_string();
            let token = P256.sign(ES256, &text, &claims().to_string());
            assert_eq!(world.outcome(&token).await, Ok("alice".to_owned()), "{text}");
        }
        for (change, why) in rejected {
            let text = with(&header("k1"), change).to_string();
            let token = P256.sign(ES256, &text, &claims().to_string());
            assert_eq!(world.outcome(&token).await, Err(why), "{text}");
        }
        assert_eq!(world.origin().fetches(), 1, "none of them causes a fetch");
        let longest = with(&header("k1"), json!({"kid": "x".repeat(256)})).to_string();
        let token = P256.sign(ES256, &longest, &claims().to_string());
        assert_eq!(world.outcome(&token).await, Err("unknown_key"));
    })
    .await;
}

#[tokio::test]
async fn keys_inside_a_token_are_never_used() {
    locally(async {
        let world = world().await;
        let header = with(&header("k1"), json!({"jwk": OTHER_P256.public})).to_string();
        let token = OTHER_P256.sign(ES256, &header, &claims().to_string());
        assert_eq!(world.outcome(&token).await, Err("signature"));
    })
    .await;
}

#[tokio::test]
async fn typ_must_be_accepted_by_the_issuers_settings() {
    locally(async {
        let mut strict = issuer();
        strict.typ = vec!["at+jwt".to_owned()];
        let world = world_with(strict, &[P256.jwk("k1")]).await;
        for (typ, outcome) in [
            (json!("at+jwt"), Ok("alice".to_owned())),
            (json!("JWT"), Err("type")),
            (json!(""), Err("type")),
            (Value::Null, Err("type")),
        ] {
            let text = with(&header("k1"), json!({"typ": typ})).to_string();
            let token = P256.sign(ES256, &text, &claims().to_string());
            assert_eq!(world.outcome(&token).await, outcome, "{text}");
        }
    })
    .await;
}

#[tokio::test]
async fn tokens_with_duplicate_members_are_rejected() {
    locally(async {
        let world = world().await;
        let claims = claims().to_string();
        for doubled in [
            r#"{"alg":"ES256","kid":"k1","alg":"ES256"}"#,
            r#"{"alg":"ES256","kid":"k1","\u006bid":"k1"}"#,
        ] {
            let token = P256.sign(ES256, doubled, &claims);
            assert_eq!(world.outcome(&token).await, Err("not_jws"), "{doubled}");
        }
        for member in [r#""sub":"bob""#, r#""sub":"alice""#, r#""exp":1"#, r#""x":1,"x":2"#] {
            let doubled = claims.replacen('{', &format!("{{{member},"), 1);
            let token = P256.sign(ES256, &header("k1").to_string(), &doubled);
            assert_eq!(world.outcome(&token).await, Err("not_jws"), "{doubled}");
        }
    })
    .await;
}

#[tokio::test]
async fn each_invalid_claim_is_rejected_for_its_reason() {
    let cases = [
        (json!({"iss": "https://evil.example"}), "unknown_issuer"),
        (json!({"iss": format!("{ISSUER}/")}), "unknown_issuer"),
        (json!({"iss": ISSUER.to_uppercase()}), "unknown_issuer"),
        (json!({"iss": [ISSUER]}), "unknown_issuer"),
        (json!({"iss": 1}), "unknown_issuer"),
        (json!({"iss": null}), "unknown_issuer"),
        (json!({"sub": ["alice"]}), "claims"),
        (json!({"sub": {"alice": true}}), "claims"),
        (json!({"aud": null}), "claims"),
        (json!({"aud": 1}), "claims"),
        (json!({"aud": {"juspay-bff": true}}), "claims"),
        (json!({"aud": ["juspay-bff", 1]}), "claims"),
        (json!({"aud": []}), "audience"),
        (json!({"aud": ""}), "audience"),
        (json!({"aud": "juspay-bf"}), "audience"),
        (json!({"aud": "juspay-bff other-bff"}), "audience"),
        (json!({"aud": ["a", "b"]}), "audience"),
        (json!({"exp": null}), "claims"),
        (json!({"exp": (START + 300).to_string()}), "claims"),
        (json!({"exp": true}), "claims"),
        (json!({"exp": [START + 300]}), "claims"),
        (json!({"exp": {}}), "claims"),
        (json!({"exp": -1}), "claims"),
        (json!({"exp": -0.5}), "claims"),
        (json!({"exp": (START + 300) * 1000}), "claims"),
        (json!({"exp": 1e300}), "claims"),
        (json!({"exp": u64::MAX}), "claims"),
        (json!({"exp": i64::MIN}), "claims"),
        (json!({"nbf": "soon"}), "claims"),
        (json!({"iat": {}}), "claims"),
        (json!({"iat": -1}), "claims"),
        (json!({"nbf": START + LEEWAY + 1}), "not_yet_valid"),
        (json!({"iat": START + LEEWAY + 1}), "not_yet_valid"),
        (json!({"cnf": {"jkt": "x"}}), "confirmation"),
        (json!({"cnf": {}}), "confirmation"),
        (json!({"exp": START - LEEWAY}), "expired"),
        (json!({"exp": 0}), "expired"),
    ];
    locally(async {
        let world = world().await;
        for (change, why) in cases {
            let outcome = world.outcome(&token("k1", change.clone())).await;
            assert_eq!(outcome, Err(why), "{change}");
        }
    })
    .await;
}

#[tokio::test]
async fn valid_claims_are_accepted_in_each_form() {
    let cases = [
        json!({"aud": "other-bff"}),
        json!({"aud": ["juspay-bff"]}),
        json!({"aud": ["a", "other-bff", "b"]}),
        json!({"exp": START + 1}),
        json!({"exp": 253_402_207_200_i64}),
        json!({"iat": null}),
        json!({"nbf": START, "iat": START}),
        json!({"nbf": 0}),
        json!({"nonce": "n", "at_hash": "h", "c_hash": "h"}),
        json!({"extra": {"deep": [1, 2]}}),
    ];
    locally(async {
        let world = world().await;
        for change in cases {
            let outcome = world.outcome(&token("k1", change.clone())).await;
            assert_eq!(outcome, Ok("alice".to_owned()), "{change}");
        }
        let fractional = with(&claims(), json!({"exp": null})).to_string();
        let fractional = fractional.replacen('{', "{\"exp\":1767225600.75,", 1);
        let token = P256.sign(ES256, &header("k1").to_string(), &fractional);
        assert_eq!(world.outcome(&token).await, Ok("alice".to_owned()));
        let overflowing = fractional.replace("1767225600.75", "1e999");
        let token = P256.sign(ES256, &header("k1").to_string(), &overflowing);
        assert_eq!(world.outcome(&token).await, Err("not_jws"));
    })
    .await;
}

#[tokio::test]
async fn times_are_exact_to_the_second_with_the_leeway() {
    locally(async {
        let world = world().await;
        for (change, outcome) in [
            (json!({"exp": START - LEEWAY + 1}), Ok("alice".to_owned())),
            (json!({"exp": START - LEEWAY}), Err("expired")),
            (json!({"nbf": START + LEEWAY}), Ok("alice".to_owned())),
            (json!({"nbf": START + LEEWAY + 1}), Err("not_yet_valid")),
            (json!({"iat": START + LEEWAY}), Ok("alice".to_owned())),
            (json!({"iat": START + LEEWAY + 1}), Err("not_yet_valid")),
        ] {
            assert_eq!(world.outcome(&token("k1", change.clone())).await, outcome, "{change}");
        }
    })
    .await;
}

#[tokio::test]
async fn tokens_older_than_max_token_age_are_rejected() {
    const HOUR: i64 = 3600;
    let mut aging = issuer();
    aging.max_token_age = Some(Duration::from_secs(HOUR.unsigned_abs()));
    let at = |iat: Value, exp: i64| json!({"iat": iat, "exp": START + exp});
    let oldest = START - HOUR - LEEWAY;
    locally(async {
        let world = world_with(aging, &[P256.jwk("k1")]).await;
        for (change, outcome) in [
            (at(json!(START), 300), Ok("alice")),
            (at(json!(START + LEEWAY), 300), Ok("alice")),
            (at(json!(oldest + 1), 300), Ok("alice")),
            (at(json!(oldest), 300), Err("expired")),
            (at(json!(0), 300), Err("expired")),
            (at(json!(START), -LEEWAY), Err("expired")),
            (at(Value::Null, 300), Err("claims")),
            (json!({"iat": START, "exp": null}), Err("claims")),
            (at(json!(START.to_string()), 300), Err("claims")),
            (at(json!(-1), 300), Err("claims")),
            (at(json!(START + LEEWAY + 1), 300), Err("not_yet_valid")),
        ] {
            let found = world.outcome(&token("k1", change.clone())).await;
            assert_eq!(found, outcome.map(str::to_owned), "{change}");
        }
        let remembered = token("k1", at(json!(START), 10 * HOUR));
        assert_eq!(world.outcome(&remembered).await, Ok("alice".to_owned()));
        let end = (HOUR + LEEWAY).unsigned_abs();
        world.advance(Duration::new(end - 1, 999_999_999)).await;
        assert!(world.has_cached(&remembered));
        world.advance(Duration::from_nanos(1)).await;
        assert!(!world.has_cached(&remembered));
        assert_eq!(world.outcome(&remembered).await, Err("expired"));
    })
    .await;
}

#[tokio::test]
async fn every_required_scope_must_be_in_a_scope_claim() {
    let mut scoped = issuer();
    scoped.required_scopes = vec!["customer".to_owned(), "pay".to_owned()];
    let granted = [
        json!({"scope": "pay customer"}),
        json!({"scope": "openid customer x pay"}),
        json!({"scp": "customer pay"}),
        json!({"scp": ["customer", "pay"]}),
        json!({"scope": "customer", "scp": ["pay"]}),
        json!({"scope": ["customer", "pay"]}),
        json!({"scopes": ["customer", "pay"]}),
        json!({"scopes": "customer pay"}),
        json!({"scope": ["x"], "scp": "customer", "scopes": ["pay", 1, null]}),
    ];
    let lacking = [
        json!({}),
        json!({"scope": ""}),
        json!({"scope": "customer"}),
        json!({"scope": "customer,pay"}),
        json!({"scope": "customers payment"}),
        json!({"scope": "Customer Pay"}),
        json!({"scp": ["customer pay"]}),
        json!({"scope": ["customer pay"]}),
        json!({"scopes": {"customer": true, "pay": true}}),
        json!({"scopes": ["customer,pay"]}),
        json!({"Scopes": ["customer", "pay"], "permissions": ["customer", "pay"]}),
        json!({"scp": [["customer", "pay"], 1]}),
    ];
    locally(async {
        let world = world_with(scoped, &[P256.jwk("k1")]).await;
        for change in granted {
            let outcome = world.outcome(&token("k1", change.clone())).await;
            assert_eq!(outcome, Ok("alice".to_owned()), "{change}");
        }
        for change in lacking {
            let rejected = world.check(&token("k1", change.clone())).await;
            let needed = AuthError::InsufficientScope("customer pay".into());
            assert_eq!(rejected.map(drop), Err(needed), "{change}");
        }
    })
    .await;
}

#[tokio::test]
async fn only_the_most_severe_fault_is_reported() {
    let mut scoped = issuer();
    scoped.required_scopes = vec!["pay".to_owned()];
    locally(async {
        let world = world_with(scoped, &[P256.jwk("k1")]).await;
        let without_customer = json!({"sub": ""});
        let expired = with(&without_customer, json!({"exp": START - 100}));
        for (change, why) in [
            (with(&expired, json!({"aud": "x"})), "audience"),
            (with(&expired, json!({"iat": START + 100})), "not_yet_valid"),
            (with(&expired, json!({"cnf": {}})), "confirmation"),
            (expired.clone(), "expired"),
            (without_customer.clone(), "insufficient_scope"),
            (with(&without_customer, json!({"scope": "pay"})), "no_customer"),
        ] {
            assert_eq!(world.outcome(&token("k1", change.clone())).await, Err(why), "{change}");
        }
        assert_eq!(world.outcome(&signed(&OTHER_P256, "k1", expired)).await, Err("signature"));
    })
    .await;
}

#[tokio::test]
async fn application_tokens_name_no_customer() {
    locally(async {
        let world = world().await;
        for (change, outcome) in [
            (json!({"sub": "0oa1", "cid": "0oa1"}), Err("no_customer")),
            (json!({"sub": "app@clients", "azp": "app"}), Err("no_customer")),
            (json!({"sub": "app@clients", "client_id": "app"}), Err("no_customer")),
            (json!({"sub": "7", "client_id": 7}), Err("no_customer")),
            (json!({"sub": "juspay-bff"}), Err("no_customer")),
            (json!({"sub": "other-bff@clients"}), Err("no_customer")),
            (json!({"sub": "alice", "cid": "0oa1"}), Ok("alice")),
            (json!({"sub": "bob@clients", "azp": "app"}), Ok("bob@clients")),
            (json!({"sub": "app@clients.example", "azp": "app"}), Ok("app@clients.example")),
            (json!({"sub": "app", "azp": "app@clients"}), Ok("app")),
        ] {
            let found = world.outcome(&token("k1", change.clone())).await;
            assert_eq!(found, outcome.map(str::to_owned), "{change}");
        }
    })
    .await;
}

#[tokio::test]
async fn claims_become_a_customer_or_are_rejected() {
    let by_sub = [
        (json!({"sub": "a@b.example"}), Ok("a@b.example")),
        (json!({"sub": 12345}), Ok("12345")),
        (json!({"sub": -5}), Ok("-5")),
        (json!({"sub": u64::MAX}), Ok("18446744073709551615")),
        (json!({"client_id": "app", "azp": "app"}), Ok("alice")),
        (json!({"sub": null}), Err("no_customer")),
        (json!({"sub": ""}), Err("no_customer")),
        (json!({"sub": 1.5}), Err("no_customer")),
        (json!({"sub": true}), Err("no_customer")),
        (json!({"sub": ".."}), Err("no_customer")),
        (json!({"sub": "a/b"}), Err("no_customer")),
        (json!({"sub": "a\u{0}"}), Err("no_customer")),
        (json!({"sub": "x".repeat(257)}), Err("no_customer")),
        (json!({"sub": "app", "client_id": "app"}), Err("no_customer")),
        (json!({"sub": "app", "azp": "app"}), Err("no_customer")),
    ];
    let by_claim = [
        ("email", json!({"email": "a@b.example", "email_verified": true}), Ok("a@b.example")),
        ("email", json!({"email": "a@b.example"}), Err("no_customer")),
        ("email", json!({"email": "a@b.example", "email_verified": false}), Err("no_customer")),
        ("email", json!({"email_verified": true}), Err("no_customer")),
        ("phone_number", json!({"phone_number": "+91", "phone_number_verified": true}), Ok("+91")),
        ("phone_number", json!({"phone_number": "+91"}), Err("no_customer")),
        (
            "phone_number",
            json!({"phone_number": "+91", "email_verified": true}),
            Err("no_customer"),
        ),
        ("customer", json!({"customer": "c1", "azp": "c1"}), Ok("c1")),
        ("customer", json!({"customer": "c1@clients", "azp": "c1"}), Ok("c1@clients")),
        ("customer", json!({"email_verified": false, "customer": "c1"}), Ok("c1")),
        ("customer", json!({}), Err("no_customer")),
        ("a.b", json!({"a": {"b": "c1"}}), Err("no_customer")),
    ];
    locally(async {
        let cases = by_sub.into_iter().map(|(change, outcome)| ("sub", change, outcome));
        for (claim, change, outcome) in cases.chain(by_claim) {
            let mut by_claim = issuer();
            by_claim.customer_id_claim = claim_path(claim);
            let world = world_with(by_claim, &[P256.jwk("k1")]).await;
            let found = world.outcome(&token("k1", change.clone())).await;
            assert_eq!(found, outcome.map(str::to_owned), "{claim} {change}");
        }
    })
    .await;
}

#[tokio::test]
async fn issuers_have_separate_customers_and_keys() {
    let prefixed = |url: &str, prefix: &str| {
        let mut issuer = issuer();
        url.clone_into(&mut issuer.issuer);
        prefix.clone_into(&mut issuer.customer_id_prefix);
        issuer
    };
    locally(async {
        let world = world_of([
            ("main", prefixed(ISSUER, ""), set(&[P256.jwk("k1")])),
            ("shop", prefixed("https://b.example", "b:"), set(&[OTHER_P256.jwk("k1")])),
            ("club", prefixed("https://c.example", "b:c:"), set(&[P256.jwk("k1")])),
        ])
        .await;
        let of = |pair, iss, sub| signed(pair, "k1", json!({"iss": iss, "sub": sub}));
        let shop = "https://b.example";
        for (token, outcome) in [
            (of(&*P256, ISSUER, "7"), Ok("7")),
            (of(&*OTHER_P256, shop, "7"), Ok("b:7")),
            (of(&*P256, "https://c.example", "7"), Ok("b:c:7")),
            (of(&*P256, shop, "7"), Err("signature")),
            (of(&*OTHER_P256, ISSUER, "7"), Err("signature")),
            (of(&*P256, ISSUER, "b:7"), Err("no_customer")),
            (of(&*P256, ISSUER, "b:c:7"), Err("no_customer")),
            (of(&*OTHER_P256, shop, "c:7"), Err("no_customer")),
            (of(&*OTHER_P256, shop, "b:7"), Ok("b:b:7")),
            (of(&*OTHER_P256, shop, ""), Err("no_customer")),
        ] {
            assert_eq!(world.outcome(&token).await, outcome.map(str::to_owned), "{token}");
        }
        let caller = world.check(&of(&*OTHER_P256, shop, "7")).await.unwrap();
        assert_eq!(caller.issuer(), "shop");
    })
    .await;
}
