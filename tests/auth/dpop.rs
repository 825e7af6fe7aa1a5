//! Which DPoP proofs are accepted. Each invalid case differs from a valid one in one respect.

mod times;

use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::{
    http::header::{AUTHORIZATION, HOST},
    test::TestRequest,
};
use aws_lc_rs::digest::{SHA256, digest};
use juspay_bff::{
    auth::{AuthError, Caller},
    clock::Clock as _,
    settings::{self, DpopMode},
    traces::Span,
};
use serde_json::{Value, json};

use super::{
    testing::{
        ED25519, OTHER_P256, P256, P384, Pair, RSA, START, base64url, issuer, locally, set,
        settings, with,
    },
    world::{MAX_WAITING, World, signed, token, world, world_of_auth},
};

const ES256: jsonwebtoken::Algorithm = jsonwebtoken::Algorithm::ES256;
const HTU: &str = "http://api.example/me/customer";

/// The key pair of the client. The issuer has [`P256`].
fn client_key() -> &'static Pair {
    &OTHER_P256
}

fn issuer_with(mode: DpopMode) -> settings::Issuer {
    settings::Issuer { dpop: mode, ..issuer() }
}

async fn world_with_mode(mode: DpopMode) -> World {
    world_of_auth(settings(), [("main", issuer_with(mode), set(&[P256.jwk("k1")]))]).await
}

fn sha256(bytes: &[u8]) -> impl AsRef<[u8]> {
    digest(&SHA256, bytes)
}

/// The thumbprint (RFC 7638).
fn jkt(pair: &Pair) -> String {
    let public = &pair.public;
    let members: &[&str] = match public["kty"].as_str().unwrap() {
        "RSA" => &["e", "kty", "n"],
        "EC" => &["crv", "kty", "x", "y"],
        _ => &["crv", "kty", "x"],
    };
    let members: Vec<_> =
        members.iter().map(|name| format!("\"{name}\":{}", public[name])).collect();
    base64url(sha256(format!("{{{}}}", members.join(",")).as_bytes()))
}

/// A token that is bound to this key.
fn bound_to(pair: &Pair) -> String {
    token("k1", json!({"cnf": {"jkt": jkt(pair)}}))
}

fn head() -> Value {
    json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": client_key().public})
}

/// The claims of a proof for this token, with a new `jti`.
fn claims(token: &str) -> Value {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    json!({
        "jti": format!("proof-{number}"),
        "htm": "GET",
        "htu": HTU,
        "iat": START,
        "ath": base64url(sha256(token.as_bytes())),
    })
}

fn proof(token: &str, changes: Value) -> String {
    client_key().sign(ES256, &head().to_string(), &with(&claims(token), changes).to_string())
}

impl World {
    /// Sends a request with this value of `Authorization`, and these of `DPoP`.
    async fn request(&self, authorization: &str, proofs: &[&str]) -> Result<Caller, AuthError> {
        let mut request = TestRequest::get()
            .uri("/me/customer")
            .insert_header((HOST, "api.example"))
            .insert_header((AUTHORIZATION, authorization));
        for proof in proofs {
            request = request.append_header(("dpop", *proof));
        }
        let request = request.to_request();
        self.auth.authenticate(&request, self.clock.moment(), &Span::default()).await
    }

    async fn with_proofs(&self, token: &str, proofs: &[&str]) -> Outcome {
        self.send(&format!("DPoP {token}"), proofs).await
    }

    async fn send(&self, authorization: &str, proofs: &[&str]) -> Outcome {
        match self.request(authorization, proofs).await {
            Ok(caller) => {
                let mut known = ["alice", "strict-alice"].into_iter();
                Ok(known.find(|name| *name == caller.customer().as_str()).unwrap_or("another"))
            }
            Err(error) => Err(error.reason()),
        }
    }
}

/// The customer, or the label of the error.
type Outcome = Result<&'static str, &'static str>;

const ALICE: Outcome = Ok("alice");

#[tokio::test]
async fn each_request_with_a_bound_token_needs_a_proof_with_its_key() {
    use jsonwebtoken::Algorithm as Jwa;
    locally(async {
        for mode in [DpopMode::Optional, DpopMode::Required] {
            let world = world_with_mode(mode).await;
            for (alg, jwa, pair) in [
                ("RS256", Jwa::RS256, &RSA),
                ("PS512", Jwa::PS512, &RSA),
                ("ES256", Jwa::ES256, &P256),
                ("ES384", Jwa::ES384, &P384),
                ("EdDSA", Jwa::EdDSA, &ED25519),
            ] {
                let head = with(&head(), json!({"alg": alg, "jwk": pair.public})).to_string();
                let token = bound_to(pair);
                for attempt in ["first", "second"] {
                    let proof = pair.sign(jwa, &head, &claims(&token).to_string());
                    let outcome = world.with_proofs(&token, &[&proof]).await;
                    assert_eq!(outcome, ALICE, "{alg} {attempt}");
                    let again = world.with_proofs(&token, &[&proof]).await;
                    assert_eq!(again, Err("dpop_replayed"), "{alg} {attempt}");
                    let without = world.with_proofs(&token, &[]).await;
                    assert_eq!(without, Err("dpop_missing"), "{alg} {attempt}");
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn each_dpop_mode_accepts_only_its_tokens() {
    use DpopMode::{Off, Optional, Required};
    let bound = || bound_to(client_key());
    let unbound = || token("k1", json!({"jti": "unbound"}));
    locally(async {
        for (mode, scheme, token, expected) in [
            (Off, "Bearer", unbound(), ALICE),
            (Off, "Bearer", bound(), Err("confirmation")),
            (Off, "DPoP", unbound(), Err("missing_token")),
            (Off, "DPoP", bound(), Err("missing_token")),
            (Optional, "Bearer", unbound(), ALICE),
            (Optional, "Bearer", bound(), Err("confirmation")),
            (Optional, "DPoP", unbound(), Err("unbound")),
            (Optional, "DPoP", bound(), ALICE),
            (Required, "Bearer", unbound(), Err("unbound")),
            (Required, "Bearer", bound(), Err("confirmation")),
            (Required, "DPoP", unbound(), Err("unbound")),
            (Required, "DPoP", bound(), ALICE),
        ] {
            let world = world_with_mode(mode).await;
            let authorization = format!("{scheme} {token}");
            for attempt in ["first", "second"] {
                let proof = proof(&token, json!({}));
                let outcome = world.send(&authorization, &[&proof]).await;
                assert_eq!(outcome, expected, "{mode:?} {scheme} {attempt}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn cached_token_is_not_accepted_with_another_scheme() {
    locally(async {
        let world = world_with_mode(DpopMode::Optional).await;
        let (bound, unbound) = (bound_to(client_key()), token("k1", json!({})));
        assert_eq!(world.with_proofs(&bound, &[&proof(&bound, json!({}))]).await, ALICE);
        assert_eq!(
            world.outcome(&bound).await,
            Err("confirmation"),
            "cached, but sent without a proof"
        );
        assert!(!world.has_cached(&bound));
        assert_eq!(world.outcome(&unbound).await, Ok("alice".to_owned()));
        let outcome = world.with_proofs(&unbound, &[&proof(&unbound, json!({}))]).await;
        assert_eq!(outcome, Err("unbound"), "cached, but not bound");
        let without = world.with_proofs(&bound, &[]).await;
        assert_eq!(without, Err("dpop_missing"));
    })
    .await;
}

#[tokio::test]
async fn issuers_with_and_without_dpop_work_together() {
    locally(async {
        let strict = settings::Issuer {
            issuer: "https://strict.example".to_owned(),
            customer_id_prefix: "strict-".to_owned(),
            ..issuer_with(DpopMode::Required)
        };
        let keys = || set(&[P256.jwk("k1")]);
        let issuers = [("main", issuer(), keys()), ("strict", strict, keys())];
        let world = world_of_auth(settings(), issuers).await;
        let of_strict =
            |changes| token("k1", with(&json!({"iss": "https://strict.example"}), changes));
        let cnf = json!({"cnf": {"jkt": jkt(client_key())}});
        for (scheme, token, expected) in [
            ("Bearer", token("k1", json!({})), ALICE),
            ("DPoP", token("k1", json!({})), Err("unbound")),
            ("Bearer", token("k1", cnf.clone()), Err("confirmation")),
            ("DPoP", token("k1", cnf.clone()), Err("confirmation")),
            ("Bearer", of_strict(json!({})), Err("unbound")),
            ("Bearer", of_strict(cnf.clone()), Err("confirmation")),
            ("DPoP", of_strict(cnf), Ok("strict-alice")),
        ] {
            let proof = proof(&token, json!({}));
            let outcome = world.send(&format!("{scheme} {token}"), &[&proof]).await;
            assert_eq!(outcome, expected, "{scheme} {token}");
        }
    })
    .await;
}

#[tokio::test]
async fn other_confirmation_methods_are_rejected() {
    let other_than = |cnf: Value| token("k1", json!({ "cnf": cnf }));
    let jkt = jkt(client_key());
    locally(async {
        let world = world_with_mode(DpopMode::Optional).await;
        for cnf in [
            json!({}),
            json!({"jkt": null}),
            json!({"jkt": 1}),
            json!({"jkt": ""}),
            json!({"jkt": [jkt]}),
            json!({"jkt": format!("{jkt}=")}),
            json!({"jkt": base64url([1; 31])}),
            json!({"jkt": format!("{jkt}AAAA")}),
            json!({"jkt": jkt, "x5t#S256": jkt}),
            json!({"x5t#S256": jkt}),
            json!({"jwk": client_key().public}),
            json!({"kid": "k1"}),
            json!(jkt),
            json!([{"jkt": jkt}]),
            json!(true),
        ] {
            let token = other_than(cnf.clone());
            let outcome = world.with_proofs(&token, &[&proof(&token, json!({}))]).await;
            assert_eq!(outcome, Err("confirmation"), "{cnf}");
        }
    })
    .await;
}

#[tokio::test]
async fn proof_with_one_wrong_claim_is_rejected() {
    let token = bound_to(client_key());
    let other = bound_to(&P384);
    let long = "x".repeat(257);
    let by_claims = [
        (json!({"htm": "HEAD"}), "dpop_method"),
        (json!({"htm": "get"}), "dpop_method"),
        (json!({"htm": ""}), "dpop_method"),
        (json!({"htm": 1}), "dpop_malformed"),
        (json!({"htm": null}), "dpop_malformed"),
        (json!({"htu": "http://api.example/me"}), "dpop_target"),
        (json!({"htu": "https://api.example/me/customer"}), "dpop_target"),
        (json!({"htu": "http://evil.example/me/customer"}), "dpop_target"),
        (json!({"htu": "http://api.example:8080/me/customer"}), "dpop_target"),
        (json!({"htu": "/me/customer"}), "dpop_target"),
        (json!({"htu": ""}), "dpop_target"),
        (json!({"htu": [HTU]}), "dpop_malformed"),
        (json!({"htu": null}), "dpop_malformed"),
        (json!({"iat": START - 91}), "dpop_time"),
        (json!({"iat": START + 31}), "dpop_time"),
        (json!({"iat": 0}), "dpop_time"),
        (json!({"iat": START.to_string()}), "dpop_malformed"),
        (json!({"iat": -1}), "dpop_malformed"),
        (json!({"iat": 1e300}), "dpop_malformed"),
        (json!({"iat": null}), "dpop_malformed"),
        (json!({"jti": ""}), "dpop_malformed"),
        (json!({"jti": 1}), "dpop_malformed"),
        (json!({"jti": long}), "dpop_malformed"),
        (json!({"jti": null}), "dpop_malformed"),
        (json!({"ath": base64url(sha256(other.as_bytes()))}), "dpop_token"),
        (json!({"ath": base64url([0; 32])}), "dpop_token"),
        (json!({"ath": base64url([0; 31])}), "dpop_malformed"),
        (json!({"ath": "x"}), "dpop_malformed"),
        (json!({"ath": 1}), "dpop_malformed"),
        (json!({"ath": null}), "dpop_malformed"),
        (json!({"nonce": 1}), "dpop_malformed"),
    ];
    let cases = by_claims.map(|(changes, why)| (proof(&token, changes), why));
    assert_rejected(&token, cases.into_iter()).await;
}

#[tokio::test]
async fn proof_with_a_wrong_header_is_rejected() {
    let token = bound_to(client_key());
    let with_head = |changes: Value| {
        client_key().sign(ES256, &with(&head(), changes).to_string(), &claims(&token).to_string())
    };
    let jwk = |changes: Value| json!({"jwk": with(&client_key().public, changes)});
    let weak = json!({"kty": "RSA", "n": base64url([255; 128]), "e": "AQAB"});
    let by_head = [
        (json!({"typ": "JWT"}), "dpop_malformed"),
        (json!({"typ": "at+jwt"}), "dpop_malformed"),
        (json!({"typ": ""}), "dpop_malformed"),
        (json!({"typ": null}), "dpop_malformed"),
        (json!({"typ": 1}), "dpop_malformed"),
        (json!({"alg": "none"}), "dpop_malformed"),
        (json!({"alg": "HS256"}), "dpop_malformed"),
        (json!({"alg": null}), "dpop_malformed"),
        (json!({"alg": "ES384"}), "dpop_key"),
        (json!({"alg": "RS256"}), "dpop_key"),
        (json!({"crit": ["exp"]}), "dpop_malformed"),
        (json!({"b64": true}), "dpop_malformed"),
        (json!({"jwk": null}), "dpop_key"),
        (json!({"jwk": null, "kid": "k1"}), "dpop_key"),
        (json!({"jwk": null, "jku": "https://idp.example/keys"}), "dpop_key"),
        (json!({"jwk": "text"}), "dpop_key"),
        (json!({"jwk": [client_key().public]}), "dpop_key"),
        (json!({"jwk": {}}), "dpop_key"),
        (json!({"jwk": {"kty": "oct", "k": base64url([1; 32])}}), "dpop_key"),
        (json!({"jwk": weak, "alg": "RS256"}), "dpop_key"),
        (json!({"jwk": P256.public}), "confirmation"),
        (jwk(json!({"d": base64url([1; 32])})), "dpop_key"),
        (jwk(json!({"k": "AAAA"})), "dpop_key"),
        (jwk(json!({"dp": 1})), "dpop_key"),
        (jwk(json!({"use": "enc"})), "dpop_key"),
        (jwk(json!({"key_ops": ["sign"]})), "dpop_key"),
        (jwk(json!({"alg": "ES384"})), "dpop_key"),
        (jwk(json!({"crv": "P-521"})), "dpop_key"),
        (jwk(json!({"x": base64url([1; 32])})), "dpop_key"),
        (jwk(json!({"y": null})), "dpop_key"),
    ];
    let cases = by_head.map(|(changes, why)| (with_head(changes), why));
    assert_rejected(&token, cases.into_iter()).await;
}

#[tokio::test]
async fn malformed_proofs_are_rejected() {
    let token = bound_to(client_key());
    let valid = proof(&token, json!({}));
    let (message, signature) = valid.rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { "B" } else { "A" };
    let twice = r#"{"jti":"a","jti":"a"}"#;
    let by_other_key = P256.sign(ES256, &head().to_string(), &claims(&token).to_string());
    let cases = [
        (String::new(), "dpop_malformed"),
        ("a.b.c".to_owned(), "dpop_malformed"),
        (message.to_owned(), "dpop_malformed"),
        (format!("{valid}.x"), "dpop_malformed"),
        (format!("{valid}="), "dpop_malformed"),
        (format!("{valid} "), "dpop_malformed"),
        (format!("{valid},{valid}"), "dpop_malformed"),
        (format!("{message}."), "dpop_signature"),
        (format!("{message}.{first}{}", signature.get(1..).unwrap()), "dpop_signature"),
        (client_key().sign(ES256, &head().to_string(), twice), "dpop_malformed"),
        (client_key().sign(ES256, &head().to_string(), "[]"), "dpop_malformed"),
        (token.clone(), "dpop_malformed"),
        // With the public key of the client, which is in each of its proofs.
        (by_other_key, "dpop_signature"),
    ];
    assert_rejected(&token, cases.into_iter()).await;
}

/// Checks that each proof is rejected, whether the token is cached or not, and that none is remembered.
async fn assert_rejected(token: &str, cases: impl Iterator<Item = (String, &'static str)>) {
    locally(async {
        for (proof, why) in cases {
            let world = world_with_mode(DpopMode::Required).await;
            for attempt in ["first", "second"] {
                let outcome = world.with_proofs(token, &[&proof]).await;
                assert_eq!(outcome, Err(why), "{proof}, {attempt} request");
            }
            assert_eq!(world.metrics.auth.dpop_proofs.get(), 0);
        }
        let world = world_with_mode(DpopMode::Required).await;
        let valid = proof(token, json!({}));
        assert_eq!(world.with_proofs(token, &[&valid, &valid]).await, Err("dpop_malformed"));
        assert_eq!(world.metrics.auth.dpop_proofs.get(), 0);
        assert_eq!(world.with_proofs(token, &[&valid]).await, ALICE);
        assert_eq!(world.metrics.auth.dpop_proofs.get(), 1);
    })
    .await;
}

#[tokio::test]
async fn proof_is_checked_for_a_valid_token_only() {
    locally(async {
        let world = world_with_mode(DpopMode::Required).await;
        let cnf = json!({"cnf": {"jkt": jkt(client_key())}});
        let changed = |changes| token("k1", with(&cnf, changes));
        for (token, why) in [
            (signed(&OTHER_P256, "k1", cnf.clone()), "signature"),
            (changed(json!({"exp": START - 31})), "expired"),
            (changed(json!({"aud": "others"})), "audience"),
            (changed(json!({"sub": "a/b"})), "no_customer"),
        ] {
            for proofs in [&[][..], &[&*proof(&token, json!({}))]] {
                assert_eq!(world.with_proofs(&token, proofs).await, Err(why));
            }
        }
        assert_eq!(world.metrics.auth.dpop_proofs.get(), 0);
    })
    .await;
}

#[tokio::test]
async fn proof_needs_a_verification_permit() {
    locally(async {
        let world = world_with_mode(DpopMode::Required).await;
        let token = bound_to(client_key());
        assert_eq!(world.with_proofs(&token, &[&proof(&token, json!({}))]).await, ALICE);
        let permits = world.take_permits(MAX_WAITING);
        let outcome = world.with_proofs(&token, &[&proof(&token, json!({}))]).await;
        assert_eq!(outcome, Err("overloaded"));
        drop(permits);
        assert_eq!(world.with_proofs(&token, &[&proof(&token, json!({}))]).await, ALICE);
        assert_eq!(world.metrics.auth.verifications.get(), 0);
    })
    .await;
}

#[tokio::test]
async fn bound_token_is_rejected_by_default() {
    locally(async {
        let world = world().await;
        let token = bound_to(client_key());
        let proof = proof(&token, json!({}));
        for scheme in ["Bearer", "DPoP"] {
            let outcome = world.send(&format!("{scheme} {token}"), &[&proof]).await;
            assert!(outcome.is_err(), "{scheme}");
        }
    })
    .await;
}
