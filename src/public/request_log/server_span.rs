//! The server span of a sampled request. Its only text from the client is the request's id.

use actix_http::Request;
use actix_web::http::{Method, StatusCode};

use super::counts::Route;
use crate::{
    connection_info::ConnectionInfo,
    public::request_id::RequestId,
    traces::{Kind, Span, TraceContext, Tracer},
};

/// The attributes that describe the response.
pub(super) struct Attributes<'a> {
    pub(super) route: Option<&'static str>,
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    /// The outcome of the cache lookup.
    pub(super) cache: Option<&'static str>,
    pub(super) request_id: &'a RequestId,
}

/// Starts the span if the request is sampled.
pub(super) fn start(
    tracer: &Tracer,
    request: &Request,
    route: Route,
    trace: Option<&TraceContext>,
) -> Span {
    let Some(trace) = tracer.draw(trace) else { return Span::default() };
    let method = known_method(request.method());
    let span = trace.begin(name(method, route), Kind::Server);
    let is_encrypted = request.conn_data::<ConnectionInfo>().is_some_and(|it| it.tls);
    span.set("http.request.method", method);
    span.set("url.scheme", if is_encrypted { "https" } else { "http" });
    span
}

/// Ends the span.
pub(super) fn end(span: &Span, response: &Attributes<'_>) {
    if span.place().is_none() {
        return;
    }
    if let Some(route) = response.route {
        span.set("http.route", route);
    }
    span.set("http.response.status_code", response.status.as_u16());
    span.set("juspay_bff.code", response.code);
    span.name("juspay_bff.request_id", response.request_id.as_str());
    if let Some(cache) = response.cache {
        span.set("juspay_bff.cache.outcome", cache);
    }
    if response.status.is_server_error() {
        span.fail(response.code);
    }
    span.end();
}

fn name(method: &'static str, route: Route) -> &'static str {
    match (method, route) {
        ("GET", Route::MeCustomer) => "GET /me/customer",
        ("HEAD", Route::MeCustomer) => "HEAD /me/customer",
        ("OPTIONS", Route::MeCustomer) => "OPTIONS /me/customer",
        ("GET", Route::MeSdkPayload) => "GET /me/sdk-payload",
        ("HEAD", Route::MeSdkPayload) => "HEAD /me/sdk-payload",
        ("OPTIONS", Route::MeSdkPayload) => "OPTIONS /me/sdk-payload",
        ("POST", Route::MePrepare) => "POST /me/prepare",
        ("OPTIONS", Route::MePrepare) => "OPTIONS /me/prepare",
        ("_OTHER", _) => "HTTP",
        (method, _) => method,
    }
}

/// The method if it is a registered one (OpenTelemetry's `_OTHER` otherwise).
fn known_method(method: &Method) -> &'static str {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"];
    known.into_iter().find(|name| *name == method.as_str()).unwrap_or("_OTHER")
}
