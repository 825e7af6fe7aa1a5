//! `juspay.egress_proxy`: calls go through a tunnel, and the proxy gets nothing but CONNECT and its own
//! credentials (promise P2).

use std::{fs, time::Duration};

use simulator::{ApiError, Fault, FaultRule};
use tempfile::TempDir;
use tokio::net::TcpSocket;

use super::owner;
use crate::support::{
    ScriptedServer, Stage, World, connect_proxy::ConnectProxy, guard, tls::TlsTerminator, until,
};

/// Only the proxy can resolve this name (RFC 6761).
const JUSPAY: &str = "juspay.invalid";

const READ: &str = "juspay_bff_secret_last_reload_success_timestamp_seconds\
                    {secret=\"egress_proxy_credentials\"}";

/// New credentials, which the secret check finds in plain and in Base64.
fn new_credentials() -> String {
    format!("canary_user:canary_{:032x}:x", rand::random::<u128>())
}

/// Settings for this proxy, and for Juspay over TLS with a name that only the proxy can resolve.
fn settings(proxy: impl std::fmt::Display) -> String {
    format!(
        "auth.allow_local_issuer = true\njuspay.base_url = \"https://{JUSPAY}:8443\"\n\
         juspay.egress_proxy = \"http://{proxy}\"\n"
    )
}

/// Juspay with TLS behind a proxy that works, and files for the service.
struct Behind {
    stage: Stage,
    end: TlsTerminator,
    proxy: ConnectProxy,
    files: TempDir,
}

impl Behind {
    /// Juspay's certificate is for `name`.
    async fn new(name: &str) -> Self {
        let stage = Stage::set().await;
        let juspay = stage.simulator().base_url().strip_prefix("http://").unwrap();
        let end = TlsTerminator::new(name, juspay.parse().unwrap()).await;
        let proxy = ConnectProxy::to(end.address).await;
        let files = TempDir::new().unwrap();
        fs::write(files.path().join("ca.pem"), &end.ca).unwrap();
        Self { stage, end, proxy, files }
    }

    async fn open(self, more: &str) -> (World, TlsTerminator, ConnectProxy, TempDir) {
        let Self { stage, end, proxy, files } = self;
        let ca = files.path().join("ca.pem");
        let trust = format!("juspay.ca_file = \"{}\"\n", ca.display());
        let world = stage.open_ready(&[&settings(proxy.address), &trust, more].concat()).await;
        (world, end, proxy, files)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_proxy_gets_only_connect_and_tls_is_with_juspay() {
    let (world, end, proxy, _files) = Behind::new(JUSPAY).await.open("").await;
    for customer in ["alice", "bob"] {
        assert_eq!(owner(&world.client(customer).me().await), customer);
    }
    assert_eq!(end.names().first(), Some(&Some(JUSPAY.to_owned())));
    let agent = format!("juspay-bff/{}", env!("CARGO_PKG_VERSION"));
    let head = format!(
        "CONNECT {JUSPAY}:8443 HTTP/1.1\r\nHost: {JUSPAY}:8443\r\nUser-Agent: {agent}\r\n\r\n"
    );
    // A connection for each worker at most. The issuer is fetched without the proxy.
    let heads = proxy.heads();
    assert!((1..=2).contains(&heads.len()), "{heads:?}");
    assert!(heads.iter().all(|it| *it == head), "{heads:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tunnel_is_reused() {
    let (world, _end, proxy, _files) = Behind::new(JUSPAY).await.open("server.workers = 1").await;
    for customer in ["alice", "bob", "carol"] {
        assert_eq!(owner(&world.client(customer).me().await), customer);
    }
    assert_eq!((proxy.heads().len(), world.upstream("success").await), (1, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_proxy_that_answers_for_juspay_gets_no_key() {
    let (world, end, _proxy, _files) = Behind::new("other.invalid").await.open("").await;
    assert_eq!(world.client("alice").me().await.code(), "upstream_error");
    assert_eq!(world.upstream("connection").await, 1);
    assert_eq!((end.names(), world.simulator().total_requests()), (Vec::new(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_credentials_go_to_the_proxy_only_and_are_reloaded() {
    let behind = Behind::new(JUSPAY).await;
    let file = behind.files.path().join("proxy");
    let (old, new) = (new_credentials(), new_credentials());
    fs::write(&file, format!("{old}\n")).unwrap();
    behind.proxy.require(&old);
    let setting = format!("juspay.egress_proxy_credentials_file = \"{}\"\n", file.display());
    let more = format!("server.workers = 1\nsecrets.poll = \"100ms\"\n{setting}");
    let (world, _end, proxy, _files) = behind.open(&more).await;
    assert_eq!(owner(&world.client("alice").me().await), "alice");
    assert!(world.metric(READ).await > 0.0);
    let requests = world.simulator().requests();
    assert!(requests.iter().all(|it| it.header("proxy-authorization").is_none()));

    // Existing tunnels stay open, so the next call needs a new one.
    proxy.require(&new);
    world.simulator().inject(FaultRule::once(Fault::Interim { status: 103, gap_ms: 0 }));
    world.client("bob").me().await;
    let reply = world.client("carol").me().await;
    assert_eq!((reply.status, &*reply.code()), (502, "upstream_error"));
    let lines = guard::log_lines("juspay.egress_proxy_credentials_file");
    let line = lines.iter().find(|it| it.contains("call to Juspay failed")).expect("a log line");
    for part in ["407", "USER:PASSWORD", "\"cause\":\"egress_proxy\"", "\"outcome\":\"connection\""]
    {
        assert!(line.contains(part), "{part}: {line}");
    }
    // The failure is remembered for 1 s, unless the credentials change.
    fs::write(&file, &new).unwrap();
    world.clock.advance(Duration::from_millis(100));
    let is_reloaded = async || {
        let lines = guard::log_lines("\"secret\":\"egress_proxy_credentials\"");
        lines.iter().any(|line| line.contains("secret reloaded"))
    };
    until("a reload", is_reloaded).await;
    assert_eq!(owner(&world.client("carol").me().await), "carol");
}

/// The proxy's response to CONNECT, and a part of the log line.
const FAILURES: &[(&str, &str)] = &[
    ("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", "(407)"),
    ("HTTP/1.0 401 Unauthorized\r\n\r\n", "rejected the given ones (401)"),
    ("HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno!", "with status 403"),
    ("HTTP/1.0 502 Bad Gateway\r\n\r\n", "with status 502"),
    ("HTTP/1.1 301 Moved\r\nLocation: https://juspay.invalid/\r\n\r\n", "with status 301"),
    ("HTTP/1.1 100 Continue\r\n\r\n", "with status 100"),
    ("HTTP/1.1 200 OK\r\n\r\nx", "no valid response to CONNECT"),
    ("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "no valid response to CONNECT"),
    ("SSH-2.0-OpenSSH_9.2\r\n", "no valid response to CONNECT"),
    ("HTTP/1.1 200 OK\r\nA", "no valid response to CONNECT"),
    ("", "no valid response to CONNECT"),
];

#[tokio::test(flavor = "multi_thread")]
async fn p2_refused_tunnel_is_an_upstream_error_and_gets_no_byte() {
    for (response, expected) in FAILURES {
        let proxy = ScriptedServer::new().await;
        let world = World::with(&settings(proxy.address)).await;
        let waiting = world.client("alice").begin().await;
        let mut connection = proxy.accept().await;
        connection.request().await;
        connection.say(response).await;
        connection.end().await;
        let reply = waiting.reply().await;
        assert_eq!((reply.status, &*reply.code()), (502, "upstream_error"), "{response}");
        assert_eq!(connection.closed().await, b"", "{response}");
        assert_eq!(world.upstream("connection").await, 1, "{response}");
        let id = reply.header("x-request-id").unwrap();
        let lines = guard::log_lines(&format!("\"request_id\":\"{id}\""));
        assert!(lines.iter().any(|line| line.contains(expected)), "{response}: {lines:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_head_is_rejected_before_its_end() {
    for field in ["A: bcdefg\r\n", "aaaaaaaaaa"] {
        let proxy = ScriptedServer::new().await;
        let world = World::with(&settings(proxy.address)).await;
        let waiting = world.client("alice").begin().await;
        let mut connection = proxy.accept().await;
        connection.request().await;
        connection.say(format!("HTTP/1.1 200 OK\r\n{}", field.repeat(1_000))).await;
        assert_eq!(waiting.reply().await.code(), "upstream_error", "{field}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_may_arrive_in_parts() {
    let proxy = ScriptedServer::new().await;
    let world = World::with(&settings(proxy.address)).await;
    let waiting = world.client("alice").begin().await;
    let mut connection = proxy.accept().await;
    connection.request().await;
    for byte in b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" {
        connection.say([*byte]).await;
        tokio::task::yield_now().await;
    }
    // The next byte is of a TLS handshake (RFC 8446 §5.1).
    assert_eq!(connection.byte().await, 22);
    drop(connection);
    assert_eq!(waiting.reply().await.code(), "upstream_error");
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_timeout_covers_the_response_to_connect() {
    let proxy = ScriptedServer::new().await;
    let over = format!("{}juspay.connect_timeout = \"50ms\"", settings(proxy.address));
    let world = World::with(&over).await;
    let waiting = world.client("alice").begin().await;
    let mut connection = proxy.accept().await;
    connection.request().await;
    connection.say("HTTP/1.1 200 OK\r\n").await;
    assert_eq!(waiting.reply().await.code(), "upstream_error");
    assert_eq!(world.upstream("connection").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6_address_of_juspay_is_in_brackets() {
    let proxy = ScriptedServer::new().await;
    let over = settings(proxy.address).replace(JUSPAY, "[2001:db8::1]").replace(":8443", "");
    let world = World::with(&over).await;
    let waiting = world.client("alice").begin().await;
    let mut connection = proxy.accept().await;
    let head = connection.request().await;
    let start = "CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n";
    assert!(head.starts_with(start), "{head}");
    drop(connection);
    assert_eq!(waiting.reply().await.code(), "upstream_error");
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_proxy_opens_the_breaker() {
    // The port is bound, so that no other process uses it, but nothing listens on it.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let over = settings(socket.local_addr().unwrap());
    let world = World::with(&format!("{over}juspay.breaker.min_calls = 5")).await;
    for nth in 0..5 {
        assert_eq!(world.client(&format!("c{nth}")).me().await.code(), "upstream_error");
    }
    assert_eq!(world.client("alice").me().await.code(), "upstream_unavailable");
    assert!(!guard::log_lines("no connection to the egress proxy").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_address_is_the_proxys() {
    let (world, _end, _proxy, _files) = Behind::new(JUSPAY).await.open("").await;
    world.simulator().inject(FaultRule::always(Fault::Error(ApiError::BadOrigin)));
    assert_eq!(world.client("alice").me().await.code(), "upstream_rejected_origin");
    assert!(!guard::log_lines("rejected the address of the egress proxy").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs tinyproxy: run tests/egress_proxy/run"]
async fn tinyproxy_opens_tunnels_for_the_right_credentials() {
    // A host that isn't a loopback address by name, but leads to this machine on Linux.
    let Behind { stage, end, files, .. } = Behind::new("0.0.0.0").await;
    let at = |name: &str| files.path().join(name);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let credentials = new_credentials().replace(":x", "");
    let (user, password) = credentials.split_once(':').unwrap();
    let tunnels = end.address.port();
    let configuration = format!(
        "Listen 127.0.0.1\nPort {}\nBasicAuth {user} {password}\nConnectPort {tunnels}\n",
        free.port()
    );
    fs::write(at("tinyproxy.conf"), configuration).unwrap();
    fs::write(at("proxy"), "canary_user:wrong").unwrap();
    let mut tinyproxy = tokio::process::Command::new("tinyproxy");
    tinyproxy.args(["-d", "-c"]).arg(at("tinyproxy.conf")).kill_on_drop(true);
    let _running = tinyproxy.stdout(std::process::Stdio::null()).spawn().unwrap();
    until("tinyproxy", async || std::net::TcpStream::connect(free).is_ok()).await;
    let over = format!(
        "juspay.ca_file = \"{}\"\njuspay.egress_proxy_credentials_file = \"{}\"\n",
        at("ca.pem").display(),
        at("proxy").display()
    );
    let over = [settings(free).replace(&format!("{JUSPAY}:8443"), &end.address.to_string()), over];
    let over = over.concat().replace("https://127.0.0.1", "https://0.0.0.0");
    let world = stage.open_ready(&over).await;
    assert_eq!(world.client("alice").me().await.code(), "upstream_error");
    let lines = guard::log_lines("call to Juspay failed");
    assert!(lines.iter().any(|line| line.contains("(401)")), "{lines:?}");
    fs::write(at("proxy"), &credentials).unwrap();
    let succeeds = async || world.client("alice").me().await.status == 200;
    world.advance_until("the right credentials", Duration::from_secs(10), succeeds).await;
    assert_eq!(owner(&world.client("bob").me().await), "bob");
}
