//! Provider metadata: where keys are fetched from.

use std::net::IpAddr;

use super::reparsed::{ISSUER, Reparsed, may_be_object};
use crate::{auth::jwks::discovered_jwks_uri, http_client::parse_allowed_url};

const BY_HTTPS: &str = "https://id.example/.well-known/openid-configuration";
const ON_LOOPBACK: &str = "http://127.0.0.1:8082/.well-known/openid-configuration";

/// Checks an OpenID provider's metadata.
pub fn discovery_document(document: &[u8]) {
    for url in [BY_HTTPS, ON_LOOPBACK] {
        let Ok(address) = discovered_jwks_uri(document, url, ISSUER) else { continue };
        assert!(may_be_object(document), "not an object");
        // serde_json rejects numbers outside its range anywhere in the document.
        let Some(reparsed) = Reparsed::parse(document) else { continue };
        assert_eq!(reparsed.text("issuer"), Some(ISSUER), "another issuer");
        assert_eq!(reparsed.text("jwks_uri"), Some(&*address), "not the document's jwks_uri");
        assert!(
            discovered_jwks_uri(document, url, "https://id.example/").is_err(),
            "accepted for another issuer"
        );
        let Some(uri) = parse_allowed_url(&address, &[]) else { continue };
        let is_https = uri.scheme_str() == Some("https");
        assert_eq!(
            is_https,
            address.get(..8).is_some_and(|it| it.eq_ignore_ascii_case("https://"))
        );
        let may_be_plain = url == ON_LOOPBACK && is_on_loopback(&address);
        assert!(is_https || may_be_plain, "plain HTTP outside loopback");
    }
}

/// Finds the host by text search: between scheme and path, without user and port.
fn is_on_loopback(address: &str) -> bool {
    let rest = address.get(7..).unwrap_or_default();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host_and_port = authority.rsplit('@').next().unwrap_or_default();
    let host = match host_and_port.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next(),
        None => host_and_port.split(':').next(),
    };
    let host = host.unwrap_or_default();
    let is_loopback = |address: IpAddr| address.to_canonical().is_loopback();
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(is_loopback)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    #[test]
    fn stored_documents_keep_the_invariants() {
        crate::corpus::replay("discovery_document", discovery_document);
    }

    #[test]
    fn the_invariants_are_exercised() {
        for (url, keys) in [(BY_HTTPS, "https://a/k"), (ON_LOOPBACK, "http://[::1]:1/k")] {
            let document = format!(r#"{{"issuer":"{ISSUER}","jwks_uri":"{keys}"}}"#);
            let address = discovered_jwks_uri(document.as_bytes(), url, ISSUER).unwrap();
            assert!(parse_allowed_url(&address, &[]).is_some(), "{address}");
        }
    }

    const MEMBERS: &[&str] = &[
        r#""issuer":"https://id.example""#,
        r#""issuer":"https://id.example/""#,
        r#""issuer":["https://id.example"]"#,
        r#""jwks_uri":null"#,
        r#""jwks_uri":["https://a"]"#,
        r#""issu\u0065r":"https://id.example""#,
        r#""other":{"jwks_uri":"http://evil.example"}"#,
    ];

    fn address() -> impl Strategy<Value = String> {
        let scheme = select(&["https://", "HTTPS://", "http://", "ftp://", "//", ""][..]);
        let user = select(&["", "a@", "127.0.0.1@", "localhost:80@", "@", "%40"][..]);
        let host = select(
            &[
                "id.example",
                "localhost",
                "LOCALHOST",
                "127.0.0.1",
                "[::1]",
                "[::ffff:127.0.0.1]",
                "127.1",
                "::1",
                "",
            ][..],
        );
        let rest = select(&["", "/", ":80/k", "?@localhost", "#@[::1]", ".evil.example", "\\"][..]);
        (scheme, user, host, rest).prop_map(|(scheme, user, host, rest)| {
            let text = [scheme, user, host, rest].concat();
            format!("\"jwks_uri\":{}", serde_json::Value::from(text))
        })
    }

    proptest! {
        #[test]
        fn generated_documents_keep_the_invariants(
            address in address(),
            others in vec(select(MEMBERS), 0..3),
        ) {
            let issuer = MEMBERS[0].to_owned();
            let others = others.into_iter().map(str::to_owned);
            let members: Vec<String> = [issuer, address].into_iter().chain(others).collect();
            let all = members.join(",");
            discovery_document(format!("{{{all}}}").as_bytes());
            let two = members.iter().take(2).cloned().collect::<Vec<_>>().join(",");
            discovery_document(format!("{{{two}}}").as_bytes());
        }
    }
}
