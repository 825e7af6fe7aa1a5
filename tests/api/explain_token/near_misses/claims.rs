//! Named differences of scopes, required claims, the customer claim, the kind of token and times.

use serde_json::{Value, json};
use simulator::MintRequest;

use super::{block, explained, settings, wish};
use crate::explain_token::Fixture;

#[tokio::test(flavor = "multi_thread")]
async fn differences_of_scopes_are_named() {
    let fixture = Fixture::new().await;
    let expected =
        "expected       \"pay\" in scope, scp or scopes (auth.issuers.main.required_scopes)";
    let none = "found          scope none, scp none, scopes none";
    for (wish, lines) in [
        (
            wish().with("scope", "openid Pay"),
            vec![
                expected,
                "found          scope \"openid Pay\", scp none, scopes none",
                "hint           the token's \"Pay\" differs only by letter case from \"pay\"",
                "to accept such tokens: auth.issuers.main.required_scopes = [\"Pay\"]",
                "meaning        scopes are compared with their letter case: tokens with the previous \
                 spelling are then rejected",
            ],
        ),
        (
            wish().with("permissions", json!(["pay", "other"])),
            vec![
                expected,
                none,
                "hint           \"pay\" is in the claim permissions, which grants no scopes",
            ],
        ),
        (
            wish().with("scope", "openid,pay"),
            vec![
                expected,
                "found          scope \"openid,pay\", scp none, scopes none",
                "hint           \"pay\" is separated by a comma; scopes are separated by spaces",
            ],
        ),
        (wish(), vec![expected, none, "hint           the app must request the scope \"pay\""]),
    ] {
        explained(&fixture, "required_scopes = ['pay']", &wish, "scope", &lines).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn differences_of_required_claims_are_named() {
    let fixture = Fixture::new().await;
    let types = "meaning        type and letter case count: the previous value is then rejected";
    for (keys, wish, lines) in [
        (
            "required_claims = { '/a/is_guest' = false }",
            wish().with("a", json!({"is_guest": "false"})),
            vec![
                "expected       /a/is_guest false (auth.issuers.main.required_claims)",
                "found          /a/is_guest \"false\"",
                "hint           the token's value is a string",
                "to accept such tokens: auth.issuers.main.required_claims.\"/a/is_guest\" = \"false\"",
                types,
            ],
        ),
        (
            "required_claims = { token_use = 'access' }",
            wish().with("token_use", "Access"),
            vec![
                "expected       token_use \"access\" (auth.issuers.main.required_claims)",
                "found          token_use \"Access\"",
                "hint           the token's value differs only by letter case",
                "to accept such tokens: auth.issuers.main.required_claims.token_use = \"Access\"",
                types,
            ],
        ),
        (
            "required_claims = { tier = 'gold' }",
            wish().with("ext", json!({"tier": "gold"})),
            vec![
                "expected       tier \"gold\" (auth.issuers.main.required_claims)",
                "found          tier none",
                "hint           the claim is missing; the token has it as \"/ext/tier\"",
            ],
        ),
    ] {
        explained(&fixture, keys, &wish, "required claim", &lines).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_places_of_the_customer_claim_are_named_without_values() {
    let fixture = Fixture::new().await;
    let id = "customer-4711";
    let trusted = "meaning        only if the issuer or your backend sets that claim, never users";
    for (keys, wish, place) in [
        (
            "customer_id",
            wish().with("app_metadata", json!({"customer_id": id})),
            "/app_metadata/customer_id",
        ),
        ("customer_id", wish().with("ext", json!({"customer_id": id})), "/ext/customer_id"),
        ("/ext/customer_id", wish().with("customer_id", id), "customer_id"),
        (
            "customer_id",
            wish().with("https://shop.example", json!({"customer_id": id})),
            "/https:~1~1shop.example/customer_id",
        ),
        ("customer_id", wish().with("Customer_ID", id), "Customer_ID"),
    ] {
        explained(
            &fixture,
            &format!("customer_id_claim = '{keys}'"),
            &wish,
            "customer",
            &[
                &format!(
                    "expected       a customer in the claim \"{keys}\" (auth.issuers.main.customer_id_claim)"
                ),
                &format!("found          the claim \"{keys}\" names none: the claim is missing"),
                &format!("hint           the token has it as \"{place}\""),
                &format!("to accept such tokens: auth.issuers.main.customer_id_claim = \"{place}\""),
                trusted,
            ],
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unusable_customer_claims_are_explained() {
    let fixture = Fixture::new().await;
    let id = "customer-4711";
    let expected = "expected       a customer in the claim \"customer_id\" \
                    (auth.issuers.main.customer_id_claim)";
    let missing = "found          the claim \"customer_id\" names none: the claim is missing";
    for (wish, hint) in [
        (
            wish().with("user_metadata", json!({"customer_id": id})),
            "hint           the token has it as \"/user_metadata/customer_id\", which users can edit",
        ),
        (
            wish().with("untrusted_metadata", json!({"customer_id": id})),
            "hint           the token has it as \"/untrusted_metadata/customer_id\", which users can edit",
        ),
        (
            wish().with("clientMetadata", json!({"customer_id": id})),
            "hint           the token has it as \"/clientMetadata/customer_id\", which users can edit",
        ),
        (wish(), "hint           of the usual claims the token has sub"),
        (
            wish().with("act", json!({"customer_id": id})),
            "hint           of the usual claims the token has sub",
        ),
    ] {
        let lines = [expected, missing, hint];
        explained(&fixture, "customer_id_claim = 'customer_id'", &wish, "customer", &lines).await;
    }
    explained(
        &fixture,
        "customer_id_claim = 'email'",
        &wish().with("email", "alice@example.com"),
        "customer",
        &[
            "expected       a customer in the claim \"email\" (auth.issuers.main.customer_id_claim)",
            "found          the claim \"email\" names none: its _verified twin is missing, and \
             customer_id_verified is \"required\"",
            "hint           the claim \"email_verified\" is missing; the issuer has to verify the address and \
             add it, or use an id that users can't change instead",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn id_tokens_are_suggested_only_as_a_credential() {
    let fixture = Fixture::new().await;
    let wish = MintRequest { typ: "JWT".to_owned(), ..wish() }.with("token_use", "id");
    let lines = [
        "expected       an access token (auth.issuers.main.id_tokens: reject)",
        "found          it is an ID token: its claim token_use says so",
        "hint           the app must send its access token; set id_tokens only if the ID token is this \
         issuer's credential for apps, as with Firebase, Google and Apple",
        "to accept such tokens: auth.issuers.main.id_tokens = \"accept\"",
        "meaning        ID tokens of this issuer then let an app in, as access tokens do",
    ];
    explained(&fixture, "", &wish, "use", &lines).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mistaken_times_are_named() {
    let fixture = Fixture::new().await;
    let far = 4_102_444_800_u64;
    for (keys, wish, hint) in [
        (
            "",
            wish().with("exp", far * 1000),
            "exp is in milliseconds; it must be in seconds since 1970",
        ),
        ("", wish().with("exp", far.to_string()), "exp is a string; it must be a number"),
        (
            "",
            wish().with("exp", Value::Null),
            "a token without exp never ends; the issuer has to add it",
        ),
        (
            "max_token_age = '1h'",
            wish().with("iat", Value::Null),
            "iat is missing, which max_token_age needs",
        ),
        ("", wish().with("nbf", far), "nbf is "),
    ] {
        let ended = fixture
            .explain_by(&settings(&fixture, keys), &fixture.mint(&wish), "", &["--offline"])
            .await;
        let lines = block(&ended.stdout, "times");
        let [expected, found, named] = &lines[..] else { panic!("{}", ended.stdout) };
        assert!(expected.starts_with("expected       exp"), "{expected}");
        assert!(found.starts_with("found          exp "), "{found}");
        assert!(named.starts_with(&format!("hint           {hint}")), "{named}");
    }
}
