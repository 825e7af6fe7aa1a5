//! `juspay-bff explain-token`: the named differences with their exact lines, and that the service
//! accepts the token with a suggested setting. Issuers and audiences are here, the rest is in
//! submodules.

mod claims;
mod keys;

use serde_json::{Value, json};
use simulator::MintRequest;

use super::{Fixture, ends};

const V1: &str = "https://sts.windows.net/11111111-2222-3333-4444-555555555555/";
const V2: &str = "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0";

/// The settings of an issuer with a key file and these additional keys.
pub fn settings(fixture: &Fixture, keys: &str) -> String {
    let file = fixture.file("keys.json", &fixture.running.issuer().jwks().to_string());
    let usual = [
        ("issuer", format!("'{}'", fixture.running.issuer().issuer_url())),
        ("audiences", "['juspay-bff-demo']".to_owned()),
        ("algorithms", "['ES256']".to_owned()),
        ("jwks_file", format!("'{}'", file.display())),
    ];
    let is_set = |key: &str| keys.lines().any(|line| line.starts_with(&format!("{key} =")));
    let usual = usual.iter().filter(|(key, _)| !is_set(key));
    let usual: Vec<_> = usual.map(|(key, value)| format!("{key} = {value}\n")).collect();
    let usual = usual.concat();
    format!(
        "juspay = {{ base_url = 'http://127.0.0.1:9', merchant_id = 'm', api_key = 'k' }}\n\
         [auth.issuers.main]\n{usual}{keys}"
    )
}

/// The lines of a failed check, without its first one.
pub fn block(stdout: &str, name: &str) -> Vec<String> {
    let start = format!("FAILED   {name:<14} ");
    let lines = stdout.lines().skip_while(|line| !line.starts_with(&start)).skip(1);
    lines.map_while(|line| line.strip_prefix("         ")).map(str::to_owned).collect()
}

/// Checks the lines of an issuer's token. Parameters: settings, claims, the failed check, and its
/// lines. If a setting is suggested, checks that the token is accepted with it.
pub async fn explained(
    fixture: &Fixture,
    keys: &str,
    wish: &MintRequest,
    name: &str,
    lines: &[&str],
) {
    // The simulator publishes a key once it has signed with it.
    let token = fixture.mint(wish);
    let settings = settings(fixture, keys);
    let ended = fixture.explain_by(&settings, &token, "", &["--offline"]).await;
    assert_eq!(
        block(&ended.stdout, name),
        lines,
        "{name}, {keys}: {}{}",
        ended.stdout,
        ended.stderr
    );
    let suggested = lines.iter().filter_map(|line| line.strip_prefix("to accept such tokens: "));
    let suggested: Vec<_> = suggested.collect();
    if !suggested.is_empty() {
        let ended =
            fixture.explain_by(&settings, &token, &suggested.join("\n"), &["--offline"]).await;
        ends(&ended, &[], "accepted by auth.issuers.main");
    }
}

fn wish() -> MintRequest {
    MintRequest::of("alice")
}

/// Issuer of the settings, `iss`, the difference, and whether the issuer is suggested.
const ISSUERS: [(&str, &str, &str, bool); 10] = [
    (
        "https://a.example/",
        "https://a.example",
        "differs only by a trailing slash, which the token lacks",
        true,
    ),
    ("https://a.example/Shop", "https://a.example/shop", "differs only by letter case", true),
    (
        "http://a.example",
        "https://a.example",
        "differs only by the scheme, https:// instead of http://",
        true,
    ),
    (
        "https://a.example",
        "http://a.example",
        "differs only by the scheme, http:// instead of https://; set the provider's public address to \
         https, which it does not know behind a proxy",
        false,
    ),
    (
        "https://accounts.google.com",
        "accounts.google.com",
        "differs only by the scheme https://, which the token lacks",
        true,
    ),
    (
        "accounts.google.com",
        "https://accounts.google.com",
        "differs only by the scheme https://, which the token has",
        true,
    ),
    (
        V1,
        V2,
        "is the version 2.0 issuer of the same Entra tenant, the setting is that of version 1.0",
        true,
    ),
    (
        V2,
        V1,
        "is the version 1.0 issuer of the same Entra tenant, the setting is that of version 2.0; \
         requestedAccessTokenVersion = 2 in the API's app registration makes Entra issue version 2.0",
        true,
    ),
    (
        "https://login.microsoftonline.com/common/v2.0",
        V2,
        "names its own tenant where the setting stands for any tenant; set issuer to the one of your \
         tenant, each tenant is an issuer of its own",
        false,
    ),
    (
        "https://sso.example/realms/shop",
        "https://sso.example/realms/staff",
        "has the same host, but another path",
        false,
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn differences_to_the_closest_issuer_are_named() {
    let fixture = Fixture::new().await;
    for (expected, found, difference, is_suggested) in ISSUERS {
        let suggestion = format!("to accept such tokens: auth.issuers.main.issuer = \"{found}\"");
        let [expected_line, found_line, hint] = [
            format!("expected       \"{expected}\" (auth.issuers.main.issuer)"),
            format!("found          iss \"{found}\""),
            format!(
                "hint           the closest issuer is auth.issuers.main: the token's iss {difference}"
            ),
        ];
        let mut lines = vec![&*expected_line, &found_line, &hint];
        if is_suggested {
            lines.extend([
                suggestion.as_str(),
                "meaning        tokens with the previous issuer are then rejected; the token's signature is \
                 unproven: anyone may have written its values",
            ]);
        }
        let wish = wish().with("iss", found);
        explained(&fixture, &format!("issuer = '{expected}'"), &wish, "issuer", &lines).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dissimilar_issuers_are_not_suggested() {
    let fixture = Fixture::new().await;
    explained(
        &fixture,
        "issuer = 'https://a.example'",
        &wish().with("iss", "https://b.example"),
        "issuer",
        &[
            "expected       \"https://a.example\" (auth.issuers.main.issuer)",
            "found          iss \"https://b.example\"",
            "hint           no configured issuer is similar",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_without_iss_need_an_empty_issuer() {
    let fixture = Fixture::new().await;
    let lines = [
        "expected       \"https://a.example\" (auth.issuers.main.issuer)",
        "found          the token has no iss",
        "hint           only an issuer with issuer = \"\" accepts tokens without iss; it needs jwks_url, \
         jwks_file or hmac_secret_file",
        "to accept such tokens: auth.issuers.main.issuer = \"\"",
        "meaning        only if this issuer's access tokens have no iss: tokens without iss are then \
         checked with its keys, whatever they were made for, and others are not; the token's signature is unproven: anyone may have written its values",
    ];
    let wish = wish().with("iss", Value::Null);
    explained(&fixture, "issuer = 'https://a.example'", &wish, "issuer", &lines).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closest_of_several_issuers_is_named() {
    let fixture = Fixture::new().await;
    let keys = "issuer = 'https://sso.example/realms/staff'
        customer_id_prefix = 'a-'
        [auth.issuers.shop]
        issuer = 'https://sso.example/realms/shop/'
        audiences = ['juspay-bff-demo']
        algorithms = ['ES256']
        discovery = true
        customer_id_prefix = 'b-'";
    let token = fixture.mint(&wish().with("iss", "https://sso.example/realms/shop"));
    let ended = fixture.explain_by(&settings(&fixture, keys), &token, "", &["--offline"]).await;
    let lines = block(&ended.stdout, "issuer");
    assert_eq!(
        lines[..4],
        [
            "expected       \"https://sso.example/realms/staff\" (auth.issuers.main.issuer) or \
             \"https://sso.example/realms/shop/\" (auth.issuers.shop.issuer)",
            "found          iss \"https://sso.example/realms/shop\"",
            "hint           the closest issuer is auth.issuers.shop: the token's iss differs only by a \
             trailing slash, which the token lacks",
            "to accept such tokens: auth.issuers.shop.issuer = \"https://sso.example/realms/shop\"",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn differences_of_audiences_are_named() {
    let fixture = Fixture::new().await;
    let spelling = "meaning        the token's spelling of the audience is then accepted as well";
    for (ours, found, difference) in [
        ("shop", "api://shop", "differs only by the prefix api://, which the token has"),
        ("api://shop", "shop", "differs only by the prefix api://, which the token lacks"),
        ("https://shop", "https://shop/", "differs only by a trailing slash, which the token has"),
        ("shop", "Shop", "differs only by letter case"),
    ] {
        explained(
            &fixture,
            &format!("audiences = ['{ours}']"),
            &wish().with("aud", found),
            "aud",
            &[
                &format!("expected       aud \"{ours}\" (auth.issuers.main.audiences)"),
                &format!("found          aud \"{found}\""),
                &format!("hint           \"{found}\" {difference} from \"{ours}\""),
                &format!(
                    "to accept such tokens: auth.issuers.main.audiences = [\"{ours}\", \"{found}\"]"
                ),
                spelling,
            ],
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_and_other_audiences_are_explained() {
    let fixture = Fixture::new().await;
    let client = "meaning        the app that a token was issued to is then compared, not the API: every \
                  token of that app is accepted: only if it is this app; audiences is replaced";
    let wishes = wish().with("aud", Value::Null).with("client_id", "app \"1\"").with("azp", "x");
    explained(
        &fixture,
        "",
        &wishes,
        "aud",
        &[
            "expected       aud \"juspay-bff-demo\" (auth.issuers.main.audiences)",
            "found          aud none",
            "hint           aud is missing; auth.issuers.main.audience_claim could name one of these: \
             client_id \"app \\\"1\\\"\", azp \"x\"",
            "to accept such tokens: auth.issuers.main.audience_claim = \"client_id\"",
            "to accept such tokens: auth.issuers.main.audiences = [\"app \\\"1\\\"\"]",
            client,
        ],
    )
    .await;
    explained(
        &fixture,
        "",
        &wish().with("aud", json!(["https://shop", "https://a.example/userinfo"])),
        "aud",
        &[
            "expected       aud \"juspay-bff-demo\" (auth.issuers.main.audiences)",
            "found          aud [\"https://shop\",\"https://a.example/userinfo\"]",
            "hint           the token was issued for another API or app: the app must request one for this \
             API",
            "to accept such tokens: auth.issuers.main.audiences = [\"juspay-bff-demo\", \"https://shop\"]",
            "meaning        tokens issued for that API or app are then accepted: only if it is this one",
        ],
    )
    .await;
}
