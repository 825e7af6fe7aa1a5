//! Tokens of particular identity providers, and the settings that admit them.

use juspay_bff::simulator::MintRequest;
use serde_json::{Value, json};

use super::{INVALID_TOKEN, refused};
use crate::support::World;

/// A token of alice's that has these claims as well.
fn with(typ: &str, claims: &Value) -> MintRequest {
    let wish = MintRequest { typ: typ.to_owned(), ..MintRequest::of("alice") };
    let claims = claims.as_object().expect("an object").iter();
    claims.fold(wish, |wish, (claim, value)| wish.with(claim, value.clone()))
}

/// That these settings of the issuer `main` accept and reject these tokens.
async fn decides(settings: &str, accepted: &[Value], rejected: &[Value]) {
    let world = World::with(&format!("[auth.issuers.main]\n{settings}")).await;
    for claims in accepted {
        let reply = world.phone_with(&with("JWT", claims)).me().await;
        assert_eq!(reply.status, 200, "{settings} {claims}: {}", reply.text());
    }
    for claims in rejected {
        let reply = world.phone_with(&with("JWT", claims)).me().await;
        refused(&claims.to_string(), &reply, 401, "invalid_token", Some(INVALID_TOKEN));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn id_tokens_are_accepted_only_where_they_are_the_apps_credential() {
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
    decides("", &[json!({"nonce": "n"})], &[&id_tokens[..], &others].concat()).await;
    let for_another = json!({"aud": ["juspay-bff-demo", "x"], "azp": "x", "at_hash": "h"});
    let others = [&others[..], &[for_another]].concat();
    decides("id_tokens = 'accept'", &id_tokens, &others).await;
}
