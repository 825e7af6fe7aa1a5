//! The connection to Juspay: DNS, TCP and TLS.

use std::net::SocketAddr;

use super::{DoctorOutput, Setup};
use crate::support::{ScriptedServer, connect_proxy::ConnectProxy, tls::TlsTerminator};

const KEY: &str = "juspay.api_key_file";

fn juspay(setup: &Setup) -> SocketAddr {
    setup.running.simulator().base_url().strip_prefix("http://").unwrap().parse().unwrap()
}

/// Asserts that the key isn't sent, and that its line has the reason.
#[track_caller]
fn assert_no_call(setup: &Setup, output: &DoctorOutput) {
    let lines = output.lines(KEY);
    assert!(lines[1].starts_with("warning not checked: no connection to Juspay"), "{lines:?}");
    output.assert_failures(1);
    assert_eq!(setup.running.simulator().total_requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn unresolvable_name_is_reported() {
    let setup = Setup::new().await;
    let over = "juspay.base_url = 'https://juspay.invalid'\nauth.allow_local_issuer = true";
    let output = setup.doctor_with(over, &[]).await;
    output.assert_line(
        "Juspay DNS juspay.invalid",
        "FAILED host name lookup failed",
        &["juspay.base_url"],
    );
    assert_no_call(&setup, &output);
}

#[tokio::test(flavor = "multi_thread")]
async fn address_families_are_reported_separately() {
    let setup = Setup::new().await;
    let output = setup.doctor_with("juspay.ip_family = 'ipv6'", &[]).await;
    output.assert_line(
        "Juspay DNS 127.0.0.1 IPv4",
        "ok 127.0.0.1; not used (juspay.ip_family)",
        &[],
    );
    output.assert_line("Juspay DNS 127.0.0.1 IPv6", "FAILED no address", &["set juspay.ip_family"]);
    assert_no_call(&setup, &output);
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_address_is_reported() {
    let setup = Setup::new().await;
    // The port is bound, so that no other process uses it, but nothing listens on it.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = socket.local_addr().unwrap();
    let output = setup.doctor_with(&format!("juspay.base_url = 'http://{address}'"), &[]).await;
    let fix = ["connection failed", "firewall"];
    output.assert_line(&format!("Juspay TCP {address}"), "FAILED ", &fix);
    assert_no_call(&setup, &output);
}

/// Runs `doctor` with `end` as Juspay and `ca` as trusted root. Returns the results and the subject
/// of its TLS line.
async fn over_tls(setup: &Setup, end: &TlsTerminator, ca: Option<&str>) -> (DoctorOutput, String) {
    let trust = ca.map_or_else(String::new, |ca| {
        std::fs::write(setup.path("ca.pem"), ca).unwrap();
        format!("juspay.ca_file = '{}'\n", setup.path("ca.pem").display())
    });
    let over = format!("{trust}juspay.base_url = 'https://{}'", end.address);
    (setup.doctor_with(&over, &[]).await, format!("Juspay TLS {}", end.address))
}

#[tokio::test(flavor = "multi_thread")]
async fn valid_certificate_is_reported_with_its_expiry() {
    let setup = Setup::new().await;
    let end = TlsTerminator::new("127.0.0.1", juspay(&setup)).await;
    let (output, subject) = over_tls(&setup, &end, Some(&end.ca)).await;
    output.assert_line(&subject, "ok TLSv1.3, certificate valid until ", &["(in ", " days)"]);
    output.assert_failures(0);
    assert_eq!(setup.running.simulator().total_requests(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_no_key_is_sent_if_the_certificate_is_invalid() {
    let setup = Setup::new().await;
    let good = TlsTerminator::new("127.0.0.1", juspay(&setup)).await;
    let elsewhere = TlsTerminator::new("api.juspay.in", juspay(&setup)).await;
    let expired = TlsTerminator::valid_until("127.0.0.1", juspay(&setup), 2001).await;
    for (end, ca, expected, fix) in [
        (&good, None, "authority is not trusted", "juspay.ca_file"),
        (&good, Some(&elsewhere.ca), "authority is not trusted", "juspay.ca_file"),
        (&elsewhere, Some(&elsewhere.ca), "for another host", "juspay.base_url"),
        (&expired, Some(&expired.ca), "has expired", "renew the certificate"),
    ] {
        let (output, subject) = over_tls(&setup, end, ca.map(String::as_str)).await;
        output.assert_line(&subject, "FAILED the certificate", &[expected, fix]);
        assert_no_call(&setup, &output);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_in_place_of_tls_is_reported() {
    let setup = Setup::new().await;
    let address = juspay(&setup);
    let output = setup.doctor_with(&format!("juspay.base_url = 'https://{address}'"), &[]).await;
    let expected = ["host and port of juspay.base_url"];
    output.assert_line(
        &format!("Juspay TLS {address}"),
        "FAILED the TLS handshake failed",
        &expected,
    );
    assert_no_call(&setup, &output);
}

/// Runs `doctor` with Juspay behind this proxy, at a name that only the proxy can resolve.
async fn through(setup: &Setup, end: &TlsTerminator, proxy: SocketAddr) -> DoctorOutput {
    std::fs::write(setup.path("ca.pem"), &end.ca).unwrap();
    let over = format!(
        "auth.allow_local_issuer = true\n[juspay]\nbase_url = 'https://juspay.invalid'\n\
         ca_file = '{}'\negress_proxy = 'http://{proxy}'\negress_proxy_credentials_file = '{}'",
        setup.path("ca.pem").display(),
        setup.secret("proxy", "canary_user:canary_password").display()
    );
    setup.doctor_with(&over, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_stage_through_the_egress_proxy_is_reported() {
    let setup = Setup::new().await;
    let end = TlsTerminator::new("juspay.invalid", juspay(&setup)).await;
    let proxy = ConnectProxy::to(end.address).await;
    proxy.require("canary_user:canary_password");
    let address = proxy.address;
    let output = through(&setup, &end, address).await;
    for (subject, start) in [
        ("juspay.egress_proxy_credentials_file", "ok readable"),
        ("Egress proxy DNS 127.0.0.1 IPv4", "ok 127.0.0.1"),
        (&format!("Egress proxy TCP {address}"), "ok connected"),
        (&format!("Egress proxy CONNECT {address}"), "ok opened a tunnel to juspay.invalid"),
        (&format!("Juspay TLS {address}"), "ok TLSv1.3, certificate valid until "),
    ] {
        output.assert_line(subject, start, &[]);
    }
    let lines = output.lines(KEY);
    assert!(lines[1].starts_with("ok Juspay accepts the key and the proxy's address"), "{lines:?}");
    output.assert_failures(0);

    proxy.require("canary_other:canary_password");
    let output = through(&setup, &end, address).await;
    let connect = format!("Egress proxy CONNECT {address}");
    output.assert_line(&connect, "FAILED ", &["(407)", "juspay.egress_proxy_credentials_file"]);
    let lines = output.lines(KEY);
    assert!(lines[1].starts_with("warning not checked: no connection to Juspay"), "{lines:?}");
    output.assert_failures(1);
    // Nothing but the first run's call.
    assert_eq!(setup.running.simulator().total_requests(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_and_silent_egress_proxies_are_reported() {
    let setup = Setup::new().await;
    let end = TlsTerminator::new("juspay.invalid", juspay(&setup)).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = socket.local_addr().unwrap();
    let output = through(&setup, &end, address).await;
    output.assert_line(&format!("Egress proxy TCP {address}"), "FAILED connection failed", &[]);
    assert_no_call(&setup, &output);
    // The kernel accepts its connections, but nothing answers.
    let silent = ScriptedServer::new().await;
    let output = through(&setup, &end, silent.address).await;
    let connect = format!("Egress proxy CONNECT {}", silent.address);
    output.assert_line(&connect, "FAILED no response within juspay.connect_timeout", &[]);
    assert_no_call(&setup, &output);
}
