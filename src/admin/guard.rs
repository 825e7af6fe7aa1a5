//! Protects the admin listener, and rejects requests with problem details.

use actix_web::{
    Error, HttpRequest,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header::{AUTHORIZATION, HOST, HeaderMap, ORIGIN},
    middleware::Next,
    web,
};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use secrecy::ExposeSecret;

use super::Admin;
use crate::{
    connection_info::ConnectionInfo,
    net::{Authority, is_loopback_host},
    problem::{Challenges, Problem},
    public::{REQUEST_ID, RequestId, check_target},
};

/// Rejects requests that [`Admin::admits`] rejects.
pub(super) async fn protect(
    admin: web::Data<Admin>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    if let Err(problem) = admin.admits(request.request()) {
        // An error would bypass `respond_with_problems`.
        return Ok(request.error_response(problem).map_into_boxed_body());
    }
    next.call(request).await.map(ServiceResponse::map_into_boxed_body)
}

impl Admin {
    /// Admits operators: on an address that only this machine can reach, any request that no web page
    /// could have sent, elsewhere requests with the admin token.
    pub(super) fn admits(&self, request: &HttpRequest) -> Result<(), Problem> {
        // This includes unix sockets, which the mode of their file protects.
        if request.conn_data::<ConnectionInfo>().is_some_and(|it| it.is_local_listener) {
            reject_web_pages(request.headers())
        } else {
            self.check_token(request.headers())
        }
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let expected = self.token.as_ref().ok_or(Problem::AdminDisabled)?.current();
        let sent = headers.get(AUTHORIZATION).ok_or(Problem::MissingToken)?;
        let token = sent.as_bytes().strip_prefix(b"Bearer ").ok_or(Problem::MissingToken)?;
        verify_slices_are_equal(token, expected.expose_secret().as_bytes())
            .map_err(|_| Problem::InvalidToken)
    }
}

/// Against cross-site requests (`Origin`) and DNS rebinding (`Host`).
fn reject_web_pages(headers: &HeaderMap) -> Result<(), Problem> {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    if headers.contains_key(ORIGIN) || !host.is_some_and(is_loopback) {
        return Err(Problem::AdminForbidden);
    }
    Ok(())
}

/// Whether a `Host` header, with or without a port, names loopback.
fn is_loopback(host: &str) -> bool {
    Authority::parse(host).is_some_and(|authority| is_loopback_host(authority.host))
}

/// Middleware of the whole listener: rejects malformed requests, and responds with problem details.
///
/// # Errors
/// Those of `next`.
pub async fn respond_with_problems(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let head = request.head();
    let (request, response) = match check_target(&head.method, &head.uri, &head.headers) {
        Ok(()) => next.call(request).await?.map_into_boxed_body(),
        Err(problem) => request.error_response(problem),
    }
    .into_parts();
    let Some(problem) = response.error().map(Problem::from_error) else {
        return Ok(ServiceResponse::new(request, response));
    };
    let id = RequestId::random();
    let mut response = problem.response(id.as_str(), request.headers(), Challenges::BEARER);
    response.headers_mut().insert(REQUEST_ID, id.header().clone());
    Ok(ServiceResponse::new(request, response))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_hosts_are_names_and_addresses() {
        for host in [
            "localhost",
            "LOCALHOST:9464",
            "127.0.0.1",
            "127.1.2.3:80",
            "[::1]:9464",
            "[::1]",
            "[::ffff:127.0.0.1]:9464",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "example.com",
            "localhost.example.com",
            "10.0.0.1:9464",
            "127.0.0.1.nip.io",
            "[::2]",
            "::1:x",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
