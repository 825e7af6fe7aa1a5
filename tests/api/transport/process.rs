//! Kernel limits of the running process: core dumps and open files.

use tempfile::TempDir;

use crate::support::process::{Process, bff_in_shell};

/// `serve` in a separate process that starts with this soft limit on open files.
async fn serving(open_files: u32) -> (Process, TempDir) {
    let directory = TempDir::new().unwrap();
    let settings = directory.path().join("good.toml");
    let text = r#"
        server = { listen = "127.0.0.1:0", admin_listen = "127.0.0.1:0", shutdown_delay = "0s", max_connections = 2000 }
        juspay = { base_url = "https://juspay.example", merchant_id = "m", api_key = "canary_inline" }
        [auth.issuers.main]
        issuer = "https://id.example"
        audiences = ["a"]
        algorithms = ["RS256"]
        jwks_url = "https://id.example/keys"
    "#;
    std::fs::write(&settings, text).unwrap();
    let limit = format!("ulimit -Sc unlimited; ulimit -Sn {open_files}; exec \"$@\"");
    let serve = ["serve", "--config", settings.to_str().unwrap()];
    let command = bff_in_shell(&limit, &serve);
    let mut serving = Process::start(command);
    serving.line_with("\"serving\"").await;
    (serving, directory)
}

/// The soft and the hard limit.
fn limit(process: &Process, name: &str) -> (String, String) {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", process.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with(name)).expect("a limit of that name");
    let mut words = line[name.len()..].split_whitespace().map(str::to_owned);
    (words.next().unwrap(), words.next().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_serving_process_writes_no_core_dumps() {
    let (mut serving, _directory) = serving(256).await;
    assert_eq!(limit(&serving, "Max core file size"), ("0".to_owned(), "0".to_owned()));
    assert_eq!(serving.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn low_soft_limit_on_open_files_is_raised() {
    let (mut serving, _directory) = serving(256).await;
    let (soft, _) = limit(&serving, "Max open files");
    assert!(soft.parse::<u32>().unwrap() >= 2000 + 256, "{soft}");
    assert_eq!(serving.terminate().await, Some(0));
}
