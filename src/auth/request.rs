//! Reads the parts of an HTTP request that authentication needs. Except for the type of the request, only
//! this file of `auth` uses actix.

use actix_http::{HttpMessage as _, Request};
use actix_web::http::{
    header::{AUTHORIZATION, HOST, HeaderName, HeaderValue},
    uri::Authority,
};

use super::{caller::Caller, dpop::DpopRequest, error::AuthError, gateway::Gateway};
use crate::connection_info::ConnectionInfo;

/// RFC 9449 §4.1
const DPOP: HeaderName = HeaderName::from_static("dpop");

/// The values of all `Authorization` headers.
pub(super) fn authorization(request: &Request) -> impl Iterator<Item = &[u8]> {
    request.headers().get_all(AUTHORIZATION).map(HeaderValue::as_bytes)
}

/// The caller that a gateway names.
pub(super) fn gateway_caller(gateway: &Gateway, request: &Request) -> Result<Caller, AuthError> {
    let values = request.headers().get_all(gateway.header()).map(HeaderValue::as_bytes);
    gateway.caller(values, request.conn_data())
}

/// The parts of the request that a DPoP proof must match. Forwarded headers are not used, because
/// clients can set them.
pub(super) fn dpop(request: &Request) -> DpopRequest {
    let proofs = request.headers().get_all(DPOP).map(HeaderValue::as_bytes);
    let by_header = || request.headers().get(HOST)?.to_str().ok();
    let host = request.uri().authority().map(Authority::as_str).or_else(by_header);
    let secure = request.conn_data::<ConnectionInfo>().is_some_and(|it| it.tls);
    DpopRequest::new(request.method().as_str(), secure, host, request.path(), proofs)
}
