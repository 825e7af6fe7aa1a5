//! Parses a public request: its target, method, body, query options and `Cache-Control`.
//!
//! [`check_target`] rejects requests that two HTTP parsers may interpret differently, and requests
//! that only attackers send (RFC 9112 §3.2, §11.2). Their connections are closed. The admin listener
//! uses it too.

mod cache_control;

use std::borrow::Cow;

use actix_http::{HttpMessage as _, Request};
use actix_web::http::{
    Method, Uri,
    header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING},
};
use percent_encoding::percent_decode_str;

use super::request_log::Route;
use crate::{cache::Freshness, net::Authority, problem::Problem};

/// The one public path.
pub(super) const ME_CUSTOMER: &str = "/me/customer";

/// Maximum length of a request target, in bytes. The targets of this service have less than 100.
const MAX_TARGET: usize = 8192;

/// Maximum length of a method, in bytes. The longest registered method is UPDATEREDIRECTREF.
pub(super) const MAX_METHOD: usize = 32;

/// A well-formed `GET` or `HEAD` of `/me/customer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CustomerRequest {
    /// `options.get_client_auth_token`, true by default.
    pub(super) want_token: bool,
    /// False for `HEAD`.
    pub(super) want_body: bool,
    pub(super) freshness: Freshness,
}

impl CustomerRequest {
    pub(super) fn parse(request: &Request) -> Result<Self, Problem> {
        let headers = request.headers();
        check_target(request.method(), request.uri(), headers)?;
        if route(request) == Route::Unmatched {
            return Err(Problem::NotFound);
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(Problem::MethodNotAllowed("GET, HEAD"));
        }
        if has_body(headers) {
            return Err(Problem::BodyNotAllowed);
        }
        let want_token = parse_query(request.uri().query().unwrap_or_default())?;
        let want_body = *request.method() != Method::HEAD;
        Ok(Self { want_token, want_body, freshness: cache_control::parse(headers)? })
    }

    /// Whether a fresh entry of the cache satisfies the request as it is.
    pub(super) fn is_plain(self) -> bool {
        self == Self { want_token: true, want_body: true, freshness: Freshness::default() }
    }
}

/// The route of a request, also of a malformed one. `/me/%63ustomer` is `/me/customer`.
pub(super) fn route(request: &Request) -> Route {
    let path = request.path();
    let is_customer = path == ME_CUSTOMER || (path.contains('%') && decodes_to_me_customer(path));
    if is_customer { Route::MeCustomer } else { Route::Unmatched }
}

/// Decodes each segment: an encoded slash separates none (RFC 3986 §2.2).
fn decodes_to_me_customer(path: &str) -> bool {
    let segments = path.split('/').map(|it| Cow::from(percent_decode_str(it)));
    segments.eq(ME_CUSTOMER.split('/').map(|it| Cow::Borrowed(it.as_bytes())))
}

/// Rejects a target, method or host that is ambiguous or too long.
///
/// # Errors
/// [`Problem::Malformed`].
pub fn check_target(method: &Method, target: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let host = headers.get(HOST).map(HeaderValue::as_bytes);
    check_parts(method, target, host).map_err(Problem::Malformed)
}

fn check_parts(method: &Method, target: &Uri, host: Option<&[u8]>) -> Result<(), &'static str> {
    if method.as_str().len() > MAX_METHOD {
        return Err("The method is too long.");
    }
    if target.path_and_query().is_some_and(|it| it.as_str().len() > MAX_TARGET) {
        return Err("The request target is too long.");
    }
    if host.is_some_and(|host| !is_host(host)) {
        return Err("The Host header contains no valid host.");
    }
    match (target.scheme_str(), target.authority()) {
        (_, None) | (None, Some(_)) => Ok(()),
        (Some("http" | "https"), Some(authority)) => {
            let named = authority.as_str().as_bytes();
            let is_same = host.is_none_or(|host| host.eq_ignore_ascii_case(named));
            if is_same && is_host(named) {
                Ok(())
            } else {
                Err("The request target and the Host header differ.")
            }
        }
        (Some(_), Some(_)) => Err("The request target is neither http nor https."),
    }
}

/// Whether this is a name or an address, with or without a port of up to five digits, or empty.
fn is_host(host: &[u8]) -> bool {
    let authority = str::from_utf8(host).ok().and_then(Authority::parse);
    authority.is_some_and(|it| it.port.is_none_or(|port| port.len() <= 5))
}

/// Whether the request has a body. `Content-Length: 0` is none, and the server removes an empty
/// chunked body before the request is parsed.
fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING)
        || headers.get_all(CONTENT_LENGTH).any(|length| length != "0")
}

/// Parses the query's options, which have Juspay's names, into whether the client wants a token.
/// Other options are ignored.
fn parse_query(query: &str) -> Result<bool, Problem> {
    let mut want_token = None;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match (&*name, &*value) {
            ("options.get_client_auth_token", "true" | "false") if want_token.is_none() => {
                want_token = Some(value == "true");
            }
            ("options.get_client_auth_token", _) => {
                return Err(Problem::InvalidRequest(
                    "options.get_client_auth_token must be true or false, and occur at most once.",
                ));
            }
            ("access_token", _) => {
                return Err(Problem::InvalidRequest(
                    "Send the access token in the Authorization header, not in the query.",
                ));
            }
            _ => {}
        }
    }
    Ok(want_token.unwrap_or(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_and_addresses() {
        for host in
            ["", "a", "a.example", "A-1_b:80", "127.0.0.1:8080", "[::1]", "[fe80::1]:1", "a:"]
        {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "a b", "a/b", "u@a", "a,b", "a;b", "a:b", "a:123456", "[::1", "::1", "[]", "[g]",
            "a\\b", "a?b", "a#b", "<a>", "%41", "ä", "[::1]a", "a:80:80", "\"a\"",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn absolute_target_agrees_with_the_host_header() {
        let check = |target: &str, host: Option<&str>| {
            check_parts(&Method::GET, &target.parse().unwrap(), host.map(str::as_bytes)).is_ok()
        };
        for (target, host, is_valid) in [
            ("/x", Some("a"), true),
            ("/x", None, true),
            ("*", Some("a"), true),
            ("a:80", Some("b"), true),
            ("http://a/x", Some("A"), true),
            ("https://a:1/x", Some("a:1"), true),
            ("http://a/x", None, true),
            ("http://a/x", Some("b"), false),
            ("http://a:80/x", Some("a"), false),
            ("http://u@a/x", Some("u@a"), false),
            ("http://u@a/x", None, false),
            ("ftp://a/x", Some("a"), false),
        ] {
            assert_eq!(check(target, host), is_valid, "{target} {host:?}");
        }
    }

    #[test]
    fn long_targets_and_methods_are_rejected() {
        let target = |length: usize| format!("/{}", "x".repeat(length - 1)).parse::<Uri>().unwrap();
        assert!(check_parts(&Method::GET, &target(MAX_TARGET), None).is_ok());
        assert!(check_parts(&Method::GET, &target(MAX_TARGET + 1), None).is_err());
        let method = |length: usize| Method::from_bytes("X".repeat(length).as_bytes()).unwrap();
        assert!(check_parts(&method(MAX_METHOD), &target(1), None).is_ok());
        assert!(check_parts(&method(MAX_METHOD + 1), &target(1), None).is_err());
    }

    #[test]
    fn token_is_wanted_by_default() {
        for (query, want_token) in [
            ("", true),
            ("options.get_client_auth_token=true", true),
            ("options.get_client_auth_token=false", false),
            ("utm=1&options%2Eget_client_auth_token=false&x", false),
        ] {
            assert_eq!(parse_query(query), Ok(want_token), "{query}");
        }
    }

    #[test]
    fn malformed_options_and_tokens_in_the_query_are_rejected() {
        for query in [
            "options.get_client_auth_token",
            "options.get_client_auth_token=",
            "options.get_client_auth_token=False",
            "options.get_client_auth_token=true&options.get_client_auth_token=true",
            "access_token=x",
            "a=b&access_token",
        ] {
            let rejected = parse_query(query);
            assert!(matches!(rejected, Err(Problem::InvalidRequest(_))), "{query}: {rejected:?}");
        }
    }
}
