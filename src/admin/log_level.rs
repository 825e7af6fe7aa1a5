//! `GET /log-level` and `PUT /log-level`: the level of the log, changed until the process ends.

use actix_web::{Error, HttpResponse, http::header::CACHE_CONTROL, web};
use serde::{Deserialize, Serialize};

use crate::{json, problem::Problem, settings::LogLevel, telemetry};

/// The body of requests and responses.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Body {
    level: LogLevel,
}

pub(super) async fn show() -> Result<HttpResponse, Problem> {
    telemetry::level().map(in_force).ok_or(Problem::InternalError)
}

pub(super) async fn change(body: Result<web::Bytes, Error>) -> Result<HttpResponse, Problem> {
    let body = body.map_err(|_| Problem::InvalidRequest("The request body could not be read."))?;
    let Body { level } = json::object(&body).map_err(|_| {
        Problem::InvalidRequest(
            "Send {\"level\": \"debug\"}, or another level: error, warn, info, trace.",
        )
    })?;
    telemetry::set_level(level).ok_or(Problem::InternalError)?;
    Ok(in_force(level))
}

fn in_force(level: LogLevel) -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(Body { level })
}
