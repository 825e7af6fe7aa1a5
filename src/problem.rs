//! Every way a request can end badly, and what the phone is told of it (RFC 9457).
//!
//! One type, one exhaustive match: status, code, metric label and `Retry-After` stand side by
//! side in `Problem::told`; `challenge` writes `WWW-Authenticate`. Causes are logged where they are
//! handled; none of them gets out.

mod challenge;
mod occurrence;

use std::{fmt, sync::Arc, time::Duration};

use actix_web::{
    HttpResponse, ResponseError,
    http::{
        StatusCode,
        header::{self, HeaderMap, HeaderValue},
    },
};
use serde::{Serialize, Serializer};

pub use self::challenge::Challenges;
use self::challenge::{DPOP_NONCE, Wrong};
use crate::{auth::AuthError, cache::LookupError, juspay::JuspayError};

/// When Juspay may be well again after a single failed call.
const UPSTREAM_RETRY: Duration = Duration::from_secs(2);

/// How long a rejected key or address is left alone before this service tries it again.
const REJECTED_RETRY: Duration = Duration::from_secs(5);

/// When there may be room again.
const OVERLOAD_RETRY: Duration = Duration::from_secs(1);

/// How a request ends badly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// Malformed query option or header; what is wrong, in a sentence.
    InvalidRequest(&'static str),
    /// A request that readers may understand in different ways; what is wrong, in a sentence. Its
    /// connection is closed.
    Malformed(&'static str),
    /// No bearer token.
    MissingToken,
    /// Malformed bearer header; what is wrong, in a sentence.
    MalformedBearer(&'static str),
    /// A token that is longer than this service accepts.
    TokenTooLarge,
    /// A token that proves nothing.
    InvalidToken,
    /// A DPoP proof that proves nothing.
    InvalidDpopProof,
    /// A DPoP proof without this nonce.
    UseDpopNonce(Arc<str>),
    /// A good token, but for its age.
    ExpiredToken,
    /// The token lacks one of these scopes.
    InsufficientScope(Arc<str>),
    /// The token names no usable customer.
    NoCustomer,
    /// Juspay knows no such customer; it isn't asked again for so long.
    CustomerNotFound(Duration),
    /// No such path.
    NotFound,
    /// A method that the path doesn't have; those that it has.
    MethodNotAllowed(&'static str),
    /// A body where none is taken.
    BodyNotAllowed,
    /// A bug of ours.
    InternalError,
    /// Juspay's 401.
    UpstreamRejectedCredentials,
    /// Juspay's 403.
    UpstreamRejectedOrigin,
    /// An answer of Juspay's that can't be used.
    UpstreamInvalidResponse,
    /// Juspay's other errors, and no connection to it; when to try again.
    UpstreamError(Duration),
    /// Juspay isn't asked now; for how long.
    UpstreamUnavailable(Duration),
    /// More requests than we take at a time.
    Overloaded,
    /// This customer sends too many requests, or too many at once; when to retry.
    RateLimited(Duration),
    /// The phone wants only what is in memory, and nothing is.
    NotCached,
    /// No answer within the deadline.
    UpstreamTimeout,
    /// A signing key can't be looked up now.
    KeysUnavailable(Duration),
    /// An admin route on an address that isn't loopback, without `server.admin_token_file`.
    AdminDisabled,
    /// An admin request that a web page could have made.
    AdminForbidden,
    /// A revocation beyond `auth.max_revocations`.
    RevocationsFull,
    /// The same, and the same again for that long.
    RetryLater(Box<Self>, Duration),
}

/// What a phone is told.
struct Told {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: &'static str,
    /// Whether the same request may succeed later.
    retryable: bool,
    /// When, at the earliest.
    retry_after: Option<Duration>,
    /// The challenge's `error` (RFC 6750 §3.1), empty for a challenge without one.
    challenge: Option<&'static str>,
}

/// The members of RFC 9457 §3.1, and ours.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: ProblemType,
    title: &'static str,
    status: u16,
    detail: &'static str,
    code: &'static str,
    request_id: &'a str,
    retryable: bool,
    retry_after: Option<u64>,
}

/// A URN that ends with the code.
struct ProblemType(&'static str);

impl Serialize for ProblemType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("urn:juspay-bff:problem:{}", self.0))
    }
}

impl Told {
    const fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: &'static str,
    ) -> Self {
        Self { status, code, title, detail, retryable: false, retry_after: None, challenge: None }
    }

    const fn after(self, retry_after: Duration) -> Self {
        Self { retryable: true, retry_after: Some(retry_after), ..self }
    }

    const fn challenge(self, error: &'static str) -> Self {
        Self { challenge: Some(error), ..self }
    }
}

impl Problem {
    #[rustfmt::skip]
    #[expect(clippy::too_many_lines, reason = "the one table of problems")]
    fn told(&self) -> Told {
        use StatusCode as S;
        match self {
            Self::InvalidRequest(detail) | Self::Malformed(detail) =>
                Told::new(S::BAD_REQUEST, "invalid_request", "Invalid request", detail),
            Self::MalformedBearer(detail) =>
                Self::InvalidRequest(detail).told().challenge("invalid_request"),
            Self::TokenTooLarge =>
                Told::new(S::BAD_REQUEST, "token_too_large", "Access token too large",
                    "The access token is longer than this service accepts. Retrying does not help.")
                    .challenge("invalid_request"),
            Self::MissingToken =>
                Told::new(S::UNAUTHORIZED, "missing_token", "Missing access token",
                    "The request has no access token. Send it in the Authorization header.").challenge(""),
            Self::InvalidToken =>
                Told::new(S::UNAUTHORIZED, "invalid_token", "Invalid access token",
                    "The access token is not valid. Get a new one, then retry once.").challenge("invalid_token"),
            Self::InvalidDpopProof =>
                Told::new(S::UNAUTHORIZED, "invalid_dpop_proof", "Invalid DPoP proof",
                    "The DPoP proof is missing or not valid. Create a new proof for each request.").challenge("invalid_dpop_proof"),
            Self::UseDpopNonce(_) =>
                Told::new(S::UNAUTHORIZED, "use_dpop_nonce", "DPoP nonce required",
                    "The DPoP proof lacks the current nonce. Retry with a new proof that contains \
                     the nonce in DPoP-Nonce.").challenge("use_dpop_nonce"),
            Self::ExpiredToken =>
                Told::new(S::UNAUTHORIZED, "expired_token", "Expired access token",
                    "The access token has expired. Get a new one, then retry.").challenge("invalid_token"),
            Self::InsufficientScope(_) =>
                Told::new(S::FORBIDDEN, "insufficient_scope", "Insufficient scope",
                    "The access token lacks a required scope. WWW-Authenticate lists the scopes.").challenge("insufficient_scope"),
            Self::NoCustomer =>
                Told::new(S::FORBIDDEN, "no_customer", "No customer",
                    "The access token names no usable customer. Retrying with this token does not \
                     help."),
            Self::CustomerNotFound(ttl) =>
                Told::new(S::NOT_FOUND, "customer_not_found", "Customer not found",
                    "Juspay does not know this customer. Create the customer at Juspay first, then \
                     retry.").after(*ttl),
            Self::NotFound =>
                Told::new(S::NOT_FOUND, "not_found", "Not found", "This path does not exist."),
            Self::MethodNotAllowed(_) =>
                Told::new(S::METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed",
                    "This path does not support the method. The Allow header lists the supported \
                     ones."),
            Self::BodyNotAllowed =>
                Told::new(S::PAYLOAD_TOO_LARGE, "body_not_allowed", "Body not allowed",
                    "This request must not have a body."),
            Self::InternalError =>
                Told::new(S::INTERNAL_SERVER_ERROR, "internal_error", "Internal error",
                    "This service failed unexpectedly. Report the request_id."),
            Self::UpstreamRejectedCredentials =>
                Told::new(S::BAD_GATEWAY, "upstream_rejected_credentials", "Upstream rejection",
                    "Juspay rejected this service's API key. Retry after the time in Retry-After.").after(REJECTED_RETRY),
            Self::UpstreamRejectedOrigin =>
                Told::new(S::BAD_GATEWAY, "upstream_rejected_origin", "Upstream rejection",
                    "Juspay rejected this service's address. Retry after the time in Retry-After.").after(REJECTED_RETRY),
            Self::UpstreamInvalidResponse =>
                Told::new(S::BAD_GATEWAY, "upstream_invalid_response", "Upstream failure",
                    "Juspay returned an invalid response. Retry after the time in Retry-After.").after(UPSTREAM_RETRY),
            Self::UpstreamError(retry_after) =>
                Told::new(S::BAD_GATEWAY, "upstream_error", "Upstream failure",
                    "Juspay returned an error or could not be reached. Retry after the time in \
                     Retry-After.").after(*retry_after),
            Self::UpstreamUnavailable(retry_after) =>
                Told::new(S::SERVICE_UNAVAILABLE, "upstream_unavailable", "Upstream unavailable",
                    "Juspay is not available at the moment. Retry after the time in Retry-After.").after(*retry_after),
            Self::Overloaded =>
                Told::new(S::SERVICE_UNAVAILABLE, "overloaded", "Overload",
                    "This service has too many requests at the moment. Retry after the time in \
                     Retry-After.").after(OVERLOAD_RETRY),
            Self::RateLimited(retry_after) =>
                Told::new(S::TOO_MANY_REQUESTS, "rate_limited", "Rate limit exceeded",
                    "Too many requests of this customer. Retry after the time in Retry-After.").after(*retry_after),
            Self::NotCached =>
                Told::new(S::GATEWAY_TIMEOUT, "not_cached", "No cached response",
                    "The request accepts only a cached response (only-if-cached), and there is \
                     none."),
            Self::UpstreamTimeout =>
                Told::new(S::GATEWAY_TIMEOUT, "upstream_timeout", "Upstream timeout",
                    "Juspay did not respond in time. Retry after the time in Retry-After.").after(UPSTREAM_RETRY),
            Self::KeysUnavailable(retry_after) =>
                Told::new(S::SERVICE_UNAVAILABLE, "keys_unavailable", "Signing keys unavailable",
                    "The access token cannot be verified at the moment. Keep it, and retry after \
                     the time in Retry-After.").after(*retry_after),
            Self::AdminDisabled =>
                Told::new(S::FORBIDDEN, "admin_disabled", "Disabled admin routes",
                    "Admin routes on this address need a token. Set server.admin_token_file to \
                     enable them."),
            Self::AdminForbidden =>
                Told::new(S::FORBIDDEN, "admin_forbidden", "Forbidden admin request",
                    "Send the request without an Origin header, to a loopback host."),
            Self::RevocationsFull =>
                Told::new(S::SERVICE_UNAVAILABLE, "revocations_full", "Revocation list full",
                    "auth.max_revocations entries are already in memory. Nothing was revoked."),
            Self::RetryLater(problem, retry_after) => problem.told().after(*retry_after),
        }
    }

    /// The same problem, with the time after which a request may succeed, where that is known.
    #[must_use]
    pub fn retry_after(self, wait: Option<Duration>) -> Self {
        match wait {
            Some(wait) => Self::RetryLater(Box::new(self), wait),
            None => self,
        }
    }

    /// The stable code, which is the metric's label too.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.told().code
    }

    /// The status that goes with it.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.told().status.as_u16()
    }

    /// The answer to the request of that id and with these headers, but for the id's header. Its
    /// listener takes the schemes of `challenges`.
    #[must_use]
    pub fn response(
        &self,
        request_id: &str,
        headers: &HeaderMap,
        challenges: Challenges,
    ) -> HttpResponse {
        let told = self.told();
        let retry_after = told.retry_after.map(jittered_seconds);
        let mut response = HttpResponse::build(told.status);
        response
            .content_type("application/problem+json")
            .insert_header((header::CACHE_CONTROL, "no-store"));
        if let Some(seconds) = retry_after {
            response.insert_header((header::RETRY_AFTER, seconds));
        }
        for challenge in self.challenges(headers, challenges) {
            response.append_header((header::WWW_AUTHENTICATE, challenge));
        }
        if let Self::UseDpopNonce(nonce) = self {
            response.insert_header((DPOP_NONCE, &**nonce));
        }
        if let Self::MethodNotAllowed(allow) = self {
            response.insert_header((header::ALLOW, *allow));
        }
        if matches!(self, Self::BodyNotAllowed | Self::Malformed(_)) {
            response.force_close();
        }
        let body = Body {
            kind: ProblemType(told.code),
            title: told.title,
            status: told.status.as_u16(),
            detail: told.detail,
            code: told.code,
            request_id,
            retryable: told.retryable,
            retry_after,
        };
        // Plain texts and numbers can always be written.
        response.body(serde_json::to_vec(&body).unwrap_or_default())
    }

    /// What its answer says in `WWW-Authenticate`, for a listener that takes those schemes.
    #[must_use]
    pub fn challenges(&self, headers: &HeaderMap, schemes: Challenges) -> Vec<String> {
        let told = self.told();
        let Some(error) = told.challenge else { return Vec::new() };
        let wrong = Wrong { status: told.status, error, scope: self.scope() };
        schemes.for_request(headers, &wrong)
    }

    /// The scopes that the token should have.
    fn scope(&self) -> Option<&str> {
        if let Self::InsufficientScope(scope) = self { Some(scope) } else { None }
    }
}

/// Tells the nonce that the client's next DPoP proof should have.
pub fn tell_nonce(response: &mut HttpResponse, nonce: &str) {
    if let Ok(nonce) = HeaderValue::from_str(nonce) {
        response.headers_mut().insert(DPOP_NONCE, nonce);
    }
}

/// Whole seconds, at least one, up to half as much again: clients that failed together shouldn't
/// come back together.
fn jittered_seconds(wait: Duration) -> u64 {
    let least = wait.as_millis().div_ceil(1000).max(1);
    let least = u64::try_from(least).unwrap_or(u64::MAX);
    least.saturating_add(rand::random_range(0..=least.div_ceil(2)))
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// actix needs a response at once; `routes::observe` writes the real one, with the request's id.
impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.told().status
    }

    fn error_response(&self) -> HttpResponse {
        HttpResponse::new(self.status_code())
    }
}

/// As for [`Problem`].
impl ResponseError for AuthError {
    fn status_code(&self) -> StatusCode {
        Problem::from(self).status_code()
    }

    fn error_response(&self) -> HttpResponse {
        Problem::from(self).error_response()
    }
}

impl From<&AuthError> for Problem {
    fn from(error: &AuthError) -> Self {
        match error {
            AuthError::MissingToken => Self::MissingToken,
            AuthError::MalformedHeader(why) => Self::MalformedBearer(why),
            AuthError::TokenTooLarge => Self::TokenTooLarge,
            AuthError::InvalidToken(_) => Self::InvalidToken,
            AuthError::InvalidProof(_) => Self::InvalidDpopProof,
            AuthError::UseDpopNonce(nonce) => Self::UseDpopNonce(Arc::clone(nonce)),
            AuthError::TooManyProofs { retry_after } => Self::RateLimited(*retry_after),
            AuthError::ExpiredToken => Self::ExpiredToken,
            AuthError::InsufficientScope(scopes) => Self::InsufficientScope(Arc::clone(scopes)),
            AuthError::NoCustomer => Self::NoCustomer,
            AuthError::Overloaded => Self::Overloaded,
            AuthError::TooManyAtOnce => Self::RateLimited(OVERLOAD_RETRY),
            AuthError::KeysUnavailable { retry_after } => Self::KeysUnavailable(*retry_after),
        }
    }
}

impl Problem {
    /// What a phone is told when a look-up brought nothing. `not_found_ttl` as below.
    #[must_use]
    pub fn of_lookup(error: &LookupError, not_found_ttl: Duration) -> Self {
        match error {
            LookupError::Juspay(error) => Self::of_juspay(error, not_found_ttl),
            LookupError::NotCached => Self::NotCached,
            LookupError::NoNewToken(error) => {
                Self::UpstreamUnavailable(error.retry_after().unwrap_or(UPSTREAM_RETRY))
            }
            LookupError::Overloaded => Self::Overloaded,
            LookupError::TooManyAtOnce => Self::RateLimited(OVERLOAD_RETRY),
        }
    }

    /// What a phone is told when a fetch failed. `not_found_ttl` is how long Juspay isn't asked
    /// again for a customer that it doesn't know.
    fn of_juspay(error: &JuspayError, not_found_ttl: Duration) -> Self {
        match error {
            JuspayError::CustomerNotFound => Self::CustomerNotFound(not_found_ttl),
            JuspayError::RejectedCredentials(_) => Self::UpstreamRejectedCredentials,
            JuspayError::RejectedOrigin(_) => Self::UpstreamRejectedOrigin,
            JuspayError::InvalidResponse(_) => Self::UpstreamInvalidResponse,
            JuspayError::Status(..) | JuspayError::Connection(_) => {
                Self::UpstreamError(error.retry_after().unwrap_or(UPSTREAM_RETRY))
            }
            JuspayError::TooManyRequests(after) => {
                Self::UpstreamUnavailable(after.unwrap_or(UPSTREAM_RETRY))
            }
            JuspayError::BreakerOpen(after) => Self::UpstreamUnavailable(*after),
            JuspayError::Saturated => Self::Overloaded,
            JuspayError::Timeout => Self::UpstreamTimeout,
            JuspayError::Aborted => Self::InternalError,
        }
    }

    /// The problem behind a response that a handler or an extractor failed with.
    #[must_use]
    pub fn behind(error: &actix_web::Error) -> Self {
        if let Some(problem) = error.as_error::<Self>() {
            problem.clone()
        } else if let Some(refusal) = error.as_error::<AuthError>() {
            refusal.into()
        } else {
            Self::InternalError
        }
    }
}
