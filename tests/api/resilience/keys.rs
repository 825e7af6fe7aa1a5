//! `juspay.api_key_next_file`: keys change under load, and no request fails.

use std::{
    fs,
    os::unix::fs::symlink,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use simulator::{ApiError, Fault, FaultRule, MintRequest};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::{all_at_once, cold, is_ready};
use crate::support::{Client, Stage, World, guard, until};

/// A key with the prefix that the secret check searches for.
fn new_key() -> String {
    format!("canary_{:032x}", rand::random::<u128>())
}

/// Files as Kubernetes mounts them: `key` → `..data/key`, `..data` → the version's directory.
struct Mount {
    directory: TempDir,
    versions: usize,
}

impl Mount {
    fn new(key: &str, next: &str) -> Self {
        let mut mount = Self { directory: TempDir::new().unwrap(), versions: 0 };
        for name in ["key", "next"] {
            symlink(format!("..data/{name}"), mount.path(name)).unwrap();
        }
        mount.publish(key, next);
        mount
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Swaps both at once, as the kubelet does.
    fn publish(&mut self, key: &str, next: &str) {
        self.versions += 1;
        let version = format!("..{}", self.versions);
        fs::create_dir(self.path(&version)).unwrap();
        fs::write(self.path(&version).join("key"), key).unwrap();
        fs::write(self.path(&version).join("next"), next).unwrap();
        symlink(&version, self.path("..data_tmp")).unwrap();
        fs::rename(self.path("..data_tmp"), self.path("..data")).unwrap();
        if let Some(old) = self.versions.checked_sub(1).filter(|old| *old > 0) {
            fs::remove_dir_all(self.path(&format!("..{old}"))).unwrap();
        }
    }

    fn settings(&self) -> String {
        format!(
            "juspay.api_key_file = \"{}\"\njuspay.api_key_next_file = \"{}\"\n",
            self.path("key").display(),
            self.path("next").display()
        )
    }
}

/// A world with two keys, both valid at Juspay.
async fn two_keys() -> (World, Mount, String) {
    let stage = Stage::set().await;
    let next = new_key();
    stage.simulator().set_key(&next, true);
    let mount = Mount::new(&stage.api_key, &next);
    let settings = format!("secrets.poll = \"1s\"\n{}", mount.settings());
    (stage.open_ready(&settings).await, mount, next)
}

async fn slot(world: &World) -> &'static str {
    let mut used = Vec::new();
    for slot in ["api_key", "api_key_next"] {
        let series = format!("juspay_bff_upstream_key_slot{{slot=\"{slot}\"}}");
        if world.count(&series).await > 0 {
            used.push(slot);
        }
    }
    assert_eq!(used.len(), 1, "{used:?}");
    used[0]
}

/// Clients that request one uncached customer after the other.
struct Clients {
    stop: Arc<AtomicBool>,
    responses: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<Vec<String>>>,
}

impl Clients {
    fn of(world: &World, number: usize) -> Self {
        let (stop, responses) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let client = |n: usize| {
            let (stop, responses) = (Arc::clone(&stop), Arc::clone(&responses));
            let (issuer, service) = (world.issuer().clone(), world.service.public);
            tokio::spawn(async move {
                let mut lost = Vec::new();
                for nth in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let token = issuer.mint(&MintRequest::of(&format!("clients{n}-{nth}")));
                    let reply = Client::new(service, Some(token.unwrap())).me().await;
                    if reply.status != 200 {
                        lost.push(reply.text());
                    }
                    responses.fetch_add(1, Ordering::Relaxed);
                }
                lost
            })
        };
        let tasks = (0..number).map(client).collect();
        Self { stop, responses, tasks }
    }

    /// Waits for this many more responses.
    async fn wait_for_more(&self, number: usize) {
        let enough = self.responses.load(Ordering::Relaxed) + number;
        until("more responses", async || self.responses.load(Ordering::Relaxed) >= enough).await;
    }

    /// Stops the clients, and returns all failures.
    async fn finish(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut lost = Vec::new();
        for task in self.tasks {
            lost.extend(task.await.unwrap());
        }
        lost
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn disabling_a_key_under_load_fails_no_request() {
    let (world, _mount, next) = two_keys().await;
    assert_eq!(slot(&world).await, "api_key");
    let clients = Clients::of(&world, 32);
    clients.wait_for_more(200).await;
    world.simulator().set_key(&world.api_key, false);
    clients.wait_for_more(400).await;
    assert_eq!(slot(&world).await, "api_key_next");
    // Back to the first key.
    world.simulator().set_key(&world.api_key, true);
    world.simulator().set_key(&next, false);
    clients.wait_for_more(400).await;
    assert_eq!(slot(&world).await, "api_key");
    assert_eq!(clients.finish().await, Vec::<String>::new());
    let lines = guard::log_lines("switched API keys");
    for slot in ["\"slot\":\"api_key_next\"", "\"slot\":\"api_key\""] {
        assert!(lines.iter().any(|line| line.contains(slot)), "{slot}: {lines:?}");
    }
    assert!(lines.iter().all(|line| !line.contains("canary_")));
}

#[tokio::test(flavor = "multi_thread")]
async fn swapping_key_files_under_load_fails_no_request() {
    let (world, mut mount, mut second) = two_keys().await;
    let mut first = world.api_key.clone();
    let clients = Clients::of(&world, 16);
    clients.wait_for_more(100).await;
    for _ in 0..3 {
        // Juspay accepts the new key before the files have it, and the old one until afterwards.
        let new = new_key();
        world.simulator().set_key(&new, true);
        mount.publish(&second, &new);
        let read_before = reads(&world).await;
        until("both files are read", async || {
            // In small steps, so that no running call times out.
            world.clock.advance(Duration::from_millis(100));
            clients.wait_for_more(1).await;
            reads(&world).await.iter().zip(&read_before).all(|(now, before)| now > before)
        })
        .await;
        world.simulator().set_key(&first, false);
        clients.wait_for_more(200).await;
        (first, second) = (second, new);
    }
    assert_eq!(clients.finish().await, Vec::<String>::new());
}

/// When each of the files was last read.
async fn reads(world: &World) -> Vec<f64> {
    let mut reads = Vec::new();
    for secret in ["api_key", "api_key_next"] {
        let series = format!(
            "juspay_bff_secret_last_reload_success_timestamp_seconds{{secret=\"{secret}\"}}"
        );
        reads.push(world.metric(&series).await);
    }
    reads
}

#[tokio::test(flavor = "multi_thread")]
async fn two_rejected_keys_return_502_and_start_the_hold() {
    let (world, _mount, next) = two_keys().await;
    world.simulator().set_key(&world.api_key, false);
    world.simulator().set_key(&next, false);
    for client in cold(&world, "first", 20) {
        assert_eq!(client.me().await.code(), "upstream_rejected_credentials");
    }
    assert_eq!(world.simulator().total_requests(), 6, "each key for two calls and one probe");
    assert_eq!(slot(&world).await, "api_key");
    for (slot, then) in [
        ("\"slot\":\"api_key\"", "trying the other key"),
        ("\"slot\":\"api_key_next\"", "requests that need Juspay fail until a valid key is in"),
    ] {
        let lines = guard::log_lines("Juspay rejected the API key");
        let matches = |line: &String| line.contains(slot) && line.contains(then);
        assert!(lines.iter().any(matches), "{slot}");
    }
    assert!(is_ready(&world).await);
    world.clock.advance(Duration::from_secs(5));
    drop(all_at_once(cold(&world, "second", 20)).await);
    assert_eq!(world.simulator().total_requests(), 8);
    world.simulator().set_key(&next, true);
    world.clock.advance(Duration::from_secs(5));
    assert_eq!(world.client("alice").me().await.status, 200);
    assert_eq!(slot(&world).await, "api_key_next");
}

#[tokio::test(flavor = "multi_thread")]
async fn inconclusive_second_key_is_not_used() {
    let (world, _mount, _) = two_keys().await;
    // The first key is rejected; the error with the second does not concern the key.
    world.simulator().inject(FaultRule::once(Fault::Error(ApiError::AccessDenied)));
    world.simulator().inject(FaultRule::once(Fault::Html));
    assert_eq!(world.client("alice").me().await.code(), "upstream_invalid_response");
    assert_eq!(slot(&world).await, "api_key");
    // An unknown customer shows that the key is valid.
    world.simulator().set_key(&world.api_key, false);
    world.simulator().set_provision(false);
    assert_eq!(world.client("nobody").me().await.code(), "customer_not_found");
    assert_eq!(slot(&world).await, "api_key_next");
}

#[tokio::test(flavor = "multi_thread")]
async fn firewall_401_for_one_customer_switches_no_key() {
    let (world, _mount, _next) = two_keys().await;
    let body = "<html>Request blocked</html>".to_owned();
    let blocked = Fault::Status { status: 401, headers: [].into(), body };
    world.simulator().inject(FaultRule::once(blocked).of("alice"));
    assert_eq!(world.client("alice").me().await.status, 200, "the other key is tried anyway");
    assert_eq!((world.simulator().calls("alice"), slot(&world).await), (2, "api_key"));
}
