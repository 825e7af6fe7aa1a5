//! Checks the document: all providers, settings that load, and valid links.

use std::collections::BTreeSet;

use juspay_bff::settings::Sources;
use tempfile::NamedTempFile;

use crate::support::recipes::recipes;

const DOCUMENT: &str = include_str!("../../../../docs/identity-providers.md");

/// Every recipe.
const RECIPES: [&str; 26] = [
    "Amazon Cognito",
    "Microsoft Entra ID: Version 2 tokens",
    "Microsoft Entra ID: Version 1 tokens",
    "Azure AD B2C",
    "Microsoft Entra External ID",
    "Firebase Authentication: By user id",
    "Firebase Authentication: By phone number",
    "Auth0",
    "Okta",
    "Supabase: With signing keys",
    "Supabase: With the legacy secret",
    "Clerk: Native apps",
    "Clerk: Web apps",
    "WorkOS: Issuer with the client",
    "WorkOS: Issuer without the client",
    "Keycloak: With an audience mapper",
    "Keycloak: Without an audience",
    "Zitadel",
    "Ory Hydra",
    "Duende IdentityServer",
    "Google",
    "Apple",
    "Django SimpleJWT",
    "Laravel Passport",
    "Laravel jwt-auth",
    "NestJS and other home-made tokens: With issuer, audience and kind",
];

/// The last recipe, which is the least strict.
const BARE: &str = "NestJS and other home-made tokens: With the bare minimum";

/// The text below each heading with a recipe.
fn sections() -> Vec<&'static str> {
    let sections = DOCUMENT.split("\n## ").flat_map(|section| section.split("\n### "));
    sections.filter(|section| section.contains("```toml recipe")).collect()
}

/// What a recipe says about the check with `explain-token`.
pub fn check(heading: &str) -> String {
    let number = recipes().iter().position(|recipe| recipe.heading == heading).expect(heading);
    let check = sections()[number].split_once("\nCheck: ").expect(heading).1;
    let check = check.split_once("\n\n").map_or(check, |(check, _)| check);
    check.replace('\n', " ")
}

#[test]
fn every_provider_has_a_recipe() {
    let headings: Vec<_> = recipes().into_iter().map(|recipe| recipe.heading).collect();
    assert_eq!(headings, [&RECIPES[..], &[BARE]].concat());
    let sessions = DOCUMENT.split_once("\n## Sessions\n").expect("a section").1;
    assert!(sessions.contains("aren't supported") && sessions.contains("`auth.gateway.header`"));
}

#[test]
fn recipe_settings_load_without_warnings_except_for_a_missing_audience() {
    let base = "juspay = { base_url = 'https://api.juspay.in', merchant_id = 'm', api_key = 'k' }";
    // The file serves as a secret and as a key file, which is only read.
    let file = NamedTempFile::new().unwrap();
    std::fs::write(&file, "x".repeat(64)).unwrap();
    for recipe in recipes() {
        let path = file.path().to_str().unwrap();
        let settings = ["/run/secrets/token-secret", "/etc/juspay-bff/oauth-public.key"]
            .iter()
            .fold(recipe.settings.clone(), |settings, shown| settings.replace(shown, path));
        let sources = Sources::default().text("base", base).text("recipe", settings);
        let loaded = sources.load().unwrap_or_else(|faults| panic!("{}: {faults}", recipe.heading));
        let (name, issuer) = recipe.issuer();
        let warned: Vec<_> = loaded.warnings.iter().map(|warning| warning.key.clone()).collect();
        let none = issuer.get("audience_claim").and_then(toml::Value::as_str) == Some("none");
        let expected = none.then(|| format!("auth.issuers.{name}.audience_claim"));
        assert_eq!(warned, Vec::from_iter(expected), "{}", recipe.heading);
    }
}

#[test]
fn each_recipe_names_its_source_and_what_explain_token_says() {
    let sections = sections();
    let recipes = recipes();
    assert_eq!(sections.len(), recipes.len());
    for (section, recipe) in sections.iter().zip(&recipes) {
        let heading = &recipe.heading;
        let source = section.split_once("\nSource: [").expect(heading).1;
        assert!(source.split_once("](https://").is_some(), "{heading}");
        let check = section.split_once("\nCheck: `explain-token` ends with ").expect(heading).1;
        let verdict = format!("`accepted by auth.issuers.{}`;", recipe.issuer().0);
        assert!(check.starts_with(&verdict), "{heading}: {check}");
    }
}

#[test]
fn links_within_the_document_match_its_headings() {
    let headings = DOCUMENT.lines().filter(|line| line.starts_with('#'));
    let anchors: Vec<_> = headings.map(|line| anchor(line.trim_start_matches('#'))).collect();
    let links = DOCUMENT.split("](#").skip(1);
    let links: BTreeSet<_> = links.map(|rest| rest.split_once(')').expect("its end").0).collect();
    for link in &links {
        assert_eq!(anchors.iter().filter(|anchor| anchor == link).count(), 1, "#{link}");
    }
    // The contents link to each chapter.
    for chapter in DOCUMENT.lines().filter_map(|line| line.strip_prefix("## ")) {
        assert!(links.contains(&*anchor(chapter)), "{chapter} isn't linked");
    }
}

/// The anchor that GitHub generates for a heading.
fn anchor(heading: &str) -> String {
    let heading = heading.trim().to_lowercase();
    let kept = heading.chars().filter(|it| it.is_alphanumeric() || " -_".contains(*it));
    kept.map(|it| if it == ' ' { '-' } else { it }).collect()
}
