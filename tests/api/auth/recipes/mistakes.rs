//! The token that must be rejected, as each recipe names it for a check with `explain-token`, and
//! the reason in the document.

use serde_json::{Value, json};

use super::{document, served::Served, unfit::Row};
use crate::auth::corpus::changed;

/// The recipe, changes of the token's header and claims, and the reason.
type Mistake = (&'static str, Value, Value, &'static str);

/// Cloud services, except for tokens that are too old.
fn of_cloud_services() -> Vec<Mistake> {
    let none = || json!({});
    let entra = "https://login.microsoftonline.com/aaaabbbb-0000-cccc-1111-dddd2222eeee/v2.0";
    let workos = json!({"iss": "https://api.workos.com"});
    let id_token = || json!({"scp": null, "azp": null});
    let anonymous = json!({"firebase": {"sign_in_provider": "anonymous"}});
    let by_google = json!({"firebase": {"sign_in_provider": "google.com"}});
    let cognito =
        json!({"client_id": null, "aud": "57cbishk4j24pabc1234567890", "token_use": "id"});
    vec![
        ("Amazon Cognito", none(), cognito, "claims"),
        ("Microsoft Entra ID: Version 2 tokens", none(), id_token(), "claims"),
        ("Microsoft Entra ID: Version 1 tokens", none(), json!({"iss": entra}), "unknown_issuer"),
        ("Azure AD B2C", none(), id_token(), "claims"),
        ("Microsoft Entra External ID", none(), id_token(), "claims"),
        ("Firebase Authentication: By user id", none(), anonymous, "claims"),
        ("Firebase Authentication: By phone number", none(), by_google, "claims"),
        ("Auth0", none(), json!({"aud": "my_client_id_1234567890abcdefghij"}), "audience"),
        ("Okta", none(), json!({"aud": "0oa1a2b3c4D5e6F7g8h9"}), "audience"),
        ("Supabase: With signing keys", none(), json!({"is_anonymous": true}), "claims"),
        ("Supabase: With the legacy secret", json!({"alg": "ES256"}), none(), "algorithm"),
        ("Clerk: Web apps", none(), json!({"azp": null}), "claims"),
        ("WorkOS: Issuer with the client", none(), workos, "unknown_issuer"),
        ("WorkOS: Issuer without the client", json!({"kid": "another"}), none(), "unknown_key"),
        ("Google", none(), json!({"aud": "another.apps.googleusercontent.com"}), "audience"),
        ("Apple", none(), json!({"aud": "com.example.other"}), "audience"),
    ]
}

/// Self-hosted servers, except for tokens that are too old.
fn of_own_servers() -> Vec<Mistake> {
    let none = || json!({});
    let keycloak = json!({"aud": "shop-app", "typ": "ID", "at_hash": "h"});
    let hydra = json!({"client_id": null, "aud": ["shop-app"], "at_hash": "h"});
    let refreshed = json!({"iss": "https://shop.example/api/auth/refresh"});
    vec![
        ("Keycloak: With an audience mapper", none(), keycloak.clone(), "audience"),
        ("Keycloak: Without an audience", none(), keycloak, "id_token"),
        ("Zitadel", none(), json!({"at_hash": "h"}), "id_token"),
        ("Ory Hydra", none(), hydra, "claims"),
        ("Duende IdentityServer", json!({"typ": "JWT"}), none(), "type"),
        ("Django SimpleJWT", none(), json!({"token_type": "refresh"}), "type"),
        ("Laravel Passport", none(), json!({"aud": "another"}), "audience"),
        ("Laravel jwt-auth", none(), refreshed, "unknown_issuer"),
        (
            "NestJS and other home-made tokens: With issuer, audience and kind",
            none(),
            json!({"token_use": "refresh"}),
            "type",
        ),
    ]
}

/// Recipes that name a token which is too old.
const TOO_OLD: [&str; 2] =
    ["Clerk: Native apps", "NestJS and other home-made tokens: With the bare minimum"];

/// The token that the served recipe names.
pub fn named_by_the_document(served: &Served) -> Vec<Row> {
    let heading = &*served.recipe.heading;
    let row = if TOO_OLD.contains(&heading) {
        Row::expired("named by the document", served.token(&served.expired()))
    } else {
        let mut mistakes = of_cloud_services().into_iter().chain(of_own_servers());
        let mistake = mistakes.find(|(of, ..)| *of == heading);
        let (_, header, claims, reason) = mistake.unwrap_or_else(|| panic!("{heading}: no row"));
        let claims = changed(served.claims(), &claims);
        let token = served.signed(&changed(served.header(), &header), &claims);
        Row::invalid("named by the document", reason, token)
    };
    let check = document::check(heading);
    assert!(check.contains(&format!("fails with `{}`", row.reason)), "{heading}: {check}");
    vec![row]
}
