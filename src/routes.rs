//! Which path leads where, and in which order a request is looked at. Nothing else.

mod admin;
mod connections;
mod customer;
mod directives;
mod observe;
mod page;
mod request_id;
mod revocations;
mod short_way;
mod trace_context;
mod unread;
mod well_formed;

use actix_web::{HttpResponse, middleware::from_fn, web};

use self::well_formed::WellFormed;
pub use self::{
    admin::{Admin, explain},
    connections::Connections,
    customer::Customers,
    observe::{Counts, Drain, Observer, observe},
    short_way::ShortWay,
};
pub use crate::problem::Challenges;
use crate::problem::Problem;

/// The one public path.
const ME_CUSTOMER: &str = "/me/customer";

/// The public listener: `GET` and `HEAD /me/customer`.
pub fn public(config: &mut web::ServiceConfig) {
    config
        .service(
            web::resource(ME_CUSTOMER)
                .route(web::get().to(customer::me))
                .route(web::head().to(customer::me))
                .default_service(web::to(only_get_and_head)),
        )
        .default_service(web::to(nothing_public_here));
}

/// The admin listener. `/livez`, `/readyz` and `/metrics` are open, and `/backchannel-logout` is to
/// whoever has an issuer's signature; the rest is behind `admin::guard`, or asks as it does.
pub fn admin(config: &mut web::ServiceConfig) {
    config
        .route("/livez", web::get().to(admin::livez))
        .route("/readyz", web::get().to(admin::readyz))
        .route("/metrics", web::get().to(admin::metrics))
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
