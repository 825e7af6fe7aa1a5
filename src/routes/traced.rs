//! The span of a whole request. Nothing of it is a word of the phone's but the request's id.

use actix_web::{
    HttpMessage as _,
    dev::ServiceRequest,
    http::{Method, StatusCode},
};

use super::{ME_CUSTOMER, request_id::RequestId};
use crate::{
    connection_info::ConnectionInfo,
    traces::{Kind, Parent, Span, Tracer},
};

/// What a request's span tells of its answer.
pub(super) struct Answered<'a> {
    /// The path that was routed by.
    pub(super) route: Option<&'static str>,
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    /// What the cache said.
    pub(super) cache: Option<&'static str>,
    pub(super) request_id: &'a RequestId,
}

/// Begins it, if the request was drawn (`ShortWay::draw`).
pub(super) fn begin(tracer: &Tracer, request: &ServiceRequest) -> Span {
    if !tracer.is_on() {
        return Span::default();
    }
    let Some(trace) = request.extensions_mut().remove::<Parent>() else { return Span::default() };
    let method = known(request.method());
    let span = trace.begin(name(method, request.path()), Kind::Server);
    let is_encrypted = request.conn_data::<ConnectionInfo>().is_some_and(|it| it.tls);
    span.set("http.request.method", method);
    span.set("url.scheme", if is_encrypted { "https" } else { "http" });
    span
}

/// Ends it.
pub(super) fn end(span: &Span, answered: &Answered<'_>) {
    if span.place().is_none() {
        return;
    }
    if let Some(route) = answered.route {
        span.set("http.route", route);
    }
    span.set("http.response.status_code", answered.status.as_u16());
    span.set("juspay_bff.code", answered.code);
    span.name("juspay_bff.request_id", answered.request_id.as_str());
    if let Some(cache) = answered.cache {
        span.set("juspay_bff.cache.outcome", cache);
    }
    if answered.status.is_server_error() {
        span.fail(answered.code);
    }
    span.end();
}

fn name(method: &'static str, path: &str) -> &'static str {
    match (method, path) {
        ("GET", ME_CUSTOMER) => "GET /me/customer",
        ("HEAD", ME_CUSTOMER) => "HEAD /me/customer",
        ("_OTHER", _) => "HTTP",
        (method, _) => method,
    }
}

/// The method, when it is a known one.
fn known(method: &Method) -> &'static str {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"];
    known.into_iter().find(|name| *name == method.as_str()).unwrap_or("_OTHER")
}
