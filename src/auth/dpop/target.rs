//! Addresses, compared as RFC 9449 §4.3 says: without query and fragment, and normalised by syntax
//! and scheme (RFC 3986 §6.2.2 and §6.2.3).
//!
//! Refuses user names, dot segments and what RFC 3986 wants percent-encoded: no client has to write
//! any of them, and readers differ about them.

use std::fmt::Write as _;

/// An `https` or `http` address in its one spelling.
#[derive(PartialEq, Eq)]
pub(super) struct Target {
    secure: bool,
    /// In lower case.
    host: String,
    port: u16,
    path: String,
}

impl Target {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let rest = rest.split(['?', '#']).next()?;
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at_checked(slash)?,
            None => (rest, "/"),
        };
        let (host, port) = authority_of(authority)?;
        let usual = if secure { 443 } else { 80 };
        Some(Self { secure, host, port: port.unwrap_or(usual), path: normal(path)? })
    }
}

/// Host and port, `None` inside for the usual one.
fn authority_of(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match text.rfind(':') {
        Some(colon) if !text.ends_with(']') => text.split_at_checked(colon)?,
        Some(_) | None => (text, ""),
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let port = if digits.is_empty() { None } else { Some(digits.parse().ok()?) };
    let is_address = |byte: u8| byte.is_ascii_hexdigit() || b":.".contains(&byte);
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => !address.is_empty() && address.bytes().all(is_address),
        None => !host.is_empty() && host.bytes().all(is_name),
    };
    is_host.then(|| (host.to_ascii_lowercase(), port))
}

/// The path with each byte in its one spelling (RFC 3986 §6.2.2.1, §6.2.2.2).
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
    fn spellings_of_one_address_are_equal() {
        for (ours, spellings) in [
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
            for spelling in spellings {
                let (ours, spelt) = (Target::parse(ours), Target::parse(spelling));
                assert!(ours.is_some() && ours == spelt, "{spelling}");
            }
        }
    }

    #[test]
    fn similar_addresses_differ() {
        let ours = Target::parse("https://a.example/me/customer").unwrap();
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
            assert!(Target::parse(other).is_some_and(|other| other != ours), "{other}");
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
