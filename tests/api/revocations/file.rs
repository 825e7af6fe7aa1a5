//! `auth.revocations_file` is reloaded without a restart. An invalid file keeps the previous list.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{SECOND, all_of, assert_rejected, one, with_jti};
use crate::support::{Stage, World, guard};

const FAILED: &str = "juspay_bff_auth_revocation_reloads_total{outcome=\"failure\"}";
const IN_FILE: &str = "juspay_bff_auth_revocations{source=\"file\"}";
const READ: &str =
    "juspay_bff_secret_last_reload_success_timestamp_seconds{secret=\"revocations\"}";

fn list(entries: &[Value]) -> String {
    json!({ "revocations": entries }).to_string()
}

async fn world_with(path: &Path) -> World {
    let settings = format!("auth.revocations_file = {:?}", path.to_str().unwrap());
    Stage::set().await.open_ready(&settings).await
}

/// A world and its file, which is an empty list.
async fn empty(directory: &TempDir) -> (World, PathBuf) {
    let path = directory.path().join("revocations.json");
    fs::write(&path, list(&[])).unwrap();
    (world_with(&path).await, path)
}

#[tokio::test(flavor = "multi_thread")]
async fn replaced_file_takes_effect_at_the_next_poll() {
    let directory = TempDir::new().unwrap();
    let (world, path) = empty(&directory).await;
    let (old, bob) = (world.client("alice"), world.client("bob"));
    let old_token = old.me().await.token();
    bob.me().await;
    // Written to another file and renamed.
    let next = directory.path().join("next");
    fs::write(&next, list(&[all_of(&world, "alice")])).unwrap();
    fs::rename(&next, &path).unwrap();
    world.advance(Duration::from_millis(9_999)).await;
    assert_eq!(old.me().await.status, 200, "not before the next poll");
    let new = world.client("alice");
    let is_over = async || old.me().await.status == 401;
    world.advance_until("the end of the old token", SECOND, is_over).await;
    assert_rejected(&old.me().await);
    let reply = new.me().await;
    assert_eq!(reply.status, 200, "issued later");
    assert_ne!(reply.token(), old_token, "the old session's token is forgotten");
    assert!(bob.me().await.cache_status().starts_with("juspay-bff; hit"));
    assert_eq!(world.count(IN_FILE).await, 1);

    fs::write(&path, list(&[])).unwrap();
    let is_back = async || old.me().await.status == 200;
    world.advance_until("the entry to be taken back", SECOND, is_back).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kubernetes_symlink_swap_is_noticed() {
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name);
    // Like the kubelet: a directory per version, and a symlink to it.
    let publish = |version: &str, text: &str| {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("revocations.json"), text).unwrap();
        symlink(version, at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
    };
    symlink("..data/revocations.json", at("revocations.json")).unwrap();
    publish("..1", &list(&[]));
    let world = world_with(&at("revocations.json")).await;
    let clients = ["a", "b"].map(|jti| with_jti(&world, jti));
    let statuses = async || (clients[0].me().await.status, clients[1].me().await.status);
    assert_eq!(statuses().await, (200, 200));
    for (version, entries, expected) in [
        ("..2", vec![one(&world, "a")], (401, 200)),
        ("..3", vec![one(&world, "b")], (200, 401)),
        ("..4", vec![one(&world, "a"), one(&world, "b")], (401, 401)),
    ] {
        publish(version, &list(&entries));
        let is_seen = async || statuses().await == expected;
        world.advance_until(version, SECOND, is_seen).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_file_keeps_the_previous_list_and_is_reported() {
    let directory = TempDir::new().unwrap();
    let (world, path) = empty(&directory).await;
    let client = with_jti(&world, "a");
    fs::write(&path, list(&[one(&world, "a")])).unwrap();
    let is_over = async || client.me().await.status == 401;
    world.advance_until("the end of the token", SECOND, is_over).await;
    let warnings = || guard::log_lines("failed to reload auth.revocations_file").len();
    let known = warnings();
    fs::write(&path, list(&[json!({"issuer": "nobody", "jti": "hush", "expires": 1})])).unwrap();
    for looks in 1..4 {
        let has_failed = async || world.count(FAILED).await >= looks;
        world.advance_until("a failed poll", SECOND, has_failed).await;
    }
    assert!(warnings() > known);
    assert_eq!(guard::log_lines("hush"), [""; 0]);
    assert_rejected(&client.me().await);
    let read = world.count(READ).await;
    fs::write(&path, list(&[])).unwrap();
    let is_back = async || client.me().await.status == 200;
    world.advance_until("the corrected file", SECOND, is_back).await;
    assert!(world.count(READ).await > read);
}
