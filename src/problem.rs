//! Every error response of the handlers, as problem details (RFC 9457). Only heads that can't be parsed
//! get a bare 400 from the server.
//!
//! `Problem::spec` is the one table of status, code, texts and `Retry-After`; the code is also the
//! metric's label. `challenge` writes `WWW-Authenticate`, and `occurrence` lists where each problem
//! can occur. Causes are logged where they are handled and never appear in a response.

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
use self::challenge::{DPOP_NONCE, Rejection};
use crate::{
    auth::AuthError,
    cache::LookupError,
    customer::NewCustomerField,
    juspay::{JuspayError, NotCreated},
};

/// Suggested wait after a single failed call to Juspay.
const UPSTREAM_RETRY: Duration = Duration::from_secs(2);

/// After Juspay has rejected the API key or the address, calls are on hold for this long.
const REJECTED_RETRY: Duration = Duration::from_secs(5);

/// Suggested wait after a rejection for overload.
const OVERLOAD_RETRY: Duration = Duration::from_secs(1);

/// The reasons for which a request fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// Invalid query option or header, with a sentence about what is wrong.
    InvalidRequest(&'static str),
    /// A request that another HTTP parser might interpret differently, with a sentence about what
    /// is wrong. The connection is closed.
    Malformed(&'static str),
    /// No access token.
    MissingToken,
    /// Malformed `Authorization` header, with a sentence about what is wrong.
    MalformedBearer(&'static str),
    /// A token that is longer than `auth.max_token_bytes`.
    TokenTooLarge,
    /// An invalid token.
    InvalidToken,
    /// An invalid DPoP proof.
    InvalidDpopProof,
    /// A DPoP proof without the current nonce, which this is.
    UseDpopNonce(Arc<str>),
    /// A token that is valid except that it has expired.
    ExpiredToken,
    /// The token lacks one of these scopes.
    InsufficientScope(Arc<str>),
    /// The token contains no valid customer id.
    NoCustomer,
    /// Juspay has no such customer. The next call for it is made after this time.
    CustomerNotFound(Duration),
    /// Juspay has no such customer and can't create it, because of this field.
    CustomerNotCreatable(NewCustomerField),
    /// No such path.
    NotFound,
    /// A method that the path doesn't support, with the supported ones.
    MethodNotAllowed(&'static str),
    /// A request with a body where none is accepted.
    BodyNotAllowed,
    /// A bug in this service.
    InternalError,
    /// Juspay responded with 401.
    UpstreamRejectedCredentials,
    /// Juspay responded with 403.
    UpstreamRejectedOrigin,
    /// An invalid response from Juspay.
    UpstreamInvalidResponse,
    /// Juspay's other errors, and failed connections, with the wait before a retry.
    UpstreamError(Duration),
    /// Calls to Juspay are on hold, with the remaining time.
    UpstreamUnavailable(Duration),
    /// Too many concurrent requests.
    Overloaded,
    /// Too many requests of this customer, or too many concurrent ones, with the wait before a
    /// retry.
    RateLimited(Duration),
    /// The request has `only-if-cached`, and no usable entry is cached.
    NotCached,
    /// No response from Juspay within the deadline.
    UpstreamTimeout,
    /// The issuer's signing keys are unavailable, with the wait before a retry.
    KeysUnavailable(Duration),
    /// An admin route on an address that isn't loopback, without `server.admin_token_file`.
    AdminDisabled,
    /// An admin request that a web page could have sent.
    AdminForbidden,
    /// A revocation beyond `auth.max_revocations`.
    RevocationsFull,
    /// The same problem with another `Retry-After`.
    RetryLater(Box<Self>, Duration),
}

/// Everything in a problem's response that doesn't depend on the request.
struct ProblemSpec {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: &'static str,
    /// Whether the same request may succeed later.
    retryable: bool,
    /// The minimum wait before a retry.
    retry_after: Option<Duration>,
    /// The challenge's `error` (RFC 6750 §3.1). Empty for a challenge without one.
    challenge: Option<&'static str>,
}

/// The members of RFC 9457 §3.1, and this service's extensions.
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

impl ProblemSpec {
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
    fn spec(&self) -> ProblemSpec {
        use StatusCode as S;
        match self {
            Self::InvalidRequest(detail) | Self::Malformed(detail) =>
                ProblemSpec::new(S::BAD_REQUEST, "invalid_request", "Invalid request", detail),
            Self::MalformedBearer(detail) =>
                Self::InvalidRequest(detail).spec().challenge("invalid_request"),
            Self::TokenTooLarge =>
                ProblemSpec::new(S::BAD_REQUEST, "token_too_large", "Access token too large",
                    "The access token is longer than this service accepts. Retrying does not help.")
                    .challenge("invalid_request"),
            Self::MissingToken =>
                ProblemSpec::new(S::UNAUTHORIZED, "missing_token", "Missing access token",
                    "The request has no access token. Send it in the Authorization header.").challenge(""),
            Self::InvalidToken =>
                ProblemSpec::new(S::UNAUTHORIZED, "invalid_token", "Invalid access token",
                    "The access token is not valid. Get a new one, then retry once.").challenge("invalid_token"),
            Self::InvalidDpopProof =>
                ProblemSpec::new(S::UNAUTHORIZED, "invalid_dpop_proof", "Invalid DPoP proof",
                    "The DPoP proof is missing or not valid. Create a new proof for each request.").challenge("invalid_dpop_proof"),
            Self::UseDpopNonce(_) =>
                ProblemSpec::new(S::UNAUTHORIZED, "use_dpop_nonce", "DPoP nonce required",
                    "The DPoP proof lacks the current nonce. Retry with a new proof that contains \
                     the nonce in DPoP-Nonce.").challenge("use_dpop_nonce"),
            Self::ExpiredToken =>
                ProblemSpec::new(S::UNAUTHORIZED, "expired_token", "Expired access token",
                    "The access token has expired. Get a new one, then retry.").challenge("invalid_token"),
            Self::InsufficientScope(_) =>
                ProblemSpec::new(S::FORBIDDEN, "insufficient_scope", "Insufficient scope",
                    "The access token lacks a required scope. WWW-Authenticate lists the scopes.").challenge("insufficient_scope"),
            Self::NoCustomer =>
                ProblemSpec::new(S::FORBIDDEN, "no_customer", "No customer",
                    "The access token names no usable customer. Retrying with this token does not \
                     help."),
            Self::CustomerNotFound(ttl) =>
                ProblemSpec::new(S::NOT_FOUND, "customer_not_found", "Customer not found",
                    "Juspay does not know this customer. Create the customer at Juspay first, then \
                     retry.").after(*ttl),
            Self::CustomerNotCreatable(field) =>
                ProblemSpec::new(S::UNPROCESSABLE_ENTITY, "customer_not_creatable", "Customer not creatable",
                    not_creatable(*field)),
            Self::NotFound =>
                ProblemSpec::new(S::NOT_FOUND, "not_found", "Not found", "This path does not exist."),
            Self::MethodNotAllowed(_) =>
                ProblemSpec::new(S::METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed",
                    "This path does not support the method. The Allow header lists the supported \
                     ones."),
            Self::BodyNotAllowed =>
                ProblemSpec::new(S::PAYLOAD_TOO_LARGE, "body_not_allowed", "Body not allowed",
                    "This request must not have a body."),
            Self::InternalError =>
                ProblemSpec::new(S::INTERNAL_SERVER_ERROR, "internal_error", "Internal error",
                    "This service failed unexpectedly. Report the request_id."),
            Self::UpstreamRejectedCredentials =>
                ProblemSpec::new(S::BAD_GATEWAY, "upstream_rejected_credentials", "Upstream rejection",
                    "Juspay rejected this service's API key. Retry after the time in Retry-After.").after(REJECTED_RETRY),
            Self::UpstreamRejectedOrigin =>
                ProblemSpec::new(S::BAD_GATEWAY, "upstream_rejected_origin", "Upstream rejection",
                    "Juspay rejected this service's address. Retry after the time in Retry-After.").after(REJECTED_RETRY),
            Self::UpstreamInvalidResponse =>
                ProblemSpec::new(S::BAD_GATEWAY, "upstream_invalid_response", "Upstream failure",
                    "Juspay returned an invalid response. Retry after the time in Retry-After.").after(UPSTREAM_RETRY),
            Self::UpstreamError(retry_after) =>
                ProblemSpec::new(S::BAD_GATEWAY, "upstream_error", "Upstream failure",
                    "Juspay returned an error or could not be reached. Retry after the time in \
                     Retry-After.").after(*retry_after),
            Self::UpstreamUnavailable(retry_after) =>
                ProblemSpec::new(S::SERVICE_UNAVAILABLE, "upstream_unavailable", "Upstream unavailable",
                    "Juspay is not available at the moment. Retry after the time in Retry-After.").after(*retry_after),
            Self::Overloaded =>
                ProblemSpec::new(S::SERVICE_UNAVAILABLE, "overloaded", "Overload",
                    "This service has too many requests at the moment. Retry after the time in \
                     Retry-After.").after(OVERLOAD_RETRY),
            Self::RateLimited(retry_after) =>
                ProblemSpec::new(S::TOO_MANY_REQUESTS, "rate_limited", "Rate limit exceeded",
                    "Too many requests of this customer. Retry after the time in Retry-After.").after(*retry_after),
            Self::NotCached =>
                ProblemSpec::new(S::GATEWAY_TIMEOUT, "not_cached", "No cached response",
                    "The request accepts only a cached response (only-if-cached), and there is \
                     none."),
            Self::UpstreamTimeout =>
                ProblemSpec::new(S::GATEWAY_TIMEOUT, "upstream_timeout", "Upstream timeout",
                    "Juspay did not respond in time. Retry after the time in Retry-After.").after(UPSTREAM_RETRY),
            Self::KeysUnavailable(retry_after) =>
                ProblemSpec::new(S::SERVICE_UNAVAILABLE, "keys_unavailable", "Signing keys unavailable",
                    "The access token cannot be verified at the moment. Keep it, and retry after \
                     the time in Retry-After.").after(*retry_after),
            Self::AdminDisabled =>
                ProblemSpec::new(S::FORBIDDEN, "admin_disabled", "Disabled admin routes",
                    "Admin routes on this address need a token. Set server.admin_token_file to \
                     enable them."),
            Self::AdminForbidden =>
                ProblemSpec::new(S::FORBIDDEN, "admin_forbidden", "Forbidden admin request",
                    "Send the request without an Origin header, to a loopback host."),
            Self::RevocationsFull =>
                ProblemSpec::new(S::SERVICE_UNAVAILABLE, "revocations_full", "Revocation list full",
                    "auth.max_revocations entries are already in memory. Nothing was revoked."),
            Self::RetryLater(problem, retry_after) => problem.spec().after(*retry_after),
        }
    }

    /// Sets `Retry-After` to `wait`, if it is known and a retry may succeed.
    #[must_use]
    pub fn retry_after(self, wait: Option<Duration>) -> Self {
        match wait {
            _ if matches!(self, Self::CustomerNotCreatable(_)) => self,
            Some(wait) => Self::RetryLater(Box::new(self), wait),
            None => self,
        }
    }

    /// The stable code, which is also the metric's label.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.spec().code
    }

    /// The status of its response.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.spec().status.as_u16()
    }

    /// The response to a request with these headers, except for the header with the request id.
    /// `challenges` are the schemes that the listener accepts.
    #[must_use]
    pub fn response(
        &self,
        request_id: &str,
        headers: &HeaderMap,
        challenges: Challenges,
    ) -> HttpResponse {
        let spec = self.spec();
        let retry_after = spec.retry_after.map(jittered_seconds);
        let mut response = HttpResponse::build(spec.status);
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
            kind: ProblemType(spec.code),
            title: spec.title,
            status: spec.status.as_u16(),
            detail: spec.detail,
            code: spec.code,
            request_id,
            retryable: spec.retryable,
            retry_after,
        };
        // Serialization of texts and numbers can't fail.
        response.body(serde_json::to_vec(&body).unwrap_or_default())
    }

    /// The values of `WWW-Authenticate`, for a listener that accepts `schemes`.
    #[must_use]
    pub fn challenges(&self, headers: &HeaderMap, schemes: Challenges) -> Vec<String> {
        let spec = self.spec();
        let Some(error) = spec.challenge else { return Vec::new() };
        let rejection = Rejection { status: spec.status, error, scope: self.scope() };
        schemes.for_request(headers, &rejection)
    }

    /// The scopes that the token must have.
    fn scope(&self) -> Option<&str> {
        if let Self::InsufficientScope(scope) = self { Some(scope) } else { None }
    }
}

/// The detail of [`Problem::CustomerNotCreatable`]. It names the field, and never contains a value.
const fn not_creatable(field: NewCustomerField) -> &'static str {
    match field {
        NewCustomerField::ObjectReferenceId => {
            "Juspay does not accept the customer's id (object_reference_id) for a new customer."
        }
        NewCustomerField::MobileNumber => {
            "A new customer needs a mobile number (mobile_number): a verified one in the access token \
             that Juspay accepts."
        }
        NewCustomerField::MobileCountryCode => {
            "Juspay does not accept the mobile number's country code (mobile_country_code)."
        }
        NewCustomerField::EmailAddress => {
            "Juspay does not accept the customer's e-mail address (email_address)."
        }
        NewCustomerField::FirstName => {
            "Juspay does not accept the customer's first name (first_name)."
        }
        NewCustomerField::LastName => {
            "Juspay does not accept the customer's last name (last_name)."
        }
    }
}

/// Sets the nonce for the client's next DPoP proof.
pub fn set_dpop_nonce(response: &mut HttpResponse, nonce: &str) {
    if let Ok(nonce) = HeaderValue::from_str(nonce) {
        response.headers_mut().insert(DPOP_NONCE, nonce);
    }
}

/// Rounds up to whole seconds, at least one, and adds up to half of it at random, so that clients
/// that failed together don't retry together.
fn jittered_seconds(wait: Duration) -> u64 {
    let min = wait.as_millis().div_ceil(1000).max(1);
    let min = u64::try_from(min).unwrap_or(u64::MAX);
    min.saturating_add(rand::random_range(0..=min.div_ceil(2)))
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// actix requires a response. The admin listener replaces it, because it needs a request id.
impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.spec().status
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
    /// The problem for a failed cache lookup. `not_found_ttl` is how long the cache remembers that a
    /// customer doesn't exist.
    #[must_use]
    pub fn from_lookup(error: &LookupError, not_found_ttl: Duration) -> Self {
        match error {
            LookupError::Juspay(error) => Self::from_juspay(error, not_found_ttl),
            LookupError::NotCached => Self::NotCached,
            LookupError::NoNewToken(error) => {
                Self::UpstreamUnavailable(error.retry_after().unwrap_or(UPSTREAM_RETRY))
            }
            LookupError::Overloaded | LookupError::MaxInFlight => Self::Overloaded,
            LookupError::RefreshLimited(wait) => Self::RateLimited(*wait),
            LookupError::TooManyAtOnce => Self::RateLimited(OVERLOAD_RETRY),
        }
    }

    /// The problem for a failed call to Juspay.
    fn from_juspay(error: &JuspayError, not_found_ttl: Duration) -> Self {
        match error {
            JuspayError::CustomerNotFound => Self::CustomerNotFound(not_found_ttl),
            JuspayError::NotCreated(NotCreated::NoMobileNumber) => {
                Self::CustomerNotCreatable(NewCustomerField::MobileNumber)
            }
            JuspayError::NotCreated(NotCreated::RejectedField(field)) => {
                Self::CustomerNotCreatable(*field)
            }
            JuspayError::NotCreated(NotCreated::Exists) => Self::UpstreamError(UPSTREAM_RETRY),
            JuspayError::NotCreated(NotCreated::Limited(after)) => {
                Self::Overloaded.retry_after(Some(*after))
            }
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

    /// The problem that a handler or an extractor failed with.
    #[must_use]
    pub fn from_error(error: &actix_web::Error) -> Self {
        if let Some(problem) = error.as_error::<Self>() {
            problem.clone()
        } else if let Some(auth_error) = error.as_error::<AuthError>() {
            auth_error.into()
        } else {
            Self::InternalError
        }
    }
}
