//! Builds the successful response of `/me/customer`: the customer's JSON, and headers about its
//! source and freshness. Any response also keeps the unread body of its request.

use std::{
    fmt,
    io::Write as _,
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    HttpResponse,
    body::{BodySize, BoxBody, MessageBody},
    dev::Payload,
    http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue},
    web::Bytes,
};

use crate::{
    cache::{Detail, Forward, Found, Source},
    problem,
};

/// RFC 9211.
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const TOKEN_EXPIRES_IN: HeaderName = HeaderName::from_static("juspay-token-expires-in");

/// Maximum length of a header value written here, in bytes.
const MAX_VALUE_BYTES: usize = 128;

/// A 200 with the customer. `next_nonce` is for the client's next DPoP proof.
pub(super) fn customer(found: Found, next_nonce: Option<&str>) -> HttpResponse {
    let cache_status = cache_status(&found);
    let mut response = HttpResponse::Ok().body(found.body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CACHE_STATUS, cache_status);
    if let Some(left) = found.expires_in {
        headers.insert(TOKEN_EXPIRES_IN, left.as_secs().into());
    }
    if let Some(nonce) = next_nonce {
        problem::set_dpop_nonce(&mut response, nonce);
    }
    response
}

/// A 202 without a body: the customer is in the cache, or will be.
pub(super) fn accepted(next_nonce: Option<&str>) -> HttpResponse {
    let mut response = HttpResponse::Accepted().finish();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(nonce) = next_nonce {
        problem::set_dpop_nonce(&mut response, nonce);
    }
    response
}

/// `Cache-Status` (RFC 9211): either `hit` or `fwd`. `ttl` is how many more seconds the cache
/// returns this token.
fn cache_status(found: &Found) -> HeaderValue {
    let ttl = found.ttl.as_secs();
    let detail = match found.detail {
        Some(Detail::Outage) => "; detail=outage",
        Some(Detail::MinFreshUnmet) => "; detail=min-fresh-unmet",
        Some(Detail::RefreshLimited) => "; detail=refresh-limited",
        None => "",
    };
    let (forward, collapsed, stored) = match found.source {
        Source::Shared if found.detail.is_none() => {
            return value(format_args!("juspay-bff; hit; ttl={ttl}; detail=shared"));
        }
        Source::Hit | Source::Shared => {
            return value(format_args!("juspay-bff; hit; ttl={ttl}{detail}"));
        }
        Source::Fetched { forward, collapsed, stored } => (forward, collapsed, stored),
    };
    let fwd = match forward {
        Forward::Miss => "uri-miss",
        Forward::Stale => "stale",
        Forward::Request => "request",
    };
    match (collapsed, stored) {
        (true, _) => value(format_args!("juspay-bff; fwd={fwd}; collapsed{detail}")),
        (false, true) => value(format_args!("juspay-bff; fwd={fwd}; stored; ttl={ttl}{detail}")),
        (false, false) => value(format_args!("juspay-bff; fwd={fwd}{detail}")),
    }
}

/// A header value, with one allocation.
fn value(text: fmt::Arguments<'_>) -> HeaderValue {
    let mut buffer = [0; MAX_VALUE_BYTES];
    let mut rest = buffer.as_mut_slice();
    // All values are far shorter than the buffer, so this can't fail.
    drop(rest.write_fmt(text));
    let written = MAX_VALUE_BYTES.saturating_sub(rest.len());
    let written = buffer.get(..written).unwrap_or_default();
    HeaderValue::from_bytes(written).unwrap_or(HeaderValue::from_static(""))
}

/// The body of a response, and the unread body of its request.
struct WithUnread {
    response: BoxBody,
    _unread: Payload,
}

/// The response to a request whose body is `unread`. The body is kept until the response is sent.
///
/// No public route accepts a body. If the body were dropped before the response is sent, actix would read
/// a chunked one to its end, without a time limit. A body that is kept makes actix close the connection
/// after the response.
pub(super) fn keep_unread_body(unread: Payload, response: HttpResponse) -> HttpResponse {
    if matches!(unread, Payload::None) {
        return response;
    }
    response.map_body(|_, response| BoxBody::new(WithUnread { response, _unread: unread }))
}

impl MessageBody for WithUnread {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.response.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.response).poll_next(context)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn cache_status_names_the_source_of_the_response() {
        let fetched = |forward, collapsed, stored| Source::Fetched { forward, collapsed, stored };
        for (source, detail, text) in [
            (Source::Hit, None, "hit; ttl=780"),
            (Source::Hit, Some(Detail::Outage), "hit; ttl=780; detail=outage"),
            (Source::Shared, None, "hit; ttl=780; detail=shared"),
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
                refresh_after: Duration::ZERO,
                link: None,
            };
            assert_eq!(cache_status(&found), format!("juspay-bff; {text}"));
        }
    }
}
