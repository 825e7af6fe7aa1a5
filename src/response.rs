//! ④ The phone's answer: the customer's JSON and the headers that say where it came from.

use actix_web::{
    HttpResponse,
    http::header::{CACHE_CONTROL, HeaderName},
};

use crate::cache::{Detail, Forward, Found, Source};

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
    let detail = match found.detail {
        Some(Detail::Outage) => "; detail=outage",
        Some(Detail::MinFreshUnmet) => "; detail=min-fresh-unmet",
        Some(Detail::RefreshLimited) => "; detail=refresh-limited",
        None => "",
    };
    match found.source {
        Source::Hit => format!("juspay-bff; hit; ttl={ttl}{detail}"),
        Source::Fetched { forward, collapsed, stored } => {
            let fwd = match forward {
                Forward::Miss => "uri-miss",
                Forward::Stale => "stale",
                Forward::Request => "request",
            };
            let how = match (collapsed, stored) {
                (true, _) => "; collapsed".to_owned(),
                (false, true) => format!("; stored; ttl={ttl}"),
                (false, false) => String::new(),
            };
            format!("juspay-bff; fwd={fwd}{how}{detail}")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn cache_status_tells_where_the_answer_came_from() {
        let fetched = |forward, collapsed, stored| Source::Fetched { forward, collapsed, stored };
        for (source, detail, told) in [
            (Source::Hit, None, "hit; ttl=780"),
            (Source::Hit, Some(Detail::Outage), "hit; ttl=780; detail=outage"),
            (Source::Hit, Some(Detail::RefreshLimited), "hit; ttl=780; detail=refresh-limited"),
            (fetched(Forward::Miss, false, true), None, "fwd=uri-miss; stored; ttl=780"),
            (fetched(Forward::Stale, false, true), None, "fwd=stale; stored; ttl=780"),
            (fetched(Forward::Request, false, true), None, "fwd=request; stored; ttl=780"),
            (fetched(Forward::Miss, true, true), None, "fwd=uri-miss; collapsed"),
            (fetched(Forward::Stale, true, true), None, "fwd=stale; collapsed"),
            (fetched(Forward::Miss, false, false), None, "fwd=uri-miss"),
            (
                fetched(Forward::Request, true, true),
                Some(Detail::MinFreshUnmet),
                "fwd=request; collapsed; detail=min-fresh-unmet",
            ),
        ] {
            let found = Found {
                body: bytes::Bytes::from_static(b"{}"),
                source,
                detail,
                ttl: Duration::from_millis(780_999),
                expires_in: None,
            };
            assert_eq!(cache_status(&found), format!("juspay-bff; {told}"));
        }
    }
}
