//! `/livez`, `/readyz` and `/metrics`: the endpoints for Kubernetes and Prometheus.

use actix_web::{HttpResponse, HttpResponseBuilder, http::header::ContentType, web};

use super::Admin;
use crate::problem::Problem;

pub(super) async fn livez() -> HttpResponse {
    text(HttpResponse::Ok()).body("ok\n")
}

pub(super) async fn readyz(admin: web::Data<Admin>) -> HttpResponse {
    if admin.drain.has_begun() {
        text(HttpResponse::ServiceUnavailable()).body("draining\n")
    } else if admin.authenticator.ready() {
        text(HttpResponse::Ok()).body("ready\n")
    } else {
        text(HttpResponse::ServiceUnavailable()).body("no issuer has keys yet\n")
    }
}

fn text(mut response: HttpResponseBuilder) -> HttpResponseBuilder {
    response.content_type(ContentType::plaintext());
    response
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
