//! The admin listener: open routes, access control and purges. `log_level`, `logs`, `lost_lines`,
//! `metrics` and `page` test what operators see; `connections` tests the connections.

mod connections;
mod log_level;
mod logs;
mod lost_lines;
mod metrics;
mod metrics_document;
mod page;

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

use crate::support::{Client, Reply, Stage, World, guard, until, with_timeout};

/// Listens on all addresses.
const EXPOSED: &str = "server.admin_listen = \"0.0.0.0:0\"";

/// Checks a problem response of the admin listener.
fn is_rejected(reply: &Reply, status: u16, code: &str) {
    assert_eq!((reply.status, &*reply.code()), (status, code));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
}

async fn purge(admin: &Client, body: Value) -> Reply {
    admin.post("/cache/purge", &body).await
}

fn purged(reply: &Reply) -> u64 {
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["purged"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_and_metrics_are_open_on_any_address() {
    let directory = tempfile::tempdir().unwrap();
    let with_token = format!("{EXPOSED}\n{}", token_file(directory.path(), "secret-1"));
    for settings in ["", EXPOSED, &with_token] {
        let world = World::with(settings).await;
        let get = async |path: &str| {
            let strange = "Host: evil.example\r\nOrigin: https://evil.example\r\n";
            let request = format!("GET {path} HTTP/1.1\r\n{strange}Connection: close\r\n\r\n");
            world.admin().raw(&request).await
        };
        for (path, text) in [("/livez", "ok\n"), ("/readyz", "ready\n")] {
            let reply = get(path).await;
            assert_eq!((reply.status, &*reply.text()), (200, text), "{settings} {path}");
            assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
        }
        let reply = get("/metrics").await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn purged_customer_is_fetched_again() {
    let world = World::new().await;
    let calls = |customer| world.simulator().calls(customer);
    let before = world.client("alice").me().await.token();
    world.client("bob").me().await;
    assert_eq!(purged(&purge(&world.admin(), json!({"customer_id": "alice"})).await), 1);
    let after = world.client("alice").me().await;
    assert_eq!(after.cache_status(), "juspay-bff; fwd=uri-miss; stored; ttl=779");
    assert_ne!(after.token(), before);
    world.client("bob").me().await;
    assert_eq!((calls("alice"), calls("bob")), (2, 1));

    assert_eq!(purged(&purge(&world.admin(), json!({"all": true})).await), 2);
    world.client("alice").me().await;
    world.client("bob").me().await;
    assert_eq!((calls("alice"), calls("bob")), (3, 2));

    assert_eq!(purged(&purge(&world.admin(), json!({"customer_id": "carol"})).await), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn purge_requires_exactly_one_customer_or_all() {
    let world = World::new().await;
    world.client("alice").me().await;
    for body in [
        json!({}),
        json!([]),
        json!([null, true]),
        json!(["alice", null]),
        json!("all"),
        json!({"all": false}),
        json!({"all": "true"}),
        json!({"customer_id": 1}),
        json!({"customer_id": ""}),
        json!({"customer_id": "a/b"}),
        json!({"customer_id": "alice", "all": true}),
        json!({"customer": "alice"}),
        json!({"all": true, "more": 1}),
    ] {
        is_rejected(&purge(&world.admin(), body).await, 400, "invalid_request");
    }
    let not_json = "POST /cache/purge HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\
                    Connection: close\r\n\r\nall: true";
    is_rejected(&world.admin().raw(not_json).await, 400, "invalid_request");
    is_rejected(&world.admin().request("POST", "/cache/purge", "").await, 400, "invalid_request");
    world.client("alice").me().await;
    assert_eq!(world.simulator().calls("alice"), 1, "nothing was purged");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_get_404_and_wrong_methods_405() {
    let world = World::new().await;
    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        let reply = world.admin().request(method, "/cache/purge", "").await;
        is_rejected(&reply, 405, "method_not_allowed");
        assert_eq!(reply.header("allow"), Some("POST"));
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        let reply = world.admin().request("POST", path, "").await;
        is_rejected(&reply, 405, "method_not_allowed");
        assert_eq!(reply.header("allow"), Some("GET, HEAD"));
    }
    for path in ["//", "/me/customer", "/cache", "/cache/purge/", "/metrics/", "/admin"] {
        is_rejected(&world.admin().get(path).await, 404, "not_found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_from_web_pages_are_rejected_on_loopback() {
    let world = World::new().await;
    let all = json!({"all": true}).to_string();
    let send = async |head: &str| {
        let length = all.len();
        let request =
            format!("POST /cache/purge HTTP/1.0\r\n{head}Content-Length: {length}\r\n\r\n");
        world.admin().raw(&format!("{request}{all}")).await
    };
    for head in [
        "Host: evil.example\r\n",
        "Host: 127.0.0.1.evil.example\r\n",
        "Host: 192.168.0.1:9464\r\n",
        "Host: \r\n",
        "",
        "Host: localhost\r\nOrigin: https://evil.example\r\n",
        "Host: localhost\r\nOrigin: http://localhost\r\n",
        "Host: localhost\r\nOrigin: null\r\n",
    ] {
        is_rejected(&send(head).await, 403, "admin_forbidden");
    }
    for head in [
        "Host: localhost\r\n",
        "Host: Localhost:9464\r\n",
        "Host: 127.0.0.1:9464\r\n",
        "Host: [::1]:1\r\n",
        "Host: [::ffff:127.0.0.1]:9464\r\n",
    ] {
        assert_eq!(send(head).await.status, 200, "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_actions_are_disabled_on_other_addresses_without_a_token_file() {
    let world = World::with(EXPOSED).await;
    world.client("alice").me().await;
    let mut admin = world.admin();
    for token in [None, Some("guess".to_owned())] {
        admin.token = token;
        is_rejected(&purge(&admin, json!({"all": true})).await, 403, "admin_disabled");
    }
    is_rejected(&admin.get("/nothing").await, 404, "not_found");
    world.client("alice").me().await;
    assert_eq!(world.simulator().calls("alice"), 1);
}

/// Writes the admin token to a file. Returns the setting with its path.
fn token_file(directory: &Path, token: &str) -> String {
    let path = directory.join("admin-token");
    std::fs::write(&path, token).unwrap();
    format!("server.admin_token_file = {:?}", path.to_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_token_is_required_on_other_addresses() {
    let directory = tempfile::tempdir().unwrap();
    let settings = token_file(directory.path(), "secret-1\n");
    let world = World::with(&format!("{EXPOSED}\n{settings}")).await;
    let with = async |token: Option<&str>| {
        let admin = Client::new(world.service.admin, token.map(str::to_owned));
        purge(&admin, json!({"all": true})).await
    };
    let missing = with(None).await;
    is_rejected(&missing, 401, "missing_token");
    assert_eq!(missing.header("www-authenticate"), Some("Bearer realm=\"juspay-bff\""));
    for wrong in ["secret", "secret-1x", "SECRET-1", "x"] {
        let reply = with(Some(wrong)).await;
        is_rejected(&reply, 401, "invalid_token");
        let challenge = "Bearer realm=\"juspay-bff\", error=\"invalid_token\"";
        assert_eq!(reply.header("www-authenticate"), Some(challenge));
    }
    assert_eq!(with(Some("secret-1")).await.status, 200);

    token_file(directory.path(), "secret-2");
    // The JWKS refresher, the sweep and the watcher of secret files.
    world.clock.sleepers(3).await;
    assert_eq!(with(Some("secret-1")).await.status, 200, "the file was not polled yet");
    world.clock.advance(Duration::from_secs(10));
    until("the new token", async || with(Some("secret-2")).await.status == 200).await;
    is_rejected(&with(Some("secret-1")).await, 401, "invalid_token");

    token_file(directory.path(), "");
    world.clock.advance(Duration::from_secs(10));
    assert_eq!(with(Some("secret-2")).await.status, 200, "the previous token stays valid");
    assert_eq!(with(Some("")).await.status, 401, "an empty file does not set an empty token");
}

/// Sends one request over a unix socket.
async fn over(socket: &Path, request: &str) -> Reply {
    let exchange = async {
        let mut stream = UnixStream::connect(socket).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        bytes
    };
    let reply = Reply::parse(&with_timeout("a response", exchange).await).expect("a response");
    guard::answered(request, &reply);
    reply
}

#[tokio::test(flavor = "multi_thread")]
async fn both_listeners_work_on_unix_sockets() {
    let directory = tempfile::tempdir().unwrap();
    let [public, admin] = ["public.sock", "admin.sock"].map(|name| directory.path().join(name));
    let both = |key: &str, path: &PathBuf| {
        format!("server.{key} = [\"127.0.0.1:0\", \"unix:{}\"]\n", path.display())
    };
    let settings = both("listen", &public) + &both("admin_listen", &admin);
    let world = Stage::set().await.open_ready(&settings).await;
    for path in [&public, &admin] {
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660, "{}", path.display());
    }
    let token = world.client("alice").token.unwrap();
    let request = format!(
        "GET /me/customer HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Authorization: Bearer {token}\r\n\r\n"
    );
    assert_eq!(over(&public, &request).await.json()["object_reference_id"], "alice");

    let ready = "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(over(&admin, ready).await.status, 200);
    let purge = "POST /cache/purge HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                 Content-Length: 12\r\n\r\n{\"all\":true}";
    assert_eq!(purged(&over(&admin, purge).await), 1);
    let from_web_page = purge.replace("localhost", "evil.example");
    is_rejected(&over(&admin, &from_web_page).await, 403, "admin_forbidden");

    drop(world);
    assert!(!public.exists() && !admin.exists(), "the socket files are removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn service_works_on_unix_sockets_only() {
    let directory = tempfile::tempdir().unwrap();
    let public = directory.path().join("public.sock");
    let settings = format!("server.listen = \"unix:{}\"", public.display());
    let world = World::with(&settings).await;
    let without_token = "GET /me/customer HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(over(&public, without_token).await.code(), "missing_token");
    drop(world);
    assert!(!public.exists());
}
