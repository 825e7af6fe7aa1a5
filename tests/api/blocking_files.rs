//! Files that block when they are opened. At start, such a file is a fault like a missing one.
//! While the service runs, its previous content remains in use, and nothing else is delayed.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;
use tempfile::TempDir;

use crate::support::{
    Client, Stage, World,
    authority::Authority,
    guard,
    process::{Process, bff, run},
    until, with_timeout,
};

const SECOND: Duration = Duration::from_secs(1);

/// All settings that name a file.
const FILES: [&str; 20] = [
    "server.admin_token_file",
    "server.tls.cert_file",
    "server.tls.key_file",
    "server.tls.client_ca_file",
    "juspay.api_key_file",
    "juspay.api_key_next_file",
    "juspay.ca_file",
    "auth.issuers.main.jwks_file",
    "auth.issuers.main.ca_file",
    "auth.issuers.opaque.introspection_client_secret_file",
    HMAC_SECRET,
    "auth.revocations_file",
    "auth.dpop.nonce_key_file",
    "log.customer_ref_key_file",
    "traces.headers_file",
    "traces.ca_file",
    "shared.password_file",
    "shared.key_file",
    "shared.name_key_file",
    "shared.ca_file",
];

const HMAC_SECRET: &str = "auth.issuers.shared.hmac_secret_file";

/// The other settings of its issuer.
const SHARED: &str = "auth.issuers.shared.issuer = 'https://shared.example'
    auth.issuers.shared.audiences = ['a']
    auth.issuers.shared.algorithms = ['HS256']";

/// The fault for a FIFO, and the fix.
const IS_A_FIFO: &str = "it is a FIFO, not a regular file";
const FIX: &str = "fix:    write the path of a regular file, or of a symlink to one";

/// A FIFO without a writer. Opening it for reading waits for one.
pub fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
}

/// Settings of a service that uses `path` for all these files.
fn settings(files: &[&str], path: &Path) -> String {
    let files: Vec<_> = files.iter().map(|key| format!("{key} = '{}'\n", path.display())).collect();
    let files = files.concat();
    let shared = if files.contains(HMAC_SECRET) { SHARED } else { "" };
    format!(
        "server.listen = '127.0.0.1:0'
        server.admin_listen = '127.0.0.1:0'
        juspay.base_url = 'https://juspay.example'
        juspay.merchant_id = 'm'
        auth.shared_customer_ids = true
        auth.issuers.main.issuer = 'https://id.example'
        auth.issuers.main.audiences = ['a']
        auth.issuers.main.algorithms = ['ES256']
        auth.issuers.opaque.issuer = 'https://opaque.example'
        auth.issuers.opaque.audiences = ['a']
        auth.issuers.opaque.introspection_url = 'https://opaque.example/introspect'
        auth.issuers.opaque.introspection_client_id = 'bff'
        {files}{shared}"
    )
}

/// The block of text about one fault.
fn block<'t>(output: &'t str, key: &str) -> &'t str {
    let (_, rest) =
        output.split_once(&format!("\n\n{key}\n")).unwrap_or_else(|| panic!("{output}"));
    rest.split("\n\n").next().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_fifo_is_a_fault_for_each_file_without_blocking() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    fifo(&path("fifo"));
    // Kubernetes mounts files as symlinks.
    std::os::unix::fs::symlink("fifo", path("link")).unwrap();
    let file = path("settings.toml");
    fs::write(&file, settings(&FILES, &path("link"))).unwrap();
    for command in ["serve", "check-config", "doctor", "explain-token"] {
        let ended = run(bff(&[command, "--config", file.to_str().unwrap()])).await;
        assert_eq!((ended.code, &*ended.stdout), (Some(2), ""), "{command}: {}", ended.stderr);
        for key in FILES {
            let block = block(&ended.stderr, key);
            let reason = format!("reason: {} can't be read: {IS_A_FIFO}", path("link").display());
            assert!(block.contains(&reason) && block.contains(FIX), "{command}: {key}: {block}");
            assert!(block.contains("where:  "), "{command}: {key}: {block}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_settings_file_that_is_a_fifo_is_a_fault() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("settings.toml");
    fifo(&path);
    for command in ["serve", "check-config", "doctor", "explain-token"] {
        let ended = run(bff(&[command, "--config", path.to_str().unwrap()])).await;
        assert_eq!((ended.code, &*ended.stdout), (Some(2), ""), "{command}: {}", ended.stderr);
        let expected =
            format!("{}\n  reason: the settings file can't be read: {IS_A_FIFO}", path.display());
        assert!(ended.stderr.contains(&expected), "{command}: {}", ended.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_unreadable_file_is_reported_with_path_reason_and_fix() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::create_dir(path("directory")).unwrap();
    fs::write(path("large"), "x".repeat(64 * 1024 + 1)).unwrap();
    for (name, reason, fix) in [
        ("missing", "no such file", "write the path of a file that exists, or create the file"),
        ("directory", "it is a directory, not a regular file", "write the path of a regular file"),
        ("large", "it is larger than 65536 bytes", "or reduce its size"),
    ] {
        let file = path("settings.toml");
        fs::write(&file, settings(&["juspay.api_key_file"], &path(name))).unwrap();
        let ended = run(bff(&["check-config", "--config", file.to_str().unwrap()])).await;
        assert_eq!(ended.code, Some(2));
        let block = block(&ended.stderr, "juspay.api_key_file");
        let reason = format!("reason: {} can't be read: {reason}", path(name).display());
        assert!(block.contains(&reason) && block.contains(fix), "{name}: {block}");
    }
}

/// A world that reloads all its files, and their paths by metric label.
async fn world_that_reloads(directory: &Path) -> (World, BTreeMap<&'static str, PathBuf>) {
    let stage = Stage::set().await;
    let path = |name: &str| directory.join(name);
    let write = |name: &str, text: &str| {
        fs::write(path(name), text).unwrap();
        path(name).display().to_string()
    };
    let (authority, shown) = (Authority::new(), |files: PathBuf| files.display().to_string());
    authority.server(2030).write(directory);
    let settings = format!(
        "server.admin_token_file = '{}'
        juspay.api_key_file = '{}'
        juspay.api_key_next_file = '{}'
        log.customer_ref_key_file = '{}'
        auth.dpop.nonce_key_file = '{}'
        auth.revocations_file = '{}'
        server.tls.cert_file = '{}'
        server.tls.key_file = '{}'
        [auth.issuers.main]
        discovery = false
        jwks_file = '{}'",
        write("admin_token", "an-admin-token"),
        write("api_key", &stage.api_key),
        write("api_key_next", &stage.api_key),
        write("customer_ref_key", "a key of references"),
        write("dpop_nonce_key", "a key of nonces"),
        write("revocations", &json!({"revocations": []}).to_string()),
        shown(path("tls.crt")),
        shown(path("tls.key")),
        write("jwks", &stage.issuer().jwks().to_string()),
    );
    let labels = [
        "admin_token",
        "api_key",
        "api_key_next",
        "customer_ref_key",
        "dpop_nonce_key",
        "revocations",
    ];
    let mut files: BTreeMap<_, _> = labels.into_iter().map(|label| (label, path(label))).collect();
    files.insert("server_tls", path("tls.key"));
    (stage.open_ready(&settings).await, files)
}

async fn last_read(world: &World, label: &str) -> u64 {
    let series =
        format!("juspay_bff_secret_last_reload_success_timestamp_seconds{{secret=\"{label}\"}}");
    world.count(&series).await
}

#[tokio::test(flavor = "multi_thread")]
async fn fifo_in_place_of_a_file_delays_neither_other_files_nor_the_drain() {
    let directory = TempDir::new().unwrap();
    let (mut world, files) = world_that_reloads(directory.path()).await;
    for (label, path) in &files {
        let content = fs::read(path).unwrap();
        let warnings = || guard::log_lines(path.to_str().unwrap()).len();
        let list_warnings = || guard::log_lines("failed to reload auth.revocations_file").len();
        let (warnings_before, list_before) = (warnings(), list_warnings());
        fs::remove_file(path).unwrap();
        fifo(path);
        let is_reported = async || warnings() > warnings_before || list_warnings() > list_before;
        world.advance_until(label, SECOND, is_reported).await;
        // Its read hangs, while the others are read.
        let last = last_read(&world, label).await;
        let other = files.keys().find(|other| *other != label).unwrap();
        let others = last_read(&world, other).await;
        let are_read_further = async || last_read(&world, other).await > others + 10;
        world.advance_until("further looks at the others", SECOND, are_read_further).await;
        assert_eq!(last_read(&world, label).await, last, "{label}");
        fs::remove_file(path).unwrap();
        fs::write(path, content).unwrap();
        let is_read = async || last_read(&world, label).await > last;
        world.advance_until("the file is back", SECOND, is_read).await;
    }
    // The last file blocks again, until the process ends.
    let path = &files["api_key"];
    fs::remove_file(path).unwrap();
    fifo(path);
    world.clock.advance(Duration::from_secs(30));
    world.service.run_pending_tasks().await;
    world.service.signal();
    until("the end", async || world.service.has_ended()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn previous_keys_remain_if_the_key_set_becomes_a_fifo() {
    let directory = TempDir::new().unwrap();
    let (world, _) = world_that_reloads(directory.path()).await;
    let path = directory.path().join("jwks");
    fs::remove_file(&path).unwrap();
    fifo(&path);
    let failures = "juspay_bff_jwks_refreshes_total{issuer=\"main\",outcome=\"failure\"}";
    let has_failed = async || world.count(failures).await >= 2;
    world.advance_until("failed looks", SECOND, has_failed).await;
    assert!(!guard::log_lines(&format!("the file can't be read: {IS_A_FIFO}")).is_empty());
    assert_eq!(world.admin().get("/readyz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn process_reloads_and_exits_at_sigterm_if_a_secret_becomes_a_fifo() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    let files = "juspay.api_key_file = 'KEY'
        server.admin_token_file = 'TOKEN'
        secrets.poll = '10ms'
        server.shutdown_delay = '0s'
        auth.issuers.main.jwks_file = 'KEYS'\n"
        .replace("KEYS", path("keys").to_str().unwrap())
        .replace("KEY", path("key").to_str().unwrap())
        .replace("TOKEN", path("token").to_str().unwrap());
    let text = settings(&[], &path(""));
    let lines = text.lines().filter(|line| !line.contains("opaque"));
    let text = lines.chain(files.lines()).collect::<Vec<_>>().join("\n");
    fs::write(path("settings.toml"), text).unwrap();
    fs::write(path("keys"), json!({"keys": []}).to_string()).unwrap();
    fs::write(path("key"), "canary_key").unwrap();
    fs::write(path("token"), "one").unwrap();
    let config = path("settings.toml");
    let mut serving = Process::start(bff(&["serve", "--config", config.to_str().unwrap()]));
    let line = serving.line_with("\"serving\"").await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let admin = Client::new(line["admin"].as_str().unwrap().parse().unwrap(), None);

    fs::remove_file(path("key")).unwrap();
    fifo(&path("key"));
    let warning = serving.line_with("\"secret\":\"api_key\"").await;
    assert!(warning.contains("\"WARN\"") && warning.contains(IS_A_FIFO), "{warning}");
    let series = "juspay_bff_secret_last_reload_success_timestamp_seconds{secret=\"api_key\"} ";
    let last_read = async || {
        let text = with_timeout("metrics", admin.get("/metrics")).await.text();
        text.lines().find_map(|line| line.strip_prefix(series).map(str::to_owned)).unwrap()
    };
    let last = last_read().await;
    fs::write(path("token"), "two").unwrap();
    let read = serving.line_with("secret reloaded").await;
    assert!(read.contains("\"secret\":\"admin_token\""), "{read}");
    assert_eq!(last_read().await, last, "it stands still");
    assert_eq!(serving.terminate().await, Some(0));
}
