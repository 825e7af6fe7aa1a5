//! `--format json`: one document on standard output in every case, with the same exit code as in
//! text format.

use std::process::Stdio;

use serde_json::{Value, json};
use simulator::{MintRequest, Running};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt as _, process::Command};

use crate::support::{
    process::{Ended, bff, run},
    with_timeout,
};

/// Must never be shown.
const SECRET: &str = "canary_0123456789";

/// The commands with a document. `explain-token` also reads an input.
const COMMANDS: [&str; 3] = ["check-config", "doctor", "explain-token"];

struct Setup {
    running: Running,
    files: TempDir,
}

impl Setup {
    async fn new() -> Self {
        let mut config = simulator::Config::on_free_ports();
        config.api_keys = vec![SECRET.into()];
        config.provision = false;
        let running = simulator::start(config).await.expect("free ports");
        Self { running, files: tempfile::tempdir().unwrap() }
    }

    fn settings(&self) -> String {
        format!(
            r#"
            [juspay]
            base_url = "{}"
            merchant_id = "{}"
            api_key = "{SECRET}"
            [auth.issuers.main]
            issuer = "{}"
            audiences = ["juspay-bff-demo"]
            algorithms = ["ES256"]
            discovery = true
            "#,
            self.running.simulator().base_url(),
            self.running.simulator().merchant(),
            self.running.issuer().issuer_url(),
        )
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.files.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn command(&self, over: &str, arguments: &[&str]) -> Command {
        let usual = self.file("usual.toml", &self.settings());
        let over = self.file("over.toml", over);
        let (name, flags) = arguments.split_first().unwrap();
        let all = [&[*name, "--format", "json", "--config", &usual, "--config", &over], flags];
        bff(&all.concat())
    }

    /// The exit code and the document.
    async fn document(&self, over: &str, arguments: &[&str]) -> (Option<i32>, Value) {
        document(run(self.command(over, arguments)).await)
    }

    async fn explain(&self, token: &str, flags: &[&str]) -> (Option<i32>, Value) {
        let mut command = self.command("", &[&["explain-token"], flags].concat());
        let mut child = command.stdin(Stdio::piped()).spawn().expect("it starts");
        let mut stdin = child.stdin.take().expect("it is piped");
        let running = async {
            stdin.write_all(token.as_bytes()).await.expect("it reads");
            drop(stdin);
            child.wait_with_output().await.expect("it ends")
        };
        let output = with_timeout("the end of a command", running).await;
        document(Ended {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("text"),
            stderr: String::from_utf8(output.stderr).expect("text"),
        })
    }
}

/// Asserts that the output is exactly one document, without secrets.
fn document(ended: Ended) -> (Option<i32>, Value) {
    let Ended { code, stdout, stderr } = ended;
    assert_eq!(stderr, "", "{stdout}");
    assert!(!stdout.contains(SECRET) && !stdout.contains("tkn_"), "{stdout}");
    let document = serde_json::from_str(&stdout).unwrap_or_else(|why| panic!("{why}: {stdout}"));
    (code, document)
}

fn names(document: &Value) -> Vec<&str> {
    document.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn check_config_prints_settings_origins_and_capacity() {
    let setup = Setup::new().await;
    let mut command = setup.command(
        "cache.capacity = 1000",
        &["check-config", "--replicas", "3", "--juspay-quota", "1/s"],
    );
    command.env("JUSPAY_BFF__LOG__LEVEL", "warn").env("JUSPAY_BFF_LOG_LEVEL", SECRET);
    let (code, document) = document(run(command).await);
    assert_eq!(code, Some(0));
    let members = ["capacity", "customers", "ok", "origins", "settings", "warnings"];
    assert_eq!(names(&document), members);
    assert_eq!(document["ok"], true);
    let settings = &document["settings"];
    assert_eq!(settings["juspay"]["api_key"], "********");
    assert_eq!(settings["juspay"]["ca_file"], Value::Null, "what isn't set is null");
    assert_eq!(settings["auth"]["issuers"]["main"]["audiences"], json!(["juspay-bff-demo"]));
    assert_eq!(
        (&settings["cache"]["capacity"], &settings["cache"]["min_remaining"]),
        (&json!(1000), &json!("2m"))
    );
    let origins = &document["origins"];
    assert_eq!(origins["log.level"], "environment variable JUSPAY_BFF__LOG__LEVEL");
    assert!(origins["cache.capacity"].as_str().unwrap().ends_with("over.toml, line 1"));
    assert_eq!(origins.get("cache.min_remaining"), None, "a default");
    assert_eq!(
        document["warnings"],
        json!([{
            "key": "JUSPAY_BFF_LOG_LEVEL",
            "reason": "is ignored: the names of settings begin with JUSPAY_BFF__ and have two \
                       underscores between section and key",
            "fix": "rename the variable, or unset it",
            "origin": "environment variable JUSPAY_BFF_LOG_LEVEL",
        }])
    );
    assert_eq!(document["customers"], json!([{"table": "auth.issuers.main", "claim": "sub"}]));
    let capacity = &document["capacity"];
    assert_eq!(
        (&capacity["replicas"], &capacity["juspay_quota_per_second"]),
        (&json!(3), &json!(1.0))
    );
    let memory = &capacity["memory_bytes"];
    let parts = ["customers", "verified_tokens", "connections", "process"];
    let sum: u64 = parts.iter().map(|part| memory[part].as_u64().unwrap()).sum();
    assert_eq!(memory["total"], sum);
    let calls = capacity["juspay_calls_per_second"].as_array().unwrap();
    let customers: Vec<_> = calls.iter().map(|row| row["customers"].as_u64().unwrap()).collect();
    assert_eq!(customers, [1_000, 10_000, 100_000]);
    assert!(calls.iter().all(|row| row["usual_is_above_quota"] == true), "{calls:?}");
    assert!(calls.iter().all(|row| row["worst"].as_f64() >= row["usual"].as_f64()), "{calls:?}");
    assert!(capacity["warning"].as_str().unwrap().contains("above the quota"));
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_settings_are_a_document_with_each_fault() {
    let setup = Setup::new().await;
    for command in COMMANDS {
        let over = format!("server.listen = 8080\nlog.level = '{SECRET}'");
        let mut command = setup.command(&over, &[command]);
        command.env("JUSPAY_BFF_API_KEY", SECRET);
        let (code, document) = document(run(command).await);
        assert_eq!(code, Some(2));
        assert_eq!(names(&document), ["faults", "ok", "warnings"]);
        assert_eq!(document["ok"], false);
        let origin = document["faults"][0]["origin"].as_str().unwrap();
        assert!(origin.ends_with("over.toml, line 1"), "{origin}");
        assert_eq!(
            document["faults"][0],
            json!({
                "key": "server.listen",
                "reason": "expected a string or a list of strings, found an integer",
                "fix": "write an IP address and port in quotes, such as \"0.0.0.0:8080\", or \
                        \"unix:PATH\"",
                "origin": origin,
            })
        );
        assert_eq!(document["faults"][1]["key"], "log.level");
        assert_eq!(document["faults"].as_array().unwrap().len(), 2);
        assert_eq!(document["warnings"][0]["key"], "JUSPAY_BFF_API_KEY");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_prints_each_check() {
    let setup = Setup::new().await;
    let free = "server.listen = '127.0.0.1:8080'";
    let (code, document) = setup.document(free, &["doctor"]).await;
    assert_eq!(code, Some(0), "{document:#}");
    assert_eq!(names(&document), ["checks", "counts", "ok"]);
    assert_eq!(document["ok"], true);
    let checks = document["checks"].as_array().unwrap();
    assert_eq!(
        checks[0],
        json!({
            "status": "ok",
            "subject": "settings",
            "found": "valid",
            "fix": null,
        })
    );
    let counted = |status: &str| checks.iter().filter(|check| check["status"] == status).count();
    let counts = &document["counts"];
    assert_eq!(
        (counts["ok"].as_u64(), counts["failed"].as_u64()),
        (u64::try_from(counted("ok")).ok(), Some(0))
    );
    assert_eq!(counts["warnings"].as_u64(), u64::try_from(counted("warning")).ok());

    let dead = "server.listen = '192.0.2.1:8080'";
    let (code, document) = setup.document(dead, &["doctor"]).await;
    assert_eq!((code, &document["ok"]), (Some(1), &json!(false)));
    let checks = document["checks"].as_array().unwrap();
    let failed: Vec<_> = checks.iter().filter(|check| check["status"] == "failed").collect();
    assert_eq!((failed.len(), &document["counts"]["failed"]), (1, &json!(1)));
    assert_eq!(failed[0]["subject"], "server.listen");
    assert_eq!(failed[0]["fix"], "write an address of this machine in server.listen");
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_token_prints_verdict_customer_and_checks() {
    let setup = Setup::new().await;
    let token = |wish: &MintRequest| setup.running.issuer().mint(wish).unwrap();
    let valid = token(&MintRequest::of("alice"));
    let (code, document) = setup.explain(&valid, &["--show-customer"]).await;
    assert_eq!(code, Some(0), "{document:#}");
    assert_eq!(names(&document), ["checks", "customer", "ok", "verdict"]);
    assert_eq!(document["ok"], true);
    assert_eq!(
        document["verdict"],
        json!({"outcome": "accepted", "issuer": "main", "needs_dpop_proof": false})
    );
    assert_eq!(document["customer"], json!({"id": "alice", "customer_ref": null}));
    let checks = document["checks"].as_array().unwrap();
    assert!(checks.iter().all(|check| check["outcome"] == "passed"), "{document:#}");

    let other = token(&MintRequest { audience: "other".to_owned(), ..MintRequest::of("alice") });
    let (code, document) = setup.explain(&other, &[]).await;
    assert_eq!((code, &document["ok"]), (Some(1), &json!(false)));
    let verdict = &document["verdict"];
    assert_eq!(verdict["outcome"], "rejected");
    assert_eq!((&verdict["status"], &verdict["code"]), (&json!(401), &json!("invalid_token")));
    assert_eq!(verdict["reason"], "audience");
    assert_eq!(document["customer"], json!({"id": null, "customer_ref": null}));
    let checks = document["checks"].as_array().unwrap();
    let failed: Vec<_> = checks.iter().filter(|check| check["outcome"] == "failed").collect();
    assert_eq!((failed.len(), &failed[0]["reason"]), (1, &json!("audience")));
    assert!(!document.to_string().contains("alice"), "{document:#}");

    let (code, document) = setup.explain(&valid, &["--offline"]).await;
    assert_eq!((code, &document["ok"]), (Some(1), &json!(false)));
    assert_eq!(document["verdict"], json!({"outcome": "unknown"}));

    let (code, document) = setup.explain("", &[]).await;
    assert_eq!(code, Some(1));
    let error = "there is no token on standard input";
    assert_eq!(document, json!({"ok": false, "error": error, "warnings": []}));
}
