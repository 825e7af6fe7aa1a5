//! Types of tokens, by the claims that prove them.

use super::*;

/// A token's `typ`, its claims, and the outcomes with ID tokens rejected and accepted.
type Row =
    (&'static str, Value, Result<&'static str, &'static str>, Result<&'static str, &'static str>);

fn types() -> Vec<Row> {
    let (id_token, other) = (Err("id_token"), Err("type"));
    vec![
        ("JWT", json!({"nonce": "n"}), Ok("alice"), Ok("alice")),
        ("JWT", json!({"at_hash": "x"}), id_token, Ok("alice")),
        ("", json!({"c_hash": "x"}), id_token, Ok("alice")),
        ("application/at+jwt", json!({"at_hash": "x", "c_hash": "x"}), Ok("alice"), Ok("alice")),
        ("at+jwt", json!({"token_use": "id"}), id_token, Ok("alice")),
        ("JWT", json!({"typ": "ID"}), id_token, Ok("alice")),
        ("JWT", json!({"token_type": "Id_Token"}), id_token, Ok("alice")),
        ("JWT", json!({"typ": "Refresh"}), other, other),
        ("JWT", json!({"typ": "Offline"}), other, other),
        ("JWT", json!({"typ": "Logout"}), other, other),
        ("JWT", json!({"typ": "logout+jwt"}), other, other),
        ("JWT", json!({"token_type": "refresh"}), other, other),
        ("JWT", json!({"token_use": "REFRESH_TOKEN"}), other, other),
        ("JWT", json!({"token_use": ["access", "refresh"]}), other, other),
        ("JWT", json!({"type": "refresh"}), other, other),
        ("JWT", json!({"type": "access"}), Ok("alice"), Ok("alice")),
        ("JWT", json!({"type": "app"}), Ok("alice"), Ok("alice")),
        ("JWT", json!({"token_use": "id", "token_type": "refresh"}), other, other),
        ("at+jwt", json!({"events": {}}), other, other),
        ("at+jwt", json!({"events": {"urn:x": {}}, "at_hash": "x"}), other, other),
        ("JWT", json!({"token_use": "access"}), Ok("alice"), Ok("alice")),
        ("JWT", json!({"typ": "Bearer", "token_type": "access"}), Ok("alice"), Ok("alice")),
        ("JWT", json!({"typ": 1, "token_use": {}, "token_type": true}), Ok("alice"), Ok("alice")),
        ("JWT", json!({"typ": "idea", "token_use": "refreshing"}), Ok("alice"), Ok("alice")),
    ]
}

#[tokio::test]
async fn other_types_of_tokens_are_rejected_by_their_evidence() {
    locally(async {
        let world = world().await;
        let mut accepting = issuer();
        accepting.accepts_id_tokens = true;
        let accepting = world_with(accepting, &[P256.jwk("k1")]).await;
        for (typ, claim, rejecting, admitted) in types() {
            let header = with(&header("k1"), json!({"typ": typ})).to_string();
            let token = P256.sign(ES256, &header, &with(&claims(), claim).to_string());
            let found = world.outcome(&token).await;
            assert_eq!(found, rejecting.map(str::to_owned), "{header} {token}");
            let found = accepting.outcome(&token).await;
            assert_eq!(found, admitted.map(str::to_owned), "accepting: {header} {token}");
        }
        // A member that is `null` is present.
        let claims = claims().to_string().replacen('{', "{\"at_hash\":null,", 1);
        let header = json!({"alg": "ES256", "kid": "k1"}).to_string();
        let outcome = world.outcome(&P256.sign(ES256, &header, &claims)).await;
        assert_eq!(outcome, Err("id_token"));
    })
    .await;
}

#[tokio::test]
async fn id_tokens_for_several_audiences_must_be_issued_to_an_accepted_client() {
    let mut accepting = issuer();
    accepting.accepts_id_tokens = true;
    locally(async {
        let world = world_with(accepting, &[P256.jwk("k1")]).await;
        for (change, outcome) in [
            (json!({"aud": "juspay-bff", "azp": "another"}), Ok("alice")),
            (json!({"aud": ["juspay-bff"], "azp": "another"}), Ok("alice")),
            (json!({"aud": ["juspay-bff", "x"], "azp": "juspay-bff"}), Ok("alice")),
            (json!({"aud": ["juspay-bff", "x"], "azp": "other-bff"}), Ok("alice")),
            (json!({"aud": ["juspay-bff", "x"]}), Err("audience")),
            (json!({"aud": ["juspay-bff", "x"], "azp": "x"}), Err("audience")),
            (json!({"aud": ["juspay-bff", "x"], "azp": ["juspay-bff"]}), Err("audience")),
            (json!({"aud": ["juspay-bff", "juspay-bff"]}), Err("audience")),
            (json!({"aud": ["x", "y"], "azp": "juspay-bff"}), Err("audience")),
        ] {
            let found = world.outcome(&token("k1", change.clone())).await;
            assert_eq!(found, outcome.map(str::to_owned), "{change}");
        }
    })
    .await;
}
