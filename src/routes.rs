//! Which path leads where, and in which order a request is looked at. Nothing else.

mod admin;
mod connections;
mod counts;
mod customer;
mod directives;
mod observe;
mod page;
mod request_id;
mod revocations;
mod short_way;
mod traced;
mod unread;
mod verified;
mod well_formed;

use actix_web::{
    FromRequest, Handler, HttpResponse, Resource, Responder, middleware::from_fn, web,
};

use self::well_formed::WellFormed;
pub use self::{
    admin::{Admin, explain},
    connections::Connections,
    counts::Counts,
    customer::Customers,
    observe::{Drain, Observer, observe},
    short_way::ShortWay,
};
pub use crate::problem::Challenges;
use crate::problem::Problem;

/// The one public path.
const ME_CUSTOMER: &str = "/me/customer";

/// Largest body of an admin request, in bytes: logout tokens are small, having no scopes nor roles.
pub const MAX_ADMIN_BODY: usize = 16 * 1024;

/// The public listener: `GET` and `HEAD /me/customer`.
pub fn public(config: &mut web::ServiceConfig) {
    config
        .service(readable(ME_CUSTOMER, customer::me))
        .default_service(web::to(nothing_public_here));
}

/// The admin listener. `/livez`, `/readyz` and `/metrics` are open, and `/backchannel-logout` is to
/// whoever has an issuer's signature; the rest is behind `admin::guard`, or asks as it does.
pub fn admin(config: &mut web::ServiceConfig) {
    config
        .app_data(web::PayloadConfig::new(MAX_ADMIN_BODY))
        .service(readable("/livez", admin::livez))
        .service(readable("/readyz", admin::readyz))
        .service(readable("/metrics", admin::metrics))
        .service(
            web::resource("/").route(web::get().to(page::page)).default_service(web::to(only_get)),
        )
        .service(
            web::resource("/settings")
                .wrap(from_fn(admin::guard))
                .route(web::get().to(page::settings))
                .default_service(web::to(only_get)),
        )
        .service(
            web::resource("/cache/purge")
                .wrap(from_fn(admin::guard))
                .route(web::post().to(admin::purge))
                .default_service(web::to(only_post)),
        )
        .service(
            web::resource("/revocations")
                .wrap(from_fn(admin::guard))
                .route(web::post().to(revocations::revoke))
                .default_service(web::to(only_post)),
        )
        .service(
            web::resource("/backchannel-logout")
                .route(web::post().to(revocations::backchannel_logout))
                .default_service(web::to(only_post)),
        )
        .default_service(web::to(nothing_here));
}

/// What answers `GET` and `HEAD`.
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

async fn nothing_public_here(_: WellFormed) -> HttpResponse {
    HttpResponse::from_error(Problem::NotFound)
}

async fn nothing_here() -> HttpResponse {
    HttpResponse::from_error(Problem::NotFound)
}

async fn only_get_and_head(_: WellFormed) -> HttpResponse {
    HttpResponse::from_error(Problem::MethodNotAllowed("GET, HEAD"))
}

async fn only_get() -> HttpResponse {
    HttpResponse::from_error(Problem::MethodNotAllowed("GET"))
}

async fn only_post() -> HttpResponse {
    HttpResponse::from_error(Problem::MethodNotAllowed("POST"))
}
