//! Signals: SIGHUP reloads all watched files, SIGQUIT drains, SIGUSR1 and SIGUSR2 are ignored.

use std::{fs, net::SocketAddr, path::Path};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Client,
    authority::Authority,
    process::{Process, bff},
    until,
};

/// A public key (RFC 7517, appendix A.1).
const KEY: &str = r#"{"kty":"EC","crv":"P-256","kid":"1","alg":"ES256",
    "x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}"#;

/// `serve` in a separate process that polls no files during the test.
struct Serving {
    process: Process,
    admin: Client,
    directory: TempDir,
}

impl Serving {
    async fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let at = |name: &str| directory.path().join(name).display().to_string();
        write(directory.path(), "api_key", "canary_one");
        write(directory.path(), "jwks", &format!("{{\"keys\": [{KEY}]}}"));
        write(directory.path(), "revocations", &revocations(&[]));
        let authority = Authority::new();
        authority.server(2100).write(directory.path());
        let settings = format!(
            r#"
            server.listen = "127.0.0.1:0"
            server.admin_listen = "127.0.0.1:0"
            server.shutdown_delay = "0s"
            server.tls = {{ cert_file = "{}", key_file = "{}" }}
            juspay = {{ base_url = "https://juspay.example", merchant_id = "m", api_key_file = "{}" }}
            secrets.poll = "1h"
            [auth]
            revocations_file = "{}"
            [auth.issuers.main]
            issuer = "https://id.example"
            audiences = ["a"]
            algorithms = ["ES256"]
            jwks_file = "{}"
            "#,
            at("tls.crt"),
            at("tls.key"),
            at("api_key"),
            at("revocations"),
            at("jwks"),
        );
        write(directory.path(), "settings.toml", &settings);
        let mut process = Process::start(bff(&["serve", "--config", &at("settings.toml")]));
        let line: Value = serde_json::from_str(&process.line_with("\"serving\"").await).unwrap();
        let admin: SocketAddr = line["admin"].as_str().unwrap().parse().unwrap();
        let serving = Self { process, admin: Client::new(admin, None), directory };
        until("keys", async || serving.metric(KEYS).await == Some(1.0)).await;
        serving
    }

    async fn metric(&self, series: &str) -> Option<f64> {
        let text = self.admin.get("/metrics").await.text();
        text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }
}

const KEYS: &str = "juspay_bff_jwks_keys{issuer=\"main\"}";
const REVOCATIONS: &str = "juspay_bff_auth_revocations{source=\"file\"}";
const NOT_AFTER: &str =
    "juspay_bff_tls_certificate_not_after_timestamp_seconds{certificate=\"server\"}";
const API_KEY: &str = "juspay_bff_secret_last_reload_success_timestamp_seconds{secret=\"api_key\"}";

fn write(directory: &Path, name: &str, content: &str) {
    fs::write(directory.join(name), content).unwrap();
}

fn revocations(entries: &[Value]) -> String {
    json!({ "revocations": entries }).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reloads_all_watched_files_at_once() {
    let mut serving = Serving::new().await;
    let before = serving.metric(NOT_AFTER).await.unwrap();
    let read = serving.metric(API_KEY).await.unwrap();
    let at = serving.directory.path();
    let second = KEY.replace("\"kid\":\"1\"", "\"kid\":\"2\"");
    write(at, "jwks", &format!("{{\"keys\": [{KEY}, {second}]}}"));
    let entry = json!({"issuer": "main", "jti": "x", "expires": 4_000_000_000_u32});
    write(at, "revocations", &revocations(&[entry]));
    write(at, "api_key", "canary_two");
    Authority::new().server(2110).write(at);
    serving.process.signal(Signal::HUP);
    serving.process.line_with("SIGHUP").await;
    until("both keys", async || serving.metric(KEYS).await == Some(2.0)).await;
    until("an entry", async || serving.metric(REVOCATIONS).await == Some(1.0)).await;
    let is_newer = async || serving.metric(NOT_AFTER).await.unwrap() > before;
    until("another certificate", is_newer).await;
    let is_read = async || serving.metric(API_KEY).await.unwrap() > read;
    until("another API key", is_read).await;
    // A second signal, without changed files.
    serving.process.signal(Signal::HUP);
    serving.process.line_with("SIGHUP").await;
    assert_eq!(serving.admin.get("/readyz").await.status, 200);
    assert_eq!(serving.process.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn sigquit_drains_and_user_signals_are_ignored() {
    let mut serving = Serving::new().await;
    for _ in 0..3 {
        serving.process.signal(Signal::USR1);
        serving.process.signal(Signal::USR2);
        assert_eq!(serving.admin.get("/readyz").await.status, 200);
    }
    serving.process.signal(Signal::QUIT);
    assert_eq!(serving.process.end().await, Some(0));
    assert!(serving.process.stdout.contains("shutdown started"), "{}", serving.process.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn user_signals_end_other_commands() {
    // A shell that starts the tests in the background starts them with SIGQUIT ignored, and nohup with
    // SIGHUP ignored. The simulator inherits that.
    for signal in [Signal::USR1, Signal::USR2] {
        let arguments = ["simulator", "--listen", "127.0.0.1:0", "--issuer-listen", "127.0.0.1:0"];
        let mut simulator = Process::start(bff(&arguments));
        simulator.line_with("API key").await;
        simulator.signal(signal);
        assert_eq!(simulator.end().await, None);
    }
}
