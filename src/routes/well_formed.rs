//! What the HTTP parser lets through and this service doesn't: requests of which two readers could
//! think that they are meant for different hosts, and such as only attackers send (RFC 9112 §3.2,
//! §11.2). They are refused and their connections closed.

use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    http::{Method, Uri, header},
};
use futures_util::future::{Ready, ready};

use crate::{net::Authority, problem::Problem};

/// Longest target taken, in bytes. This service's own have less than 100.
const MAX_TARGET: usize = 8192;

/// Longest method taken, in bytes: the longest registered one is UPDATEREDIRECTREF.
pub(super) const MAX_METHOD: usize = 32;

/// Shows that the request means one thing to everybody.
#[derive(Debug)]
pub(super) struct WellFormed;

impl FromRequest for WellFormed {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(check(request).map(|()| Self))
    }
}

/// The same in front of all handlers.
pub(super) fn check(request: &HttpRequest) -> Result<(), Problem> {
    let host = request.headers().get(header::HOST).map(header::HeaderValue::as_bytes);
    check_parts(request.method(), request.uri(), host).map_err(Problem::Malformed)
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
            let is_one = is_same && is_host(named);
            if is_one { Ok(()) } else { Err("The request target and the Host header differ.") }
        }
        (Some(_), Some(_)) => Err("The request target is neither http nor https."),
    }
}

/// Whether it is a name or an address, with or without a port, or empty.
pub(super) fn is_host(host: &[u8]) -> bool {
    let authority = str::from_utf8(host).ok().and_then(Authority::parse);
    authority.is_some_and(|authority| authority.port.is_none_or(|port| port.len() <= 5))
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
    fn a_target_with_a_host_says_what_the_header_says() {
        let check = |target: &str, host: Option<&str>| {
            check_parts(&Method::GET, &target.parse().unwrap(), host.map(str::as_bytes)).is_ok()
        };
        for (target, host, is_good) in [
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
            assert_eq!(check(target, host), is_good, "{target} {host:?}");
        }
    }

    #[test]
    fn targets_and_methods_have_bounds() {
        let target = |length: usize| format!("/{}", "x".repeat(length - 1)).parse::<Uri>().unwrap();
        assert!(check_parts(&Method::GET, &target(MAX_TARGET), None).is_ok());
        assert!(check_parts(&Method::GET, &target(MAX_TARGET + 1), None).is_err());
        let method = |length: usize| Method::from_bytes("X".repeat(length).as_bytes()).unwrap();
        assert!(check_parts(&method(MAX_METHOD), &target(1), None).is_ok());
        assert!(check_parts(&method(MAX_METHOD + 1), &target(1), None).is_err());
    }
}
