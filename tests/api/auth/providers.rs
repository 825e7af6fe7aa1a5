//! Tokens of particular identity providers, and the settings that accept them.

use serde_json::{Value, json};
use simulator::MintRequest;

use super::{INVALID_TOKEN, assert_rejected};
use crate::support::{Stage, World, until};

/// A token of alice with additional claims.
fn with(typ: &str, claims: &Value) -> MintRequest {
    let wish = MintRequest { typ: typ.to_owned(), ..MintRequest::of("alice") };
    let claims = claims.as_object().expect("an object").iter();
    claims.fold(wish, |wish, (claim, value)| wish.with(claim, value.clone()))
}

/// Checks which tokens the settings of the issuer `main` accept and reject.
async fn check_decisions(settings: &str, accepted: &[Value], rejected: &[Value]) {
    let world = World::with(&format!("[auth.issuers.main]\n{settings}")).await;
    for claims in accepted {
        let reply = world.client_with(&with("JWT", claims)).me().await;
        assert_eq!(reply.status, 200, "{settings} {claims}: {}", reply.text());
    }
    for claims in rejected {
        let reply = world.client_with(&with("JWT", claims)).me().await;
        assert_rejected(&claims.to_string(), &reply, 401, "invalid_token", Some(INVALID_TOKEN));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn id_tokens_are_accepted_only_if_id_tokens_is_accept() {
    let id_tokens = [
        json!({"at_hash": "h", "nonce": "n"}),
        json!({"token_use": "id"}),
        json!({"typ": "ID"}),
        json!({"aud": ["juspay-bff-demo", "x"], "azp": "juspay-bff-demo", "at_hash": "h"}),
    ];
    let others = [
        json!({"typ": "Refresh"}),
        json!({"token_type": "refresh", "at_hash": "h"}),
        json!({"typ": "Offline"}),
        json!({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}),
    ];
    check_decisions("", &[json!({"nonce": "n"})], &[&id_tokens[..], &others].concat()).await;
    let for_another = json!({"aud": ["juspay-bff-demo", "x"], "azp": "x", "at_hash": "h"});
    let others = [&others[..], &[for_another]].concat();
    check_decisions("id_tokens = 'accept'", &id_tokens, &others).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_claim_can_be_the_audience() {
    let client = "juspay-bff-demo";
    let cognito = json!({"aud": null, "client_id": client, "token_use": "access"});
    let hydra = json!({"aud": [], "client_id": client});
    let others = [
        json!({"client_id": "another"}),
        json!({"client_id": null}),
        json!({"client_id": [client]}),
        json!({"client_id": "another", "azp": client}),
    ];
    check_decisions("audience_claim = 'client_id'", &[cognito.clone(), hydra.clone()], &others)
        .await;
    let keycloak = [json!({"aud": null, "azp": client, "typ": "Bearer", "nonce": "n"})];
    let by_client = [cognito, hydra];
    check_decisions("audience_claim = 'azp'", &keycloak, &by_client).await;
    check_decisions("", &[], &[&by_client[..], &keycloak].concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_of_this_service_alone_needs_no_audience() {
    let stage = Stage::set().await;
    let settings = format!(
        "auth.shared_customer_ids = true
        [auth.issuers.open]
        issuer = 'https://open.example'
        audience_claim = 'none'
        algorithms = ['ES256']
        jwks_url = '{}'",
        stage.issuer().jwks_url(),
    );
    let world = stage.open_ready(&settings).await;
    let series = "juspay_bff_jwks_keys{issuer=\"open\"}";
    until("keys of the issuer", async || world.metric(series).await > 0.0).await;
    let open = |claims: Value| with("JWT", &claims).with("iss", "https://open.example");
    for claims in [json!({"aud": null}), json!({"aud": "another"}), json!({"aud": [1]})] {
        let reply = world.client_with(&open(claims.clone())).me().await;
        assert_eq!(reply.status, 200, "{claims}: {}", reply.text());
        let reply = world.client_with(&with("JWT", &claims)).me().await;
        assert_rejected(&claims.to_string(), &reply, 401, "invalid_token", Some(INVALID_TOKEN));
    }
    let reply = world.client_with(&open(json!({"token_use": "id"}))).me().await;
    assert_rejected("an ID token", &reply, 401, "invalid_token", Some(INVALID_TOKEN));
}

#[tokio::test(flavor = "multi_thread")]
async fn required_claims_are_required() {
    let settings = "required_claims = { token_use = 'access', is_anonymous = false, \
                    '/firebase/sign_in_provider' = ['phone', 'google.com'] }";
    let valid = |provider: &str| {
        json!({
            "token_use": "access", "is_anonymous": false, "firebase": {"sign_in_provider": provider},
        })
    };
    let mut others = vec![json!({}), valid("anonymous"), json!({"token_use": "access"})];
    for (claim, value) in [("token_use", json!("other")), ("is_anonymous", json!(true))] {
        let mut claims = valid("phone");
        claims[claim] = value;
        others.push(claims);
    }
    check_decisions(settings, &[valid("phone"), valid("google.com")], &others).await;
}

/// Checks which customer each token names with these settings, if any.
async fn names(settings: &str, rows: &[(Value, Option<&str>)]) {
    let world = World::with(&format!("[auth.issuers.main]\n{settings}")).await;
    for (claims, customer) in rows {
        let reply = world.client_with(&with("JWT", claims)).me().await;
        match customer {
            Some(customer) => {
                assert_eq!(reply.status, 200, "{settings} {claims}: {}", reply.text());
                assert_eq!(reply.json()["object_reference_id"], **customer, "{settings} {claims}");
            }
            None => assert_rejected(&claims.to_string(), &reply, 403, "no_customer", None),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sub_that_equals_a_listed_audience_names_no_customer() {
    let rows = [
        (json!({"aud": "42", "sub": "42"}), None),
        (json!({"aud": "42", "sub": 42}), None),
        (json!({"aud": ["42", "43"], "sub": "43"}), None),
        (json!({"aud": "42", "sub": "43"}), None),
        (json!({"aud": "42", "sub": "44"}), Some("44")),
    ];
    names("audiences = ['42', '43']", &rows).await;
    let rows = [(json!({"aud": "42", "sub": "42", "user_id": "42"}), Some("42"))];
    names("audiences = ['42']\ncustomer_id_claim = 'user_id'", &rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nested_claims_can_name_the_customer() {
    let rows = [
        (json!({"app_metadata": {"customer_id": "c1"}}), Some("c1")),
        (json!({"app_metadata": {"customer_id": ["c2"]}}), Some("c2")),
        (json!({"app_metadata": {"customer_id": 7}}), Some("7")),
        (json!({"app_metadata": {"customer_id": ["c1", "c2"]}}), None),
        (json!({"user_metadata": {"customer_id": "c1"}}), None),
        (json!({}), None),
    ];
    names("customer_id_claim = '/app_metadata/customer_id'", &rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_verified_claims_are_waived_by_setting_and_false_ones_never() {
    let email = |verified: Value| json!({"email": "a@b.example", "email_verified": verified});
    let rows = |missing| {
        [
            (email(json!(true)), Some("a@b.example")),
            (email(json!("true")), Some("a@b.example")),
            (email(json!(false)), None),
            (email(json!("false")), None),
            (email(Value::Null), missing),
        ]
    };
    for claim in ["email", "/email"] {
        let by_claim = format!("customer_id_claim = '{claim}'");
        names(&by_claim, &rows(None)).await;
        let assumed = format!("{by_claim}\ncustomer_id_verified = 'assumed'");
        names(&assumed, &rows(Some("a@b.example"))).await;
    }
}
