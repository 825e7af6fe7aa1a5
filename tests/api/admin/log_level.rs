//! `GET` and `PUT /log-level`: the log's level changes while the service runs. The unit tests of
//! `telemetry` test which lines each level has.

use serde_json::json;

use super::{EXPOSED, is_rejected, token_file};
use crate::support::{
    Client, Reply, World,
    process::{Process, bff},
};

async fn put(admin: &Client, lines: &str, body: &str) -> Reply {
    let length = body.len();
    let authorization =
        admin.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n"));
    let request = format!(
        "PUT /log-level HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{}{lines}\
         Content-Length: {length}\r\n\r\n{body}",
        authorization.unwrap_or_default()
    );
    admin.raw(&request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn level_changes_until_the_process_ends_and_the_change_is_logged() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("settings.toml");
    let settings = "server = { listen = \"127.0.0.1:0\", admin_listen = \"127.0.0.1:0\", shutdown_delay = \"0s\" }
         juspay = { base_url = \"http://127.0.0.1:9\", merchant_id = \"m\", api_key = \"canary_1\" }
         auth.issuers.main = { issuer = \"http://127.0.0.1:9\", audiences = [\"a\"], \
         algorithms = [\"ES256\"], discovery = true }";
    std::fs::write(&file, settings).unwrap();
    let mut service = Process::start(bff(&["serve", "--config", file.to_str().unwrap()]));
    let line = service.line_with("\"serving\"").await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let admin = Client::new(line["admin"].as_str().unwrap().parse().unwrap(), None);
    let level = async || admin.get("/log-level").await.json();
    assert_eq!(level().await, json!({"level": "info"}));

    let reply = put(&admin, "", "{\"level\": \"debug\"}").await;
    assert_eq!((reply.status, reply.header("cache-control")), (200, Some("no-store")));
    assert_eq!(reply.json(), json!({"level": "debug"}));
    assert_eq!(level().await, json!({"level": "debug"}));
    let line = service.line_with("log level changed").await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["old"], &line["new"]), (&"info".into(), &"debug".into()), "{line}");
    assert_eq!(line["level"], "WARN");

    for body in [
        "",
        "debug",
        "\"debug\"",
        "[\"debug\"]",
        "{}",
        "{\"level\": \"DEBUG\"}",
        "{\"level\": \"off\"}",
        "{\"level\": 1}",
        "{\"level\": \"info\", \"for\": \"5m\"}",
        "{\"level\": \"info\", \"level\": \"info\"}",
    ] {
        let reply = put(&admin, "", body).await;
        is_rejected(&reply, 400, "invalid_request");
        let detail = "Send {\"level\": \"debug\"}, or another level: error, warn, info, trace.";
        assert_eq!(reply.json()["detail"], detail, "{body}");
    }
    assert_eq!(level().await, json!({"level": "debug"}), "a rejected request changes nothing");

    // The service logs at debug that its listeners have closed.
    assert_eq!(service.terminate().await, Some(0));
    assert!(service.stdout.contains("\"DEBUG\""), "{}", service.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn level_requires_the_permission_of_an_operator() {
    let body = "{\"level\": \"trace\"}";
    let world = World::new().await;
    for lines in ["Origin: null\r\n", "Origin: http://localhost\r\n"] {
        is_rejected(&put(&world.admin(), lines, body).await, 403, "admin_forbidden");
        let reply = world.admin().request("GET", "/log-level", lines).await;
        is_rejected(&reply, 403, "admin_forbidden");
    }
    for method in ["POST", "DELETE", "HEAD"] {
        let reply = world.admin().request(method, "/log-level", "").await;
        assert_eq!((reply.status, reply.header("allow")), (405, Some("GET, PUT")), "{method}");
    }

    let exposed = World::with(EXPOSED).await;
    is_rejected(&put(&exposed.admin(), "", body).await, 403, "admin_disabled");

    let directory = tempfile::tempdir().unwrap();
    let settings = token_file(directory.path(), "secret-1");
    let world = World::with(&format!("{EXPOSED}\n{settings}")).await;
    is_rejected(&put(&world.admin(), "", body).await, 401, "missing_token");
    is_rejected(&world.admin().get("/log-level").await, 401, "missing_token");
    let wrong = Client::new(world.service.admin, Some("wrong".into()));
    is_rejected(&put(&wrong, "", body).await, 401, "invalid_token");
    // An operator: the request is read, and rejected because of its body.
    let operator = Client::new(world.service.admin, Some("secret-1".into()));
    is_rejected(&put(&operator, "", "{}").await, 400, "invalid_request");
}
