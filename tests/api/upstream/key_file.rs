//! `juspay.api_key_file`: a new key applies without a restart; an unreadable file keeps the
//! previous one.

use std::{fs, os::unix::fs::symlink, path::Path, time::Duration};

use tempfile::TempDir;

use super::owner;
use crate::{
    blocking_files::fifo,
    support::{Stage, World, guard},
};

const POLL: Duration = Duration::from_secs(10);
const READ: &str = "juspay_bff_secret_last_reload_success_timestamp_seconds{secret=\"api_key\"}";

/// A key with the prefix that the secret check searches for.
fn new_key() -> String {
    format!("canary_{:032x}", rand::random::<u128>())
}

/// A world whose key is in `path`, written by `write`.
async fn world_with(path: &Path, write: impl FnOnce(&str)) -> World {
    let stage = Stage::set().await;
    write(&stage.api_key);
    stage.open_ready(&format!("juspay.api_key_file = \"{}\"", path.display())).await
}

/// Makes `key` the only valid key at Juspay, and waits until the service uses it.
async fn switches_to(world: &World, old: &str, key: &str) {
    let client = world.client("alice");
    world.simulator().set_key(key, true);
    world.simulator().set_key(old, false);
    let succeeds = async || {
        world.purge_all().await;
        client.me().await.status == 200
    };
    world.advance_until("the new key", Duration::from_secs(1), succeeds).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_key_is_used_after_the_next_check() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("key");
    let world = world_with(&path, |key| fs::write(&path, format!("{key}\n")).unwrap()).await;
    let client = world.client("alice");
    assert_eq!(owner(&client.me().await), "alice");
    let key = new_key();
    fs::write(&path, format!("\u{feff}{key}\r\n")).unwrap();
    world.simulator().set_key(&key, true);
    world.simulator().set_key(&world.api_key, false);
    world.advance(Duration::from_millis(9_999)).await;
    world.purge_all().await;
    assert_eq!(
        client.me().await.code(),
        "upstream_rejected_credentials",
        "not before the next poll"
    );
    switches_to(&world, &world.api_key, &key).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubernetes_directory_swaps_are_detected() {
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name);
    // As the kubelet does: key → ..data/key, ..data → a separate directory for each version.
    let publish = |version: &str, key: &str| {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("key"), key).unwrap();
        symlink(version, at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
    };
    symlink("..data/key", at("key")).unwrap();
    let world = world_with(&at("key"), |key| publish("..1", key)).await;
    assert_eq!(owner(&world.client("alice").me().await), "alice");
    let mut old = world.api_key.clone();
    for version in ["..2", "..3"] {
        let key = new_key();
        publish(version, &key);
        switches_to(&world, &old, &key).await;
        old = key;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_file_keeps_the_previous_key_and_is_logged() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("key");
    let world = world_with(&path, |key| fs::write(&path, key).unwrap()).await;
    let client = world.client("alice");
    let check = async |how: &str| {
        let warnings = || guard::log_lines(path.to_str().unwrap()).len();
        let (before, read) = (warnings(), world.count(READ).await);
        spoil(&path, how);
        let is_warned = async || warnings() > before;
        world.advance_until("a warning", Duration::from_secs(1), is_warned).await;
        let read_last = world.count(READ).await;
        assert!(read_last - read <= 10, "{how}: the valid file was read until then");
        world.advance(POLL * 3).await;
        assert_eq!(world.count(READ).await, read_last, "{how}: no successful reload");
        assert_eq!(warnings(), before + 1, "{how}: logged once");
        world.purge_all().await;
        assert_eq!(owner(&client.me().await), "alice", "{how}: the old key is in use");
        // After the repair, the file is read again.
        restore(&path, &world.api_key);
        let is_read = async || world.count(READ).await > read_last;
        world.advance_until("a successful reload", Duration::from_secs(1), is_read).await;
    };
    for how in ["empty", "gone", "line end", "not text", "directory", "FIFO"] {
        check(how).await;
    }
}

fn spoil(path: &Path, how: &str) {
    match how {
        "empty" => fs::write(path, "").unwrap(),
        "line end" => fs::write(path, "\r\n").unwrap(),
        "not text" => fs::write(path, b"\xff\xfe").unwrap(),
        "gone" => fs::remove_file(path).unwrap(),
        "directory" => {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }
        "FIFO" => {
            fs::remove_file(path).unwrap();
            fifo(path);
        }
        _ => panic!("{how}"),
    }
}

fn restore(path: &Path, key: &str) {
    if path.is_dir() {
        fs::remove_dir(path).unwrap();
    } else if path.exists() {
        fs::remove_file(path).unwrap();
    }
    fs::write(path, key).unwrap();
}
