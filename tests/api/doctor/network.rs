//! The way to Juspay: DNS, TCP, TLS.

use std::net::SocketAddr;

use super::{Checkup, Ward};
use crate::support::tls::TlsTerminator;

const KEY: &str = "juspay.api_key_file";

fn juspay(ward: &Ward) -> SocketAddr {
    ward.running.simulator().base_url().strip_prefix("http://").unwrap().parse().unwrap()
}

/// The key isn't sent, and the line says why.
#[track_caller]
fn nobody_was_asked(ward: &Ward, checkup: &Checkup) {
    let lines = checkup.lines(KEY);
    assert!(lines[1].starts_with("warning not checked: no connection to Juspay"), "{lines:?}");
    checkup.failed_only(1);
    assert_eq!(ward.running.simulator().total_requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_nowhere_is_told() {
    let ward = Ward::new().await;
    let over = "juspay.base_url = 'https://juspay.invalid'\nauth.allow_local_issuer = true";
    let checkup = ward.doctor_with(over, &[]).await;
    checkup.says(
        "Juspay DNS juspay.invalid",
        "FAILED host name lookup failed",
        &["juspay.base_url"],
    );
    nobody_was_asked(&ward, &checkup);
}

#[tokio::test(flavor = "multi_thread")]
async fn families_are_told_apart() {
    let ward = Ward::new().await;
    let checkup = ward.doctor_with("juspay.ip_family = 'ipv6'", &[]).await;
    checkup.says("Juspay DNS 127.0.0.1 IPv4", "ok 127.0.0.1; not used (juspay.ip_family)", &[]);
    checkup.says("Juspay DNS 127.0.0.1 IPv6", "FAILED no address", &["set juspay.ip_family"]);
    nobody_was_asked(&ward, &checkup);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_where_nobody_listens_is_told() {
    let ward = Ward::new().await;
    // Bound, but not listened on: nobody else takes it meanwhile.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = socket.local_addr().unwrap();
    let checkup = ward.doctor_with(&format!("juspay.base_url = 'http://{address}'"), &[]).await;
    let fix = ["connection failed", "firewall"];
    checkup.says(&format!("Juspay TCP {address}"), "FAILED ", &fix);
    nobody_was_asked(&ward, &checkup);
}

/// What is said of TLS with `end`, trusting `ca`.
async fn over_tls(ward: &Ward, end: &TlsTerminator, ca: Option<&str>) -> (Checkup, String) {
    let trust = ca.map_or_else(String::new, |ca| {
        std::fs::write(ward.path("ca.pem"), ca).unwrap();
        format!("juspay.ca_file = '{}'\n", ward.path("ca.pem").display())
    });
    let over = format!("{trust}juspay.base_url = 'https://{}'", end.address);
    (ward.doctor_with(&over, &[]).await, format!("Juspay TLS {}", end.address))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_certificate_is_told_with_its_end() {
    let ward = Ward::new().await;
    let end = TlsTerminator::new("127.0.0.1", juspay(&ward)).await;
    let (checkup, subject) = over_tls(&ward, &end, Some(&end.ca)).await;
    checkup.says(&subject, "ok TLSv1.3, certificate valid until ", &["(in ", " days)"]);
    checkup.failed_only(0);
    assert_eq!(ward.running.simulator().total_requests(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_certificate_that_is_not_good_is_told_and_no_key_is_sent() {
    let ward = Ward::new().await;
    let good = TlsTerminator::new("127.0.0.1", juspay(&ward)).await;
    let elsewhere = TlsTerminator::new("api.juspay.in", juspay(&ward)).await;
    let expired = TlsTerminator::valid_until("127.0.0.1", juspay(&ward), 2001).await;
    for (end, ca, told, fix) in [
        (&good, None, "authority is not trusted", "juspay.ca_file"),
        (&good, Some(&elsewhere.ca), "authority is not trusted", "juspay.ca_file"),
        (&elsewhere, Some(&elsewhere.ca), "for another host", "juspay.base_url"),
        (&expired, Some(&expired.ca), "has expired", "renew the certificate"),
    ] {
        let (checkup, subject) = over_tls(&ward, end, ca.map(String::as_str)).await;
        checkup.says(&subject, "FAILED the certificate", &[told, fix]);
        nobody_was_asked(&ward, &checkup);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_in_the_place_of_tls_is_told() {
    let ward = Ward::new().await;
    let address = juspay(&ward);
    let checkup = ward.doctor_with(&format!("juspay.base_url = 'https://{address}'"), &[]).await;
    let told = ["host and port of juspay.base_url"];
    checkup.says(&format!("Juspay TLS {address}"), "FAILED the TLS handshake failed", &told);
    nobody_was_asked(&ward, &checkup);
}
