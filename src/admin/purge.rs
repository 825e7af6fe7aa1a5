//! `POST /cache/purge`: removes one customer or all customers from the cache.

use actix_web::{Error, HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::Admin;
use crate::{customer::CustomerId, json, problem::Problem};

/// Exactly one of the two is present.
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
