//! Which logout tokens are valid (OpenID Connect Back-Channel Logout 1.0 §2.4, §2.6), and which tokens
//! they revoke. `tests/api` sends them over sockets.

use std::time::Duration;

use juspay_bff::{
    auth::{AuthError, LogoutError, Reason, RevokeError},
    settings::{self, Issuer},
};
use serde_json::{Value, json};

use super::{
    testing::{
        ISSUER, LEEWAY, OTHER_P256, P256, Pair, START, issuer, locally, set, settings, settle, with,
    },
    world::{World, token, world, world_of_auth, world_with},
};

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": "juspay-bff", "sub": "alice", "jti": "l1", "iat": START,
        "exp": START + 120, "events": {EVENT: {}},
    })
}

/// A logout token signed with `pair`, with these changes to a valid header and valid claims.
fn signed(pair: &Pair, header: Value, changes: Value) -> String {
    let valid = json!({"alg": "ES256", "typ": "logout+jwt", "kid": "k1"});
    let (header, claims) = (with(&valid, header), with(&claims(), changes));
    pair.sign(jsonwebtoken::Algorithm::ES256, &header.to_string(), &claims.to_string())
}

fn logout(changes: Value) -> String {
    signed(&P256, json!({}), changes)
}

async fn send(world: &World, token: &str) -> Result<Vec<String>, LogoutError> {
    let (customers, entry) = world.auth.log_out(token).await?;
    assert!(world.auth.revocations_in_memory().contains(&entry.unwrap()), "for other replicas");
    Ok(customers.iter().map(|customer| customer.as_str().to_owned()).collect())
}

fn count(world: &World, outcome: &str) -> u64 {
    world.metrics.auth.logouts.with_label_values(&[outcome]).get()
}

fn rejected(reason: Reason) -> LogoutError {
    AuthError::from(reason).into()
}

#[tokio::test]
async fn logout_revokes_earlier_tokens_of_its_subject() {
    locally(async {
        let world = world().await;
        let [early, same, late] =
            [-1, 0, 1].map(|later| token("k1", json!({"iat": START + later, "jti": later})));
        let bobs = token("k1", json!({"sub": "bob"}));
        for token in [&early, &same, &late, &bobs] {
            world.outcome(token).await.unwrap();
        }
        let sent = send(&world, &logout(json!({"sid": "s"}))).await;
        assert_eq!(sent, Ok(vec!["alice".to_owned()]));
        assert_eq!(world.outcome(&early).await, Err("revoked"));
        assert_eq!(
            world.outcome(&same).await,
            Err("revoked"),
            "issued in the second of the logout"
        );
        assert_eq!(world.outcome(&late).await, Ok("alice".to_owned()), "a new login");
        assert_eq!(world.outcome(&bobs).await, Ok("bob".to_owned()));
        assert_eq!(count(&world, "success"), 1);
    })
    .await;
}

#[tokio::test]
async fn logout_with_sid_only_revokes_tokens_of_that_session() {
    locally(async {
        let world = world().await;
        let of = |sid: Value| token("k1", json!({"sid": sid}));
        let (this, other, none) = (of(json!("s1")), of(json!("s2")), of(Value::Null));
        for token in [&this, &other, &none] {
            world.outcome(token).await.unwrap();
        }
        let sent = send(&world, &logout(json!({"sub": null, "sid": "s1"}))).await;
        assert_eq!(sent, Ok(vec!["alice".to_owned()]));
        assert_eq!(world.outcome(&this).await, Err("revoked"));
        for token in [&other, &none] {
            assert_eq!(world.outcome(token).await, Ok("alice".to_owned()));
        }
    })
    .await;
}

#[tokio::test]
async fn valid_logout_tokens_have_several_forms() {
    for (header, changes) in [
        (json!({"typ": "JWT"}), json!({})),
        (json!({"typ": null}), json!({})),
        (json!({"typ": "application/LOGOUT+JWT"}), json!({})),
        (json!({"kid": null}), json!({})),
        (json!({}), json!({"aud": ["x", "juspay-bff"]})),
        (json!({}), json!({"events": {EVENT: {"more": 1}, "other": {}}})),
        (json!({}), json!({"iat": START + LEEWAY, "exp": START - LEEWAY + 1})),
        (json!({}), json!({"unknown": [1]})),
    ] {
        locally(async {
            let world = world().await;
            let sent = send(&world, &signed(&P256, header.clone(), changes.clone())).await;
            assert_eq!(sent, Ok(vec!["alice".to_owned()]), "{header} {changes}");
        })
        .await;
    }
}

/// Changes to the header and the claims, and the error.
fn invalid_logouts() -> Vec<(Value, Value, LogoutError)> {
    let long = "x".repeat(257);
    let claims = |changes: Value, why: LogoutError| (json!({}), changes, why);
    let header = |header: Value, why: Reason| (header, json!({}), rejected(why));
    vec![
        header(json!({"typ": "at+jwt"}), Reason::Type),
        header(json!({"typ": "secevent+jwt"}), Reason::Type),
        header(json!({"alg": "none"}), Reason::Algorithm),
        header(json!({"alg": "HS256"}), Reason::Algorithm),
        header(json!({"crit": ["exp"]}), Reason::Header),
        header(json!({"kid": "k2"}), Reason::UnknownKey),
        claims(json!({"iss": "https://else"}), rejected(Reason::UnknownIssuer)),
        claims(json!({"iss": null}), rejected(Reason::UnknownIssuer)),
        claims(json!({"iss": [ISSUER]}), rejected(Reason::UnknownIssuer)),
        claims(json!({"aud": "else"}), rejected(Reason::Audience)),
        claims(json!({"aud": null}), rejected(Reason::Claims)),
        claims(json!({"events": null}), LogoutError::NoEvent),
        claims(json!({"events": EVENT}), LogoutError::NoEvent),
        claims(json!({"events": [EVENT]}), LogoutError::NoEvent),
        claims(json!({"events": {"else": {}}}), LogoutError::NoEvent),
        claims(json!({"events": {EVENT: true}}), LogoutError::NoEvent),
        claims(json!({"events": {EVENT: null}}), LogoutError::NoEvent),
        claims(json!({"nonce": "n"}), rejected(Reason::IdToken)),
        claims(json!({"iat": null}), rejected(Reason::Claims)),
        claims(json!({"iat": START.to_string()}), rejected(Reason::Claims)),
        claims(json!({"iat": START + LEEWAY + 1}), rejected(Reason::NotYetValid)),
        claims(json!({"exp": null}), rejected(Reason::Claims)),
        claims(json!({"exp": START - LEEWAY}), AuthError::ExpiredToken.into()),
        claims(json!({"jti": null}), rejected(Reason::Claims)),
        claims(json!({"jti": ""}), rejected(Reason::Claims)),
        claims(json!({"jti": 1}), rejected(Reason::Claims)),
        claims(json!({"jti": &long}), rejected(Reason::Claims)),
        claims(json!({"sub": null}), LogoutError::NoTarget),
        claims(json!({"sub": 7}), rejected(Reason::Claims)),
        claims(json!({"sub": "", "sid": "s"}), rejected(Reason::Claims)),
        claims(json!({"sub": &long}), rejected(Reason::Claims)),
        claims(json!({"sub": null, "sid": ["s"]}), rejected(Reason::Claims)),
        claims(json!({"sid": ""}), rejected(Reason::Claims)),
    ]
}

#[tokio::test]
async fn invalid_logout_tokens_are_rejected_without_effect() {
    for (header, changes, why) in invalid_logouts() {
        locally(async {
            let world = world().await;
            let alices = token("k1", json!({}));
            world.outcome(&alices).await.unwrap();
            let sent = send(&world, &signed(&P256, header.clone(), changes.clone())).await;
            assert_eq!(sent, Err(why), "{header} {changes}");
            assert!(world.has_cached(&alices), "{header} {changes}");
            assert_eq!((count(&world, "success"), count(&world, "invalid")), (0, 1));
        })
        .await;
    }
}

#[tokio::test]
async fn logout_token_that_its_issuer_did_not_sign_is_rejected() {
    locally(async {
        let world = world().await;
        let forged = signed(&OTHER_P256, json!({}), json!({}));
        let valid = logout(json!({}));
        let cut = valid.rsplit_once('.').unwrap().0.to_owned();
        for (text, why) in [
            (forged.as_str(), Reason::Signature),
            (&format!("{cut}."), Reason::Signature),
            (&cut, Reason::NotJws),
            ("", Reason::NotJws),
            ("a.b.c", Reason::NotJws),
        ] {
            assert_eq!(send(&world, text).await, Err(rejected(why)), "{text}");
        }
        let sent = send(&world, &"x".repeat(8193)).await;
        assert_eq!(sent, Err(AuthError::TokenTooLarge.into()));
        assert!(send(&world, &valid).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn logout_token_has_the_size_limit_of_access_tokens() {
    locally(async {
        let logout = logout(json!({}));
        let longest = |bytes| settings::Auth { max_token_bytes: bytes, ..settings() };
        let issuer = || [("main", issuer(), set(&[P256.jwk("k1")]))];
        let world = world_of_auth(longest(logout.len() - 1), issuer()).await;
        assert_eq!(send(&world, &logout).await, Err(AuthError::TokenTooLarge.into()));
        let world = world_of_auth(longest(logout.len()), issuer()).await;
        assert!(send(&world, &logout).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn access_token_and_logout_token_are_not_interchangeable() {
    locally(async {
        let world = world().await;
        for (typ, why) in [("at+jwt", rejected(Reason::Type)), ("JWT", LogoutError::NoEvent)] {
            let header = json!({"typ": typ});
            let access = signed(&P256, header, json!({"events": null}));
            assert_eq!(world.outcome(&access).await, Ok("alice".to_owned()));
            assert_eq!(send(&world, &access).await, Err(why));
        }
        for typ in [json!("logout+jwt"), json!("JWT"), Value::Null] {
            let logout = signed(&P256, json!({"typ": typ}), json!({}));
            assert_eq!(world.outcome(&logout).await, Err("type"), "{typ}");
        }
    })
    .await;
}

#[tokio::test]
async fn logout_audience_comes_from_the_settings() {
    locally(async {
        let by_client = Issuer { logout_audiences: vec!["app".to_owned()], ..issuer() };
        let world = world_with(by_client, &[P256.jwk("k1")]).await;
        assert_eq!(send(&world, &logout(json!({}))).await, Err(rejected(Reason::Audience)));
        assert!(send(&world, &logout(json!({"aud": "app"}))).await.is_ok());
        let bobs = token("k1", json!({"aud": "app", "sub": "bob"}));
        assert_eq!(world.outcome(&bobs).await, Err("audience"));
    })
    .await;
}

#[tokio::test]
async fn replayed_logout_token_is_rejected_until_it_expires() {
    locally(async {
        let world = world().await;
        let first = logout(json!({}));
        assert!(send(&world, &first).await.is_ok());
        assert_eq!(send(&world, &first).await, Err(LogoutError::Replayed));
        let same_jti = logout(json!({"sub": "bob"}));
        assert_eq!(send(&world, &same_jti).await, Err(LogoutError::Replayed));
        assert!(send(&world, &logout(json!({"jti": "l2"}))).await.is_ok());
        world.clock.advance(Duration::from_secs(120 + LEEWAY.unsigned_abs()));
        world.sweep();
        assert_eq!(send(&world, &first).await, Err(AuthError::ExpiredToken.into()));
        assert_eq!((count(&world, "success"), count(&world, "replayed")), (2, 2));
    })
    .await;
}

#[tokio::test]
async fn logout_entry_expires_after_logout_ttl() {
    locally(async {
        let world = world().await;
        let alices = token("k1", json!({"exp": START + 172_800}));
        send(&world, &logout(json!({}))).await.unwrap();
        world.advance(Duration::from_secs(86_399)).await;
        world.sweep();
        assert_eq!(world.outcome(&alices).await, Err("revoked"));
        world.advance(Duration::from_secs(1)).await;
        assert_eq!(world.outcome(&alices).await, Ok("alice".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn logouts_beyond_the_limit_are_rejected() {
    locally(async {
        let world = world().await;
        for number in 0..10 {
            let id = number.to_string();
            send(&world, &logout(json!({"sub": id, "jti": id}))).await.unwrap();
        }
        let more = logout(json!({"sub": "more", "jti": "more"}));
        assert_eq!(send(&world, &more).await, Err(RevokeError::Full.into()));
        assert_eq!(count(&world, "full"), 1);
        // The used logout tokens have expired, but not the entries.
        world.clock.advance(Duration::from_secs(151));
        let later = json!({"sub": "more", "jti": "more", "exp": START + 600});
        assert_eq!(send(&world, &logout(later)).await, Err(RevokeError::Full.into()));
        let known = json!({"sub": "1", "jti": "more", "exp": START + 600});
        assert_eq!(send(&world, &logout(known)).await, Ok(vec!["1".to_owned()]));
    })
    .await;
}

#[tokio::test]
async fn at_most_four_logouts_wait_for_keys() {
    locally(async {
        let world = world().await;
        world.origin().hold(true);
        let unknown =
            |number: i32| signed(&P256, json!({"kid": "k2"}), json!({"jti": number.to_string()}));
        let waiting: Vec<_> = (0..20)
            .map(|number| {
                let (auth, token) = (std::sync::Arc::clone(&world.auth), unknown(number));
                tokio::task::spawn_local(async move { auth.log_out(&token).await.map(drop) })
            })
            .collect();
        settle().await;
        assert_eq!(world.waiting(), 4, "other requests can use the remaining permits");
        world.origin().fail();
        world.origin().hold(false);
        for waiting in waiting {
            let result = waiting.await.unwrap();
            assert!(matches!(result, Err(LogoutError::Token(AuthError::KeysUnavailable { .. }))));
        }
        assert_eq!((count(&world, "keys_unavailable"), world.origin().fetches()), (20, 2));
    })
    .await;
}
