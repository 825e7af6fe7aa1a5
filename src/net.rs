//! Parses hosts, ports and URLs, and defines which of them are loopback: for settings, `Host`
//! headers, DPoP proofs, key fetching, the address of Juspay, listeners and `doctor`.
//!
//! A host name is loopback only if it is `localhost`. DNS is not consulted, because its responses
//! can change. `http::Uri` is not used here, because it accepts user names and characters that no
//! reachable host has; the crate `url` is not, because it rewrites addresses such as `127.1`.

// Untrusted input is parsed here.
#![cfg_attr(
    not(test),
    deny(clippy::as_conversions, clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The parts of a URL, without its fragment (RFC 3986 appendix B). No part is validated.
#[derive(Debug, Clone, Copy)]
pub struct UrlParts<'t> {
    /// What precedes `://`.
    pub scheme: &'t str,
    /// What precedes the path.
    pub authority: &'t str,
    /// With its leading slash; empty if there is none.
    pub path: &'t str,
    /// A `?` follows, even without a query after it.
    pub has_query: bool,
}

impl<'t> UrlParts<'t> {
    /// Splits a URL; `None` without `://`.
    #[must_use]
    pub fn split(url: &'t str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let rest = rest.split('#').next()?;
        let end = rest.find('?').unwrap_or(rest.len());
        let (hierarchy, query) = rest.split_at_checked(end)?;
        let start = hierarchy.find('/').unwrap_or(hierarchy.len());
        let (authority, path) = hierarchy.split_at_checked(start)?;
        Some(Self { scheme, authority, path, has_query: !query.is_empty() })
    }

    /// The path without the slash at its end; empty if there is none.
    #[must_use]
    pub fn base_path(&self) -> &'t str {
        self.path.trim_end_matches('/')
    }
}

/// A host and the port after it, as in a URL or a `Host` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority<'t> {
    /// A name or an address, with IPv6 in brackets. May be empty.
    pub host: &'t str,
    /// The digits after the colon; `None` without a colon.
    pub port: Option<&'t str>,
}

impl<'t> Authority<'t> {
    /// Parses `host[:port]`. Accepts only characters of names and addresses: RFC 3986 §3.2.2 allows
    /// more, which no reachable host has.
    #[must_use]
    pub fn parse(text: &'t str) -> Option<Self> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !text.ends_with(']') => (host, Some(port)),
            Some(_) | None => (text, None),
        };
        let is_address = |byte: u8| byte.is_ascii_hexdigit() || b":.".contains(&byte);
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let is_host = match in_brackets(host) {
            Some(address) => !address.is_empty() && address.bytes().all(is_address),
            None => host.bytes().all(is_name),
        };
        let is_port = port.is_none_or(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
        (is_host && is_port).then_some(Self { host, port })
    }
}

/// Scheme, host and port of an `https` or `http` URL (RFC 6454 §4).
#[derive(Debug, Clone)]
pub struct Origin {
    /// The scheme is `https`.
    pub is_tls: bool,
    /// With brackets around IPv6.
    pub host: String,
    /// The port of the scheme if the URL has none.
    pub port: u16,
}

impl Origin {
    /// Returns the origin of a URL; `None` if it has another scheme or a user name.
    #[must_use]
    pub fn parse(url: &str) -> Option<Self> {
        let UrlParts { scheme, authority, .. } = UrlParts::split(url)?;
        let is_tls = scheme.eq_ignore_ascii_case("https");
        let Authority { host, port } = Authority::parse(authority)?;
        if host.is_empty() || !(is_tls || scheme.eq_ignore_ascii_case("http")) {
            return None;
        }
        let port = match port {
            None | Some("") => default_port(is_tls),
            Some(digits) => digits.parse().ok()?,
        };
        Some(Self { is_tls, host: host.to_owned(), port })
    }

    /// The host without brackets, as resolvers and TLS expect it.
    #[must_use]
    pub fn bare_host(&self) -> &str {
        without_brackets(&self.host)
    }
}

impl PartialEq for Origin {
    fn eq(&self, other: &Self) -> bool {
        self.is_tls == other.is_tls
            && self.port == other.port
            && self.host.eq_ignore_ascii_case(&other.host)
    }
}

impl Eq for Origin {}

/// The port of `https` or `http` URLs without one.
#[must_use]
pub const fn default_port(is_tls: bool) -> u16 {
    if is_tls { 443 } else { 80 }
}

/// The host without the brackets around IPv6.
#[must_use]
pub fn without_brackets(host: &str) -> &str {
    in_brackets(host).unwrap_or(host)
}

fn in_brackets(host: &str) -> Option<&str> {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']'))
}

/// Whether all URL parsers treat `host` as the same name or address.
#[must_use]
pub fn is_unambiguous_host(host: &str) -> bool {
    if let Some(address) = in_brackets(host) {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let last = host.rsplit('.').next().unwrap_or_default();
    if last.starts_with(|c: char| c.is_ascii_digit()) {
        // URL parsers treat a host whose last label is a number as IPv4 (WHATWG URL, "ends in a
        // number").
        return host.parse::<Ipv4Addr>().is_ok();
    }
    host.len() <= 253 && host.split('.').all(is_label)
}

/// RFC 1123 §2.1, plus the underscore, which occurs in names within clusters.
fn is_label(label: &str) -> bool {
    let is_label_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=63).contains(&label.len()) && label.bytes().all(is_label_byte)
}

/// Whether `address` is in 127.0.0.0/8 or is `::1`, including IPv4-mapped addresses
/// (`::ffff:127.0.0.1`, RFC 4291 §2.5.5.2).
#[must_use]
pub fn is_loopback_address(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Whether the host of a URL or of a `Host` header, without its port, is loopback: `localhost` in
/// any case, or a loopback address, with IPv6 in brackets (RFC 3986 §3.2.2).
#[must_use]
pub fn is_loopback_host(host: &str) -> bool {
    let address = match in_brackets(host) {
        Some(address) => address.parse().map(IpAddr::V6),
        None => host.parse().map(IpAddr::V4),
    };
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(is_loopback_address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_loopback_is_recognized() {
        for host in [
            "localhost",
            "Localhost",
            "LOCALHOST",
            "127.0.0.1",
            "127.1.2.3",
            "[::1]",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]",
            "[::FFFF:7f00:1]",
        ] {
            assert!(is_loopback_host(host), "{host}");
        }
    }

    #[test]
    fn other_hosts_are_not_loopback() {
        for host in [
            "",
            "example.com",
            "localhost.example",
            "localhost.",
            "127.0.0.1.example",
            "127.1",
            "0.0.0.0",
            "10.0.0.1",
            "[::]",
            "[::2]",
            "[::ffff:10.0.0.1]",
            "[127.0.0.1]",
            "[localhost]",
            "::1",
            "[[::1]]",
            "127.0.0.1:80",
        ] {
            assert!(!is_loopback_host(host), "{host}");
        }
    }

    #[test]
    fn urls_are_split_without_their_fragment() {
        for (url, authority, path, has_query) in [
            ("https://a.example:1/b/c?d=/e#f?", "a.example:1", "/b/c", true),
            ("https://a?", "a", "", true),
            ("https://a#?/b", "a", "", false),
            ("https:///b", "", "/b", false),
        ] {
            let parts = UrlParts::split(url).unwrap();
            assert_eq!(
                (parts.authority, parts.path, parts.has_query),
                (authority, path, has_query)
            );
        }
        assert!(UrlParts::split("a.example/b").is_none());
    }

    #[test]
    fn hosts_and_ports_are_split_at_the_last_colon() {
        for (text, host, port) in [
            ("a.example", "a.example", None),
            ("a.example:", "a.example", Some("")),
            ("a_b:080", "a_b", Some("080")),
            ("[::1]", "[::1]", None),
            ("[::1]:80", "[::1]", Some("80")),
            ("", "", None),
        ] {
            assert_eq!(Authority::parse(text), Some(Authority { host, port }), "{text}");
        }
        for text in ["a:b", "a:80:80", "::1", "[::1", "[]", "[g]", "u@a", "a b", "%41", "é", "a:+1"]
        {
            assert_eq!(Authority::parse(text), None, "{text}");
        }
    }

    #[test]
    fn origins_ignore_case_and_default_ports() {
        let origin = |url: &str| Origin::parse(url).unwrap();
        assert_eq!(origin("HTTPS://A.example/b?c"), origin("https://a.example:443"));
        assert_eq!(origin("http://[::1]:/"), origin("http://[::1]:80"));
        assert_eq!(origin("http://[::1]:80").bare_host(), "::1");
        assert_ne!(origin("http://a"), origin("https://a"));
        assert_ne!(origin("http://a"), origin("http://a:81"));
        assert_ne!(origin("http://[abcd]"), origin("http://abcd"));
        for url in ["ftp://a", "https://", "https://u@a", "https://a:65536", "a"] {
            assert!(Origin::parse(url).is_none(), "{url}");
        }
    }
}
