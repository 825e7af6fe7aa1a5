//! The TLS listener, with a client that trusts the generated authority only.

use std::{io::ErrorKind, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::*;
use crate::{Fault, FaultRule, Tls};

async fn over_tls(names: &[&str]) -> Running {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    let tls = Some(Tls { listen: super::super::loopback(0), names });
    start(Config { tls, ..Config::on_free_ports() }).await.unwrap()
}

/// Connects to `running` as if its name were `name`.
async fn connect(running: &Running, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let access = running.tls().unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(access.ca.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(access.address).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// The whole response to a request that closes the connection.
async fn exchange(stream: &mut TlsStream<TcpStream>, request: &str) -> std::io::Result<String> {
    stream.write_all(request.as_bytes()).await?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    Ok(response)
}

fn closing(id: &str) -> String {
    get(id).replace("HTTP/1.1\r\n", "HTTP/1.1\r\nConnection: close\r\n")
}

#[tokio::test]
async fn certificate_covers_this_machine_and_the_given_names() {
    let running = over_tls(&["juspay.test", "192.0.2.7"]).await;
    for name in ["localhost", "127.0.0.1", "::1", "juspay.test", "192.0.2.7"] {
        let mut stream =
            connect(&running, name).await.unwrap_or_else(|why| panic!("{name}: {why}"));
        let response = exchange(&mut stream, &closing("alice")).await.unwrap();
        assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
        assert!(response.contains("\"client_auth_token\""), "{response}");
    }
    assert!(connect(&running, "api.juspay.in").await.is_err());
    let other = over_tls(&[]).await;
    assert_ne!(other.tls().unwrap().ca, running.tls().unwrap().ca, "a new one at each start");
    assert!(connect(&other, "juspay.test").await.is_err());
}

#[tokio::test]
async fn both_listeners_share_customers_journal_and_connection_numbers() {
    let running = over_tls(&[]).await;
    let mut plain = Peer::of(running.simulator().base_url()).await;
    plain.exchange(&post("/customers/alice", "first_name=Alia")).await;
    let mut stream = connect(&running, "localhost").await.unwrap();
    assert!(exchange(&mut stream, &closing("alice")).await.unwrap().contains("Alia"));
    let requests = running.simulator().requests();
    assert_eq!(requests.iter().map(|it| it.connection).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn faults_of_bytes_work_over_tls() {
    let running = over_tls(&[]).await;
    let simulator = running.simulator();
    simulator.inject(FaultRule::once(Fault::NoLength).of("without_length"));
    let mut stream = connect(&running, "localhost").await.unwrap();
    let response = exchange(&mut stream, &closing("without_length")).await.unwrap();
    assert!(response.ends_with("}}"), "ended by close_notify: {response}");
    simulator.inject(FaultRule::once(Fault::Reset).of("reset"));
    let mut stream = connect(&running, "localhost").await.unwrap();
    let broken = exchange(&mut stream, &closing("reset")).await.unwrap_err().kind();
    assert_eq!(broken, ErrorKind::ConnectionReset);
    simulator.inject(FaultRule::once(Fault::ByteByByte).of("slow"));
    let mut stream = connect(&running, "localhost").await.unwrap();
    assert!(exchange(&mut stream, &closing("slow")).await.unwrap().ends_with("}}"));
}

#[tokio::test]
async fn plain_http_to_the_tls_port_is_not_answered() {
    let running = over_tls(&[]).await;
    let mut peer = Peer::of(&format!("http://{}", running.tls().unwrap().address)).await;
    peer.send(&get("alice")).await;
    assert!(!peer.rest().await.contains("HTTP/1.1"));
    assert_eq!(running.simulator().total_requests(), 0);
}
