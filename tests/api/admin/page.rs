//! The operator's page, `GET /`, and the settings that it shows, `GET /settings`: access and security
//! headers. `tests/page` tests the page in a browser.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{EXPOSED, is_rejected, token_file};
use crate::support::{
    Client, Reply, World,
    process::{Process, bff, run},
};

/// What browsers send when a person opens an address.
const BROWSER: &str = "Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\n";

fn is_page(reply: &Reply, status: u16) {
    assert_eq!(reply.status, status, "{}", reply.text());
    assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(reply.text().starts_with("<!doctype html>"));
    is_same_origin_only(reply);
}

fn is_same_origin_only(reply: &Reply) {
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(reply.header("cross-origin-resource-policy"), Some("same-origin"));
}

/// The hashes of the contents of all elements with this name, as in a policy.
fn hashes(page: &str, element: &str) -> Vec<String> {
    let (open, close) = (format!("<{element}"), format!("</{element}>"));
    let texts = page.split(&open).skip(1).map(|rest| {
        let (attributes, rest) = rest.split_once('>').unwrap();
        assert_eq!(attributes, "", "{element} has no attributes");
        rest.split_once(&close).unwrap().0
    });
    let hash = |text: &str| STANDARD.encode(digest(&SHA256, text.as_bytes()));
    texts.map(|text| format!("'sha256-{}'", hash(text))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn page_is_complete_and_its_policy_blocks_everything_else() {
    let world = World::new().await;
    let reply = world.admin().get("/").await;
    is_page(&reply, 200);
    assert_eq!(reply.header("referrer-policy"), Some("no-referrer"));
    let page = reply.text();
    let [style] = &*hashes(&page, "style") else { panic!("one style") };
    let [script] = &*hashes(&page, "script") else { panic!("one script") };
    let policy: Vec<_> = reply.header("content-security-policy").unwrap().split("; ").collect();
    let expected = [
        "default-src 'none'",
        &format!("script-src {script}"),
        &format!("style-src {style}"),
        "img-src data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ];
    assert_eq!(policy, expected);
    for outside in [" src=", "url(", "@import", " style=", " onclick=", "href=\"http"] {
        assert!(!page.contains(outside), "{outside} in the page");
    }
}

const ALERT_RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/prometheus/alert-rules.yml");

/// Alerts for which the page has no rule, with the reason.
const NOT_ON_THE_PAGE: &[(&str, &str)] = &[(
    "JuspayBffDown page",
    "the page can't be loaded then; one that is open reports that it can't reach the service",
)];

/// Expressions by alert and severity.
fn alerts() -> BTreeMap<String, String> {
    let mut found = BTreeMap::<_, String>::new();
    let text = std::fs::read_to_string(ALERT_RULES).unwrap();
    for block in text.split("- alert: ").skip(1) {
        let name = block.lines().next().unwrap();
        let (expression, rest) = block.split_once("labels:").unwrap();
        let severity = rest.split_once("severity: ").unwrap().1.lines().next().unwrap();
        found.entry(format!("{name} {severity}")).or_default().push_str(expression);
    }
    found
}

/// Bounds of the page's rules by alert and severity.
fn rules_of(page: &str) -> BTreeMap<String, Option<String>> {
    let rules = page.lines().filter_map(|line| line.trim_start().strip_prefix("alert: '"));
    let rule = |line: &str| {
        let (alert, rest) = line.split_once("', severity: '").unwrap();
        let (severity, rest) = rest.split_once("',").unwrap();
        let bound = rest.split_once("bound: ").map(|(_, bound)| bound.split(',').next().unwrap());
        (format!("{alert} {severity}"), bound.map(str::to_owned))
    };
    rules.map(rule).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn attention_rules_of_the_page_match_the_alert_rules() {
    let world = World::new().await;
    let rules = rules_of(&world.admin().get("/").await.text());
    let alerts = alerts();
    assert!(alerts.len() > 15 && rules.len() > 15, "{alerts:#?} {rules:#?}");
    for alert in alerts.keys() {
        let excepted = NOT_ON_THE_PAGE.iter().any(|(name, _)| name == alert);
        assert_ne!(rules.contains_key(alert), excepted, "{alert} in src/admin/page/attention.js");
    }
    for (rule, bound) in &rules {
        let Some(expression) = alerts.get(rule) else {
            panic!("{rule} isn't in deploy/prometheus/alert-rules.yml");
        };
        let Some(bound) = bound else { continue };
        let compares = ["> ", "< "].iter().any(|sign| {
            let wanted = format!("{sign}{bound}");
            expression.match_indices(&wanted).any(|(at, _)| {
                !expression[at + wanted.len()..]
                    .starts_with(|next: char| next.is_ascii_digit() || next == '.')
            })
        });
        assert!(compares, "{rule}: the page's bound is {bound}, and the alert is {expression}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_equal_check_config_and_contain_no_secret() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("settings.toml");
    let token = token_file(directory.path(), "admin-secret");
    let settings = format!(
        "{token}
         server.listen = \"127.0.0.1:0\"
         server.admin_listen = \"127.0.0.1:0\"
         juspay = {{ base_url = \"http://127.0.0.1:9\", merchant_id = \"m\", api_key = \"canary_1\" }}
         auth.issuers.main = {{ issuer = \"http://127.0.0.1:9\", audiences = [\"a\"], \
         algorithms = [\"ES256\"], discovery = true }}"
    );
    std::fs::write(&file, settings).unwrap();
    let file = file.to_str().unwrap();
    let printed = run(bff(&["check-config", "--config", file])).await.stdout;
    let mut service = Process::start(bff(&["serve", "--config", file]));
    let line = service.line_with("\"serving\"").await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let admin = Client::new(line["admin"].as_str().unwrap().parse().unwrap(), None);
    let reply = admin.get("/settings").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
    is_same_origin_only(&reply);
    let shown = reply.text();
    // `check-config` adds derived values after them.
    assert!(printed.starts_with(&shown), "{shown} isn't a prefix of {printed}");
    assert!(shown.contains("api_key = \"********\"") && !shown.contains("admin-secret"), "{shown}");
    service.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_page_and_settings_contain_no_customer_and_no_secret() {
    let world = World::new().await;
    for customer in ["alice", "sim_not_found"] {
        world.client(customer).me().await;
    }
    for path in ["/", "/settings"] {
        let text = world.admin().get(path).await.text();
        assert!(text.len() > 1000, "{path}");
        for secret in [&*world.api_key, "tkn", "eyJ", "alice", "sim_not_found", "cst_"] {
            assert!(!text.contains(secret), "{secret} in {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_origins_and_rebound_names_are_rejected_on_loopback() {
    let world = World::new().await;
    for path in ["/", "/settings"] {
        for head in [
            "Host: evil.example\r\n",
            "",
            "Host: localhost\r\nOrigin: null\r\n",
            "Host: localhost\r\nOrigin: http://localhost\r\n",
        ] {
            let request = format!("GET {path} HTTP/1.0\r\n{head}{BROWSER}\r\n");
            is_rejected(&world.admin().raw(&request).await, 403, "admin_forbidden");
        }
        assert_eq!(world.admin().request("GET", path, BROWSER).await.status, 200);
        for method in ["POST", "HEAD", "PUT"] {
            let reply = world.admin().request(method, path, "").await;
            assert_eq!(
                (reply.status, reply.header("allow")),
                (405, Some("GET")),
                "{method} {path}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn token_is_required_off_loopback_and_the_page_prompts_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let settings = token_file(directory.path(), "secret-1");
    let world = World::with(&format!("{EXPOSED}\n{settings}")).await;
    let with = |token: Option<&str>| Client::new(world.service.admin, token.map(str::to_owned));

    is_page(&with(Some("secret-1")).get("/").await, 200);
    assert_eq!(with(Some("secret-1")).get("/settings").await.status, 200);
    for path in ["/", "/settings"] {
        is_rejected(&with(None).get(path).await, 401, "missing_token");
        for lines in ["", BROWSER] {
            is_rejected(
                &with(Some("wrong")).request("GET", path, lines).await,
                401,
                "invalid_token",
            );
        }
    }
    is_rejected(&with(None).request("GET", "/settings", BROWSER).await, 401, "missing_token");

    let prompt = with(None).request("GET", "/", BROWSER).await;
    is_page(&prompt, 401);
    assert_eq!(prompt.header("www-authenticate"), Some("Bearer realm=\"juspay-bff\""));
    let opened = with(Some("secret-1")).get("/").await;
    assert_eq!(prompt.text(), opened.text(), "neither contains data");
    let policy = |reply: &Reply| reply.header("content-security-policy").map(str::to_owned);
    assert_eq!(policy(&prompt), policy(&opened));
}

#[tokio::test(flavor = "multi_thread")]
async fn both_are_disabled_off_loopback_without_a_token_file() {
    let world = World::with(EXPOSED).await;
    for path in ["/", "/settings"] {
        for lines in ["", BROWSER] {
            is_rejected(&world.admin().request("GET", path, lines).await, 403, "admin_disabled");
        }
    }
}
