//! `juspay-bff healthcheck`, with the real binary, against services in every state.

use std::net::TcpListener;

use simulator::{Fault, issuer::DISCOVERY_PATH};

use crate::support::{
    Stage, World,
    process::{Ended, bff, run},
};

/// Runs `healthcheck` with these flags, and with settings that contain only this admin address.
async fn check(admin: &str, flags: &[&str]) -> Ended {
    let mut command = bff(&[&["healthcheck"], flags].concat());
    command.env("JUSPAY_BFF__SERVER__ADMIN_LISTEN", admin);
    run(command).await
}

fn assert_healthy(ended: &Ended) {
    assert_eq!((ended.code, &*ended.stdout, &*ended.stderr), (Some(0), "", ""));
}

fn assert_unhealthy(ended: &Ended, why: &str) {
    let found = (ended.code, &*ended.stdout, &*ended.stderr);
    assert_eq!(found, (Some(1), "", &*format!("juspay-bff: {why}\n")));
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_service_is_healthy_and_no_other_setting_is_read() {
    let world = World::new().await;
    let admin = world.service.admin;
    assert_healthy(&check(&admin.to_string(), &[]).await);
    assert_healthy(&check(&admin.to_string(), &["--live"]).await);
    // With the same wildcard address as the service.
    assert_healthy(&check(&format!("0.0.0.0:{}", admin.port()), &[]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn address_is_read_from_the_settings_files() {
    let world = World::new().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settings.toml");
    // The secret file is missing and another setting is invalid. Neither matters.
    let settings = format!(
        "server = {{admin_listen = [\"{}\", \"127.0.0.1:9\"], workers = 0}}\n\
         juspay.api_key_file = \"/nonexistent\"",
        world.service.admin
    );
    std::fs::write(&path, settings).unwrap();
    let config = ["healthcheck", "--config", path.to_str().unwrap()];
    assert_healthy(&run(bff(&config)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn service_without_keys_is_live_but_not_ready() {
    let stage = Stage::set().await;
    stage.issuer().inject(DISCOVERY_PATH, None, Fault::Reset);
    let world = stage.open("");
    let admin = world.service.admin.to_string();
    let why = format!("http://{admin}/readyz returned 503: no issuer has keys yet");
    assert_unhealthy(&check(&admin, &[]).await, &why);
    assert_healthy(&check(&admin, &["--live"]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn unix_socket_is_supported() {
    let directory = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}", directory.path().join("admin.sock").display());
    let settings = format!("server.admin_listen = [\"127.0.0.1:0\", \"{socket}\"]");
    let _world = World::with(&settings).await;
    assert_healthy(&check(&socket, &[]).await);
    let gone = format!("unix:{}", directory.path().join("gone.sock").display());
    let why = format!(
        "failed to reach /readyz on {gone} (server.admin_listen): No such file or directory (os error 2)"
    );
    assert_unhealthy(&check(&gone, &[]).await, &why);
}

#[tokio::test(flavor = "multi_thread")]
async fn unresponsive_address_is_unhealthy() {
    // The port is bound, so that no other process uses it, but nothing listens on it.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let dead = socket.local_addr().unwrap().to_string();
    let why = format!(
        "failed to reach http://{dead}/readyz (server.admin_listen): Connection refused (os error 111)"
    );
    assert_unhealthy(&check(&dead, &[]).await, &why);
    // Connections wait in the backlog and are never accepted.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let why = format!("http://{address}/readyz did not respond within 50ms");
    assert_unhealthy(&check(&address, &["--timeout", "50ms"]).await, &why);
    let why = "server.admin_listen has port 0, so the port is unknown";
    assert_unhealthy(&check("127.0.0.1:0", &[]).await, why);
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_settings_exit_with_1_because_docker_reserves_2() {
    let ended = check("9464", &[]).await;
    assert_eq!((ended.code, &*ended.stdout), (Some(1), ""));
    for expected in ["server.admin_listen[0]\n", "fix:", "JUSPAY_BFF__SERVER__ADMIN_LISTEN"] {
        assert!(ended.stderr.contains(expected), "{expected} in {}", ended.stderr);
    }
    let ended = run(bff(&["healthcheck", "--config", "/nonexistent.toml"])).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("can't be read: no such file"), "{}", ended.stderr);
}
