//! The recipes of `docs/identity-providers.md` with tokens that npm's `oidc-provider` issues.
//!
//! Tokens that the simulator signs cannot prove this: that the recipes accept tokens signed by Node.js' OpenSSL,
//! by the keys that another implementation publishes, and ID tokens that a code flow returns. The settings
//! are those of the document except for the address of the keys. Recipes without public keys are not tested here.

use serde_json::json;
use toml::{Table, Value};

use crate::{
    app::App,
    fixture::{assert_rejected, owner, resource},
    provider::Provider,
    support::{
        ManualClock, Stage, World,
        recipes::{Recipe, recipes},
        world::BEGINNING,
    },
};

/// The issuer's settings, without the name.
fn issuer(recipe: &Recipe) -> Table {
    recipe.issuer().1
}

fn text<'a>(settings: &'a Table, key: &str) -> Option<&'a str> {
    settings.get(key).and_then(Value::as_str)
}

/// The recipes of issuers that publish keys.
fn with_public_keys() -> Vec<Recipe> {
    let has_keys = |recipe: &Recipe| {
        let settings = issuer(recipe);
        !["hmac_secret_file", "introspection_url"].iter().any(|key| settings.contains_key(*key))
    };
    recipes().into_iter().filter(has_keys).collect()
}

/// The first algorithm of the recipe.
fn algorithm(recipe: &Recipe) -> String {
    let settings = issuer(recipe);
    settings["algorithms"][0].as_str().expect(&recipe.heading).to_owned()
}

/// The settings of the recipe, with the provider's keys.
fn settings(recipe: &Recipe, provider: &Provider) -> String {
    let (name, mut settings) = recipe.issuer();
    let mut whole: Table = recipe.settings.parse().expect(&recipe.heading);
    for key in ["discovery", "jwks_file", "jwks_url"] {
        settings.remove(key);
    }
    settings.insert("jwks_url".to_owned(), format!("{}/jwks", provider.issuer).into());
    whole["auth"]["issuers"][name.as_str()] = settings.into();
    whole.to_string()
}

/// The service with that recipe only.
async fn world(recipe: &Recipe, provider: &Provider) -> World {
    let stage = Stage::set().await;
    let world = stage.open_without_issuers(&settings(recipe, provider));
    world.until_ready().await;
    world
}

/// The access token that the provider's token endpoint returns for that recipe.
async fn access_token(recipe: &Recipe, provider: &Provider) -> String {
    let shape = json!({"payload": recipe.payload, "header": recipe.header});
    provider.order(json!({"recipe": shape, "login": {}})).await;
    App::of(provider, "alice").tokens(&resource(&algorithm(recipe))).await.access
}

#[tokio::test(flavor = "multi_thread")]
async fn token_of_each_recipe_is_accepted_by_no_other_recipe() {
    let provider = Provider::start(ManualClock::at(BEGINNING)).await;
    let recipes = with_public_keys();
    let mut tokens = Vec::new();
    for recipe in &recipes {
        tokens.push(access_token(recipe, &provider).await);
    }
    for (recipe, token) in recipes.iter().zip(&tokens) {
        let heading = &recipe.heading;
        let world = world(recipe, &provider).await;
        let reply = world.client_with_token(token).me().await;
        assert_eq!(reply.status, 200, "{heading}: {}", reply.text());
        assert_eq!(owner(&reply), recipe.customer, "{heading}");

        let named = &issuer(recipe)["issuer"];
        let others = recipes.iter().zip(&tokens);
        let others: Vec<_> =
            others.filter(|(other, _)| &issuer(other)["issuer"] != named).collect();
        assert!(!others.is_empty(), "{heading}");
        for (other, token) in others {
            let reply = world.client_with_token(token).me().await;
            assert_eq!(reply.status, 401, "{heading} with a token of {}", other.heading);
            assert_rejected(&reply);
        }
        assert_eq!(world.simulator().total_requests(), 1, "{heading}");
    }
}

/// The ID token of a login with that client. `oidc-provider` runs under the issuer's name, and makes the token
/// itself, with `at_hash` and `nonce`.
async fn id_token(recipe: &Recipe, provider: &Provider, client: &str) -> String {
    let algorithm = algorithm(recipe);
    let login = json!({"issuer": recipe.payload["iss"], "client": client, "alg": algorithm});
    let shape = json!({"payload": recipe.payload, "header": recipe.header});
    provider.order(json!({"recipe": shape, "login": login})).await;
    let subject = recipe.payload["sub"].as_str().expect(&recipe.heading);
    App::with_client_id(provider, subject, client).tokens(&resource(&algorithm)).await.id
}

#[tokio::test(flavor = "multi_thread")]
async fn id_tokens_are_accepted_only_by_recipes_that_use_them() {
    let provider = Provider::start(ManualClock::at(BEGINNING)).await;
    let accepting = |recipe: &Recipe| text(&issuer(recipe), "id_tokens") == Some("accept");
    let recipes: Vec<_> = with_public_keys().into_iter().filter(accepting).collect();
    assert!(!recipes.is_empty());
    for recipe in &recipes {
        let heading = &recipe.heading;
        let client = recipe.payload["aud"].as_str().expect(heading);
        let token = id_token(recipe, &provider, client).await;
        let accepts = world(recipe, &provider).await;
        assert_eq!(
            owner(&accepts.client_with_token(&token).me().await),
            recipe.customer,
            "{heading}"
        );
        let other = id_token(recipe, &provider, "another").await;
        assert_rejected(&accepts.client_with_token(&other).me().await);
        assert_eq!(accepts.simulator().total_requests(), 1, "{heading}");

        let mut rejecting = recipe.clone();
        rejecting.settings = recipe.settings.replace("\nid_tokens = \"accept\"", "");
        assert_ne!(rejecting.settings, recipe.settings, "{heading}");
        let rejects = world(&rejecting, &provider).await;
        assert_rejected(&rejects.client_with_token(&token).me().await);
    }
}
