//! Parses a public request: its target, method, body, query options and `Cache-Control`.
//!
//! [`check_target`] rejects requests that two HTTP parsers may interpret differently, and requests
//! that only attackers send (RFC 9112 §3.2, §11.2). Their connections are closed. The admin listener
//! uses it too.

// Untrusted input is parsed here.
#![cfg_attr(
    not(test),
    deny(clippy::as_conversions, clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

use std::{borrow::Cow, time::Duration};

use actix_http::{HttpMessage as _, Request};
use actix_web::http::{
    Method, Uri,
    header::{CACHE_CONTROL, CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING},
};
use percent_encoding::percent_decode_str;

use super::{
    request_log::Route,
    sdk_payload::{SdkAction, SdkRequest},
};
use crate::{
    cache::Freshness,
    net::Authority,
    problem::Problem,
    settings::{Platform, SdkProfile},
};

/// Maximum length of a request target, in bytes. The targets of this service have less than 100.
const MAX_TARGET: usize = 8192;

/// Maximum length of a method, in bytes. The longest registered method is UPDATEREDIRECTREF.
pub(super) const MAX_METHOD: usize = 32;

/// Around a directive (RFC 9110 §5.6.3).
const WHITE_SPACE: [char; 2] = [' ', '\t'];

const MALFORMED_CACHE_CONTROL: Problem =
    Problem::InvalidRequest("The Cache-Control header is malformed.");

/// A well-formed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PublicRequest {
    pub(super) customer: CustomerRequest,
    pub(super) response: ResponseKind,
}

/// What the client gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResponseKind {
    /// `GET /me/customer`: the customer.
    Customer,
    /// `GET /me/sdk-payload`: what the app passes to Juspay's SDK.
    SdkPayload(SdkRequest),
    /// `POST /me/prepare`: nothing, and does not wait for the customer.
    Accepted,
    /// `OPTIONS`: the methods of the route, for a browser (CORS).
    Options,
}

/// What the client wants from the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CustomerRequest {
    /// `options.get_client_auth_token`, true by default.
    pub(super) want_token: bool,
    /// Whether the response has a body: only then the client gets the token.
    pub(super) want_body: bool,
    pub(super) freshness: Freshness,
}

impl PublicRequest {
    /// Parses a request of `route`. Without `sdk.profile`, there is no `/me/sdk-payload`; without
    /// `cors.origins`, no `OPTIONS`.
    pub(super) fn parse(
        request: &Request,
        route: Route,
        profile: Option<SdkProfile>,
        has_cors: bool,
    ) -> Result<Self, Problem> {
        let headers = request.headers();
        check_target(request.method(), request.uri(), headers)?;
        let methods = route.methods(has_cors).ok_or(Problem::NotFound)?;
        if route == Route::MeSdkPayload && profile.is_none() {
            return Err(Problem::NotFound);
        }
        if !methods.split(", ").any(|method| request.method() == method) {
            return Err(Problem::MethodNotAllowed(methods));
        }
        if has_body(headers) {
            return Err(Problem::BodyNotAllowed);
        }
        let mut customer = CustomerRequest {
            want_token: true,
            want_body: *request.method() == Method::GET,
            freshness: Freshness::default(),
        };
        if *request.method() == Method::OPTIONS {
            return Ok(Self { customer, response: ResponseKind::Options });
        }
        let options = Options::parse(request.uri().query().unwrap_or_default())?;
        customer.freshness = parse_cache_control(headers)?;
        let response = match (route, profile) {
            (Route::MeSdkPayload, Some(profile)) => {
                let sdk_request = options.sdk_request(profile)?;
                customer.freshness.no_cache |= sdk_request.must_be_new;
                customer.freshness.must_be_new = sdk_request.must_be_new;
                ResponseKind::SdkPayload(sdk_request)
            }
            (Route::MePrepare, _) => {
                // Some HTTP clients add `no-cache` to each `POST`. It must not replace a usable token.
                customer.freshness =
                    Freshness { min_fresh: customer.freshness.min_fresh, ..Freshness::default() };
                ResponseKind::Accepted
            }
            _ => {
                customer.want_token = options.want_token.unwrap_or(true);
                ResponseKind::Customer
            }
        };
        Ok(Self { customer, response })
    }
}

impl CustomerRequest {
    /// Whether a fresh entry of the cache satisfies the request as it is.
    pub(super) fn is_plain(self) -> bool {
        self == Self { want_token: true, want_body: true, freshness: Freshness::default() }
    }
}

/// The route of a request, also of a malformed one. `/me/%63ustomer` is `/me/customer`.
///
/// `base_path` is the path of `server.public_url`, which a proxy may have removed from the target, or not.
pub(super) fn route(request: &Request, base_path: &str) -> Route {
    let path = request.path();
    // `/m` is also the beginning of `/me/customer`.
    let paths = [Some(path), path.strip_prefix(base_path)];
    let is = |known: &str| {
        let is_known =
            |path: &str| path == known || (path.contains('%') && decodes_to(path, known));
        paths.into_iter().flatten().any(is_known)
    };
    Route::ME.into_iter().find(|route| route.path().is_some_and(is)).unwrap_or(Route::Unmatched)
}

/// Decodes each segment: an encoded slash separates none (RFC 3986 §2.2).
fn decodes_to(path: &str, known: &str) -> bool {
    let segments = path.split('/').map(|it| Cow::from(percent_decode_str(it)));
    segments.eq(known.split('/').map(|it| Cow::Borrowed(it.as_bytes())))
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

/// The query's options. Other ones are ignored.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    /// `options.get_client_auth_token`, which has Juspay's name.
    want_token: Option<bool>,
    /// `action`, `platform` and `new_token`, which count only for `/me/sdk-payload`. `Err` if invalid.
    action: Option<Result<SdkAction, ()>>,
    platform: Option<Result<Platform, ()>>,
    new_token: Option<Result<bool, ()>>,
}

impl Options {
    fn parse(query: &str) -> Result<Self, Problem> {
        let mut options = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match (&*name, &*value) {
                ("options.get_client_auth_token", "true" | "false")
                    if options.want_token.is_none() =>
                {
                    options.want_token = Some(value == "true");
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
                ("action", action) => {
                    let is_first = options.action.is_none();
                    options.action = Some(SdkAction::named(action).filter(|_| is_first).ok_or(()));
                }
                ("new_token", is_new) => {
                    let is_first = options.new_token.is_none();
                    options.new_token = Some(is_new.parse().ok().filter(|_| is_first).ok_or(()));
                }
                ("platform", platform) => {
                    let is_first = options.platform.is_none();
                    let known = Platform::ALL.into_iter().find(|it| it.name() == platform);
                    options.platform = Some(known.filter(|_| is_first).ok_or(()));
                }
                _ => {}
            }
        }
        Ok(options)
    }

    /// The options of `/me/sdk-payload`.
    fn sdk_request(&self, profile: SdkProfile) -> Result<SdkRequest, Problem> {
        let Some(Ok(action)) = self.action else {
            return Err(Problem::InvalidRequest(
                "action must be initiate, process or updateAuth, and occur once.",
            ));
        };
        let platform = self.platform.transpose().map_err(|()| {
            Problem::InvalidRequest("platform must be android, ios or web, and occur at most once.")
        })?;
        let new_token = self.new_token.transpose().map_err(|()| {
            Problem::InvalidRequest("new_token must be true or false, and occur at most once.")
        })?;
        if profile == SdkProfile::Ec && action != SdkAction::Process {
            return Err(Problem::InvalidRequest(
                "The Express Checkout SDK takes the client auth token in process only. The app makes \
                 its initiate payload itself.",
            ));
        }
        let must_be_new = new_token == Some(true) || action == SdkAction::UpdateAuth;
        Ok(SdkRequest { action, platform, must_be_new })
    }
}

/// Parses the directives of `Cache-Control` (RFC 9111 §5.2.1) that this service supports: `min-fresh`,
/// `no-cache` and `only-if-cached`. Other directives are ignored, malformed ones are rejected.
fn parse_cache_control(headers: &HeaderMap) -> Result<Freshness, Problem> {
    let mut freshness = Freshness::default();
    for value in headers.get_all(CACHE_CONTROL) {
        let value = value.to_str().map_err(|_| MALFORMED_CACHE_CONTROL)?;
        let mut is_quoted = false;
        // A comma within quotes does not separate directives (RFC 9110 §5.6.4). No supported
        // directive contains a backslash.
        let separators = |character| {
            is_quoted ^= character == '"';
            character == ',' && !is_quoted
        };
        for directive in value.split(separators) {
            apply_directive(directive.trim_matches(WHITE_SPACE), &mut freshness)?;
        }
    }
    Ok(freshness)
}

fn apply_directive(directive: &str, freshness: &mut Freshness) -> Result<(), Problem> {
    let (name, value) = match directive.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (directive, None),
    };
    // White space before the `=` is not allowed, but it does not make this another directive.
    let has_valid_name = !name.ends_with(WHITE_SPACE);
    match (name.trim_end_matches(WHITE_SPACE).to_ascii_lowercase().as_str(), value) {
        ("min-fresh", value) => {
            let seconds = value.filter(|_| has_valid_name).and_then(delta_seconds).ok_or(
                Problem::InvalidRequest("The directive min-fresh needs a number of seconds."),
            )?;
            // The strictest of several values applies.
            freshness.min_fresh = freshness.min_fresh.max(Some(Duration::from_secs(seconds)));
        }
        ("no-cache", None) => freshness.no_cache = true,
        ("only-if-cached", None) => freshness.only_if_cached = true,
        ("no-cache" | "only-if-cached", Some(_)) => {
            return Err(Problem::InvalidRequest(
                "The directives no-cache and only-if-cached take no value.",
            ));
        }
        _ => {}
    }
    Ok(())
}

/// A number of seconds (RFC 9111 §1.2.2), also in quotes (§5.2). Larger numbers become the maximum.
fn delta_seconds(value: &str) -> Option<u64> {
    let digits = value.strip_prefix('"').and_then(|it| it.strip_suffix('"')).unwrap_or(value);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
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
            let options = Options::parse(query).unwrap();
            assert_eq!(options.want_token.unwrap_or(true), want_token, "{query}");
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
            let rejected = Options::parse(query);
            assert!(matches!(rejected, Err(Problem::InvalidRequest(_))), "{query}: {rejected:?}");
        }
    }

    fn parse_values(values: &[&str]) -> Result<Freshness, Problem> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CACHE_CONTROL, HeaderValue::from_str(value).unwrap());
        }
        parse_cache_control(&headers)
    }

    #[test]
    fn directives_are_parsed_in_any_case_and_order() {
        let fresh =
            |secs| Freshness { min_fresh: Some(Duration::from_secs(secs)), ..Freshness::default() };
        let all = Freshness { no_cache: true, only_if_cached: true, ..fresh(5) };
        for (values, freshness) in [
            (vec![], Freshness::default()),
            (vec![""], Freshness::default()),
            (vec!["max-age=0, no-store, foo=bar"], Freshness::default()),
            (vec!["min-fresh=60"], fresh(60)),
            (vec!["Min-Fresh=\"60\""], fresh(60)),
            (vec!["min-fresh=60", "min-fresh=90, min-fresh=7"], fresh(90)),
            (vec!["min-fresh=99999999999999999999"], fresh(u64::MAX)),
            (vec!["min-fresh=0"], fresh(0)),
            (vec!["a=\"x, no-cache, y\", min-fresh=5"], fresh(5)),
            (vec!["a=\"x", "min-fresh=5"], fresh(5)),
            (vec!["no-cached, xno-cache, no cache, only-if-cached-x"], Freshness::default()),
            (vec!["no-cache,ONLY-IF-CACHED ,\tmin-fresh=5"], all),
        ] {
            assert_eq!(parse_values(&values), Ok(freshness), "{values:?}");
        }
    }

    #[test]
    fn malformed_directives_are_rejected() {
        for value in [
            "min-fresh",
            "min-fresh=",
            "min-fresh=-1",
            "min-fresh=1.5",
            "min-fresh=1s",
            "min-fresh=\"1",
            "min-fresh= 1",
            "min-fresh =1",
            "min-fresh=\"\"",
            "min-fresh=1, min-fresh",
            "no-cache =1",
            "no-cache=",
            "no-cache=1",
            "only-if-cached=true",
        ] {
            assert!(matches!(parse_values(&[value]), Err(Problem::InvalidRequest(_))), "{value}");
        }
        let mut headers = HeaderMap::new();
        headers.append(CACHE_CONTROL, HeaderValue::from_bytes(b"no-cache, \xff").unwrap());
        assert_eq!(parse_cache_control(&headers), Err(MALFORMED_CACHE_CONTROL));
    }
}
