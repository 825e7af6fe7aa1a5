//! `juspay-bff doctor` with a server: what it reports about the shared tier, and that it leaves nothing there.

use std::fs;

use juspay_bff::{
    clock::SystemClock,
    operator::doctor::{self, Finding, Status},
    settings::Sources,
};
use tokio::task::LocalSet;

use super::{
    cluster::Cluster,
    redis_server::free_port,
    replica::{KEY, REQUIRED, SetUp, tier_settings},
    secrets,
    server::Server,
};

/// Nothing listens at Juspay's and the issuer's addresses, which are not tested here.
const ELSEWHERE: &str = "juspay.base_url = 'http://127.0.0.1:9'\n\
                         auth.allow_local_issuer = true\n\
                         auth.issuers.main.issuer = 'http://127.0.0.1:9'\n";

/// Runs `doctor`. Returns its findings about the shared tier.
pub(super) async fn doctor(url: &str, settings: &str) -> Vec<Finding> {
    let files = tempfile::tempdir().unwrap();
    let tier = tier_settings(&files, url, KEY);
    let text = format!("{ELSEWHERE}{tier}{settings}");
    let sources = Sources::default().text("required", REQUIRED).text("shared", text);
    let loaded = sources.load().unwrap();
    let check = doctor::check(&loaded, None, SystemClock::shared(), None);
    let findings = LocalSet::new().run_until(check).await.unwrap().findings;
    let mut findings: Vec<_> =
        findings.into_iter().filter(|it| it.subject.starts_with("shared")).collect();
    findings.retain(|it| it.found != "world-readable (mode 644)");
    findings
}

/// Asserts that there is one finding about `subject`.
#[track_caller]
pub(super) fn assert_finding(findings: &[Finding], subject: &str, status: Status, parts: &[&str]) {
    let about: Vec<_> = findings.iter().filter(|it| it.subject == subject).collect();
    let [finding] = &about[..] else { panic!("{subject}: {findings:#?}") };
    assert_eq!(finding.status, status, "{finding:?}");
    let text = format!("{}; fix: {}", finding.found, finding.fix.clone().unwrap_or_default());
    for part in parts {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[tokio::test]
async fn working_server_passes_and_keeps_nothing() {
    let server = Server::with(&["--maxmemory", "12mb", "--maxmemory-policy", "allkeys-lru"]);
    let findings = doctor(&server.url(), "shared.timeout = '1s'").await;
    assert_finding(&findings, "shared.url", Status::Ok, &["connected to "]);
    assert_finding(&findings, "shared.topology", Status::Ok, &["a single primary"]);
    assert_finding(&findings, "shared entry", Status::Ok, &["stored, read and decrypted"]);
    assert_finding(&findings, "shared scripts", Status::Ok, &["all of them"]);
    assert_finding(&findings, "shared.timeout", Status::Ok, &["a look-up took", "1000.0 ms"]);
    assert_finding(&findings, "shared clock", Status::Ok, &["agrees"]);
    assert_finding(&findings, "shared memory", Status::Ok, &["allkeys-lru, room for about 10485 "]);
    assert_eq!(findings.len(), 7, "{findings:#?}");
    assert_eq!(server.keys(""), Vec::<String>::new());
}

#[tokio::test]
async fn running_replicas_notice_nothing() {
    let server = Server::start();
    let mut replica = SetUp::new(server.url()).connected().await;
    replica.fetch("alice").await;
    let before = server.keys("");
    doctor(&server.url(), "").await;
    assert_eq!(server.keys("").len(), before.len());
    replica.found("alice").await;
    while let Ok(event) = replica.events.0.try_recv() {
        assert_eq!(event, juspay_bff::shared::Event::Connected);
    }
}

#[tokio::test]
async fn eviction_policies_that_harm_are_warnings() {
    let server = Server::start();
    for (limit, policy, reason) in [
        ("0", "noeviction", "maxmemory is not set"),
        ("100mb", "noeviction", "rejects leases"),
        ("100mb", "volatile-ttl", "evicts the leases of running fetches first"),
        ("100mb", "allkeys-random", "at random"),
    ] {
        let () = server.run(&format!("CONFIG SET maxmemory {limit} maxmemory-policy {policy}"));
        let findings = doctor(&server.url(), "").await;
        let fix = "maxmemory-policy to allkeys-lru";
        assert_finding(&findings, "shared memory", Status::Warning, &[reason, fix]);
    }
}

#[tokio::test]
async fn unreachable_server_is_reported() {
    let url = format!("redis://127.0.0.1:{}", free_port());
    let findings = doctor(&url, "").await;
    let parts = ["connection failed: connection refused", "network policies"];
    assert_finding(&findings, "shared.url", Status::Failed, &parts);
    let findings = doctor("redis://shared.invalid", "").await;
    let parts = ["host name lookup failed", "shared.url"];
    assert_finding(&findings, "shared.url", Status::Failed, &parts);
}

#[tokio::test]
async fn wrong_password_is_reported() {
    let server = Server::with(&["--requirepass", "hush"]);
    let findings = doctor(&server.url(), "").await;
    let parts = ["rejects the user name or the password", "shared.password_file"];
    assert_finding(&findings, "shared.url", Status::Failed, &parts);
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("password");
    for (password, status) in [("other", Status::Failed), ("hush", Status::Ok)] {
        fs::write(&path, password).unwrap();
        let settings = format!("shared.password_file = '{}'", path.display());
        let findings = doctor(&server.url(), &settings).await;
        assert_finding(&findings, "shared.url", status, &[]);
        assert!(!format!("{findings:?}").contains("hush"));
    }
}

#[tokio::test]
async fn failed_handshake_is_reported() {
    let server = Server::start();
    // The server does not use TLS.
    let findings = doctor(&server.url().replace("redis:", "rediss:"), "").await;
    let parts = ["accepts connections, but does not respond", "rediss:// in shared.url only if"];
    assert_finding(&findings, "shared.url", Status::Failed, &parts);
}

#[tokio::test]
async fn missing_right_is_reported_by_its_script() {
    let server = Server::start();
    let rights = secrets::rights();
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("password");
    fs::write(&path, "hush").unwrap();
    let settings = format!("shared.password_file = '{}'", path.display());
    let url = server.url().replace("redis://", "redis://bff@");
    for (without, subject, status, found) in [
        ("", "shared scripts", Status::Ok, "all"),
        (" +evalsha", "shared scripts", Status::Failed, "look_up: the user may not run EVALSHA"),
        (" +getrange", "shared scripts", Status::Failed, "store: the user may not run"),
        (" +zrem", "shared scripts", Status::Failed, "revoke: the user may not run"),
        (" +xrange", "shared scripts", Status::Failed, "news: the user may not run"),
        (" +subscribe", "shared hints", Status::Warning, "the user may not run SUBSCRIBE"),
        (" +info", "shared memory", Status::Warning, "unknown: the user may not run INFO"),
    ] {
        let rights = rights.replace(without, "");
        let rights = if without.is_empty() { secrets::rights() } else { rights };
        let () = server.run(&format!("ACL SETUSER bff reset on >hush {rights}"));
        let findings = doctor(&url, &settings).await;
        assert_finding(&findings, subject, status, &[found]);
        // A lease expires by itself.
        let left = server.keys("");
        assert!(left.iter().all(|key| key.ends_with(":lease")), "{without}: {left:?}");
    }
}

#[tokio::test]
async fn server_without_scripts_is_reported() {
    let server = Server::with(&["--rename-command", "EVALSHA", "", "--rename-command", "EVAL", ""]);
    let findings = doctor(&server.url(), "").await;
    let parts = ["look_up: the server does not allow scripts", "docs/shared-tier.md#servers"];
    assert_finding(&findings, "shared scripts", Status::Failed, &parts);
}

#[tokio::test]
async fn read_only_replica_is_reported() {
    let primary = Server::start();
    let port = primary.port.to_string();
    let replica = Server::with(&["--replicaof", "127.0.0.1", &port]);
    let findings = doctor(&replica.url(), "").await;
    let about: Vec<_> = findings.iter().filter(|it| it.status == Status::Failed).collect();
    assert_eq!(about.len(), 1, "{findings:#?}");
    assert_eq!(about[0].found, "the server is a read-only replica");
}

#[tokio::test]
async fn topology_must_agree_with_the_server() {
    let cluster = Cluster::start();
    let findings = doctor(&cluster.url(), "").await;
    let parts = ["a node of a cluster", "\"cluster\""];
    assert_finding(&findings, "shared.topology", Status::Failed, &parts);
    let findings = doctor(&cluster.url(), "shared.topology = 'cluster'").await;
    assert_finding(&findings, "shared.topology", Status::Ok, &["a cluster"]);
    assert_finding(&findings, "shared scripts", Status::Ok, &["all of them"]);
    assert_finding(&findings, "shared memory", Status::Warning, &["maxmemory is not set"]);
    let single = Server::start();
    let findings = doctor(&single.url(), "shared.topology = 'cluster'").await;
    let parts = ["not a cluster", "\"single\""];
    assert_finding(&findings, "shared.topology", Status::Failed, &parts);
}
