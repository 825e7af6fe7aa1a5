//! Normalizes the address in a DPoP proof for comparison, as RFC 9449 §4.3 requires: without query and
//! fragment, by syntax and scheme (RFC 3986 §6.2.2 and §6.2.3).
//!
//! Rejects user names, dot segments and characters that RFC 3986 requires to be percent-encoded. No
//! client needs them, and URL parsers disagree about them.

use std::fmt::Write as _;

use crate::net::{Origin, UrlParts};

/// A normalized `https` or `http` address.
#[derive(PartialEq, Eq)]
pub(super) struct Target {
    origin: Origin,
    path: String,
}

impl Target {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let path = UrlParts::split(text)?.path;
        let path = normal(if path.is_empty() { "/" } else { path })?;
        Some(Self { origin: Origin::parse(text)?, path })
    }
}

/// The path in its normal form: each byte has one encoding (RFC 3986 §6.2.2.1, §6.2.2.2).
fn normal(path: &str) -> Option<String> {
    let mut normal = String::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                let digits = std::str::from_utf8(&digits).ok()?;
                let is_hexadecimal = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                let encoded = u8::from_str_radix(digits, 16).ok().filter(|_| is_hexadecimal)?;
                if is_unreserved(encoded) {
                    normal.push(char::from(encoded));
                } else {
                    write!(normal, "%{encoded:02X}").ok()?;
                }
            }
            plain if is_unreserved(plain) || b"/!$&'()*+,;=:@".contains(&plain) => {
                normal.push(char::from(plain));
            }
            _ => return None,
        }
    }
    let has_dots = normal.split('/').any(|segment| matches!(segment, "." | ".."));
    (!has_dots).then_some(normal)
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equivalent_addresses_are_equal() {
        for (address, equivalents) in [
            (
                "https://a.example/me/customer",
                &[
                    "https://a.example/me/customer",
                    "HTTPS://A.Example/me/customer",
                    "https://a.example:443/me/customer",
                    "https://a.example:/me/customer",
                    "https://a.example/me/customer?x=y",
                    "https://a.example/me/customer#x",
                    "https://a.example/me/customer?#?x",
                    "https://a.example/%6de/custome%72",
                    "https://a.example/%6De/customer",
                ][..],
            ),
            ("http://a:80", &["http://a", "http://a/", "http://a?x", "http://a:080/"]),
            ("http://[::1]:8080/x", &["http://[::1]:8080/x"]),
            ("http://[ABCD::]/x", &["http://[abcd::]:80/x"]),
            ("http://a/%2f%e4", &["http://a/%2F%E4"]),
        ] {
            for equivalent in equivalents {
                let (address, other) = (Target::parse(address), Target::parse(equivalent));
                assert!(address.is_some() && address == other, "{equivalent}");
            }
        }
    }

    #[test]
    fn similar_addresses_differ() {
        let target = Target::parse("https://a.example/me/customer").unwrap();
        for other in [
            "http://a.example/me/customer",
            "http://a.example:443/me/customer",
            "https://a.example:444/me/customer",
            "https://b.example/me/customer",
            "https://a.example.evil.example/me/customer",
            "https://a.example/me/customer/",
            "https://a.example//me/customer",
            "https://a.example/me%2fcustomer",
            "https://a.example/ME/customer",
            "https://a.example/me",
            "https://a.example",
            "https://a.example/",
        ] {
            assert!(Target::parse(other).is_some_and(|other| other != target), "{other}");
        }
    }

    #[test]
    fn invalid_addresses_are_rejected() {
        for text in [
            "",
            "/me/customer",
            "a.example/me/customer",
            "//a.example/me",
            "ftp://a/",
            "https:/a/",
            "https://",
            "https:///x",
            "https://u@a/x",
            "https://u:p@a/x",
            "https://a:b/x",
            "https://a:65536/",
            "https://a:+1/",
            "https://a:1:2/",
            "https://[::1/",
            "https://[]/",
            "https://[g]/",
            "https://a b/",
            "https://a/b c",
            "https://a/\"",
            "https://a/\\",
            "https://a/%",
            "https://a/%2",
            "https://a/%+1",
            "https://a/%zz",
            "https://a/é",
            "https://a/./b",
            "https://a/b/..",
            "https://a/%2e%2E/b",
            " https://a/",
            "https://a/ ",
            "https://a/\0",
        ] {
            assert!(Target::parse(text).is_none(), "{text:?}");
        }
    }
}
