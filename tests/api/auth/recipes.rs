//! The recipes of `docs/identity-providers.md`, each with the token that the document shows.

use juspay_bff::settings::Sources;

use crate::support::recipes::{recipe, recipes};

#[test]
fn the_settings_of_each_recipe_load_without_warnings() {
    let base = "juspay = { base_url = 'https://api.juspay.in', merchant_id = 'm', api_key = 'k' }";
    assert!(!recipes().is_empty());
    for recipe in recipes() {
        let sources = Sources::default().text("base", base).text("recipe", recipe.settings.clone());
        let loaded = sources.load().unwrap_or_else(|faults| panic!("{}: {faults}", recipe.heading));
        let (name, _) = recipe.issuer();
        assert!(loaded.settings.auth.issuers.contains_key(&name), "{}", recipe.heading);
        assert!(loaded.warnings.is_empty(), "{}: {:?}", recipe.heading, loaded.warnings);
        assert_eq!(recipe.header, None);
    }
    assert_eq!(recipe("Keycloak: With an audience mapper").payload["azp"], "shop-app");
}
