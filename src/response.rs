//! ④ The phone's answer: the customer's JSON and the headers that say where it came from.

use std::{cell::RefCell, fmt, io::Write as _};

use actix_web::{
    HttpResponse,
    http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue},
};

use crate::cache::{Detail, Forward, Found, Source};

/// RFC 9211.
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const TOKEN_EXPIRES_IN: HeaderName = HeaderName::from_static("juspay-token-expires-in");

/// Longest value that is written here, in bytes.
const MAX_VALUE: usize = 128;

/// Seconds, from none on, whose values are kept when they have been written: a token's life has less.
const KEPT: usize = 1024;

thread_local! {
    static HITS: RefCell<Kept> = RefCell::default();
    static LIVES: RefCell<Kept> = RefCell::default();
}

/// Values by the seconds that they tell: nearly all answers tell the same few.
#[derive(Default)]
struct Kept(Vec<Option<HeaderValue>>);

impl Kept {
    fn value(&mut self, seconds: u64, text: fmt::Arguments<'_>) -> HeaderValue {
        if self.0.is_empty() {
            self.0.resize(KEPT, None);
        }
        let kept = usize::try_from(seconds).ok().and_then(|seconds| self.0.get_mut(seconds));
        kept.map_or_else(|| value(text), |kept| kept.get_or_insert_with(|| value(text)).clone())
    }
}

/// 200 with the customer.
#[must_use]
pub fn customer(found: Found) -> HttpResponse {
    let cache_status = cache_status(&found);
    let mut response = HttpResponse::Ok().body(found.body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CACHE_STATUS, cache_status);
    if let Some(left) = found.expires_in {
        let left = left.as_secs();
        let told = LIVES.with_borrow_mut(|kept| kept.value(left, format_args!("{left}")));
        headers.insert(TOKEN_EXPIRES_IN, told);
    }
    response
}

/// `hit` and `fwd` never together; `ttl` is how long the token is still handed out, in seconds.
fn cache_status(found: &Found) -> HeaderValue {
    let ttl = found.ttl.as_secs();
    let detail = match found.detail {
        Some(Detail::Outage) => "; detail=outage",
        Some(Detail::MinFreshUnmet) => "; detail=min-fresh-unmet",
        Some(Detail::RefreshLimited) => "; detail=refresh-limited",
        None => "",
    };
    let (forward, collapsed, stored) = match found.source {
        Source::Hit if detail.is_empty() => {
            let told = format_args!("juspay-bff; hit; ttl={ttl}");
            return HITS.with_borrow_mut(|kept| kept.value(ttl, told));
        }
        Source::Hit => return value(format_args!("juspay-bff; hit; ttl={ttl}{detail}")),
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

/// A header's value, with no allocation but its own.
fn value(text: fmt::Arguments<'_>) -> HeaderValue {
    let mut buffer = [0; MAX_VALUE];
    let mut rest = buffer.as_mut_slice();
    // Nothing here comes near the bound.
    drop(rest.write_fmt(text));
    let written = MAX_VALUE.saturating_sub(rest.len());
    let written = buffer.get(..written).unwrap_or_default();
    HeaderValue::from_bytes(written).unwrap_or(HeaderValue::from_static(""))
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
