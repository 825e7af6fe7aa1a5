//! `GET /me/customer`: the caller's own customer, with its client auth token.

use std::{rc::Rc, sync::Arc, time::Duration};

use actix_web::{
    FromRequest, HttpRequest, HttpResponse,
    dev::Payload,
    http::header::{CONTENT_LENGTH, TRANSFER_ENCODING},
    web,
};
use futures_util::future::{Ready, ready};

use super::{
    directives::Directives, observe::Observation, verified::Verified, well_formed::WellFormed,
};
use crate::{
    auth::{AuthError, Authenticator},
    cache::{CustomerCache, Lookup},
    customer::CustomerIdForm,
    juspay::CustomerApi,
    problem::{self, Problem},
    rate_limit::CustomerRateLimit,
    response,
};

/// A worker's way to the customers.
#[derive(Debug)]
pub struct Customers {
    /// Tells whether a token that was good is so still.
    pub authenticator: Arc<Authenticator>,
    /// Shared by all workers.
    pub cache: CustomerCache,
    /// This worker's client.
    pub api: Rc<dyn CustomerApi>,
    /// `juspay.customer_id_form`
    pub id_form: CustomerIdForm,
    /// `cache.not_found_ttl`
    pub not_found_ttl: Duration,
    /// `limits.per_customer`
    pub limit: Arc<CustomerRateLimit>,
}

/// Answers the customer that the caller's token names, and no other.
pub(super) async fn me(
    _: WellFormed,
    _: NoBody,
    options: Options,
    directives: Directives,
    Verified(caller): Verified,
    customers: web::Data<Customers>,
    observation: Observation,
) -> Result<HttpResponse, Problem> {
    observation.caller(caller.customer());
    let refused = |error: AuthError| {
        observation.refused(&error);
        Problem::from(&error)
    };
    if !customers.id_form.accepts(caller.customer()) {
        return Err(refused(AuthError::NoCustomer));
    }
    customers.limit.spend(caller.customer()).map_err(Problem::RateLimited)?;
    let lookup = Lookup {
        customer: caller.customer().clone(),
        want_token: options.want_token,
        freshness: directives.0,
        traceparent: observation.traceparent(),
        trace: observation.trace(),
        requester: Some(observation.requester()),
    };
    let found = customers.cache.get(&lookup, &customers.api);
    let found = customers.authenticator.unless_revoked(&caller, found).await;
    let found = found.map_err(refused)?;
    observation.looked_up(&found);
    let found = found.map_err(|error| {
        let wait = customers.cache.retry_after(&error, caller.customer(), &customers.api);
        Problem::from_lookup(&error, customers.not_found_ttl).retry_after(wait)
    })?;
    let mut response = response::customer(found);
    if let Some(nonce) = caller.next_nonce() {
        problem::set_dpop_nonce(&mut response, nonce);
    }
    Ok(response)
}

/// The query's options, under Juspay's own names. Others are ignored.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// `options.get_client_auth_token`; a phone comes here for the token, so it's true unless said.
    want_token: bool,
}

impl Options {
    fn parse(query: &str) -> Result<Self, Problem> {
        let mut want_token = None;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match (&*name, &*value) {
                ("options.get_client_auth_token", "true" | "false") if want_token.is_none() => {
                    want_token = Some(value == "true");
                }
                ("options.get_client_auth_token", _) => {
                    return Err(Problem::InvalidRequest(
                        "options.get_client_auth_token must be true or false, and occur at most \
                         once.",
                    ));
                }
                ("access_token", _) => {
                    return Err(Problem::InvalidRequest(
                        "Send the access token in the Authorization header, not in the query.",
                    ));
                }
                _ => {}
            }
        }
        Ok(Self { want_token: want_token.unwrap_or(true) })
    }
}

impl FromRequest for Options {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::parse(request.query_string()))
    }
}

/// Shows that the request has no body: `Content-Length: 0` is none. An empty chunked one doesn't come as
/// far as here (`server::request_head`).
#[derive(Debug)]
pub(super) struct NoBody;

impl FromRequest for NoBody {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let headers = request.headers();
        let empty = headers.get_all(CONTENT_LENGTH).all(|length| length == "0");
        let has_none = empty && !headers.contains_key(TRANSFER_ENCODING);
        ready(if has_none { Ok(Self) } else { Err(Problem::BodyNotAllowed) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_wanted_unless_the_query_says_no() {
        for (query, want_token) in [
            ("", true),
            ("options.get_client_auth_token=true", true),
            ("options.get_client_auth_token=false", false),
            ("utm=1&options%2Eget_client_auth_token=false&x", false),
        ] {
            assert_eq!(Options::parse(query), Ok(Options { want_token }), "{query}");
        }
    }

    #[test]
    fn malformed_options_and_tokens_in_the_query_are_refused() {
        for query in [
            "options.get_client_auth_token",
            "options.get_client_auth_token=",
            "options.get_client_auth_token=False",
            "options.get_client_auth_token=true&options.get_client_auth_token=true",
            "access_token=x",
            "a=b&access_token",
        ] {
            let refused = Options::parse(query);
            assert!(matches!(refused, Err(Problem::InvalidRequest(_))), "{query}: {refused:?}");
        }
    }
}
