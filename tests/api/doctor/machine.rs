//! What is on this machine.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::Ward;

#[tokio::test(flavor = "multi_thread")]
async fn secrets_that_everybody_may_read_are_warned_about() {
    let ward = Ward::new().await;
    fs::set_permissions(ward.path("key"), fs::Permissions::from_mode(0o644)).unwrap();
    let checkup = ward.doctor().await;
    let line = &checkup.lines("juspay.api_key_file")[0];
    assert!(line.starts_with("warning world-readable (mode 644)"), "{line}");
    assert!(line.contains("chmod o-r") && line.contains("defaultMode"), "{line}");
    checkup.failed_only(0);
    assert!(checkup.said.ends_with("1 warning, 0 FAILED\n"), "{}", checkup.said);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_collectors_headers_are_a_secret_too() {
    let ward = Ward::new().await;
    let headers = ward.secret("headers", "Authorization: Bearer canary_");
    let over = format!("traces.headers_file = '{}'", headers.display());
    ward.doctor_with(&over, &[]).await.says("traces.headers_file", "ok readable", &[]);
    fs::set_permissions(&headers, fs::Permissions::from_mode(0o644)).unwrap();
    let checkup = ward.doctor_with(&over, &[]).await;
    checkup.says("traces.headers_file", "warning world-readable", &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_to_listen_on_are_looked_at_but_not_taken() {
    let ward = Ward::new().await;
    // The service may be there already.
    let service = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = service.local_addr().unwrap();
    ward.doctor_with(&format!("server.listen = '{taken}'"), &[]).await.failed_only(0);

    let directory = ward.files.path().display();
    fs::write(ward.path("file"), "").unwrap();
    for (listen, start, told) in [
        ("0.0.0.0:8080", "ok ", "every address of this machine"),
        ("127.0.0.1:0", "warning ", "the port changes at every start"),
        // RFC 5737: nobody's.
        ("192.0.2.1:8080", "FAILED ", "write an address of this machine in server.listen"),
        (&format!("unix:{directory}/socket"), "ok ", "socket"),
        (&format!("unix:{directory}/none/socket"), "FAILED ", "the directory does not exist"),
        (&format!("unix:{directory}/file"), "FAILED ", "not a socket exists there"),
    ] {
        let checkup = ward.doctor_with(&format!("server.listen = '{listen}'"), &[]).await;
        checkup.says("server.listen", start, &[listen, told]);
    }
    assert!(!ward.path("socket").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_admin_listener_wants_its_token() {
    let ward = Ward::new().await;
    let open = "server.admin_listen = '0.0.0.0:9464'";
    let checkup = ward.doctor_with(open, &[]).await;
    checkup.says("server.admin_token_file", "warning is not set", &["(403)"]);
    let token = ward.secret("token", "abcdef");
    let over = format!("{open}\nserver.admin_token_file = '{}'", token.display());
    ward.doctor_with(&over, &[]).await.says("server.admin_token_file", "ok readable", &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_and_misspelt_variables_are_warned_about() {
    let ward = Ward::new().await;
    let variables =
        [("HTTPS_PROXY", "http://user:canary_@proxy"), ("JUSPAY_BFF_LOG_LEVEL", "canary_")];
    let checkup = ward.doctor_in("", &[], &variables).await;
    checkup.says("proxy", "warning HTTPS_PROXY is ignored", &["without a proxy", "directly"]);
    assert!(checkup.lines("settings")[1].starts_with("warning JUSPAY_BFF_LOG_LEVEL is ignored"));
    checkup.failed_only(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_certificate_is_told_with_its_end() {
    let ward = Ward::new().await;
    let authority = crate::support::authority::Authority::new();
    for (until, start, told) in [
        (2100, "ok valid until 2100-01-01T00:00:00Z (in ", " days)"),
        (
            2001,
            "FAILED expired at 2001-01-01T00:00:00Z",
            "renew the certificate in server.tls.cert_file",
        ),
    ] {
        let pair = authority.server(until);
        fs::write(ward.path("cert.pem"), pair.certificate).unwrap();
        let key = ward.secret("key.pem", &pair.key);
        let over = format!(
            "server.tls = {{ cert_file = '{}', key_file = '{}' }}",
            ward.path("cert.pem").display(),
            key.display()
        );
        ward.doctor_with(&over, &[]).await.says("server.tls.cert_file", start, &[told]);
    }
}
