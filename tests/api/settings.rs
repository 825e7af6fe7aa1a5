//! Settings as an operator sees them, with the real binary (promise P9 in SECURITY.md).

use std::{net::TcpListener, path::Path};

use juspay_bff::settings::Sources;

use crate::support::{
    Client,
    process::{Process, bff, run},
    until,
};

/// Secrets that must not be shown.
const SECRETS: [&str; 3] = ["canary_inline", "canary_in_a_file", "canary_with spaces"];

/// Settings with eight kinds of faults. The two addresses are in use, so an attempt to listen would
/// fail.
fn faulty(taken: &str) -> String {
    format!(
        r#"
[server]
listen = "{taken}"
admin_listen = "{taken}"
workers = "many"
[juspay]
base_url = "http://juspay.example"
merchant_id = "m"
api_key = "canary_with spaces"
ca_file = "/nonexistent/roots.pem"
[auth.issuers.main]
issuer = "https://id.example"
audiences = ["a"]
algorithms = ["RS256", "HS256"]
[cache]
min_remaning = "1m"
not_found_ttl = 2
"#
    )
}

/// The key of each fault, and a part of its reason and its fix.
const FAULTS: [(&str, &str, &str); 9] = [
    ("server.workers", "reason: expected an integer, found a string", "fix:    "),
    ("juspay.api_key", "whitespace", "fix:    "),
    ("juspay.ca_file", "can't be read: no such file", "fix:    "),
    ("auth.issuers.main.algorithms[1]", "HS256 needs a shared secret", "fix:    "),
    ("cache.not_found_ttl", "with a unit, found a number", "fix:    "),
    ("server.listen", "the same address", "fix:    "),
    ("juspay.base_url", "plain http", "fix:    "),
    ("auth.issuers.main", "no keys", "fix:    "),
    ("cache.min_remaning", "no such setting", "did you mean cache.min_remaining?"),
];

/// The block of text about one fault.
fn block<'t>(output: &'t str, key: &str) -> &'t str {
    let start = format!("\n\n{key}\n");
    let (_, rest) = output.split_once(&start).unwrap_or_else(|| panic!("no {key} in {output}"));
    rest.split("\n\n").next().unwrap_or_default()
}

fn assert_no_secret(output: &str) {
    for secret in SECRETS {
        assert!(!output.contains(secret), "{secret} in {output}");
    }
}

fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_every_fault_is_reported_at_once_and_no_port_is_opened() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "faulty.toml", &faulty(&address));

    let checked = run(bff(&["check-config", "--config", &file])).await;
    assert_eq!((checked.code, &*checked.stdout), (Some(2), ""));
    let output = &checked.stderr;
    assert!(
        output.starts_with(&format!("The settings have {} errors:\n", FAULTS.len())),
        "{output}"
    );
    for (key, reason, fix) in FAULTS {
        let block = block(output, key);
        assert!(block.contains(reason) && block.contains(fix), "{key}: {block}");
        assert!(block.contains(&format!("where:  {file}, line ")), "{key}: {block}");
    }
    assert_no_secret(output);

    // The output is the same. It also shows that `serve` doesn't listen: that would have failed
    // differently.
    let served = run(bff(&["serve", "--config", &file])).await;
    assert_eq!((served.code, &*served.stdout, &served.stderr), (Some(2), "", output));
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_that_users_can_edit_are_rejected_by_name() {
    let directory = tempfile::tempdir().unwrap();
    for editable in ["user_metadata", "unsafeMetadata", "untrusted_metadata", "clientMetadata"] {
        let settings = format!(
            "juspay = {{ base_url = 'http://127.0.0.1:9', merchant_id = 'm', api_key = 'k' }}
            [auth.issuers.main]
            issuer = 'https://id.example'
            audiences = ['a']
            algorithms = ['ES256']
            discovery = true
            customer_id_claim = '/{editable}/customer_id'"
        );
        let file = write(directory.path(), "editable.toml", &settings);
        let checked = run(bff(&["check-config", "--config", &file])).await;
        assert_eq!((checked.code, &*checked.stdout), (Some(2), ""), "{editable}");
        let block = block(&checked.stderr, "auth.issuers.main.customer_id_claim");
        let reason =
            "users can edit user_metadata, unsafe_metadata, untrusted_metadata and client_metadata";
        assert!(block.contains(reason), "{editable}: {block}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_files_and_environment_are_checked_together() {
    let directory = tempfile::tempdir().unwrap();
    let broken = write(directory.path(), "broken.toml", "juspay.api_key = \"canary_inline\n");
    let missing = directory.path().join("missing.toml").to_str().unwrap().to_owned();
    let mut command = bff(&["check-config", "--config", &broken, "--config", &missing]);
    command.env("JUSPAY_BFF__CACHE__CAPACITY", "canary_inline");
    command.env("JUSPAY_BFF__CACHE__CAPASITY", "canary_inline");
    let checked = run(command).await;
    assert_eq!((checked.code, &*checked.stdout), (Some(2), ""));
    for output in [
        &*broken,
        &*missing,
        "cache.capacity",
        "where:  environment variable JUSPAY_BFF__CACHE__CAPACITY",
        "where:  environment variable JUSPAY_BFF__CACHE__CAPASITY",
    ] {
        assert!(checked.stderr.contains(output), "{output} in {}", checked.stderr);
    }
    assert_no_secret(&checked.stderr);
}

/// Settings without faults.
const VALID: &str = r#"
[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
shutdown_delay = "0s"
[juspay]
base_url = "https://api.juspay.example"
merchant_id = "my_merchant"
api_key = "canary_inline"
[auth.issuers.main]
issuer = "https://id.example"
audiences = ["a", "b"]
algorithms = ["RS256"]
discovery = true
"#;

#[tokio::test(flavor = "multi_thread")]
async fn valid_settings_are_shown_as_toml_with_secrets_masked() {
    let directory = tempfile::tempdir().unwrap();
    let valid = write(directory.path(), "good.toml", VALID);
    let over = write(directory.path(), "over.toml", "juspay.merchant_id = \"another\"");
    let mut command = bff(&["check-config", "--config", &valid, "--config", &over]);
    command.env("JUSPAY_BFF__AUTH__ISSUERS__MAIN__AUDIENCES", "x, y");
    let checked = run(command).await;
    assert_eq!((checked.code, &*checked.stderr), (Some(0), ""));
    let shown: toml::Table = toml::from_str(&checked.stdout).unwrap();
    assert_eq!(shown["juspay"]["merchant_id"].as_str(), Some("another"));
    assert_eq!(shown["juspay"]["api_key"].as_str(), Some("********"));
    assert_eq!(shown["cache"]["capacity"].as_integer(), Some(100_000), "defaults too");
    let audiences = shown["auth"]["issuers"]["main"]["audiences"].as_array().unwrap();
    assert_eq!(audiences.len(), 2);
    for origin in [
        format!("merchant_id = \"another\" # {over}, line 1"),
        format!("issuer = \"https://id.example\" # {valid}, line 11"),
        "# environment variable JUSPAY_BFF__AUTH__ISSUERS__MAIN__AUDIENCES".to_owned(),
    ] {
        assert!(checked.stdout.contains(&origin), "{origin} in {}", checked.stdout);
    }
    assert_no_secret(&checked.stdout);
    // Except for the masked secret, the output is a valid settings file.
    let secret = "juspay.api_key = \"key\"";
    Sources::default().text("shown", checked.stdout).text("secret", secret).load().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn claim_that_names_the_customer_is_shown() {
    let directory = tempfile::tempdir().unwrap();
    let valid = write(directory.path(), "good.toml", VALID);
    let main = "auth.issuers.main: the claim";
    for (lines, line) in [
        ("", format!("# {main} \"sub\" names the customer\n")),
        (
            "customer_id_claim = '/app_metadata/id'\ncustomer_id_prefix = 'app-'",
            format!("# {main} \"/app_metadata/id\" names the customer, prefixed with \"app-\"\n"),
        ),
        (
            "customer_id_claim = 'email'",
            format!("# {main} \"email\" names the customer, if \"email_verified\" is true\n"),
        ),
        (
            "customer_id_claim = '/a/email'\ncustomer_id_verified = 'assumed'",
            format!(
                "# {main} \"/a/email\" names the customer, unless \"/a/email_verified\" is present \
                 and not true\n"
            ),
        ),
    ] {
        let over = write(directory.path(), "over.toml", &format!("[auth.issuers.main]\n{lines}"));
        let checked = run(bff(&["check-config", "--config", &valid, "--config", &over])).await;
        assert_eq!((checked.code, &*checked.stderr), (Some(0), ""));
        assert!(checked.stdout.contains(&line), "{line} in {}", checked.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn issuer_without_an_audience_is_warned_about() {
    let directory = tempfile::tempdir().unwrap();
    let valid = VALID.replace("audiences = [\"a\", \"b\"]", "audience_claim = 'none'");
    let valid = write(directory.path(), "good.toml", &valid);
    let checked = run(bff(&["check-config", "--config", &valid])).await;
    assert_eq!(checked.code, Some(0));
    let warning =
        "warning: auth.issuers.main.audience_claim is \"none\": every token of this issuer";
    assert!(checked.stderr.starts_with(warning), "{}", checked.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn capacity_is_appended_as_comments() {
    let directory = tempfile::tempdir().unwrap();
    let valid = write(directory.path(), "good.toml", VALID);
    let plain = run(bff(&["check-config", "--config", &valid])).await;
    assert_eq!((plain.code, &*plain.stderr), (Some(0), ""));
    let (settings, table) = plain.stdout.split_once("\n# Capacity: ").unwrap();
    assert!(table.starts_with("memory and calls to Juspay (1 replica)\n"), "{table}");
    assert!(table.lines().skip(1).all(|line| line.starts_with('#')), "{table}");

    let flags = ["--replicas", "3", "--juspay-quota", "100/s"];
    let planned = run(bff(&[&["check-config", "--config", &valid][..], &flags].concat())).await;
    assert_eq!(planned.code, Some(0));
    let warning = "warning: 100,000 active customers (cache.capacity) need 577/s to Juspay, above \
                   the quota of 100/s, which is enough for 17,333 customers: ";
    assert!(planned.stderr.starts_with(warning), "{}", planned.stderr);
    assert_eq!(planned.stderr.lines().count(), 1);
    assert!(planned.stdout.starts_with(settings), "the settings stay as they were");
    assert!(planned.stdout.contains("577/s (above the quota)"), "{}", planned.stdout);
    toml::from_str::<toml::Table>(&planned.stdout).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn api_key_file_is_read_and_not_shown() {
    let directory = tempfile::tempdir().unwrap();
    let key = write(directory.path(), "key", "canary_in_a_file\n");
    let by_file = VALID.replace("api_key = \"canary_inline\"", &format!("api_key_file = {key:?}"));
    let valid = write(directory.path(), "good.toml", &by_file);
    let checked = run(bff(&["check-config", "--config", &valid])).await;
    assert_eq!((checked.code, &*checked.stderr), (Some(0), ""));
    assert!(checked.stdout.contains(&format!("api_key_file = {key:?}")), "{}", checked.stdout);
    assert_no_secret(&checked.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn variable_with_similar_name_causes_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    let valid = write(directory.path(), "good.toml", VALID);
    let with_typo = |command: &str| {
        let mut command = bff(&[command, "--config", &valid]);
        command.env("JUSPAY_BFF_LOG_LEVEL", "canary_inline");
        // Kubernetes sets this variable for a service called `juspay-bff`, so it is no mistake.
        command.env("JUSPAY_BFF_SERVICE_HOST", "10.0.0.1");
        command
    };
    let checked = run(with_typo("check-config")).await;
    assert_eq!(checked.code, Some(0));
    assert!(checked.stderr.starts_with("warning: JUSPAY_BFF_LOG_LEVEL is ignored: "));
    assert_eq!(checked.stderr.lines().count(), 1, "{}", checked.stderr);

    let mut faulty = with_typo("check-config");
    faulty.env("JUSPAY_BFF__LOG__LEVEL", "canary_inline");
    let faulty = run(faulty).await;
    assert_eq!(faulty.code, Some(2));
    let warning = "\n\nwarning: JUSPAY_BFF_LOG_LEVEL is ignored: ";
    assert!(faulty.stderr.contains(warning), "beside the faults: {}", faulty.stderr);
    assert_no_secret(&faulty.stderr);

    let mut serving = Process::start(with_typo("serve"));
    let warning = serving.line_with("JUSPAY_BFF_LOG_LEVEL is ignored").await;
    assert!(warning.contains("\"level\":\"WARN\""), "{warning}");
    serving.line_with("\"serving\"").await;
    assert_eq!(serving.terminate().await, Some(0));
    assert_no_secret(&format!("{}{}", checked.stderr, serving.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn port_in_use_is_reported_with_its_key() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let valid = write(directory.path(), "good.toml", VALID);
    for (variable, key) in [
        ("JUSPAY_BFF__SERVER__LISTEN", "server.listen"),
        ("JUSPAY_BFF__SERVER__ADMIN_LISTEN", "server.admin_listen"),
    ] {
        let mut command = bff(&["serve", "--config", &valid]);
        command.env(variable, &address);
        let served = run(command).await;
        assert_eq!(served.code, Some(1));
        let output = format!(
            "juspay-bff: {key}: can't listen on {address}: Address already in use (os error 98); \
             stop the process that uses it, or write another address or port in {key}\n"
        );
        assert_eq!((&*served.stderr, served.stdout.contains("\"serving\"")), (&*output, false));
    }
}

/// Starts the simulator as a process; returns it with the addresses of Juspay and of the issuer.
async fn simulator() -> (Process, String, String) {
    let mut simulator = Process::start(bff(&[
        "simulator",
        "--listen",
        "127.0.0.1:0",
        "--issuer-listen",
        "127.0.0.1:0",
        "--api-key",
        "canary_inline",
        "--merchant",
        "some_merchant",
    ]));
    let last_word = |line: String| line.split(' ').next_back().unwrap_or_default().to_owned();
    let juspay = last_word(simulator.line_with("Simulated Juspay").await);
    let issuer = last_word(simulator.line_with("Simulated issuer").await);
    (simulator, juspay, issuer)
}

#[tokio::test(flavor = "multi_thread")]
async fn environment_alone_is_sufficient_to_serve() {
    let (mut simulator, juspay, issuer) = simulator().await;
    let mut command = bff(&["serve"]);
    for (key, value) in [
        ("SERVER__LISTEN", "127.0.0.1:0"),
        ("SERVER__ADMIN_LISTEN", "127.0.0.1:0,127.0.0.2:0"),
        ("SERVER__SHUTDOWN_DELAY", "0s"),
        ("JUSPAY__BASE_URL", &*juspay),
        ("JUSPAY__MERCHANT_ID", "some_merchant"),
        ("JUSPAY__API_KEY", "canary_inline"),
        ("AUTH__ISSUERS__MAIN__ISSUER", &issuer),
        ("AUTH__ISSUERS__MAIN__AUDIENCES", "some-app,juspay-bff-demo"),
        ("AUTH__ISSUERS__MAIN__ALGORITHMS", "RS256,ES256"),
        ("AUTH__ISSUERS__MAIN__DISCOVERY", "true"),
        ("RESPONSE__FIELDS", "object_reference_id,juspay"),
        ("LOG__LEVEL", "trace"),
    ] {
        command.env(format!("JUSPAY_BFF__{key}"), value);
    }
    let mut serving = Process::start(command);
    let line = serving.line_with("\"serving\"").await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["juspay"], &line["issuers"]), (&juspay.into(), &"main".into()));
    assert_eq!(line["admin"].as_str().unwrap().split(", ").count(), 2);
    let address = line["public"].as_str().unwrap().parse().unwrap();

    let token = run(bff(&["token", "--subject", "alice", "--issuer", &issuer])).await;
    assert_eq!((token.code, &*token.stderr), (Some(0), ""));
    let token = token.stdout.trim_end().to_owned();
    let reply = Client::new(address, Some(token.clone())).me().await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.json().as_object().unwrap().len(), 2);
    assert_eq!(reply.json()["object_reference_id"], "alice");
    assert!(reply.token().starts_with("tkn_"));
    assert!(reply.cache_status().starts_with("juspay-bff; fwd=uri-miss; stored; ttl="));

    assert_eq!(serving.terminate().await, Some(0));
    assert_eq!(simulator.terminate().await, Some(0));
    for secret in ["canary_inline", "tkn_", &*token, "alice"] {
        assert!(!serving.stdout.contains(secret), "{secret} in the log");
    }
}

/// A key set whose private key isn't used.
const KEY_SET: &str = r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn failed_jwks_fetch_reports_whether_keys_are_available() {
    let directory = tempfile::tempdir().unwrap();
    let keys = write(directory.path(), "keys.json", KEY_SET);
    let by_file = format!("jwks_file = {keys:?}\n[auth]\njwks_refresh = \"10ms\"");
    let settings = VALID.replace("discovery = true", &by_file).replace("RS256", "EdDSA");
    let valid = write(directory.path(), "good.toml", &settings);
    let mut serving = Process::start(bff(&["serve", "--config", &valid]));
    let line = serving.line_with("\"serving\"").await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let admin = Client::new(line["admin"].as_str().unwrap().parse().unwrap(), None);
    until("readiness", async || admin.get("/readyz").await.status == 200).await;
    std::fs::remove_file(&keys).unwrap();
    let line = serving.line_with("failed to fetch JWKS").await;
    assert!(line.contains("failed to fetch JWKS; keeping the previous keys"), "{line}");
    assert!(line.contains("\"issuer\":\"main\""), "{line}");
    assert_eq!(serving.terminate().await, Some(0));

    // The port is bound, but nothing listens on it.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let url = format!("jwks_url = \"http://{}/\"", socket.local_addr().unwrap());
    let settings = VALID.replace("discovery = true", &url);
    let local = "[auth]\nallow_local_issuer = true\n";
    let valid = write(directory.path(), "good.toml", &(settings + local));
    let mut serving = Process::start(bff(&["serve", "--config", &valid]));
    let line = serving.line_with("failed to fetch JWKS").await;
    assert!(line.contains("failed to fetch JWKS; no usable keys available"), "{line}");
    assert_eq!(serving.terminate().await, Some(0));
}
