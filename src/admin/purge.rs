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
            let purged = admin.cache.purge_all_everywhere().await;
            tracing::info!(purged = purged.number, "cache purged for all customers");
            purged
        }
        Ok(Purge { customer_id: Some(id), all: None }) => {
            let customer = CustomerId::parse(&id)
                .map_err(|_| Problem::InvalidRequest("customer_id is not a valid customer id."))?;
            admin.resilience.discard_rejections(Some(&customer));
            let purged = admin.cache.purge_everywhere(&customer).await;
            tracing::info!(purged = purged.number, "cache purged for one customer");
            purged
        }
        _ => {
            return Err(Problem::InvalidRequest(
                "Send {\"customer_id\": \"…\"} or {\"all\": true}.",
            ));
        }
    };
    let mut body = json!({ "purged": purged.number });
    if let (Some(is_shared), Some(body)) = (purged.is_shared, body.as_object_mut()) {
        let reached = if is_shared { "purged" } else { "not_reached" };
        body.insert("shared_tier".to_owned(), reached.into());
    }
    Ok(HttpResponse::Ok().json(body))
}
