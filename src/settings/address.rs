//! Web addresses in settings: a strict grammar, so that every later parser reads them alike.
//!
//! Refused: other schemes, user names and passwords, fragments, dot segments, and whatever RFC
//! 3986 wants percent-encoded. What is loopback is told by the address itself, never by DNS.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::fault::Wrong;

/// An `https` or `http` address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WebAddress {
    /// As written.
    pub(super) text: String,
    /// It is `http`.
    pub(super) plain: bool,
    /// Its host is this machine.
    pub(super) loopback: bool,
    /// It has a query.
    pub(super) query: bool,
}

impl WebAddress {
    /// Takes `text` as an absolute address.
    pub(super) fn parse(text: &str) -> Result<Self, Wrong> {
        let (plain, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (false, rest),
            (None, Some(rest)) => (true, rest),
            (None, None) => {
                let reason = "it isn't an address that begins with https:// or http://";
                return Err(Wrong::new(reason, EXAMPLE));
            }
        };
        if !rest.bytes().all(is_uri_byte) || !escapes_are_whole(rest) {
            let reason = "it holds a character that must be percent-encoded in an address";
            return Err(Wrong::new(reason, "percent-encode it, or take it out"));
        }
        if rest.contains('#') {
            return Err(Wrong::new("it has a fragment", "take out the # and what follows it"));
        }
        let (before_query, query) =
            rest.split_once('?').map_or((rest, false), |(before, _)| (before, true));
        let (authority, path) = before_query.split_once('/').unwrap_or((before_query, ""));
        if authority.contains('@') {
            let reason = "it has a user name or a password in it";
            return Err(Wrong::new(reason, "take it out; secrets have settings of their own"));
        }
        if path.split('/').any(is_dot_segment) {
            return Err(Wrong::new("its path has dot segments", "write the path without . and .."));
        }
        let Some(loopback) = host_is_loopback(authority) else {
            return Err(Wrong::new("its host or port can't be read", EXAMPLE));
        };
        Ok(Self { text: text.to_owned(), plain, loopback, query })
    }

    /// Whether it goes over the network in the clear.
    pub(super) fn exposed(&self) -> bool {
        self.plain && !self.loopback
    }
}

const EXAMPLE: &str = "write an address such as \"https://host.example\" or \
                       \"http://127.0.0.1:8081\"";

/// RFC 3986 §2.2, §2.3 and the percent sign.
fn is_uri_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte)
}

/// Every percent sign is followed by two hexadecimal digits.
fn escapes_are_whole(text: &str) -> bool {
    let hexadecimal = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.split('%').skip(1).all(|after| after.get(..2).is_some_and(hexadecimal))
}

/// Also in its encoded spellings, which some parsers decode first.
fn is_dot_segment(segment: &str) -> bool {
    matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
}

/// `None` when the authority is no host with or without a port.
fn host_is_loopback(authority: &str) -> Option<bool> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => authority.find(':').map_or((authority, ""), |at| authority.split_at(at)),
    };
    let port_is_good = |digits: &str| {
        digits.bytes().all(|byte| byte.is_ascii_digit())
            && digits.parse::<u16>().is_ok_and(|port| port > 0)
    };
    if !port.is_empty() && !port.strip_prefix(':').is_some_and(port_is_good) {
        return None;
    }
    if authority.starts_with('[') {
        return Some(is_loopback(host.parse::<Ipv6Addr>().ok()?.into()));
    }
    let last = host.rsplit('.').next()?;
    if last.starts_with(|c: char| c.is_ascii_digit()) {
        // A name whose last label is a number is an IPv4 address to every URL parser.
        return Some(is_loopback(host.parse::<Ipv4Addr>().ok()?.into()));
    }
    let is_name = host.len() <= 253 && host.split('.').all(is_label);
    is_name.then(|| host.eq_ignore_ascii_case("localhost"))
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// RFC 1123 §2.1, and the underscore that names inside clusters have.
fn is_label(label: &str) -> bool {
    let is_label_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=63).contains(&label.len()) && label.bytes().all(is_label_byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_by_the_address() {
        for (text, loopback) in [
            ("http://127.0.0.1:8081", true),
            ("http://127.9.9.9", true),
            ("http://[::1]:80/x", true),
            ("http://[::ffff:127.0.0.1]", true),
            ("http://LOCALHOST/", true),
            ("https://api.juspay.in", false),
            ("http://10.0.0.1", false),
            ("http://[::2]", false),
            ("http://localhost.example", false),
            ("http://127.0.0.1.example", false),
            ("http://keycloak_1:8080", false),
        ] {
            assert_eq!(WebAddress::parse(text).unwrap().loopback, loopback, "{text}");
        }
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_refused() {
        for (text, reason) in [
            ("", "begins with"),
            ("ftp://host", "begins with"),
            ("HTTPS://host", "begins with"),
            (" https://host", "begins with"),
            ("https://host ", "percent-encoded"),
            ("https://host\\@evil", "percent-encoded"),
            ("https://hóst", "percent-encoded"),
            ("https://host/%2", "percent-encoded"),
            ("https://host/%zz", "percent-encoded"),
            ("https://host#x", "fragment"),
            ("https://user:hush@host", "user name"),
            ("https://127.0.0.1@evil.example", "user name"),
            ("https://host/a/../b", "dot segments"),
            ("https://host/%2E%2e/b", "dot segments"),
            ("https://", "host or port"),
            ("https://host:", "host or port"),
            ("https://host:0", "host or port"),
            ("https://host:65536", "host or port"),
            ("https://host:+1", "host or port"),
            ("https://host:1:2", "host or port"),
            ("https://[::1", "host or port"),
            ("https://[::1]x", "host or port"),
            ("https://[v1.x]", "host or port"),
            ("https://0127.0.0.1", "host or port"),
            ("https://127.1", "host or port"),
            ("https://0x7f", "host or port"),
            ("https://a..b", "host or port"),
            ("https://host.", "host or port"),
            ("https://a%41", "host or port"),
        ] {
            let wrong = WebAddress::parse(text).unwrap_err();
            assert!(wrong.reason.contains(reason), "{text}: {}", wrong.reason);
            assert!(!format!("{wrong:?}").contains("hush"));
        }
        assert!(WebAddress::parse(&format!("https://{}", "a".repeat(64))).is_err());
        assert!(WebAddress::parse(&format!("https://{}a", "a.".repeat(127))).is_err());
    }

    #[test]
    fn parts_are_told() {
        let address = WebAddress::parse("https://host.example:8443/a/b%20c?p=q@r").unwrap();
        assert!(address.query && !address.plain && !address.exposed());
        assert!(WebAddress::parse("http://host.example").unwrap().exposed());
        assert!(!WebAddress::parse("http://[::1]/a").unwrap().exposed());
    }
}
