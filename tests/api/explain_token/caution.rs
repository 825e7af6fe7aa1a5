//! `juspay-bff explain-token`: changes that would accept more than the merchant's app are not suggested,
//! and values that identify a person are not printed.

use serde_json::{Value, json};
use simulator::MintRequest;

use super::{
    Fixture, ends,
    near_misses::{block, explained, settings},
};

const SUGGESTED: &str = "to accept such tokens";

#[tokio::test(flavor = "multi_thread")]
async fn id_token_that_fails_another_check_gets_no_suggestion() {
    let desk = Fixture::new().await;
    let id_token =
        || MintRequest { typ: "JWT".to_owned(), ..MintRequest::of("alice") }.with("at_hash", "h");
    for (keys, wish, failed) in [
        ("", id_token().with("aud", "shop-app"), vec!["aud", "use"]),
        ("", id_token().with("aud", Value::Null).with("azp", "shop-app"), vec!["aud", "use"]),
        ("typ = ['at+jwt']", id_token(), vec!["typ", "use"]),
        ("typ = ['at+jwt']", id_token().with("aud", "JUSPAY-BFF-DEMO"), vec!["typ", "aud", "use"]),
        (
            "required_claims = { tier = 'gold' }",
            id_token().with("tier", "Gold"),
            vec!["use", "required"],
        ),
        (
            "customer_id_claim = 'customer_id'",
            id_token().with("ext", json!({"customer_id": "c"})),
            vec!["use", "customer"],
        ),
    ] {
        let token = desk.mint(&wish);
        let ended = desk.explain_by(&settings(&desk, keys), &token, "", &["--offline"]).await;
        ends(&ended, &failed, "rejected with 401");
        assert!(!ended.stdout.contains(SUGGESTED), "{keys}: {}", ended.stdout);
    }
    let token = desk.mint(&id_token());
    let ended = desk.explain_by(&settings(&desk, ""), &token, "", &["--offline"]).await;
    ends(&ended, &["use"], "rejected with 401");
    assert!(ended.stdout.contains("auth.issuers.main.id_tokens = \"accept\""), "{}", ended.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn audience_that_any_app_can_get_is_never_suggested() {
    let desk = Fixture::new().await;
    let common = [
        "account",
        "broker",
        "realm-management",
        "https://graph.microsoft.com",
        "https://graph.microsoft.com/",
        "00000003-0000-0000-c000-000000000000",
        "https://shop.eu.auth0.com/userinfo",
        "https://shop.eu.auth0.com/api/v2/",
    ];
    let hint = "hint           any app of this issuer can get that audience; the issuer has to add one for \
                this API";
    let spelled = "api://account";
    for audience in common {
        for (keys, aud) in [
            ("", json!(audience)),
            ("", json!([audience])),
            ("audiences = ['api://account', 'https://GRAPH.microsoft.com/']", json!(audience)),
        ] {
            let ours = if keys.is_empty() {
                "aud \"juspay-bff-demo\"".to_owned()
            } else {
                format!("aud one of \"{spelled}\", \"https://GRAPH.microsoft.com/\"")
            };
            let lines = [
                &*format!("expected       {ours} (auth.issuers.main.audiences)"),
                &*format!("found          aud {aud}"),
                hint,
            ];
            let wish = MintRequest::of("alice").with("aud", aud);
            explained(&desk, keys, &wish, "aud", &lines).await;
        }
    }
    let all = MintRequest::of("alice").with("aud", json!(common));
    let ended = desk.explain_by(&settings(&desk, ""), &desk.mint(&all), "", &["--offline"]).await;
    assert_eq!(block(&ended.stdout, "aud").last().map(String::as_str), Some(hint));

    let wish = MintRequest::of("alice").with("aud", json!(["account", "shop-api"]));
    let ended = desk.explain_by(&settings(&desk, ""), &desk.mint(&wish), "", &["--offline"]).await;
    let line =
        "to accept such tokens: auth.issuers.main.audiences = [\"juspay-bff-demo\", \"shop-api\"]";
    assert!(ended.stdout.contains(line), "{}", ended.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_claim_with_a_shared_audience_is_not_suggested() {
    let desk = Fixture::new().await;
    let wish = MintRequest::of("alice").with("aud", "account").with("client_id", Value::Null);
    explained(
        &desk,
        "audience_claim = 'azp'",
        &wish,
        "aud",
        &[
            "expected       azp \"juspay-bff-demo\" (auth.issuers.main.audiences, \
             auth.issuers.main.audience_claim)",
            "found          azp none",
            "hint           azp is missing, and aud is \"account\": any app of this issuer can get that \
             audience; the issuer has to add one for this API",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_verified_claim_is_assumed_only_for_firebase_phone_numbers() {
    let desk = Fixture::new().await;
    let firebase = "https://securetoken.google.com/shop-1a2b3";
    let unverified =
        "names none: its _verified twin is missing, and customer_id_verified is \"required\"";
    for (issuer, claim, value) in [
        (firebase, "phone_number", "+919876543210"),
        (firebase, "email", "alice@example.com"),
        ("https://id.example", "phone_number", "+919876543210"),
        ("https://id.example", "email", "alice@example.com"),
        ("https://securetoken.google.com.example/", "phone_number", "+919876543210"),
    ] {
        let expected = format!(
            "expected       a customer in the claim \"{claim}\" (auth.issuers.main.customer_id_claim)"
        );
        let found = format!("found          the claim \"{claim}\" {unverified}");
        let mut hint = format!("hint           the claim \"{claim}_verified\" is missing; ");
        let is_suggested = issuer == firebase && claim == "phone_number";
        hint.push_str(if is_suggested {
            "customer_id_verified decides about that"
        } else {
            "the issuer has to verify the address and add it, or use an id that users can't change \
             instead"
        });
        let mut lines = vec![&*expected, &found, &hint];
        if is_suggested {
            lines.extend([
                "to accept such tokens: auth.issuers.main.customer_id_verified = \"assumed\"",
                "meaning        only for an issuer that verifies every address before it issues a token, \
                 and with required_claims.\"/firebase/sign_in_provider\" = \"phone\"",
            ]);
        }
        let keys = format!("issuer = '{issuer}'\ncustomer_id_claim = '{claim}'");
        let wish = MintRequest::of("alice").with("iss", issuer).with(claim, value);
        explained(&desk, &keys, &wish, "customer", &lines).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn required_claim_that_identifies_a_person_is_not_printed() {
    let desk = Fixture::new().await;
    let (address, phone, id) = ("alice@example.com", "+919876543210", "customer-4711");
    let personal = json!({"email": [address], "phone": {"number": phone}});
    let wish = MintRequest::of(id)
        .with("email", address)
        .with("phone_number", phone)
        .with("https://shop.example/email", address)
        .with("ext", json!({"id": id, "email": address}))
        .with("identities", personal);
    let other = "found          CLAIM another value, not shown";
    let list = "found          CLAIM a list or an object";
    for (claim, found) in [
        ("sub", other),
        ("email", other),
        ("/email", other),
        ("phone_number", other),
        ("/ext/email", other),
        ("https://shop.example/email", other),
        ("/identities/email/0", other),
        ("/identities/phone/number", other),
        ("/ext/id", other),
        ("ext", list),
        ("identities", list),
        ("/identities/email", list),
    ] {
        for expected in ["x", "ALICE@example.com", "Customer-4711"] {
            let keys = format!(
                "customer_id_claim = '/ext/id'\nrequired_claims = {{ '{claim}' = '{expected}' }}"
            );
            let settings = settings(&desk, &keys);
            let ended = desk.explain_by(&settings, &desk.mint(&wish), "", &["--offline"]).await;
            ends(&ended, &["required"], "rejected with 401 invalid_token, reason claims");
            let lines = block(&ended.stdout, "required claim");
            assert!(lines.contains(&found.replace("CLAIM", claim)), "{claim}: {}", ended.stdout);
            for value in [address, phone, id] {
                assert!(!ended.stdout.contains(value), "{claim}: {}", ended.stdout);
            }
            assert!(!ended.stdout.contains(SUGGESTED), "{claim}: {}", ended.stdout);
        }
    }
    let keys = format!("required_claims = {{ email = ['{address}', 'x'] }}");
    let ended =
        desk.explain_by(&settings(&desk, &keys), &desk.mint(&wish), "", &["--offline"]).await;
    ends(&ended, &[], "accepted");
    let line = "ok       required claim email the value, not shown; expected email ";
    assert!(ended.stdout.contains(line), "{}", ended.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn required_claim_that_users_can_edit_is_marked() {
    let desk = Fixture::new().await;
    for (claims, place) in [
        (
            json!({"user_metadata": {"tier": "gold"}}),
            "\"/user_metadata/tier\", which users can edit",
        ),
        (
            json!({"untrusted_metadata": {"tier": "gold"}}),
            "\"/untrusted_metadata/tier\", which users can edit",
        ),
        (json!({"client_metadata": {"tier": "gold"}, "ext": {"tier": "gold"}}), "\"/ext/tier\""),
    ] {
        let claims = claims.as_object().unwrap().clone();
        let wish = claims
            .into_iter()
            .fold(MintRequest::of("alice"), |wish, (name, value)| wish.with(&name, value));
        explained(
            &desk,
            "required_claims = { tier = 'gold' }",
            &wish,
            "required claim",
            &[
                "expected       tier \"gold\" (auth.issuers.main.required_claims)",
                "found          tier none",
                &format!("hint           the claim is missing; the token has it as {place}"),
            ],
        )
        .await;
    }
}
