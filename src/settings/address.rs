//! Parses web addresses in settings by a strict grammar, so that every later parser agrees on them.
//!
//! Rejects other schemes, user names and passwords, fragments, dot segments, and characters that
//! RFC 3986 requires to be percent-encoded. Reports all violations of an address, not only the
//! first.

use super::{fault::Violation, reader::Reader};
use crate::net::{Authority, UrlParts, is_loopback_host, is_unambiguous_host};

/// An `https` or `http` address.
#[derive(Debug, Clone, Copy)]
pub(super) struct WebAddress<'t> {
    text: &'t str,
    parts: UrlParts<'t>,
    /// With brackets around IPv6; `None` if it can't be parsed.
    pub(super) host: Option<&'t str>,
}

/// A setting's rule for its address, in addition to the grammar.
pub(super) type AddressRule = fn(&WebAddress<'_>) -> Option<Violation>;

/// For addresses to which a path is appended.
pub(super) fn no_query(address: &WebAddress<'_>) -> Option<Violation> {
    address
        .parts
        .has_query
        .then(|| Violation::new("has a query", "remove the ? and everything after it"))
}

/// For addresses whose responses an attacker on the network must not be able to replace.
pub(super) fn not_exposed(address: &WebAddress<'_>) -> Option<Violation> {
    let reason = "uses plain http to another machine, so the response could be replaced in transit";
    let fix = "use https; http is accepted for loopback addresses only";
    address.exposed().then(|| Violation::new(reason, fix))
}

/// Like [`not_exposed`], for addresses whose host the operator can exempt.
pub(super) fn not_exposed_unless_listed(address: &WebAddress<'_>) -> Option<Violation> {
    let fix =
        "use https, or list the host in auth.plain_http_hosts if the network to it is private";
    not_exposed(address).map(|violation| Violation::new(violation.reason, fix))
}

/// A host without scheme, port and path.
pub(super) fn bare_host(text: &str) -> Result<String, Violation> {
    if host(text).is_some_and(|host| host == text) {
        Ok(text.to_ascii_lowercase())
    } else {
        let fix = "write a host without scheme, port and path, such as \"keycloak.auth.svc\"";
        Err(Violation::new("expected a host name or IP address", fix))
    }
}

impl<'t> WebAddress<'t> {
    /// Parses `text` as an absolute address, or returns all violations.
    pub(super) fn parse(text: &'t str, rules: &[AddressRule]) -> Result<Self, Vec<Violation>> {
        let Some(address) = Self::read(text) else {
            let reason = "expected an address that begins with https:// or http://";
            return Err(vec![Violation::new(reason, EXAMPLE)]);
        };
        let mut violations = address.violations();
        violations.extend(rules.iter().filter_map(|rule| rule(&address)));
        if violations.is_empty() { Ok(address) } else { Err(violations) }
    }

    /// Parses as much as possible, even of an invalid address. `None` for another scheme.
    pub(super) fn read(text: &'t str) -> Option<Self> {
        let parts = UrlParts::split(text).filter(|it| matches!(it.scheme, "https" | "http"))?;
        let host = host(parts.authority.rsplit('@').next().unwrap_or_default());
        Some(Self { text, parts, host })
    }

    /// The segments of the path.
    pub(super) fn segments(&self) -> impl Iterator<Item = &'t str> + use<'t> {
        self.parts.path.split('/').filter(|segment| !segment.is_empty())
    }

    /// Whether the host is one of `hosts`.
    pub(super) fn is_on(&self, hosts: &[String]) -> bool {
        let host = self.host.unwrap_or_default();
        hosts.iter().any(|listed| listed.eq_ignore_ascii_case(host))
    }

    /// Whether the scheme is `https`.
    pub(super) fn is_https(&self) -> bool {
        self.parts.scheme == "https"
    }

    /// Whether the host is not a loopback address.
    pub(super) fn is_remote(&self) -> bool {
        self.host.is_some_and(|host| !is_loopback_host(host))
    }

    /// Whether requests to it cross the network unencrypted.
    pub(super) fn exposed(&self) -> bool {
        self.parts.scheme == "http" && self.is_remote()
    }

    /// Violations of the grammar.
    fn violations(&self) -> Vec<Violation> {
        let authority = self.parts.authority;
        let is_legal = |text: &str| text.bytes().all(is_uri_byte) && escapes_are_whole(text);
        let violations = [
            (
                !is_legal(self.text),
                "contains a character that must be percent-encoded in an address",
                "percent-encode the character, or remove it",
            ),
            (self.text.contains('#'), "has a fragment", "remove the # and everything after it"),
            (
                authority.contains('@'),
                "contains a user name or a password",
                "remove it; secrets have their own settings",
            ),
            (
                self.segments().any(is_dot_segment),
                "has dot segments in its path",
                "write the path without . and ..",
            ),
            // An illegal character is reported above and may be the only reason.
            (self.host.is_none() && is_legal(authority), "has an invalid host or port", EXAMPLE),
        ];
        let violated = violations.into_iter().filter(|(is_violated, ..)| *is_violated);
        violated.map(|(_, reason, fix)| Violation::new(reason, fix)).collect()
    }
}

/// Whether the address in setting `key` is plain http to another host, even if it is otherwise
/// invalid.
pub(super) fn is_exposed(reader: &Reader<'_>, key: &str) -> bool {
    reader.raw_text(key).and_then(WebAddress::read).is_some_and(|address| address.exposed())
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

/// Includes percent-encoded dots, which some parsers decode first.
fn is_dot_segment(segment: &str) -> bool {
    matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
}

/// The host of `host[:port]`, including brackets; `None` if host or port is invalid.
fn host(authority: &str) -> Option<&str> {
    let Authority { host, port } = Authority::parse(authority)?;
    let is_valid_port = port.is_none_or(|digits| digits.parse::<u16>().is_ok_and(|it| it > 0));
    (is_valid_port && is_unambiguous_host(host)).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<WebAddress<'_>, Vec<Violation>> {
        WebAddress::parse(text, &[])
    }

    #[test]
    fn loopback_is_recognized_by_the_address() {
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
            assert_eq!(parse(text).unwrap().is_remote(), !loopback, "{text}");
        }
    }

    #[test]
    fn ambiguous_addresses_are_rejected() {
        for (text, reasons) in [
            ("", &["begins with"][..]),
            ("ftp://host", &["begins with"]),
            ("HTTPS://host", &["begins with"]),
            (" https://host", &["begins with"]),
            ("https://host ", &["percent-encoded"]),
            ("https://host\\@evil", &["percent-encoded", "user name"]),
            ("https://hóst", &["percent-encoded"]),
            ("https://host/%2", &["percent-encoded"]),
            ("https://host/%zz", &["percent-encoded"]),
            ("https://host#x", &["fragment"]),
            ("https://user:hush@host", &["user name"]),
            ("https://127.0.0.1@evil.example", &["user name"]),
            ("https://host/a/../b", &["dot segments"]),
            ("https://host/%2E%2e/b", &["dot segments"]),
            ("https://", &["host or port"]),
            ("https://host:", &["host or port"]),
            ("https://host:0", &["host or port"]),
            ("https://host:65536", &["host or port"]),
            ("https://host:+1", &["host or port"]),
            ("https://host:1:2", &["host or port"]),
            ("https://[::1", &["host or port"]),
            ("https://[::1]x", &["host or port"]),
            ("https://[v1.x]", &["host or port"]),
            ("https://[]", &["host or port"]),
            ("https://0127.0.0.1", &["host or port"]),
            ("https://127.1", &["host or port"]),
            ("https://0x7f", &["host or port"]),
            ("https://a..b", &["host or port"]),
            ("https://host.", &["host or port"]),
            ("https://a%41", &["host or port"]),
            (
                "https://user:hush@:1/../é#x",
                &["percent-encoded", "fragment", "user name", "dot segments", "host or port"],
            ),
        ] {
            let violations = parse(text).unwrap_err();
            assert_eq!(violations.len(), reasons.len(), "{text}: {violations:?}");
            for (violation, reason) in violations.iter().zip(reasons) {
                assert!(violation.reason.contains(reason), "{text}: {}", violation.reason);
            }
            assert!(!format!("{violations:?}").contains("hush"));
        }
        assert!(parse(&format!("https://{}", "a".repeat(64))).is_err());
        assert!(parse(&format!("https://{}a", "a.".repeat(127))).is_err());
    }

    #[test]
    fn rules_are_reported_along_with_grammar_violations() {
        let rules: [AddressRule; 2] = [no_query, not_exposed];
        let reasons = |text: &str| {
            let violations = WebAddress::parse(text, &rules).err().unwrap_or_default();
            violations.into_iter().map(|violation| violation.reason).collect::<Vec<_>>().join("; ")
        };
        assert_eq!(reasons("https://host.example/b"), "");
        assert_eq!(reasons("http://localhost:81"), "");
        let all = reasons("http://a:hush@host.example/b?c#d");
        for part in ["fragment", "user name", "query", "plain http"] {
            assert!(all.contains(part), "{part} in {all}");
        }
    }

    #[test]
    fn plain_http_to_remote_hosts_is_exposed() {
        assert!(!parse("https://host.example:8443/a/b%20c?p=q@r").unwrap().exposed());
        assert!(parse("http://host.example").unwrap().exposed());
        assert!(!parse("http://[::1]/a").unwrap().exposed());
        // An invalid address is detected too.
        assert!(WebAddress::read("http://user@host.example?x#y").unwrap().exposed());
        assert!(!WebAddress::read("http://user@127.0.0.1?x#y").unwrap().is_remote());
        assert!(WebAddress::read("ftp://host.example").is_none());
    }
}
