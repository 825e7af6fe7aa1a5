//! Reloads of `auth.revocations_file`: added, removed and expired entries, and invalid files.

use std::{fs, path::Path, sync::Arc, time::Duration};

use juspay_bff::{
    auth::{Authenticator, SetUpError},
    clock::manual::ManualClock,
    metrics::Metrics,
    revocation::{Entry, FileError},
};
use serde_json::{Value, json};

use super::{
    captured_log::CapturedLog,
    testing::{P256, START, clock, issuer, locally, set, settings},
    world::{World, limits, token, world_of_auth},
};

fn write(path: &Path, entries: &Value) {
    fs::write(path, json!({ "revocations": entries }).to_string()).unwrap();
}

fn jti(jti: &str) -> Value {
    json!({"issuer": "main", "jti": jti, "expires": START + 3600})
}

fn sub(sub: &str) -> Value {
    json!({"issuer": "main", "sub": sub, "issued_before": START + 1, "expires": START + 3600})
}

async fn world(path: &Path) -> World {
    let mut auth = settings();
    auth.revocations_file = Some(path.to_owned());
    world_of_auth(auth, [("main", issuer(), set(&[P256.jwk("k1")]))]).await
}

async fn reload(world: &World) -> Vec<String> {
    let customers = world.auth.reload_revocations().await.unwrap();
    let mut customers: Vec<_> = customers.iter().map(|it| it.as_str().to_owned()).collect();
    customers.sort();
    customers
}

fn count(world: &World, source: &str) -> i64 {
    world.metrics.auth.revocations.with_label_values(&[source]).get()
}

fn reloads(world: &World, outcome: &str) -> u64 {
    world.metrics.auth.revocation_reloads.with_label_values(&[outcome]).get()
}

#[tokio::test]
async fn file_is_read_at_start() {
    let file = tempfile::NamedTempFile::new().unwrap();
    write(file.path(), &json!([jti("a"), sub("bob")]));
    locally(async {
        let world = world(file.path()).await;
        assert_eq!((count(&world, "file"), reloads(&world, "success")), (2, 1));
        for claims in [json!({"jti": "a"}), json!({"sub": "bob"})] {
            assert_eq!(world.outcome(&token("k1", claims)).await, Err("revoked"));
        }
        assert_eq!(world.outcome(&token("k1", json!({}))).await, Ok("alice".to_owned()));
        assert_eq!(reload(&world).await, [""; 0]);
        assert_eq!(reloads(&world, "success"), 1, "an unchanged file is not reloaded");
    })
    .await;
}

#[tokio::test]
async fn reload_adds_and_removes_entries() {
    let file = tempfile::NamedTempFile::new().unwrap();
    write(file.path(), &json!([sub("bob")]));
    locally(async {
        let world = world(file.path()).await;
        let alices = token("k1", json!({"jti": "a"}));
        let bobs = token("k1", json!({"sub": "bob"}));
        world.outcome(&alices).await.unwrap();
        write(file.path(), &json!([sub("bob"), jti("a")]));
        assert_eq!(world.outcome(&alices).await, Ok("alice".to_owned()), "not reloaded yet");
        assert_eq!(reload(&world).await, ["alice"], "the entry for bob is not new");
        assert_eq!(world.outcome(&alices).await, Err("revoked"));
        assert_eq!(world.outcome(&bobs).await, Err("revoked"));

        write(file.path(), &json!([]));
        assert_eq!(reload(&world).await, [""; 0]);
        assert_eq!(count(&world, "file"), 0);
        for token in [&alices, &bobs] {
            assert!(world.outcome(token).await.is_ok(), "the entry was removed");
        }
    })
    .await;
}

#[tokio::test]
async fn entries_of_file_and_memory_are_separate() {
    let file = tempfile::NamedTempFile::new().unwrap();
    write(file.path(), &json!([]));
    locally(async {
        let world = world(file.path()).await;
        let alices = token("k1", json!({"jti": "a"}));
        write(file.path(), &json!([jti("a"), jti("b")]));
        reload(&world).await;
        let entry = Entry::parse(jti("a").to_string().as_bytes()).unwrap();
        world.auth.revoke(entry).unwrap();
        assert_eq!((count(&world, "file"), count(&world, "memory")), (2, 1));
        write(file.path(), &json!([]));
        reload(&world).await;
        assert_eq!((count(&world, "file"), count(&world, "memory")), (0, 1));
        assert_eq!(world.outcome(&alices).await, Err("revoked"));
    })
    .await;
}

#[tokio::test]
async fn invalid_file_keeps_the_previous_list() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("revocations.json");
    write(&path, &json!([jti("a")]));
    locally(async {
        let world = world(&path).await;
        let last_success =
            world.metrics.secret_last_reload_success.with_label_values(&["revocations"]);
        let at_start = last_success.get();
        let alices = token("k1", json!({"jti": "a"}));
        let many: Vec<_> = (0..11).map(|number| jti(&number.to_string())).collect();
        for (failures, content) in (1..).zip([
            Some(String::new()),
            Some("{}".to_owned()),
            Some(json!({"revocations": [jti("b"), {"issuer": "main"}]}).to_string()),
            Some(json!({"revocations": many}).to_string()),
            Some("x".repeat(11 * 1024 + 1)),
            None,
        ]) {
            match content {
                Some(text) => fs::write(&path, text).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            world.clock.advance(Duration::from_secs(10));
            assert_eq!(reload(&world).await, [""; 0]);
            assert_eq!(world.outcome(&alices).await, Err("revoked"));
            assert_eq!((reloads(&world, "success"), reloads(&world, "failure")), (1, failures));
            assert_eq!(
                last_success.get().to_bits(),
                at_start.to_bits(),
                "the time of the last success is unchanged"
            );
        }
        write(&path, &json!([jti("b")]));
        reload(&world).await;
        assert_eq!(reloads(&world, "success"), 2);
        assert!(last_success.get() > at_start);
        assert_eq!(world.outcome(&alices).await, Ok("alice".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn only_the_first_failed_reload_is_logged() {
    let file = tempfile::NamedTempFile::new().unwrap();
    write(file.path(), &json!([]));
    locally(async {
        let world = world(file.path()).await;
        let (log, _guard) = CapturedLog::on_this_thread();
        let logged = || log.text().matches("keeping the previous list").count();
        for times in 1..=2 {
            for _ in 0..3 {
                fs::write(file.path(), "invalid").unwrap();
                reload(&world).await;
                assert_eq!(logged(), times);
            }
            write(file.path(), &json!([]));
            reload(&world).await;
            assert_eq!(logged(), times);
        }
    })
    .await;
}

#[tokio::test]
async fn entries_of_the_file_expire() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let past = json!({"issuer": "main", "jti": "old", "expires": START});
    write(file.path(), &json!([past, jti("a")]));
    locally(async {
        let world = world(file.path()).await;
        assert_eq!(count(&world, "file"), 1, "an expired entry is not stored");
        world.clock.advance(Duration::from_secs(3600));
        world.sweep();
        assert_eq!(count(&world, "file"), 0);
    })
    .await;
}

#[test]
fn missing_file_prevents_the_start() {
    let mut auth = settings();
    auth.issuers.insert("main".to_owned(), issuer());
    auth.revocations_file = Some("/nonexistent".into());
    let metrics = Arc::new(Metrics::new("0", "0").unwrap());
    let clock: Arc<ManualClock> = clock();
    let poll = Duration::from_secs(10);
    let made = Authenticator::new(&auth, poll, &limits(&metrics), clock, metrics);
    assert!(matches!(made, Err(SetUpError::Revocations(FileError::Unreadable(_)))));
}
