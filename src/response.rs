//! ④ The phone's answer: the customer's JSON and the headers that say where it came from.

use actix_web::{
    HttpResponse,
    http::header::{CACHE_CONTROL, HeaderName},
};

use crate::cache::{Found, Source};

/// RFC 9211.
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const TOKEN_EXPIRES_IN: HeaderName = HeaderName::from_static("juspay-token-expires-in");

/// 200 with the customer.
#[must_use]
pub fn customer(found: Found) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response
        .content_type("application/json")
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((CACHE_STATUS, cache_status(&found)));
    if let Some(left) = found.expires_in {
        response.insert_header((TOKEN_EXPIRES_IN, left.as_secs()));
    }
    response.body(found.body)
}

/// `hit` and `fwd` never together; `ttl` is how long the token is still handed out, in seconds.
fn cache_status(found: &Found) -> String {
    let ttl = found.ttl.as_secs();
    match found.source {
        Source::Hit => format!("juspay-bff; hit; ttl={ttl}"),
        Source::Fetched { stale, collapsed, stored } => {
            let fwd = if stale { "stale" } else { "uri-miss" };
            let how = match (collapsed, stored) {
                (true, _) => "; collapsed".to_owned(),
                (false, true) => format!("; stored; ttl={ttl}"),
                (false, false) => String::new(),
            };
            format!("juspay-bff; fwd={fwd}{how}")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn cache_status_tells_where_the_answer_came_from() {
        let fetched = |stale, collapsed, stored| Source::Fetched { stale, collapsed, stored };
        for (source, told) in [
            (Source::Hit, "juspay-bff; hit; ttl=780"),
            (fetched(false, false, true), "juspay-bff; fwd=uri-miss; stored; ttl=780"),
            (fetched(true, false, true), "juspay-bff; fwd=stale; stored; ttl=780"),
            (fetched(false, true, true), "juspay-bff; fwd=uri-miss; collapsed"),
            (fetched(true, true, true), "juspay-bff; fwd=stale; collapsed"),
            (fetched(false, false, false), "juspay-bff; fwd=uri-miss"),
        ] {
            let found = Found {
                body: bytes::Bytes::from_static(b"{}"),
                source,
                ttl: Duration::from_millis(780_999),
                expires_in: None,
            };
            assert_eq!(cache_status(&found), told);
        }
    }
}
