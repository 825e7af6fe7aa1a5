//! What handlers see of a connection, and the numbers of workers and connections.

use std::{fs, net::SocketAddr};

use actix_web::{App, HttpRequest, HttpResponse, web};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose as Usage, IsCa, Issuer,
    KeyPair, SanType,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use super::*;
use crate::{clock::SystemClock, settings::Sources};

/// The PEM of an authority, and of a certificate by it with its key.
fn certified(name: &str, usage: Usage) -> [String; 3] {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = authority.self_signed(&authority_key).unwrap().pem();
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names.push(SanType::URI("spiffe://example/x".try_into().unwrap()));
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &Issuer::new(authority, authority_key)).unwrap();
    [pem, certificate.pem(), key.serialize_pem()]
}

fn settings(directory: &TempDir) -> Settings {
    let at = |name: &str| directory.path().join(name).display().to_string();
    let text = format!(
        "server.listen = '127.0.0.1:0'\nserver.workers = 1\n\
         juspay = {{ base_url = 'https://a', merchant_id = 'm', api_key = 'k' }}\n\
         [auth.issuers.main]\nissuer = 'i'\naudiences = ['a']\nalgorithms = ['RS256']\n\
         jwks_url = 'https://a'\n[server.tls]\ncert_file = '{}'\nkey_file = '{}'\n\
         client_ca_file = '{}'\nclient_auth = 'optional'",
        at("crt"),
        at("key"),
        at("ca")
    );
    Sources::default().text("x", text).load().unwrap().settings
}

/// Returns the names in the client's certificate.
async fn whoami(request: HttpRequest) -> HttpResponse {
    let connection = request.conn_data::<ConnectionInfo>().unwrap();
    HttpResponse::Ok().body(format!("{:?}", connection.client_certificate))
}

async fn response(address: SocketAddr, config: &ClientConfig) -> String {
    let connector = TlsConnector::from(Arc::new(config.clone()));
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("server.example").unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}

#[actix_web::test]
async fn handlers_see_the_names_of_the_client_certificate() {
    let directory = TempDir::new().unwrap();
    let [server_ca, certificate, key] = certified("server.example", Usage::ServerAuth);
    let [client_ca, own, own_key] = certified("gateway.example", Usage::ClientAuth);
    for (name, content) in [("crt", certificate), ("key", key), ("ca", client_ca)] {
        fs::write(directory.path().join(name), content).unwrap();
    }
    let settings = settings(&directory);
    let tls = ServerTls::open(settings.server.tls.as_ref().unwrap()).unwrap();
    let metrics = Arc::new(Metrics::new("", "").unwrap());
    let config =
        ListenerConfig::public(&settings, Some(Arc::new(tls)), &SystemClock::shared(), &metrics);
    let listeners = Listeners::bind("server.listen", &settings.server.listen).unwrap();
    let address = listeners.addresses[0];
    let app = || App::new().route("/", web::get().to(whoami));
    let capacity = ListenerCapacity::public(&settings.server);
    let running = serve(app, &config, capacity, listeners.sockets).unwrap().start().await.unwrap();

    let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(der(&server_ca)).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let without_certificate = builder.clone().with_no_client_auth();
    assert!(response(address, &without_certificate).await.ends_with("None"));
    let own_key = PrivateKeyDer::from_pem_slice(own_key.as_bytes()).unwrap();
    let gateway = builder.with_client_auth_cert(vec![der(&own)], own_key).unwrap();
    let peer = PeerCertificate {
        common_name: Some("gateway.example".to_owned()),
        dns_names: vec!["gateway.example".to_owned()],
        uris: vec!["spiffe://example/x".to_owned()],
    };
    let named = response(address, &gateway).await;
    assert!(named.ends_with(&format!("{:?}", Some(peer))), "{named}");
    running.stop().await;
}

#[test]
fn workers_and_connections_never_exceed_max_connections() {
    let directory = TempDir::new().unwrap();
    let [ca, certificate, key] = certified("server.example", Usage::ServerAuth);
    for (name, content) in [("crt", certificate), ("key", key), ("ca", ca)] {
        fs::write(directory.path().join(name), content).unwrap();
    }
    let mut server = settings(&directory).server;
    for (workers, most, expected) in [
        (1, 1, (1, 1)),
        (4, 1, (1, 1)),
        (4, 3, (3, 1)),
        (3, 8192, (3, 2730)),
        (512, 1_000_000, (512, 1953)),
    ] {
        (server.workers, server.max_connections) = (Some(workers), most);
        let ListenerCapacity { workers, connections, .. } = ListenerCapacity::public(&server);
        assert_eq!((workers, connections), expected);
        assert!(expected.0 * expected.1 <= most);
    }
}
