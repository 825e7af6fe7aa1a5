//! TLS on the public listener: versions and protocols, new certificates without a restart, client
//! certificates.

use std::{fs, path::Path, time::Duration};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{
    Client, Stage, World,
    authority::{Authority, Pair, TlsClient},
    guard,
    keep_alive::answer,
    until, with_timeout,
};

const POLL: Duration = Duration::from_secs(10);
const READ: &str = "juspay_bff_secret_last_reload_success_timestamp_seconds{secret=\"server_tls\"}";
const NOT_AFTER: &str =
    "juspay_bff_tls_certificate_not_after_timestamp_seconds{certificate=\"server\"}";

/// A world with TLS, its certificate authority and its files.
struct Secured {
    world: World,
    authority: Authority,
    pair: Pair,
    directory: TempDir,
}

impl Secured {
    async fn new() -> Self {
        Self::with(|_| String::new()).await
    }

    /// Requests client certificates issued by `clients`.
    async fn with_client_auth(clients: &Authority, auth: &str) -> Self {
        Self::with(|directory| {
            let path = directory.join("clients.pem");
            fs::write(&path, &clients.pem).unwrap();
            format!("client_ca_file = '{}'\nclient_auth = '{auth}'\n", path.display())
        })
        .await
    }

    /// With additional settings of `[server.tls]`.
    async fn with(settings: impl FnOnce(&Path) -> String) -> Self {
        let (authority, directory) = (Authority::new(), TempDir::new().unwrap());
        let pair = authority.server(2030);
        let tls = tls(&pair.write(directory.path()));
        let settings = format!("{tls}{}", settings(directory.path()));
        let world = Stage::set().await.open_ready(&settings).await;
        Self { world, authority, pair, directory }
    }

    fn client(&self, own: Option<&Pair>) -> TlsClient {
        self.authority.tls_client(self.world.service.public, own)
    }

    fn token(&self) -> String {
        self.world.client("alice").token.unwrap()
    }

    async fn is_served(&self, client: &TlsClient) -> bool {
        match client.me(&self.token()).await {
            Ok(reply) => {
                assert_eq!(reply.json()["object_reference_id"], "alice");
                true
            }
            Err(_) => false,
        }
    }
}

fn tls(files: &[std::path::PathBuf; 2]) -> String {
    let [certificate, key] = files.each_ref().map(|path| path.display());
    format!("[server.tls]\ncert_file = '{certificate}'\nkey_file = '{key}'\n")
}

/// The server's certificate on a new connection.
async fn certificate(client: &TlsClient) -> Vec<u8> {
    let stream = client.connect().await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_1_2_and_1_3_are_served() {
    let secured = Secured::new().await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let address = secured.world.service.public;
        let client = secured.authority.tls_client_of(address, None, &[version]);
        let mut stream = client.connect().await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
        let reply = client.ask(&mut stream, &secured.token()).await.unwrap();
        assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
    }
    assert_eq!(
        secured.world.admin().get("/livez").await.status,
        200,
        "the admin listener stays without TLS"
    );
    let ok = "juspay_bff_tls_handshakes_total{outcome=\"ok\"}";
    assert_eq!(secured.world.count(ok).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn alpn_offers_only_http_1_1() {
    let secured = Secured::new().await;
    let client = secured.client(None);
    for (offered, agreed) in [
        (&["h2", "http/1.1"][..], Some(&b"http/1.1"[..])),
        (&["http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let stream = client.offering(offered).connect().await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed, "{offered:?}");
    }
    assert!(client.offering(&["h2"]).connect().await.is_err(), "no common protocol");
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_plain_http_gets_no_response_and_older_tls_an_alert() {
    let secured = Secured::new().await;
    let plain = secured.world.client("alice");
    let request = "GET /me/customer HTTP/1.1\r\nHost: a\r\n\r\n";
    let response = plain.garbage(request.as_bytes()).await;
    assert!(!response.starts_with(b"HTTP"), "{response:?}");
    // A ClientHello of TLS 1.1 with one suite (RFC 4346 §7.4.1.2).
    let body = [&[3, 2][..], &[7; 32], &[0, 0, 2, 0, 0x2f, 1, 0]].concat();
    let length = u8::try_from(body.len()).unwrap();
    let hello = [&[1, 0, 0, length][..], &body].concat();
    let record = [&[0x16, 3, 1, 0, length + 4][..], &hello].concat();
    let response = plain.garbage_and_end(&record).await;
    assert_eq!(response.first(), Some(&0x15), "an alert: {response:?}");
    assert!(secured.is_served(&secured.client(None)).await);
    let failed = "juspay_bff_tls_handshakes_total{outcome=\"failed\"}";
    assert_eq!(secured.world.count(failed).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_unfinished_handshakes_time_out_and_delay_no_client() {
    let secured = Secured::new().await;
    let address = secured.world.service.public;
    let mut idle = Vec::new();
    for _ in 0..600 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    assert!(secured.is_served(&secured.client(None)).await);
    let timeout = "juspay_bff_tls_handshakes_total{outcome=\"timeout\"}";
    let all = async || secured.world.count(timeout).await == 600;
    secured.world.advance_until("the end of all", Duration::from_secs(1), all).await;
    for mut stream in idle {
        let mut bytes = Vec::new();
        with_timeout("the end", async { drop(stream.read_to_end(&mut bytes).await) }).await;
        assert_eq!(bytes, b"");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn renewed_certificate_applies_to_new_connections() {
    let secured = Secured::new().await;
    let (world, client) = (&secured.world, secured.client(None));
    assert_eq!(certificate(&client).await, secured.pair.der().to_vec());
    assert_eq!(world.count(NOT_AFTER).await, 1_893_456_000);
    let mut old = client.connect().await.unwrap();
    let token = secured.token();
    let request = format!(
        "GET /me/customer HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    old.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(answer(&mut old).await.status, 200);
    let new = secured.authority.server(2031);
    new.write(secured.directory.path());
    assert_eq!(certificate(&client).await, secured.pair.der().to_vec(), "not before the next poll");
    let is_in_use = async || certificate(&client).await == new.der().to_vec();
    world.advance_until("the new certificate", Duration::from_secs(1), is_in_use).await;
    world.until_count(NOT_AFTER, 1_924_992_000).await;
    let reply = client.ask(&mut old, &token).await.unwrap();
    assert_eq!(reply.status, 200, "open connections are kept");
    assert!(secured.is_served(&client).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_pair_is_ignored_and_logged_once() {
    let secured = Secured::new().await;
    let (world, client) = (&secured.world, secured.client(None));
    let new = secured.authority.server(2031);
    let path = |name: &str| secured.directory.path().join(name);
    for (name, content, why) in [
        ("tls.crt", new.certificate.as_str(), "does not match"),
        ("tls.crt", "hush", "contains no certificate"),
        ("tls.key", "", "is empty"),
        (
            "tls.key",
            "-----BEGIN PRIVATE KEY-----\naHVzaA==\n-----END PRIVATE KEY-----",
            "in the file is invalid",
        ),
    ] {
        let warnings =
            || guard::log_lines("server_tls").into_iter().filter(|it| it.contains(why)).count();
        let (before, read) = (warnings(), world.count(READ).await);
        fs::write(path(name), content).unwrap();
        world
            .advance_until("a warning", Duration::from_secs(1), async || warnings() > before)
            .await;
        let last = world.count(READ).await;
        assert!(last - read <= 10, "{why}: the valid pair was read until then");
        world.clock.advance(POLL * 3);
        for _ in 0..8 {
            assert_eq!(certificate(&client).await, secured.pair.der().to_vec(), "{why}");
        }
        assert_eq!((world.count(READ).await, warnings()), (last, before + 1), "{why}");
        secured.pair.write(secured.directory.path());
        let is_read = async || world.count(READ).await > last;
        world.advance_until("a successful reload", Duration::from_secs(1), is_read).await;
    }
    assert!(guard::log_lines("hush").is_empty() && guard::log_lines("BEGIN").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn client_certificate_is_checked_and_may_be_required() {
    let (clients, others) = (Authority::new(), Authority::new());
    let (good, bad) = (clients.client("gateway"), others.client("gateway"));
    for (auth, without) in [("required", false), ("optional", true)] {
        let secured = Secured::with_client_auth(&clients, auth).await;
        assert!(secured.is_served(&secured.client(Some(&good))).await, "{auth}");
        assert!(!secured.is_served(&secured.client(Some(&bad))).await, "{auth}");
        let server = secured.pair.clone();
        assert!(!secured.is_served(&secured.client(Some(&server))).await, "{auth}: no client's");
        assert_eq!(secured.is_served(&secured.client(None)).await, without, "{auth}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_client_authority_is_no_longer_accepted() {
    let (old, new) = (Authority::new(), Authority::new());
    let (olds, news) = (old.client("gateway"), new.client("gateway"));
    let secured = Secured::with_client_auth(&old, "required").await;
    let [olds, news] = [&olds, &news].map(|own| secured.client(Some(own)));
    assert!(secured.is_served(&olds).await && !secured.is_served(&news).await);
    fs::write(secured.directory.path().join("clients.pem"), &new.pem).unwrap();
    let is_accepted = async || secured.is_served(&news).await;
    secured.world.advance_until("the new one", Duration::from_secs(1), is_accepted).await;
    // The same client, which would resume its session if it had one.
    assert!(!secured.is_served(&olds).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn unix_sockets_stay_plain() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("bff.sock");
    let files = Authority::new().server(2030).write(directory.path());
    let listen = format!("server.listen = ['127.0.0.1:0', 'unix:{}']\n", path.display());
    let world = World::with(&(listen + &tls(&files))).await;
    let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    let token = world.client("alice").token.unwrap();
    let request = format!(
        "GET /me/customer HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    with_timeout("a response", stream.read_to_string(&mut response)).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    let plain = Client::new(world.service.public, Some(token));
    assert!(plain.try_raw(&request).await.is_err(), "the TCP listener requires TLS");
    until("the end of all", async || world.count("juspay_bff_http_connections").await == 0).await;
}
