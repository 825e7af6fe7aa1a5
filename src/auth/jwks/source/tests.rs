//! Which files and responses are accepted as key sets, over real sockets.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{
    auth::{
        jwks::KeySet,
        testing::{issuer, locally},
    },
    http_client::parse_allowed_url,
    tls,
};

/// A server with one response per path. Also records the requests.
async fn server(respond: impl Fn(&str, u16) -> String + 'static) -> (u16, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let requests = Arc::new(Mutex::new(String::new()));
    let log = Arc::clone(&requests);
    tokio::task::spawn_local(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            serve(&mut stream, &log, |path| respond(path, port)).await;
        }
    });
    (port, requests)
}

/// Responds to one request.
async fn serve(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    log: &Mutex<String>,
    respond: impl Fn(&str) -> String,
) {
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        request.push(char::from(stream.read_u8().await.unwrap()));
    }
    let path = request.split(' ').nth(1).unwrap().to_owned();
    log.lock().unwrap().push_str(&request);
    stream.write_all(respond(&path).as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
}

/// Like [`server`], over TLS for `localhost`. Also returns its self-signed certificate.
async fn tls_server(
    respond: impl Fn(&str, u16) -> String + 'static,
) -> (u16, Arc<Mutex<String>>, tempfile::NamedTempFile) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&certificate, cert.pem()).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let requests = Arc::new(Mutex::new(String::new()));
    let log = Arc::clone(&requests);
    tokio::task::spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // A client that does not trust the certificate closes the connection.
            if let Ok(mut stream) = acceptor.accept(stream).await {
                serve(&mut stream, &log, |path| respond(path, port)).await;
            }
        }
    });
    (port, requests, certificate)
}

async fn fetch(keys: KeySource) -> Result<Bytes, FetchError> {
    fetch_trusting(None, keys).await
}

async fn fetch_trusting(ca_file: Option<&Path>, keys: KeySource) -> Result<Bytes, FetchError> {
    let mut issuer = issuer();
    issuer.keys = keys;
    fetcher(&issuer, &[], &tls::client_config(ca_file).unwrap()).unwrap().fetch().await
}

fn redirect(to: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn only_complete_200_responses_are_accepted() {
    let respond = |path: &str, _port: u16| match path {
        "/valid" => ok("{\"keys\":[]}"),
        "/chunked" => {
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n".into()
        }
        "/until-close" => "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}".into(),
        "/cut" => "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{}".into(),
        "/cut-chunk" => "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\n{}".into(),
        "/until-close-1.0" => "HTTP/1.0 200 OK\r\n\r\n{}".into(),
        "/byte-order-mark" => ok("\u{feff}{\"keys\":[]}"),
        "/hints" => format!("HTTP/1.1 103 Early Hints\r\n\r\n{}", ok("{}")),
        "/empty" => "HTTP/1.1 204 No Content\r\n\r\n".into(),
        "/broken" => "HTTP/1.1 500 Oops\r\ncontent-length: 2\r\n\r\n{}".into(),
        "/largest" => ok(&" ".repeat(MAX_SET_BYTES)),
        "/large" => ok(&" ".repeat(MAX_SET_BYTES + 1)),
        "/large-chunked" => format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n",
            MAX_SET_BYTES + 1,
            " ".repeat(MAX_SET_BYTES + 1)
        ),
        _ => "nonsense\r\n\r\n".into(),
    };
    locally(async {
        let (port, requests) = server(respond).await;
        for (path, expected) in [
            ("valid", Ok(11)),
            ("until-close", Err(FetchError::Truncated)),
            ("until-close-1.0", Ok(2)),
            ("byte-order-mark", Ok(11)),
            ("chunked", Ok(2)),
            ("largest", Ok(MAX_SET_BYTES)),
            ("cut", Err(FetchError::Truncated)),
            ("hints", Err(FetchError::Status(103))),
            ("empty", Err(FetchError::Status(204))),
            ("broken", Err(FetchError::Status(500))),
            ("large", Err(FetchError::Set(SetError::TooLarge))),
            ("large-chunked", Err(FetchError::Set(SetError::TooLarge))),
            ("nonsense", Err(FetchError::Broken)),
        ] {
            let fetched = fetch(KeySource::Url(format!("http://127.0.0.1:{port}/{path}"))).await;
            assert_eq!(fetched.map(|body| body.len()), expected, "{path}");
        }
        let cut = fetch(KeySource::Url(format!("http://localhost:{port}/cut-chunk"))).await;
        let parsed = cut.map(|body| KeySet::parse(&body, &[]).is_ok());
        assert_ne!(parsed, Ok(true), "a truncated body is not a key set");
        let requests = requests.lock().unwrap().to_ascii_lowercase();
        let agent = format!("user-agent: juspay-bff/{}\r\n", env!("CARGO_PKG_VERSION"));
        assert!(requests.contains(&agent) && requests.contains("connection: close"), "{requests}");
        let accept = "accept: application/json, application/jwk-set+json;q=0.9, */*;q=0.1\r\n";
        assert!(requests.contains(accept), "{requests}");
    })
    .await;
}

/// Redirects to various addresses.
fn redirects(path: &str, port: u16) -> String {
    match path {
        "/valid" | "/a/valid" | "/query?b" | "/a/?c" => ok("the keys"),
        "/absolute" => redirect(&format!("http://127.0.0.1:{port}/valid")),
        "/upper-case" => redirect(&format!("HTTP://127.0.0.1:{port}/valid#fragment")),
        "/no-scheme" => redirect(&format!("//127.0.0.1:{port}/valid")),
        "/root" => redirect("/valid"),
        "/a/relative" => redirect("valid"),
        "/query" | "/a/" => redirect(if path == "/query" { "?b" } else { "?c" }),
        "/two" => redirect("/root"),
        "/three" => redirect("two"),
        "/loop" => redirect("/loop"),
        "/host" => redirect(&format!("http://localhost:{port}/valid")),
        "/port" => redirect("http://127.0.0.1:1/valid"),
        "/usual-port" => redirect("http://127.0.0.1/valid"),
        "/scheme" => redirect(&format!("https://127.0.0.1:{port}/valid")),
        "/user" => redirect(&format!("http://a@127.0.0.1:{port}/valid")),
        "/user-is-host" => redirect(&format!("http://127.0.0.1:{port}@evil.example/valid")),
        "/other" => redirect("//evil.example/valid"),
        "/file" => redirect("file:///etc/passwd"),
        "/nowhere" => "HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n".into(),
        "/choices" => redirect("/valid").replacen("302", "300", 1),
        "/unchanged" => redirect("/valid").replacen("302", "304", 1),
        _ => ok("wrong"),
    }
}

#[tokio::test]
async fn at_most_two_redirects_within_the_origin_are_followed() {
    let valid = || Ok(Bytes::from_static(b"the keys"));
    locally(async {
        let (port, _) = server(redirects).await;
        for (path, expected) in [
            ("absolute", valid()),
            ("upper-case", valid()),
            ("no-scheme", valid()),
            ("root", valid()),
            ("a/relative", valid()),
            ("query", valid()),
            ("a/", valid()),
            ("two", valid()),
            ("three", Err(FetchError::TooManyRedirects)),
            ("loop", Err(FetchError::TooManyRedirects)),
            ("host", Err(FetchError::OtherOrigin)),
            ("port", Err(FetchError::OtherOrigin)),
            ("usual-port", Err(FetchError::OtherOrigin)),
            ("scheme", Err(FetchError::OtherOrigin)),
            ("user", Err(FetchError::OtherOrigin)),
            ("user-is-host", Err(FetchError::OtherOrigin)),
            ("other", Err(FetchError::OtherOrigin)),
            ("file", Err(FetchError::OtherOrigin)),
            ("nowhere", Err(FetchError::Status(302))),
            ("choices", Err(FetchError::Status(300))),
            ("unchanged", Err(FetchError::Status(304))),
        ] {
            let fetched = fetch(KeySource::Url(format!("http://127.0.0.1:{port}/{path}"))).await;
            assert_eq!(fetched, expected, "{path}");
        }
    })
    .await;
}

#[test]
fn plain_http_is_accepted_only_for_listed_hosts() {
    let listed = ["keycloak.auth.svc".to_owned(), "10.0.0.1".to_owned(), "[fd00::1]".to_owned()];
    for url in [
        "http://keycloak.auth.svc:8080/keys",
        "http://Keycloak.Auth.SVC/keys",
        "http://10.0.0.1/keys",
        "http://[fd00::1]/keys",
        "https://idp.example/keys",
    ] {
        assert!(parse_allowed_url(url, &listed).is_some(), "{url}");
    }
    for url in [
        "http://auth.svc/keys",
        "http://keycloak.auth.svc.example/keys",
        "http://a.keycloak.auth.svc/keys",
        "http://keycloak.auth.svc@idp.example/keys",
        "http://10.0.0.10/keys",
        "ftp://keycloak.auth.svc/keys",
    ] {
        assert!(parse_allowed_url(url, &listed).is_none(), "{url}");
    }
}

#[tokio::test]
async fn discovery_never_uses_plain_http_on_listed_hosts() {
    let document = json!({"issuer": "https://idp.example", "jwks_uri": "http://keys.svc/keys"});
    let document = document.to_string();
    locally(async {
        let (port, _) = server(move |_, _| ok(&document)).await;
        let mut issuer = issuer();
        issuer.keys = KeySource::Discovery(format!("http://127.0.0.1:{port}/"));
        let tls = tls::client_config(None).unwrap();
        let fetcher = fetcher(&issuer, &["keys.svc".to_owned()], &tls).unwrap();
        assert_eq!(fetcher.fetch().await, Err(FetchError::Address));
    })
    .await;
}

#[tokio::test]
async fn an_unreachable_server_is_a_failed_fetch() {
    locally(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let fetched = fetch(KeySource::Url(format!("http://127.0.0.1:{port}/"))).await;
        assert!(matches!(fetched, Err(FetchError::Connect(_))), "{fetched:?}");
    })
    .await;
}

#[tokio::test]
async fn plain_http_is_accepted_only_on_loopback() {
    locally(async {
        for url in [
            "http://idp.example/keys",
            "http://192.0.2.1/keys",
            "http://localhost.example/keys",
            "http://127.0.0.1@192.0.2.1/keys",
            "http://[::2]/keys",
            "ftp://127.0.0.1/keys",
            "file:///etc/passwd",
            "/keys",
            "",
            "http://",
        ] {
            let fetched = fetch(KeySource::Url(url.to_owned())).await;
            assert_eq!(fetched, Err(FetchError::Address), "{url}");
        }
    })
    .await;
    for url in [
        "https://idp.example/keys",
        "http://localhost:1",
        "http://Localhost:1",
        "http://127.9.9.9",
        "http://[::1]:1",
        "http://[::ffff:127.0.0.1]:1",
    ] {
        assert!(parse_allowed_url(url, &[]).is_some(), "{url}");
    }
}

#[tokio::test]
async fn metadata_of_another_issuer_is_rejected() {
    let document =
        |issuer: &str, uri: &str| ok(&json!({"issuer": issuer, "jwks_uri": uri}).to_string());
    let respond = move |path: &str, port: u16| match path {
        "/valid" => document("https://idp.example", &format!("http://127.0.0.1:{port}/keys")),
        "/slash" => document("https://idp.example/", &format!("http://127.0.0.1:{port}/keys")),
        "/plain" => document("https://idp.example", "http://idp.example/keys"),
        "/gone" => document("https://idp.example", &format!("http://127.0.0.1:{port}/nothing")),
        "/html" => ok("<html>"),
        "/poor" => ok(r#"{"issuer":"https://idp.example"}"#),
        "/list" => {
            ok(&json!(["https://idp.example", format!("http://127.0.0.1:{port}/keys")]).to_string())
        }
        "/keys" => ok("the keys"),
        _ => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".into(),
    };
    locally(async {
        let (port, requests) = server(respond).await;
        for (path, expected) in [
            ("slash", Err(FetchError::OtherIssuer)),
            ("plain", Err(FetchError::Address)),
            ("gone", Err(FetchError::Status(404))),
            ("html", Err(FetchError::Discovery)),
            ("poor", Err(FetchError::Discovery)),
            ("list", Err(FetchError::Discovery)),
            ("missing", Err(FetchError::Status(404))),
        ] {
            let url = format!("http://127.0.0.1:{port}/{path}");
            assert_eq!(fetch(KeySource::Discovery(url)).await, expected, "{path}");
        }
        assert!(!requests.lock().unwrap().contains("/keys"), "no keys were fetched");
        let valid = fetch(KeySource::Discovery(format!("http://127.0.0.1:{port}/valid"))).await;
        assert_eq!(valid, Ok(Bytes::from_static(b"the keys")));
    })
    .await;
}

#[tokio::test]
async fn keys_are_fetched_only_from_servers_with_a_trusted_certificate() {
    locally(async {
        let (port, requests, certificate) = tls_server(|_, _| ok("the keys")).await;
        let from = |host: &str| KeySource::Url(format!("https://{host}:{port}/keys"));
        let untrusted = fetch(from("localhost")).await;
        assert!(matches!(untrusted, Err(FetchError::Connect(_))), "{untrusted:?}");
        let other_name = fetch_trusting(Some(certificate.path()), from("127.0.0.1")).await;
        assert!(matches!(other_name, Err(FetchError::Connect(_))), "{other_name:?}");
        assert_eq!(*requests.lock().unwrap(), "", "no request was sent");
        let valid = fetch_trusting(Some(certificate.path()), from("localhost")).await;
        assert_eq!(valid, Ok(Bytes::from_static(b"the keys")));
    })
    .await;
}

#[tokio::test]
async fn discovery_over_https_rejects_a_plain_http_jwks_uri() {
    let plain = Arc::new(Mutex::new(0));
    let port_of_plain = Arc::clone(&plain);
    let respond = move |path: &str, port: u16| {
        let uri = match path {
            "/down" => format!("http://127.0.0.1:{}/keys", port_of_plain.lock().unwrap()),
            "/valid" => format!("https://localhost:{port}/keys"),
            _ => return ok("the keys"),
        };
        ok(&json!({"issuer": "https://idp.example", "jwks_uri": uri}).to_string())
    };
    locally(async {
        let (port, _, certificate) = tls_server(respond).await;
        let (plain_port, requests) = server(|_, _| ok("planted")).await;
        *plain.lock().unwrap() = plain_port;
        let from = async |path| {
            let url = format!("https://localhost:{port}/{path}");
            fetch_trusting(Some(certificate.path()), KeySource::Discovery(url)).await
        };
        assert_eq!(from("down").await, Err(FetchError::Downgrade));
        assert_eq!(from("valid").await, Ok(Bytes::from_static(b"the keys")));
        assert_eq!(*requests.lock().unwrap(), "", "no request was sent over plain HTTP");
    })
    .await;
}

#[tokio::test]
async fn files_above_the_size_limit_are_rejected() {
    let read = async |path: &Path| fetch(KeySource::File(path.to_owned())).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, " ".repeat(MAX_SET_BYTES)).unwrap();
    assert_eq!(read(file.path()).await.map(|bytes| bytes.len()), Ok(MAX_SET_BYTES));
    std::fs::write(&file, " ".repeat(MAX_SET_BYTES + 1)).unwrap();
    assert_eq!(read(file.path()).await, Err(FetchError::Set(SetError::TooLarge)));
    std::fs::write(&file, "\u{feff}{}").unwrap();
    assert_eq!(read(file.path()).await, Ok(Bytes::from_static(b"{}")), "a byte order mark");
    let missing = read(Path::new("/nonexistent")).await;
    assert_eq!(missing, Err(FetchError::Unreadable(ReadError::NoFile)));
}
