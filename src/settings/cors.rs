//! `cors.*`: web pages and `WebView`s that may call the service from other origins.

use super::{fault::Violation, reader::Reader, value::Items};
use crate::net::{Authority, UrlParts};

/// `cors.*`
#[derive(Debug, Clone)]
pub struct Cors {
    /// `cors.origins`: origins as browsers send them. Empty: none.
    pub origins: Vec<String>,
}

impl Cors {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self { origins: reader.filled(|it| it.at("cors.origins").list(Items::Any, origin)) }
    }
}

/// An origin exactly as a browser sends it (RFC 6454 §6.2): otherwise it would never match.
fn origin(text: &str) -> Result<String, Violation> {
    let fix = "write an exact origin, such as \"https://shop.example.com\", \"http://localhost:3000\" or \
               \"capacitor://localhost\"";
    let violation = |reason| Err(Violation::new(reason, fix));
    if text.contains('*') || text == "null" {
        return violation("allows pages of any site");
    }
    let Some(UrlParts { scheme, authority, path, .. }) = UrlParts::split(text) else {
        return violation("expected a scheme and a host");
    };
    let is_scheme_byte =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
    let has_scheme = scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme.bytes().all(is_scheme_byte);
    let default_port = match scheme {
        "https" => Some("443"),
        "http" => Some("80"),
        _ => None,
    };
    match Authority::parse(authority) {
        _ if !has_scheme => violation("the scheme is not one that browsers send"),
        _ if !path.is_empty() || text.contains(['?', '#']) => violation(
            "has a path, query or fragment; browsers send none, not even a slash at the end",
        ),
        None => violation("the host is invalid"),
        Some(Authority { host: "", .. } | Authority { port: Some(""), .. }) => {
            violation("the host or the port is empty")
        }
        Some(_) if authority.bytes().any(|byte| byte.is_ascii_uppercase()) => {
            violation("the host has upper-case letters, and browsers send lower-case ones")
        }
        Some(Authority { port: Some(port), .. }) if default_port == Some(port) => {
            violation("has the scheme's default port, which browsers leave out")
        }
        Some(_) => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_as_browsers_send_them() {
        for valid in [
            "https://shop.example.com",
            "https://shop.example.com:8443",
            "http://localhost",
            "https://localhost",
            "http://127.0.0.1:3000",
            "http://[::1]:3000",
            "capacitor://localhost",
            "ionic://localhost",
        ] {
            assert_eq!(origin(valid).as_deref(), Ok(valid));
        }
        for invalid in [
            "",
            "*",
            "null",
            "shop.example.com",
            "https://",
            "https://a/",
            "https://a/b",
            "https://a?b",
            "https://a#b",
            "https://*.example.com",
            "https://A.example",
            "HTTPS://a",
            "https://a:443",
            "http://a:80",
            "https://a:",
            "https://u@a",
            "https://a b",
            "https://a,https://b",
            "1a://b",
        ] {
            assert!(origin(invalid).is_err(), "{invalid}");
        }
    }
}
