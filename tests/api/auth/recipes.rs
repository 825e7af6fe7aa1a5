//! The recipes of `docs/identity-providers.md`. Each service has the settings of one recipe, and
//! gets the token in the document, signed now. Only the source of the keys is local.
//!
//! - `document`: checks the document
//! - `mistakes`: the rejected token that each recipe names
//! - `served`: starts the services and signs tokens
//! - `unfit`: makes each token invalid in every way that its recipe rejects

mod document;
mod mistakes;
mod served;
mod unfit;

use serde_json::{Value, json};

use self::served::{Served, UntrustedIssuer};
use super::{
    COOLDOWN,
    corpus::{changed, explained},
};
use crate::support::recipes::{recipe, recipes};

#[tokio::test(flavor = "multi_thread")]
async fn recipe_tokens_get_their_customer() {
    for recipe in recipes() {
        let (heading, customer) = (&recipe.heading, &recipe.customer);
        let served = Served::new(&recipe).await;
        let token = served.token(&served.claims());
        let reply = served.world.client_with_token(&token).me().await;
        assert_eq!(reply.status, 200, "{heading}: {}", reply.text());
        assert_eq!(reply.json()["object_reference_id"], **customer, "{heading}");
        assert_eq!(served.world.simulator().calls(customer), 1, "{heading}");

        let explanation = explained(&served.world, heading, &token).await;
        assert_eq!(explanation.failure(), None, "{heading}: {:?}", explanation.checks);
        let caller = explanation.verdict.unwrap().unwrap();
        assert_eq!(caller.issuer(), served.name, "{heading}");
        assert_eq!(caller.customer().as_str(), customer, "{heading}");

        for (what, claims) in served.also_accepted() {
            let reply = served.world.client_with_token(&served.token(&claims)).me().await;
            assert_eq!(reply.status, 200, "{heading}, {what}: {}", reply.text());
        }
        assert_eq!(served.world.simulator().total_requests(), 1, "{heading}: another customer");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn recipe_tokens_are_rejected_if_they_violate_the_recipe() {
    let untrusted = UntrustedIssuer::new().await;
    let mut rejected = 0;
    for recipe in recipes() {
        let served = Served::new(&recipe).await;
        for rows in unfit::GROUPS {
            // Invalid signatures cause at most one key fetch per cool-down.
            served.world.clock.advance(COOLDOWN);
            for row in rows(&served, &untrusted) {
                row.is_rejected(&served).await;
                rejected += 1;
            }
        }
        assert_eq!(served.world.simulator().total_requests(), 0, "{}", recipe.heading);
        let valid = served.world.client_with_token(&served.token(&served.claims()));
        assert_eq!(valid.me().await.status, 200, "{}", recipe.heading);
    }
    println!("recipes: {rejected} of {rejected} unfit tokens rejected");
    assert!(rejected > 400, "{rejected}");
}

#[tokio::test(flavor = "multi_thread")]
async fn application_tokens_name_no_customer() {
    let client = "57cbishk4j24pabc1234567890";
    let auth0 = "https://shop.example/customer_id";
    let auth0_client = "my_client_id_1234567890abcdefghij@clients";
    let passport_client = "9d3f1c2a-7b6e-4f5d-8c9b-0a1b2c3d4e5f";
    let rows: [(&str, Value, u16, &str); 7] = [
        ("Amazon Cognito", json!({"sub": client, "username": null}), 403, "no_customer"),
        ("Auth0", json!({"sub": auth0_client, auth0: null}), 403, "no_customer"),
        (
            "Microsoft Entra ID: Version 2 tokens",
            json!({"scp": null, "roles": ["Customer.Read"]}),
            403,
            "insufficient_scope",
        ),
        ("Okta", json!({"sub": "0oa1a2b3c4D5e6F7g8h9", "uid": null}), 403, "no_customer"),
        ("Ory Hydra", json!({"sub": "shop-app"}), 403, "no_customer"),
        ("Laravel Passport", json!({"sub": "42", "aud": "42"}), 401, "invalid_token"),
        ("Laravel Passport", json!({"sub": passport_client}), 403, "no_customer"),
    ];
    for (heading, changes, status, code) in rows {
        let served = Served::new(&recipe(heading)).await;
        let token = served.token(&changed(served.claims(), &changes));
        let reply = served.world.client_with_token(&token).me().await;
        assert_eq!(reply.status, status, "{heading}: {changes}");
        assert_eq!(reply.code(), code, "{heading}: {changes}");
        assert_eq!(served.world.simulator().total_requests(), 0, "{heading}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_app_is_rejected_where_apps_share_the_audience() {
    for (heading, claim) in [
        ("Microsoft Entra ID: Version 2 tokens", "azp"),
        ("Microsoft Entra ID: Version 1 tokens", "appid"),
        ("Azure AD B2C", "azp"),
        ("Microsoft Entra External ID", "azp"),
        ("Auth0", "azp"),
        ("Okta", "cid"),
        ("Zitadel", "client_id"),
        ("Google", "azp"),
    ] {
        let served = Served::new(&recipe(heading)).await;
        for other in [json!("another-app"), json!(null)] {
            let claims = changed(served.claims(), &json!({ claim: other }));
            let reply = served.world.client_with_token(&served.token(&claims)).me().await;
            assert_eq!(reply.status, 401, "{heading}: {claim} {other}");
            assert_eq!(reply.code(), "invalid_token", "{heading}: {claim} {other}");
        }
        assert_eq!(served.world.simulator().total_requests(), 0, "{heading}");
    }
}
