//! What the server gets to see: nothing that identifies a customer, and no token (promise P2). What is
//! logged about the tier does not either.

use std::fs;

use juspay_bff::shared::{News, SharedTier as _};

use super::{
    replica::{KEY, SetUp, event, id, two},
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
    let (a, b) = two(&server).await;
    let mut events = b.tier.events();
    a.fetch("alice@example.com").await;
    b.lease("alice-2").await;
    a.tier
        .add_hand_outs(&id("alice@example.com"), a.found("alice@example.com").await.version, 1)
        .await
        .unwrap();
    a.tier.announce(News::Revoked(r#"{"sub": "alice", "jti": "jti-1"}"#.to_owned())).await.unwrap();
    event(&mut events, |event| matches!(event, juspay_bff::shared::Event::News(_))).await;
    a.tier.purge(&id("alice-2")).await.unwrap();
    let () = server.run("SAVE");
    let mut texts = vec![fs::read(server.directory().join("dump.rdb")).unwrap()];
    for file in fs::read_dir(server.directory().join("appendonlydir")).unwrap() {
        texts.push(fs::read(file.unwrap().path()).unwrap());
    }
    for name in server.keys("") {
        texts.push(redis::cmd("DUMP").arg(&name).query(&mut server.connection()).unwrap());
        texts.push(name.into_bytes());
    }
    let kinds = [":value", ":lease", ":stream", ":generation", ":last"];
    let names = server.keys("");
    for kind in kinds.iter().filter(|kind| **kind != ":generation") {
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
    let content = replica.content(std::time::Duration::from_secs(900));
    let mut shown = format!("{lease:?} {content:?} {:?}", replica.tier);
    replica.store(lease).await;
    shown.push_str(&format!("{:?}", replica.look_up("alice").await));
    shown.push_str(&format!("{:?}", News::Purged(id("alice"))));
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
    fs::write(&path, format!("{}\n{KEY}", super::replica::NEXT_KEY)).unwrap();
    for (name, file) in replica.tier.key_files() {
        assert_eq!(file.reload().await, Ok(name == "shared_keys"), "{name}");
    }
    replica.found("alice").await;
    let next = SetUp::new(server.url()).keys(&[super::replica::NEXT_KEY]).connected().await;
    replica.fetch("bob").await;
    next.found("bob").await;
}
