//! Parses the request directives of `Cache-Control` (RFC 9111 §5.2.1) that this service supports:
//! `min-fresh`, `no-cache` and `only-if-cached`. Other directives are ignored, malformed ones are
//! rejected.

use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, HeaderMap};

use crate::{cache::Freshness, problem::Problem};

const WHITE_SPACE: [char; 2] = [' ', '\t'];

const UNREADABLE: Problem = Problem::InvalidRequest("The Cache-Control header is malformed.");

/// The freshness that the client requires.
pub(super) fn parse(headers: &HeaderMap) -> Result<Freshness, Problem> {
    let mut freshness = Freshness::default();
    for value in headers.get_all(CACHE_CONTROL) {
        let value = value.to_str().map_err(|_| UNREADABLE)?;
        let mut is_quoted = false;
        // A comma within quotes does not separate directives (RFC 9110 §5.6.4). No supported
        // directive contains a backslash.
        let separators = |character| {
            is_quoted ^= character == '"';
            character == ',' && !is_quoted
        };
        for directive in value.split(separators) {
            apply(directive.trim_matches(WHITE_SPACE), &mut freshness)?;
        }
    }
    Ok(freshness)
}

fn apply(directive: &str, freshness: &mut Freshness) -> Result<(), Problem> {
    let (name, value) = match directive.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (directive, None),
    };
    // White space before the `=` is not allowed, but it does not make this another directive.
    let has_valid_name = !name.ends_with(WHITE_SPACE);
    match (name.trim_end_matches(WHITE_SPACE).to_ascii_lowercase().as_str(), value) {
        ("min-fresh", value) => {
            let seconds = value.filter(|_| has_valid_name).and_then(delta_seconds).ok_or(
                Problem::InvalidRequest("The directive min-fresh needs a number of seconds."),
            )?;
            // The strictest of several values applies.
            freshness.min_fresh = freshness.min_fresh.max(Some(Duration::from_secs(seconds)));
        }
        ("no-cache", None) => freshness.no_cache = true,
        ("only-if-cached", None) => freshness.only_if_cached = true,
        ("no-cache" | "only-if-cached", Some(_)) => {
            return Err(Problem::InvalidRequest(
                "The directives no-cache and only-if-cached take no value.",
            ));
        }
        _ => {}
    }
    Ok(())
}

/// A number of seconds (RFC 9111 §1.2.2), also in quotes (§5.2). Larger numbers become the maximum.
fn delta_seconds(value: &str) -> Option<u64> {
    let digits = value.strip_prefix('"').and_then(|it| it.strip_suffix('"')).unwrap_or(value);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn parse_values(values: &[&str]) -> Result<Freshness, Problem> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CACHE_CONTROL, HeaderValue::from_str(value).unwrap());
        }
        parse(&headers)
    }

    #[test]
    fn directives_are_parsed_in_any_case_and_order() {
        let fresh =
            |secs| Freshness { min_fresh: Some(Duration::from_secs(secs)), ..Freshness::default() };
        let all = Freshness { no_cache: true, only_if_cached: true, ..fresh(5) };
        for (values, freshness) in [
            (vec![], Freshness::default()),
            (vec![""], Freshness::default()),
            (vec!["max-age=0, no-store, foo=bar"], Freshness::default()),
            (vec!["min-fresh=60"], fresh(60)),
            (vec!["Min-Fresh=\"60\""], fresh(60)),
            (vec!["min-fresh=60", "min-fresh=90, min-fresh=7"], fresh(90)),
            (vec!["min-fresh=99999999999999999999"], fresh(u64::MAX)),
            (vec!["min-fresh=0"], fresh(0)),
            (vec!["a=\"x, no-cache, y\", min-fresh=5"], fresh(5)),
            (vec!["a=\"x", "min-fresh=5"], fresh(5)),
            (vec!["no-cached, xno-cache, no cache, only-if-cached-x"], Freshness::default()),
            (vec!["no-cache,ONLY-IF-CACHED ,\tmin-fresh=5"], all),
        ] {
            assert_eq!(parse_values(&values), Ok(freshness), "{values:?}");
        }
    }

    #[test]
    fn malformed_directives_are_rejected() {
        for value in [
            "min-fresh",
            "min-fresh=",
            "min-fresh=-1",
            "min-fresh=1.5",
            "min-fresh=1s",
            "min-fresh=\"1",
            "min-fresh= 1",
            "min-fresh =1",
            "min-fresh=\"\"",
            "min-fresh=1, min-fresh",
            "no-cache =1",
            "no-cache=",
            "no-cache=1",
            "only-if-cached=true",
        ] {
            assert!(matches!(parse_values(&[value]), Err(Problem::InvalidRequest(_))), "{value}");
        }
        let mut headers = HeaderMap::new();
        headers.append(CACHE_CONTROL, HeaderValue::from_bytes(b"no-cache, \xff").unwrap());
        assert_eq!(parse(&headers), Err(UNREADABLE));
    }
}
