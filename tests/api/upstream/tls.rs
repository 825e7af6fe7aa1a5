//! Juspay over TLS, with a private certificate authority (`juspay.ca_file`).

use std::{fs, net::SocketAddr};

use tempfile::NamedTempFile;

use super::owner;
use crate::support::{Stage, World, tls::TlsTerminator, until};

fn address(stage: &Stage) -> SocketAddr {
    stage.simulator().base_url().strip_prefix("http://").unwrap().parse().unwrap()
}

/// A world that connects to Juspay through `end` and trusts the certificates in `ca_file`.
async fn world_through(
    stage: Stage,
    host: &str,
    end: &TlsTerminator,
    ca_file: Option<&str>,
) -> World {
    let file = NamedTempFile::new().unwrap();
    let trust = ca_file.map_or_else(String::new, |ca| {
        fs::write(&file, ca).unwrap();
        format!("juspay.ca_file = \"{}\"\n", file.path().display())
    });
    let port = end.address.port();
    stage.open_ready(&format!("{trust}juspay.base_url = \"https://{host}:{port}\"")).await
}

async fn no_request_is_sent(world: &World, end: &TlsTerminator) {
    for calls in 1..=2 {
        let reply = world.client("alice").me().await;
        assert_eq!((reply.status, &*reply.code()), (502, "upstream_error"));
        until("a rejected certificate", async || end.refused() == calls).await;
        world.purge_all().await;
    }
    assert_eq!(world.upstream("connection").await, 2);
    assert_eq!(world.simulator().total_requests(), 0, "no key was sent");
    assert_eq!(end.protocols(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn server_certified_by_the_ca_file_is_used() {
    for host in ["127.0.0.1", "localhost"] {
        let stage = Stage::set().await;
        let end = TlsTerminator::new(host, address(&stage)).await;
        let world = world_through(stage, host, &end, Some(&end.ca)).await;
        assert_eq!(owner(&world.client("alice").me().await), "alice");
        assert_eq!(world.simulator().calls("alice"), 1);
        // Never HTTP/2, although the server prefers it.
        assert_eq!(end.protocols(), [Some(b"http/1.1".to_vec())], "{host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_server_without_trusted_certificate_gets_no_key() {
    let stage = Stage::set().await;
    let end = TlsTerminator::new("127.0.0.1", address(&stage)).await;
    let world = world_through(stage, "127.0.0.1", &end, None).await;
    no_request_is_sent(&world, &end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_server_of_another_authority_gets_no_key() {
    let stage = Stage::set().await;
    let end = TlsTerminator::new("127.0.0.1", address(&stage)).await;
    let other = TlsTerminator::new("127.0.0.1", address(&stage)).await;
    let world = world_through(stage, "127.0.0.1", &end, Some(&other.ca)).await;
    no_request_is_sent(&world, &end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_server_certified_for_another_name_gets_no_key() {
    let stage = Stage::set().await;
    let end = TlsTerminator::new("api.juspay.in", address(&stage)).await;
    let world = world_through(stage, "127.0.0.1", &end, Some(&end.ca)).await;
    no_request_is_sent(&world, &end).await;
}
