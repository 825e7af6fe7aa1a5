//! The admin listener: its state, its routes and their protection.
//!
//! - `GET /livez`: 200 while the process runs
//! - `GET /readyz`: 200 once an issuer has keys, 503 before that and while draining
//! - `GET /metrics`: the Prometheus text format
//! - `GET /`: the admin page, and `GET /settings`, the effective settings (`page`)
//! - `GET /openapi.json`: the description of both listeners
//! - `GET /log-level` and `PUT /log-level`: `{"level": "debug"}`, until the process ends
//! - `POST /cache/purge`: `{"customer_id": "…"}` or `{"all": true}` → `{"purged": N}`
//! - `POST /revocations` and `POST /backchannel-logout` (`revocations`)
//!
//! The first three are open on any address, and a logout token is its own permission. The others are
//! protected by `Admin::admits`.

mod guard;
mod log_level;
mod page;
mod probes;
mod purge;
mod revocations;

use std::sync::Arc;

use actix_web::{
    FromRequest, Handler, HttpResponse, Resource, Responder, middleware::from_fn, web,
};

pub use self::guard::respond_with_problems;
use crate::{
    auth::Authenticator, cache::CustomerCache, juspay::resilience::Resilience, metrics::Metrics,
    problem::Problem, secret_file::Secret, server::Drain, settings::Effective,
};

/// Maximum length of a request body, in bytes. Logout tokens are small: they contain no scopes or roles.
pub const MAX_BODY: usize = 16 * 1024;

/// The state that the admin routes share.
#[derive(Debug)]
pub struct Admin {
    /// For readiness and revocations.
    pub authenticator: Arc<Authenticator>,
    /// For purges.
    pub cache: CustomerCache,
    /// The health of Juspay.
    pub resilience: Arc<Resilience>,
    /// For `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Whether the service is shutting down.
    pub drain: Drain,
    /// `server.admin_token_file`
    pub token: Option<Arc<Secret>>,
    /// For `/settings`.
    pub settings: Effective,
}

/// The routes of the admin listener. `page` calls `Admin::admits` itself.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .app_data(web::PayloadConfig::new(MAX_BODY))
        .service(readable("/livez", probes::livez))
        .service(readable("/readyz", probes::readyz))
        .service(readable("/metrics", probes::metrics))
        .service(
            web::resource("/").route(web::get().to(page::page)).default_service(web::to(only_get)),
        )
        .service(
            web::resource("/settings")
                .wrap(from_fn(guard::protect))
                .route(web::get().to(page::settings))
                .default_service(web::to(only_get)),
        )
        .service(
            web::resource("/openapi.json")
                .wrap(from_fn(guard::protect))
                .route(web::get().to(page::openapi))
                .default_service(web::to(only_get)),
        )
        .configure(with_bodies)
        .default_service(web::to(not_found));
}

/// The routes that accept a body.
fn with_bodies(config: &mut web::ServiceConfig) {
    config
        .service(
            web::resource("/log-level")
                .wrap(from_fn(guard::protect))
                .route(web::get().to(log_level::show))
                .route(web::put().to(log_level::change))
                .default_service(web::to(only_get_and_put)),
        )
        .service(
            web::resource("/cache/purge")
                .wrap(from_fn(guard::protect))
                .route(web::post().to(purge::purge))
                .default_service(web::to(only_post)),
        )
        .service(
            web::resource("/revocations")
                .wrap(from_fn(guard::protect))
                .route(web::post().to(revocations::revoke))
                .default_service(web::to(only_post)),
        )
        .service(
            web::resource("/backchannel-logout")
                .route(web::post().to(revocations::backchannel_logout))
                .default_service(web::to(only_post)),
        );
}

/// A route for `GET` and `HEAD`.
fn readable<F, A>(path: &str, handler: F) -> Resource
where
    F: Handler<A> + Clone,
    A: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::resource(path)
        .route(web::get().to(handler.clone()))
        .route(web::head().to(handler))
        .default_service(web::to(only_get_and_head))
}

async fn not_found() -> HttpResponse {
    HttpResponse::from_error(Problem::NotFound)
}

async fn only_get_and_head() -> HttpResponse {
    HttpResponse::from_error(Problem::MethodNotAllowed("GET, HEAD"))
}

async fn only_get() -> HttpResponse {
    HttpResponse::from_error(Problem::MethodNotAllowed("GET"))
}

async fn only_get_and_put() -> HttpResponse {
    HttpResponse::from_error(Problem::MethodNotAllowed("GET, PUT"))
}

async fn only_post() -> HttpResponse {
    HttpResponse::from_error(Problem::MethodNotAllowed("POST"))
}
