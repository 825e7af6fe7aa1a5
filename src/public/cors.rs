//! CORS for apps in browsers and `WebView`s: which origins may read responses (`cors.origins`).
//!
//! Credentials are never allowed, because the service reads no cookies. A request from another origin is served
//! without CORS headers, so its browser rejects the response.

use actix_http::header::HeaderMap;
use actix_web::{
    HttpResponse,
    http::header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
        ALLOW, CACHE_CONTROL, HeaderValue, ORIGIN, VARY,
    },
};

use super::request_log::Route;
use crate::settings;

/// Request headers that the service reads and that need permission. Others are harmless but not needed.
const REQUEST_HEADERS: HeaderValue =
    HeaderValue::from_static("Authorization, Cache-Control, DPoP, X-Request-Id, traceparent");

/// Response headers that apps need.
const RESPONSE_HEADERS: HeaderValue = HeaderValue::from_static(
    "Cache-Status, DPoP-Nonce, Juspay-Token-Expires-In, Retry-After, WWW-Authenticate, X-Request-Id",
);

/// How long a browser may reuse a preflight's response, in seconds. Chromium's maximum.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// The origins that may read responses.
#[derive(Debug)]
pub struct Cors {
    origins: Vec<HeaderValue>,
}

impl Cors {
    /// `None` without origins.
    #[must_use]
    pub fn new(settings: &settings::Cors) -> Option<Self> {
        let origins = settings.origins.iter().filter_map(|it| HeaderValue::from_str(it).ok());
        let origins: Vec<_> = origins.collect();
        (!origins.is_empty()).then_some(Self { origins })
    }

    /// Allows the origin of a request, if it is listed, to read the response.
    pub(super) fn allow(&self, request: &HeaderMap, response: &mut HeaderMap) {
        // Also without an origin: caches must not give that response to a browser.
        response.append(VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = self.listed_origin(request) {
            response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            response.insert(ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_HEADERS);
        }
    }

    /// The 204 to `OPTIONS`. For a preflight of a listed origin, with what it may send.
    pub(super) fn options(&self, route: Route, request: &HeaderMap) -> HttpResponse {
        let mut response = HttpResponse::NoContent().finish();
        let headers = response.headers_mut();
        let methods = HeaderValue::from_static(route.methods(true).unwrap_or_default());
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let is_preflight = request.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if is_preflight && self.listed_origin(request).is_some() {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods.clone());
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
            headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        }
        headers.insert(ALLOW, methods);
        response
    }

    fn listed_origin<'a>(&self, request: &'a HeaderMap) -> Option<&'a HeaderValue> {
        let mut origins = request.get_all(ORIGIN);
        let origin = origins.next().filter(|origin| self.origins.contains(origin))?;
        origins.next().is_none().then_some(origin)
    }
}
