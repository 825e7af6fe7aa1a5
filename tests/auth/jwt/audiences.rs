//! Issuers whose audience claim is not `aud`.

use super::*;
use juspay_bff::settings::AudienceClaim;

#[tokio::test]
async fn another_claim_can_be_the_audience_as_a_string() {
    let mut by_client = issuer();
    by_client.audience_claim = AudienceClaim::Named("client_id".to_owned());
    locally(async {
        let world = world_with(by_client, &[P256.jwk("k1")]).await;
        for (change, outcome) in [
            (json!({"client_id": "juspay-bff", "aud": null}), Ok("alice")),
            (json!({"client_id": "other-bff", "aud": []}), Ok("alice")),
            (json!({"client_id": "juspay-bff", "aud": "another"}), Ok("alice")),
            (json!({"client_id": "juspay-bff", "aud": {"any": 1}}), Ok("alice")),
            (json!({}), Err("claims")),
            (json!({"azp": "juspay-bff", "cid": "juspay-bff"}), Err("claims")),
            (json!({"client_id": ["juspay-bff"]}), Err("claims")),
            (json!({"client_id": []}), Err("claims")),
            (json!({"client_id": {"juspay-bff": true}}), Err("claims")),
            (json!({"client_id": true}), Err("claims")),
            (json!({"client_id": ""}), Err("audience")),
            (json!({"client_id": "juspay-bf"}), Err("audience")),
            (json!({"client_id": "Juspay-BFF"}), Err("audience")),
            (json!({"client_id": "juspay-bff other-bff"}), Err("audience")),
            (json!({"client_id": "juspay-bff", "sub": "juspay-bff"}), Err("no_customer")),
        ] {
            let found = world.outcome(&token("k1", change.clone())).await;
            assert_eq!(found, outcome.map(str::to_owned), "{change}");
        }
    })
    .await;
}

#[tokio::test]
async fn without_an_audience_all_other_checks_remain() {
    let mut open = issuer();
    open.audience_claim = AudienceClaim::None;
    open.audiences = Vec::new();
    locally(async {
        let world = world_with(open, &[P256.jwk("k1")]).await;
        for (change, outcome) in [
            (json!({"aud": null}), Ok("alice")),
            (json!({"aud": ["a", "b"]}), Ok("alice")),
            (json!({"aud": 1, "client_id": "any"}), Ok("alice")),
            (json!({"aud": null, "exp": START - LEEWAY}), Err("expired")),
            (json!({"aud": null, "token_use": "id"}), Err("id_token")),
            (json!({"aud": null, "iss": "https://another.example"}), Err("unknown_issuer")),
        ] {
            let found = world.outcome(&token("k1", change.clone())).await;
            assert_eq!(found, outcome.map(str::to_owned), "{change}");
        }
        assert_eq!(world.outcome(&signed(&OTHER_P256, "k1", json!({}))).await, Err("signature"));
    })
    .await;
}
