//! Which peers are trusted, and which header values are valid.

use super::*;
use crate::tls::PeerCertificate;

fn peer(common_name: &str) -> PeerCertificate {
    PeerCertificate {
        common_name: Some(common_name.to_owned()),
        dns_names: vec!["gw.example".to_owned()],
        uris: vec!["spiffe://example/gw".to_owned()],
    }
}

fn gateway(subjects: &[&str]) -> Gateway {
    Gateway::new(&settings::Gateway {
        header: "x-customer".to_owned(),
        client_subjects: subjects.iter().map(|it| (*it).to_owned()).collect(),
    })
}

fn outcome(
    gateway: &Gateway,
    transport: Option<Transport>,
    peer: Option<&PeerCertificate>,
    values: &[&[u8]],
) -> Result<String, &'static str> {
    let connection = transport.map(|transport| ConnectionInfo {
        transport,
        is_local_listener: false,
        tls: peer.is_some(),
        client_certificate: peer.cloned(),
    });
    let caller = gateway.caller(values.iter().copied(), connection.as_ref());
    let caller = caller.map_err(|error| error.reason())?;
    Ok(caller.customer().as_str().to_owned())
}

#[test]
fn only_trusted_peers_may_name_a_customer() {
    use Transport::{Loopback, Network, Unix};

    let (gw, other) = (peer("gw"), peer("other"));
    let bare = PeerCertificate::default();
    for (subjects, transport, peer, is_trusted) in [
        (&[][..], Some(Unix), None, true),
        (&[], Some(Loopback), None, true),
        (&[], Some(Network), None, false),
        (&[], Some(Network), Some(&gw), false),
        (&[], None, None, false),
        (&[], None, Some(&gw), false),
        (&["gw"], Some(Unix), None, true),
        (&["gw"], Some(Loopback), None, false),
        (&["gw"], Some(Loopback), Some(&other), false),
        (&["gw"], Some(Loopback), Some(&gw), true),
        (&["gw"], Some(Network), Some(&gw), true),
        (&["gw"], Some(Network), Some(&other), false),
        (&["gw"], Some(Network), Some(&bare), false),
        (&["gw"], Some(Network), None, false),
        (&["gw"], None, Some(&gw), false),
        (&["GW"], Some(Network), Some(&gw), false),
        (&["gw "], Some(Network), Some(&gw), false),
        (&["x", "gw.example"], Some(Network), Some(&gw), true),
        (&["spiffe://example/gw"], Some(Network), Some(&gw), true),
        (&["spiffe://example/g"], Some(Network), Some(&gw), false),
    ] {
        let expected = if is_trusted { Ok("alice".to_owned()) } else { Err("untrusted_peer") };
        let got = outcome(&gateway(subjects), transport, peer, &[b"alice"]);
        assert_eq!(got, expected, "{subjects:?} {transport:?} {peer:?}");
    }
}

#[test]
fn gateway_replaces_the_issuer() {
    let values = [&b"alice"[..]].into_iter();
    let connection = ConnectionInfo {
        transport: Transport::Unix,
        is_local_listener: true,
        tls: false,
        client_certificate: None,
    };
    let caller = gateway(&[]).caller(values, Some(&connection)).unwrap();
    assert_eq!(caller.issuer(), "gateway");
}

#[test]
fn exactly_one_header_with_a_customer_id_is_accepted() {
    let gateway = gateway(&[]);
    let long = [b'x'; 300];
    for (values, expected) in [
        (&[&b"alice"[..]][..], Ok("alice".to_owned())),
        (&[], Err("missing_token")),
        (&[b"alice", b"alice"], Err("malformed_header")),
        (&[b"alice", b""], Err("malformed_header")),
        (&[b"", b"alice"], Err("malformed_header")),
        (&[b"alice, bob"], Err("malformed_header")),
        (&[b"alice,bob"], Err("malformed_header")),
        (&[b""], Err("no_customer")),
        (&[b"a/b"], Err("no_customer")),
        (&[b".."], Err("no_customer")),
        (&[b"\xff"], Err("no_customer")),
        (&[&long], Err("no_customer")),
    ] {
        let got = outcome(&gateway, Some(Transport::Unix), None, values);
        assert_eq!(got, expected, "{values:?}");
    }
}
