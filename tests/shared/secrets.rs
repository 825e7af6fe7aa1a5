//! What the server gets to see: nothing that identifies a customer, and no token (promise P2). Connections
//! by TLS, and the least rights of a user.

use std::{fs, num::NonZeroU32, time::Duration};

use jiff::Timestamp;
use juspay_bff::{
    operator::doctor::Status,
    settings::Rate,
    shared::{Event, Failure, FailureCode, LookUp, Need, News, SharedTier as _},
};

use super::{
    doctor::{assert_finding, doctor},
    redis_server::free_port,
    replica::{KEY, NEXT_KEY, Replica, SetUp, event, id, two, until},
    server::Server,
};

/// Parts of customers, tokens and keys.
const SECRETS: &[&str] = &[
    "alice",
    "cst_17",
    "9876543210",
    "Aisha",
    "tkn_",
    "very_secret",
    "merchant",
    "jti-1",
    "0101010101",
];

#[tokio::test]
async fn p2_dump_contains_no_token_and_no_customer() {
    let server = Server::with(&["--rdbcompression", "no", "--appendonly", "yes"]);
    let (a, mut b) = two(&server).await;
    a.fetch("alice@example.com").await;
    b.lease("alice-2").await;
    a.tier
        .add_hand_outs(&id("alice@example.com"), a.found("alice@example.com").await.version, 1)
        .await
        .unwrap();
    let entry = r#"{"sub": "alice", "jti": "jti-1"}"#.to_owned();
    a.tier.announce(News::Revoked(entry, Timestamp::MAX)).await.unwrap();
    event(&mut b.events, |event| matches!(event, Event::News(_))).await;
    a.tier.purge(&id("alice-2")).await.unwrap();
    a.tier.announce(News::Purged(id("alice-2"))).await.unwrap();
    let () = server.run("SAVE");
    let mut texts = vec![fs::read(server.directory().join("dump.rdb")).unwrap()];
    for file in fs::read_dir(server.directory().join("appendonlydir")).unwrap() {
        texts.push(fs::read(file.unwrap().path()).unwrap());
    }
    for name in server.keys("") {
        texts.push(redis::cmd("DUMP").arg(&name).query(&mut server.connection()).unwrap());
        texts.push(name.into_bytes());
    }
    let names = server.keys("");
    for kind in [":value", ":lease", ":stream", ":last", ":revocations", ":expiries"] {
        assert!(names.iter().any(|name| name.ends_with(kind)), "{kind} in {names:?}");
    }
    assert!(texts.iter().map(Vec::len).sum::<usize>() > 1000);
    for text in texts {
        for secret in SECRETS {
            let is_there = text.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!is_there, "{secret} in {:?}", String::from_utf8_lossy(&text));
        }
    }
}

#[tokio::test]
async fn debug_output_contains_no_secret() {
    let server = Server::start();
    let replica = SetUp::new(server.url()).connected().await;
    let lease = replica.lease("alice").await;
    let content = replica.content(Duration::from_secs(900));
    let before = format!("{lease:?} {content:?} {:?}", replica.tier);
    replica.store(lease).await;
    let found = replica.look_up("alice").await;
    let shown = format!("{before} {found:?} {:?}", News::Purged(id("alice")));
    for secret in SECRETS.iter().chain(&[KEY]) {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

#[tokio::test]
async fn changed_key_file_is_reloaded() {
    let server = Server::start();
    let replica = SetUp::new(server.url()).connected().await;
    replica.fetch("alice").await;
    let path = replica.file("keys");
    fs::write(&path, format!("{NEXT_KEY}\n{KEY}")).unwrap();
    for (name, file) in replica.tier.key_files() {
        assert_eq!(file.reload().await, Ok(name == "shared_keys"), "{name}");
    }
    replica.found("alice").await;
    let next = SetUp::new(server.url()).keys(&[NEXT_KEY]).connected().await;
    replica.fetch("bob").await;
    next.found("bob").await;
}

/// The users of the Valkey in deploy: none but the tier's, with the least rights.
const USERS: &str = include_str!("../../deploy/kubernetes/components/valkey/users.acl");

/// The SHA-256 of the password `hush`.
const HASH: &str = "dc8331bcb2283e89d275a1c2fe66f7bf5ac3163ec1967f149dd7e27906365f0c";

/// The rights of the tier's user.
pub(super) fn rights() -> String {
    USERS.split_once("#PASSWORD_SHA256 ").unwrap().1.trim_end().to_owned()
}

/// Calls every operation.
async fn use_everything(a: &Replica, b: &mut Replica) {
    a.fetch("alice").await;
    let version = b.found("alice").await.version;
    a.tier.add_hand_outs(&id("alice"), version, 1).await.unwrap();
    let lease = a.lease("bob").await;
    a.tier.renew(&lease).await;
    let code = FailureCode::new("x").unwrap();
    a.tier.fail(lease, Failure::Own(code), false).await;
    let rate = Rate { count: NonZeroU32::MIN, per: Duration::from_secs(60) };
    b.look_up_charged("bob", Need::default(), rate).await;
    a.tier.purge(&id("alice")).await.unwrap();
    a.tier.announce(News::Purged(id("alice"))).await.unwrap();
    event(&mut b.events, |event| matches!(event, Event::News(_))).await;
    let revoked = News::Revoked("{}".to_owned(), Timestamp::MAX);
    a.tier.announce(revoked).await.unwrap();
    a.tier.purge_all().await.unwrap();
}

#[tokio::test]
async fn tls_and_a_user_with_the_least_rights_suffice() {
    let files = tempfile::tempdir().unwrap();
    let ca = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let write = |name: &str, text: String| {
        let path = files.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let certificate = write("certificate", ca.cert.pem());
    let key = write("key", ca.signing_key.serialize_pem());
    let port = free_port();
    let server = Server::with(&[
        "--tls-port",
        &port.to_string(),
        "--tls-auth-clients",
        "no",
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &certificate,
    ]);
    let rights = rights();
    let () = server.run(&format!("ACL SETUSER bff on >hush {rights}"));
    let password = write("password", "hush".to_owned());
    let settings = format!("shared.password_file = '{password}'\n");
    let url = format!("rediss://bff@localhost:{port}");
    let trusted = format!("{settings}shared.ca_file = '{certificate}'");
    let a = SetUp::new(&url).settings(&trusted).connected().await;
    let mut b = SetUp::new(&url).settings(&trusted).connected().await;
    use_everything(&a, &mut b).await;
    assert_eq!((a.count("error"), b.count("error")), (0, 0));
    assert_eq!((a.state("connected"), b.state("connected")), (1, 1));
    let findings = doctor(&url, &trusted).await;
    assert_finding(&findings, "shared.url", Status::Ok, &["with TLS as bff"]);
    let findings = doctor(&url, &settings).await;
    let parts = ["TLS handshake failed", "shared.ca_file"];
    assert_finding(&findings, "shared.url", Status::Failed, &parts);
    // An unknown authority is not trusted.
    let other = SetUp::new(&url).settings(&settings).open();
    until("the connection fails", async || other.state("disconnected") == 1).await;
    assert!(matches!(other.look_up("x").await, LookUp::Away(None)));
}

#[tokio::test]
async fn deployed_users_may_do_what_is_needed_and_nothing_else() {
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("users.acl");
    // The test's administrator is the default user.
    let users = USERS.replace("PASSWORD_SHA256", HASH);
    let users = users.replace("user default off", "user default on nopass ~* &* +@all");
    fs::write(&path, users).unwrap();
    let server = Server::with(&["--aclfile", path.to_str().unwrap()]);
    let password = files.path().join("password");
    fs::write(&password, "hush\n").unwrap();
    let settings = format!("shared.password_file = '{}'", password.display());
    let url = server.url().replace("redis://", "redis://juspay-bff@");
    let a = SetUp::new(&url).settings(&settings).connected().await;
    let mut b = SetUp::new(&url).settings(&settings).connected().await;
    use_everything(&a, &mut b).await;
    assert_eq!((a.count("error"), b.count("error")), (0, 0));
    let url = format!("redis://juspay-bff:hush@127.0.0.1:{}", server.port);
    let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
    for refused in
        ["FLUSHALL", "KEYS *", "SCAN 0", "CONFIG GET *", "ACL LIST", "GET other:a", "MONITOR"]
    {
        let mut words = refused.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        command.arg(words.collect::<Vec<_>>());
        let error = command.query::<redis::Value>(&mut connection).unwrap_err();
        assert_eq!(error.code(), Some("NOPERM"), "{refused}: {error}");
    }
}
