//! Trusted gateway mode: one header names the customer, and only the gateway may send it (promise
//! P1).

use std::{net::SocketAddr, path::Path};

use simulator::MintRequest;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

use crate::support::{
    Reply, Stage, World,
    authority::{Authority, TlsClient},
    guard, until, with_timeout,
};

const ON: &str = "auth.gateway.header = 'X-Customer-Id'\n";

async fn gateway_world(settings: &str) -> World {
    let world = Stage::set().await.open_without_issuers(&format!("{ON}{settings}"));
    // The service is ready without fetching anything.
    assert_eq!(world.admin().get("/readyz").await.status, 200);
    world
}

fn owner(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["object_reference_id"].as_str().unwrap().to_owned()
}

fn request(lines: &str) -> String {
    format!("GET /me/customer HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}\r\n")
}

fn parsed(request: &str, bytes: &[u8]) -> Reply {
    let reply = Reply::parse(bytes).expect("a whole answer");
    guard::answered(request, &reply);
    reply
}

async fn over_unix(path: &Path, lines: &str) -> Reply {
    let request = request(lines);
    let exchange = async {
        let mut stream = UnixStream::connect(path).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.map(|_| bytes)
    };
    parsed(&request, &with_timeout("an answer", exchange).await.unwrap())
}

async fn over_tls(client: &TlsClient, lines: &str) -> std::io::Result<Reply> {
    let request = request(lines);
    let mut stream = client.connect().await?;
    let exchange = async {
        stream.write_all(request.as_bytes()).await?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.map(|_| bytes)
    };
    let bytes = with_timeout("an answer", exchange).await?;
    Reply::parse(&bytes).ok_or_else(|| std::io::Error::other("no answer"))?;
    Ok(parsed(&request, &bytes))
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_over_loopback_only_the_header_names_the_customer() {
    let world = gateway_world("").await;
    let token = world.issuer().mint(&MintRequest::of("mallory")).unwrap();
    let me = async |lines: &str| world.anonymous().request("GET", "/me/customer", lines).await;
    for (lines, customer) in [
        ("X-Customer-Id: alice\r\n", "alice"),
        ("x-customer-id:bob \r\n", "bob"),
        ("X-Customer-Id: alice\r\nX-Forwarded-User: mallory\r\n", "alice"),
        (&format!("X-Customer-Id: alice\r\nAuthorization: Bearer {token}\r\n"), "alice"),
        ("X-Customer-Id: alice\r\nX_Customer_Id: mallory\r\n", "alice"),
    ] {
        assert_eq!(owner(&me(lines).await), customer, "{lines}");
    }
    for (lines, status, code) in [
        ("", 401, "missing_token"),
        (&*format!("Authorization: Bearer {token}\r\n"), 401, "missing_token"),
        ("X-Customer-Id: alice\r\nX-Customer-Id: alice\r\n", 400, "invalid_request"),
        ("X-Customer-Id: alice\r\nX-Customer-Id: bob\r\n", 400, "invalid_request"),
        ("X-Customer-Id: alice,bob\r\n", 400, "invalid_request"),
        ("X-Customer-Id: \r\n", 403, "no_customer"),
        ("X-Customer-Id: ../bob\r\n", 403, "no_customer"),
    ] {
        let reply = me(lines).await;
        assert_eq!((reply.status, &*reply.code()), (status, code), "{lines}");
    }
    assert_eq!(world.simulator().calls("mallory"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_over_a_unix_socket_the_header_names_the_customer() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("public");
    let listen = format!("server.listen = 'unix:{}'\n", path.display());
    let world = gateway_world(&listen).await;
    assert_eq!(owner(&over_unix(&path, "X-Customer-Id: alice\r\n").await), "alice");
    assert_eq!(over_unix(&path, "").await.code(), "missing_token");
    drop(world);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_over_tls_only_the_configured_subject_is_accepted() {
    let (servers, clients, unknown) = (Authority::new(), Authority::new(), Authority::new());
    let directory = TempDir::new().unwrap();
    let ca = directory.path().join("clients.pem");
    std::fs::write(&ca, &clients.pem).unwrap();
    let [certificate, key] = servers.server(2030).write(directory.path());
    for subjects in ["'gateway'", "'x', 'spiffe://example/gateway'"] {
        // With TLS, any client address is allowed.
        let settings = format!(
            "auth.gateway.client_subjects = [{subjects}]\nserver.listen = '0.0.0.0:0'\n\
             [server.tls]\ncert_file = '{}'\nkey_file = '{}'\nclient_ca_file = '{}'\n\
             client_auth = 'required'\n",
            certificate.display(),
            key.display(),
            ca.display(),
        );
        let world = gateway_world(&settings).await;
        let address: SocketAddr = world.service.public;
        let alice = "X-Customer-Id: alice\r\n";
        let gateway = servers.tls_client(address, Some(&clients.client("gateway")));
        assert_eq!(owner(&over_tls(&gateway, alice).await.unwrap()), "alice");
        for name in ["gateway2", "Gateway", "phone"] {
            let other = servers.tls_client(address, Some(&clients.client(name)));
            let reply = over_tls(&other, alice).await.unwrap();
            assert_eq!((reply.status, &*reply.code()), (401, "invalid_token"), "{name}");
        }
        let forged = servers.tls_client(address, Some(&unknown.client("gateway")));
        for rejected in [servers.tls_client(address, None), forged] {
            assert!(over_tls(&rejected, alice).await.is_err());
        }
        assert_eq!(world.simulator().total_requests(), 1);
        let series = "juspay_bff_auth_failures_total{reason=\"untrusted_peer\"}";
        until("the count", async || world.metric(series).await > 2.0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_forwarded_headers_are_ignored_without_gateway_mode() {
    let world = World::new().await;
    let forwarded = [
        "X-Customer-Id",
        "X-Forwarded-User",
        "X-Auth-Request-User",
        "X-Remote-User",
        "X-User-Id",
        "X-Forwarded-Client-Cert",
        "Forwarded",
    ];
    for name in forwarded {
        let lines = format!("{name}: mallory\r\n");
        let anonymous = world.anonymous().request("GET", "/me/customer", &lines).await;
        assert_eq!((anonymous.status, &*anonymous.code()), (401, "missing_token"), "{name}");
        let alice = world.client("alice").request("GET", "/me/customer", &lines).await;
        assert_eq!(owner(&alice), "alice", "{name}");
    }
    assert_eq!(world.simulator().calls("mallory"), 0);
}
