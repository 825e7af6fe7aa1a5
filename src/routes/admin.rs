//! The admin listener's routes.
//!
//! - `GET /livez`: 200 while the process runs
//! - `GET /readyz`: 200 once an issuer has keys, 503 before that and while draining
//! - `GET /metrics`: the Prometheus text format
//! - `GET /`: a page for people, and `GET /settings`, the settings in force: see `page`
//! - `POST /cache/purge`: `{"customer_id": "…"}` or `{"all": true}` → `{"purged": N}`
//!
//! The first three are open on any address. The rest is [`guard`]ed. `revocations` holds those that
//! end tokens.

use std::sync::Arc;

use actix_web::{
    Error, HttpRequest, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header::{AUTHORIZATION, HOST, HeaderMap, ORIGIN},
    middleware::Next,
    web,
};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::json;

use super::{
    observe::Drain,
    request_id::{REQUEST_ID, RequestId},
    well_formed,
};
use crate::{
    auth::Authenticator,
    cache::CustomerCache,
    customer::CustomerId,
    json,
    juspay::resilience::Resilience,
    loopback::is_loopback_host,
    metrics::Metrics,
    problem::{Challenges, Problem},
    secret_file::Secret,
    settings::Effective,
};

/// What the admin routes work with.
#[derive(Debug)]
pub struct Admin {
    /// Tells whether there are keys.
    pub authenticator: Arc<Authenticator>,
    /// The customers to purge.
    pub cache: CustomerCache,
    /// Juspay's health.
    pub resilience: Arc<Resilience>,
    /// What `/metrics` shows.
    pub metrics: Arc<Metrics>,
    /// Whether the service is going away.
    pub drain: Drain,
    /// `server.admin_token_file`
    pub token: Option<Arc<Secret>>,
    /// What `/settings` shows.
    pub settings: Effective,
}

/// Of a connection that came to an address which only this machine reaches.
#[derive(Debug, Clone, Copy)]
pub struct OnThisMachine;

pub(super) async fn livez() -> HttpResponse {
    HttpResponse::Ok().body("ok\n")
}

pub(super) async fn readyz(admin: web::Data<Admin>) -> HttpResponse {
    if admin.drain.has_begun() {
        HttpResponse::ServiceUnavailable().body("draining\n")
    } else if admin.authenticator.ready() {
        HttpResponse::Ok().body("ready\n")
    } else {
        HttpResponse::ServiceUnavailable().body("no issuer has keys yet\n")
    }
}

pub(super) async fn metrics(admin: web::Data<Admin>) -> Result<HttpResponse, Problem> {
    admin.cache.update_entry_gauge();
    admin.resilience.refresh_metrics();
    let text = admin.metrics.render().map_err(|error| {
        tracing::error!(%error, "failed to write the metrics for a scrape; requests of apps are not affected");
        Problem::InternalError
    })?;
    Ok(HttpResponse::Ok().content_type(prometheus::TEXT_FORMAT).body(text))
}

/// What to purge: one of the two.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Purge {
    customer_id: Option<String>,
    all: Option<bool>,
}

pub(super) async fn purge(
    admin: web::Data<Admin>,
    body: Result<web::Bytes, Error>,
) -> Result<HttpResponse, Problem> {
    let body = body.map_err(|_| Problem::InvalidRequest("The request body could not be read."))?;
    let purged = match json::object(&body) {
        Ok(Purge { customer_id: None, all: Some(true) }) => {
            admin.resilience.discard_rejections(None);
            let purged = admin.cache.purge_all();
            tracing::info!(purged, "cache purged for all customers");
            purged
        }
        Ok(Purge { customer_id: Some(id), all: None }) => {
            let customer = CustomerId::parse(&id)
                .map_err(|_| Problem::InvalidRequest("customer_id is not a valid customer id."))?;
            admin.resilience.discard_rejections(Some(&customer));
            let purged = u64::from(admin.cache.purge(&customer));
            tracing::info!(purged, "cache purged for one customer");
            purged
        }
        _ => {
            return Err(Problem::InvalidRequest(
                "Send {\"customer_id\": \"…\"} or {\"all\": true}.",
            ));
        }
    };
    Ok(HttpResponse::Ok().json(json!({ "purged": purged })))
}

/// Lets nobody through but those whom [`Admin::admits`].
pub(super) async fn guard(
    admin: web::Data<Admin>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    if let Err(problem) = admin.admits(request.request()) {
        // An error would pass by `explain`.
        return Ok(request.error_response(problem).map_into_boxed_body());
    }
    next.call(request).await.map(ServiceResponse::map_into_boxed_body)
}

impl Admin {
    /// Nobody but operators: on this machine, nothing that a web page could have sent there; elsewhere,
    /// only who has the admin token.
    pub(super) fn admits(&self, request: &HttpRequest) -> Result<(), Problem> {
        // A unix socket is one of this machine, too: its file's mode is its guard.
        if request.conn_data::<OnThisMachine>().is_some() {
            not_from_a_web_page(request.headers())
        } else {
            self.knows(request.headers())
        }
    }

    fn knows(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let expected = self.token.as_ref().ok_or(Problem::AdminDisabled)?.current();
        let sent = headers.get(AUTHORIZATION).ok_or(Problem::MissingToken)?;
        let token = sent.as_bytes().strip_prefix(b"Bearer ").ok_or(Problem::MissingToken)?;
        verify_slices_are_equal(token, expected.expose_secret().as_bytes())
            .map_err(|_| Problem::InvalidToken)
    }
}

/// Against cross-site requests (`Origin`) and DNS rebinding (`Host`).
fn not_from_a_web_page(headers: &HeaderMap) -> Result<(), Problem> {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    if headers.contains_key(ORIGIN) || !host.is_some_and(is_loopback) {
        return Err(Problem::AdminForbidden);
    }
    Ok(())
}

/// A `Host` header, with or without a port, that names loopback.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    is_loopback_host(name)
}

/// Around every admin request: refuses what is malformed, and writes the answer of a problem.
///
/// # Errors
/// None of its own.
pub async fn explain(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let (request, response) = match well_formed::check(request.request()) {
        Ok(()) => next.call(request).await?.map_into_boxed_body(),
        Err(problem) => request.error_response(problem),
    }
    .into_parts();
    let Some(problem) = response.error().map(Problem::from_error) else {
        return Ok(ServiceResponse::new(request, response));
    };
    let id = RequestId::random();
    let mut response = problem.response(id.as_str(), request.headers(), Challenges::BEARER);
    response.headers_mut().insert(REQUEST_ID, id.header());
    Ok(ServiceResponse::new(request, response))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_hosts_are_known_by_name_and_by_address() {
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
