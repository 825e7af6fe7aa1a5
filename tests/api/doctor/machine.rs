//! Checks of this machine.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::Setup;

#[tokio::test(flavor = "multi_thread")]
async fn world_readable_secrets_cause_a_warning() {
    let setup = Setup::new().await;
    fs::set_permissions(setup.path("key"), fs::Permissions::from_mode(0o644)).unwrap();
    let output = setup.doctor().await;
    let line = &output.lines("juspay.api_key_file")[0];
    assert!(line.starts_with("warning world-readable (mode 644)"), "{line}");
    assert!(line.contains("chmod o-r") && line.contains("defaultMode"), "{line}");
    output.assert_failures(0);
    assert!(output.stdout.ends_with("1 warning, 0 FAILED\n"), "{}", output.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_file_of_the_collector_is_a_secret() {
    let setup = Setup::new().await;
    let headers = setup.secret("headers", "Authorization: Bearer canary_");
    let over = format!("traces.headers_file = '{}'", headers.display());
    setup.doctor_with(&over, &[]).await.assert_line("traces.headers_file", "ok readable", &[]);
    fs::set_permissions(&headers, fs::Permissions::from_mode(0o644)).unwrap();
    let output = setup.doctor_with(&over, &[]).await;
    output.assert_line("traces.headers_file", "warning world-readable", &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn listener_addresses_are_checked_without_listening() {
    let setup = Setup::new().await;
    // The service may already listen on the port.
    let service = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = service.local_addr().unwrap();
    setup.doctor_with(&format!("server.listen = '{taken}'"), &[]).await.assert_failures(0);

    let directory = setup.files.path().display();
    fs::write(setup.path("file"), "").unwrap();
    for (listen, start, expected) in [
        ("0.0.0.0:8080", "ok ", "every address of this machine"),
        ("127.0.0.1:0", "warning ", "the port changes at every start"),
        // An address for documentation (RFC 5737), which no machine has.
        ("192.0.2.1:8080", "FAILED ", "write an address of this machine in server.listen"),
        (&format!("unix:{directory}/socket"), "ok ", "socket"),
        (&format!("unix:{directory}/none/socket"), "FAILED ", "the directory does not exist"),
        (&format!("unix:{directory}/file"), "FAILED ", "not a socket exists there"),
    ] {
        let output = setup.doctor_with(&format!("server.listen = '{listen}'"), &[]).await;
        output.assert_line("server.listen", start, &[listen, expected]);
    }
    assert!(!setup.path("socket").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn public_admin_listener_without_token_causes_a_warning() {
    let setup = Setup::new().await;
    let open = "server.admin_listen = '0.0.0.0:9464'";
    let output = setup.doctor_with(open, &[]).await;
    output.assert_line("server.admin_token_file", "warning is not set", &["(403)"]);
    let token = setup.secret("token", "abcdef");
    let over = format!("{open}\nserver.admin_token_file = '{}'", token.display());
    setup.doctor_with(&over, &[]).await.assert_line("server.admin_token_file", "ok readable", &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_and_misspelled_variables_cause_warnings() {
    let setup = Setup::new().await;
    let variables =
        [("HTTPS_PROXY", "http://user:canary_@proxy"), ("JUSPAY_BFF_LOG_LEVEL", "canary_")];
    let output = setup.doctor_in("", &[], &variables).await;
    output.assert_line("proxy", "warning HTTPS_PROXY is ignored", &["without a proxy", "directly"]);
    assert!(output.lines("settings")[1].starts_with("warning JUSPAY_BFF_LOG_LEVEL is ignored"));
    output.assert_failures(0);
    let over = "juspay.base_url = 'https://juspay.invalid'\nauth.allow_local_issuer = true\n\
                juspay.egress_proxy = 'http://proxy.invalid:3128'";
    let output = setup.doctor_in(over, &[], &variables).await;
    let expected = "warning HTTPS_PROXY is ignored; juspay-bff connects directly, except to Juspay";
    output.assert_line("proxy", expected, &["issuers directly"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn server_certificate_is_reported_with_its_expiry() {
    let setup = Setup::new().await;
    let authority = crate::support::authority::Authority::new();
    for (until, start, expected) in [
        (2100, "ok valid until 2100-01-01T00:00:00Z (in ", " days)"),
        (
            2001,
            "FAILED expired at 2001-01-01T00:00:00Z",
            "renew the certificate in server.tls.cert_file",
        ),
    ] {
        let pair = authority.server(until);
        fs::write(setup.path("cert.pem"), pair.certificate).unwrap();
        let key = setup.secret("key.pem", &pair.key);
        let over = format!(
            "server.tls = {{ cert_file = '{}', key_file = '{}' }}",
            setup.path("cert.pem").display(),
            key.display()
        );
        setup.doctor_with(&over, &[]).await.assert_line("server.tls.cert_file", start, &[expected]);
    }
}
