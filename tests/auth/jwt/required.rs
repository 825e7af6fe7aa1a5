//! `required_claims` of the settings.

use super::*;
use juspay_bff::settings::{ClaimValue, RequiredClaim};

#[tokio::test]
async fn required_claims_equal_an_accepted_value_in_type_and_value() {
    let text = |text: &str| ClaimValue::Text(text.to_owned());
    let required = |path: &str, accepted| RequiredClaim { claim: claim_path(path), accepted };
    let mut requiring = issuer();
    requiring.required_claims = vec![
        required("token_use", vec![text("access")]),
        required("/a/b", vec![text("x"), ClaimValue::Integer(7), ClaimValue::Boolean(false)]),
    ];
    let with_b = |b: Value| json!({"token_use": "access", "a": {"b": b}});
    locally(async {
        let world = world_with(requiring, &[P256.jwk("k1")]).await;
        for (change, outcome) in [
            (with_b(json!("x")), Ok("alice")),
            (with_b(json!(7)), Ok("alice")),
            (with_b(json!(false)), Ok("alice")),
            (with_b(json!("7")), Err("claims")),
            (with_b(json!(7.0)), Err("claims")),
            (with_b(json!(8)), Err("claims")),
            (with_b(json!(u64::MAX)), Err("claims")),
            (with_b(json!(true)), Err("claims")),
            (with_b(json!("false")), Err("claims")),
            (with_b(json!("X")), Err("claims")),
            (with_b(json!(["x"])), Err("claims")),
            (with_b(json!(null)), Err("claims")),
            (with_b(json!({"x": 7})), Err("claims")),
            (json!({"token_use": "access", "a": "x"}), Err("claims")),
            (json!({"token_use": "access", "/a/b": "x", "a.b": "x"}), Err("claims")),
            (json!({"a": {"b": "x"}}), Err("claims")),
            (json!({"token_use": "Access", "a": {"b": "x"}}), Err("claims")),
            (json!({}), Err("claims")),
            (with(&with_b(json!("y")), json!({"aud": "another"})), Err("audience")),
            (with(&with_b(json!("y")), json!({"exp": 0})), Err("claims")),
        ] {
            let found = world.outcome(&token("k1", change.clone())).await;
            assert_eq!(found, outcome.map(str::to_owned), "{change}");
        }
    })
    .await;
}
