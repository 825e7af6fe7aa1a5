//! The client of Juspay's Get Customer and Create Customer, and the ways in which a call can fail.
//!
//! The cache depends on [`CustomerApi`] only, so that its tests can script responses. `client`
//! sends the requests, `response` reads the responses, `creation` creates missing customers,
//! `clock_skew` compares the clocks, and `inspection` runs each step of a call separately for
//! `doctor`. Caching is not done here.

pub mod api_keys;
mod breaker;
pub mod client;
pub mod clock_skew;
mod connect;
pub mod creation;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod hold;
pub(crate) mod inspection;
mod lenient_json;
mod probes;
mod proxy;
pub mod resilience;
mod response;
mod sliding_window;
mod stale_connection;

use std::{fmt::Debug, sync::Arc, time::Duration};

use futures_util::future::LocalBoxFuture;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    clock::Monotonic,
    customer::{ClientAuth, Customer, CustomerId, NewCustomer, NewCustomerField},
    metrics,
    traces::Parent,
};

/// How long a new customer with a rejected field is not sent to Juspay again. The same values would be
/// rejected again.
const REJECTED_FIELD_PAUSE: Duration = Duration::from_secs(30);

/// Juspay's customer API, with `options.get_client_auth_token=true`.
///
/// Futures aren't `Send`: each worker has its own client.
pub trait CustomerApi: Debug {
    /// Makes one call for one customer.
    fn get_customer(
        &self,
        request: GetCustomer,
    ) -> LocalBoxFuture<'static, Result<CustomerResponse, JuspayError>>;

    /// Creates the customer from `request.new_customer`, which must be complete. By default, nothing
    /// is created.
    fn create_customer(
        &self,
        _request: GetCustomer,
    ) -> LocalBoxFuture<'static, Result<CustomerResponse, JuspayError>> {
        Box::pin(async { Err(JuspayError::CustomerNotFound) })
    }

    /// Counts events after which failed calls may succeed: a change of the API key or of the egress
    /// proxy's credentials, or a closed breaker.
    fn recoveries(&self) -> u64 {
        0
    }
}

/// What a call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    /// Get Customer: `GET /customers/{id}`.
    Get,
    /// Create Customer: `POST /customers`.
    Create,
}

/// One call to Juspay.
#[derive(Debug, Clone)]
pub struct GetCustomer {
    /// The requested customer.
    pub customer: CustomerId,
    /// What the customer is created from if Juspay doesn't know it. `None`: it isn't created.
    pub new_customer: Option<Arc<NewCustomer>>,
    /// W3C `traceparent` of the client's request, passed on to Juspay.
    pub traceparent: Option<String>,
    /// Parent of the call's span.
    pub trace: Parent,
    /// Number of the attempt, starting at 1.
    pub attempt: u32,
    /// Deadline of this attempt.
    pub deadline: Monotonic,
    /// Deadline of the whole call. A request on a stale pooled connection is repeated at once; the
    /// repeat gets the time of a full attempt, up to this deadline.
    pub call_deadline: Monotonic,
}

/// A complete response about the requested customer.
#[derive(Debug, Clone)]
pub struct CustomerResponse {
    /// The customer.
    pub customer: Customer,
    /// The token, or why the otherwise valid response has no usable token.
    pub auth: Result<ClientAuth, InvalidResponse>,
    /// Juspay's clock when it responded (`Date`), unless a cache on the path makes that
    /// meaningless.
    pub date: Option<Timestamp>,
    /// Whether this call has created the customer.
    pub is_new: bool,
}

/// Why a call to Juspay failed. Contains nothing secret or personal. Replicas share it, so the names of
/// variants are part of the protocol between versions: a replica that doesn't know one calls Juspay itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum JuspayError {
    /// Juspay has no such customer (`object_not_found`).
    #[error("Juspay has no such customer")]
    CustomerNotFound,
    /// Juspay has no such customer, and it was not created.
    #[error("the customer was not created: {0}")]
    NotCreated(#[from] NotCreated),
    /// 401: the API key is wrong, or something in front of Juspay rejected the call.
    #[error("Juspay rejected the API key (401)")]
    RejectedCredentials(RejectedBy),
    /// 403: this server's address isn't on the merchant's allow-list, or something in front of
    /// Juspay rejected the call.
    #[error("Juspay rejected this server's address (403)")]
    RejectedOrigin(RejectedBy),
    /// 429: rate limited.
    #[error("Juspay rejected the call because of its rate limit (429)")]
    TooManyRequests(Option<RetryAfter>),
    /// Any other error status.
    #[error("Juspay returned status {0}")]
    Status(u16, Option<RetryAfter>),
    /// A response that can't be used.
    #[error("Juspay returned an invalid response: {0}")]
    InvalidResponse(#[from] InvalidResponse),
    /// Connecting failed, or the connection broke before the response started.
    #[error("failed to reach Juspay: {0}")]
    Connection(ConnectionFailure),
    /// `juspay.deadline` passed.
    #[error("Juspay did not respond within the deadline")]
    Timeout,
    /// The circuit breaker is open.
    #[error("the circuit breaker is open after too many failed calls to Juspay")]
    BreakerOpen(RetryAfter),
    /// Too many calls to Juspay are in progress.
    #[error("too many calls to Juspay are in progress")]
    Saturated,
    /// The fetching task ended without a result, which is a bug in this service.
    #[error("the fetch ended without a result")]
    Aborted,
}

/// Why a missing customer was not created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum NotCreated {
    /// Its access token has no verified mobile number, which Juspay requires.
    #[error("the access token has no verified mobile number")]
    NoMobileNumber,
    /// Juspay rejected this field.
    #[error("Juspay rejected {}", .0.name())]
    RejectedField(NewCustomerField),
    /// It exists (`unique`), although Juspay does not find it.
    #[error("Juspay reports that it exists, but does not find it")]
    Exists,
    /// `limits.create_customers` is reached. With the wait until the next creation.
    #[error("limits.create_customers is reached")]
    Limited(RetryAfter),
}

/// What sent a 401 or 403.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RejectedBy {
    /// Juspay itself, with its documented JSON.
    Juspay,
    /// Something else, such as a firewall, possibly for this customer only.
    Unknown,
    /// This service, because other calls were rejected. The hold ends after this time.
    Hold(RetryAfter),
}

/// How long to wait before the next call.
pub type RetryAfter = Duration;

/// Why a connection to Juspay failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum ConnectionFailure {
    /// The host name can't be resolved.
    #[error("host name lookup failed")]
    Resolve,
    /// Connection refused, or no route to the host.
    #[error("connection failed")]
    Connect,
    /// The connection took longer than `juspay.connect_timeout`.
    #[error("connection timed out")]
    ConnectTimeout,
    /// The TLS handshake failed.
    #[error("TLS handshake failed")]
    Tls,
    /// An established connection broke.
    #[error("connection broke")]
    Broken,
    /// The egress proxy opened no tunnel to Juspay.
    #[error("{}; {}", .0, .0.fix())]
    Proxy(ProxyFailure),
}

/// Why `juspay.egress_proxy` opened no tunnel to Juspay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum ProxyFailure {
    /// No connection to the proxy.
    #[error("no connection to the egress proxy")]
    Unreachable,
    /// 407, or 401 from proxies that confuse the two, such as tinyproxy 1.11.
    #[error("the egress proxy requires credentials, or rejected the given ones ({0})")]
    RejectedCredentials(u16),
    /// Any other status that is not a success, such as 403 or 502.
    #[error("the egress proxy refused the tunnel with status {0}")]
    Refused(u16),
    /// It closed the connection, or sent something other than a response to CONNECT.
    #[error("the egress proxy sent no valid response to CONNECT")]
    InvalidResponse,
}

/// Why a response from Juspay can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum InvalidResponse {
    /// An unsolicited 1xx.
    #[error("an unexpected interim response (1xx)")]
    Interim,
    /// A 2xx other than 200.
    #[error("an unexpected status")]
    Status,
    /// A redirect.
    #[error("a redirect")]
    Redirect,
    /// Violates HTTP.
    #[error("malformed HTTP")]
    Http,
    /// Shorter than announced, or incomplete JSON.
    #[error("a truncated body")]
    Truncated,
    /// More than 64 KiB.
    #[error("a body that is too large")]
    TooLarge,
    /// Not a customer object.
    #[error("a body that is not a customer's JSON")]
    Json,
    /// Identifies another customer, or none.
    #[error("a response about another customer")]
    OtherCustomer,
    /// An id occurs twice or isn't valid text, so the customer is uncertain.
    #[error("an id that occurs twice, or is not valid text")]
    MalformedIdentity,
    /// The right customer, but `juspay`, the token or its expiry occurs twice or isn't valid text.
    #[error("a client auth token that occurs twice, or is not valid text")]
    MalformedToken,
    /// `juspay` is missing or null, or has no token.
    #[error("no client auth token")]
    NoToken,
    /// The token has no parsable expiry.
    #[error("no readable client_auth_token_expiry")]
    NoExpiry,
    /// The token has expired or is about to.
    #[error("a client auth token that expires too soon")]
    TooShortLived,
    /// The token lives long enough on Juspay's clock but not on this server's, which is ahead by
    /// this many seconds.
    #[error(
        "a client auth token that is expired by this server's clock, which is {0} s ahead of \
         Juspay's"
    )]
    ClockAhead(u64),
}

impl JuspayError {
    metrics::labels! {
        /// The label of `juspay_bff_upstream_requests_total{outcome}`.
        #[must_use]
        pub const fn outcome(&self) in OUTCOMES {
            Self::CustomerNotFound => "not_found",
            Self::NotCreated(NotCreated::NoMobileNumber) => "no_mobile_number",
            Self::NotCreated(NotCreated::RejectedField(_)) => "rejected_field",
            Self::NotCreated(NotCreated::Exists) => "already_exists",
            Self::NotCreated(NotCreated::Limited(_)) => "creation_limited",
            Self::RejectedCredentials(_) => "rejected_credentials",
            Self::RejectedOrigin(_) => "rejected_origin",
            Self::TooManyRequests(_) => "too_many_requests",
            Self::Status(400..=499, _) => "client_error",
            Self::Status(..) => "server_error",
            Self::InvalidResponse(_) => "invalid_response",
            Self::Connection(_) => "connection",
            Self::Timeout => "timeout",
            Self::BreakerOpen(_) => "breaker_open",
            Self::Saturated => "saturated",
            Self::Aborted => "aborted",
        }
    }

    /// The `cause` field of the request log: the outcome, the specific fault of an invalid
    /// response, or the egress proxy.
    #[must_use]
    pub const fn cause(&self) -> &'static str {
        match self {
            Self::InvalidResponse(why) => why.cause(),
            Self::Connection(ConnectionFailure::Proxy(_)) => "egress_proxy",
            Self::Aborted => "panic",
            Self::CustomerNotFound
            | Self::NotCreated(_)
            | Self::RejectedCredentials(_)
            | Self::RejectedOrigin(_)
            | Self::TooManyRequests(_)
            | Self::Status(..)
            | Self::Connection(_)
            | Self::Timeout
            | Self::BreakerOpen(_)
            | Self::Saturated => self.outcome(),
        }
    }

    /// Whether the error indicates an outage of Juspay, rather than a fault of one customer's data
    /// or of this service. The breaker counts it once for each customer, so that one customer can't
    /// open it.
    #[must_use]
    pub const fn is_outage(&self) -> bool {
        match self {
            Self::TooManyRequests(_)
            | Self::Status(500.., _)
            | Self::Connection(_)
            | Self::Timeout => true,
            Self::InvalidResponse(why) => why.is_outage(),
            Self::CustomerNotFound
            | Self::NotCreated(_)
            | Self::RejectedCredentials(_)
            | Self::RejectedOrigin(_)
            | Self::Status(..)
            | Self::BreakerOpen(_)
            | Self::Saturated
            | Self::Aborted => false,
        }
    }

    /// Whether Juspay accepted the API key, and looked for or created the customer.
    const fn proves_key(&self) -> bool {
        matches!(self, Self::CustomerNotFound | Self::NotCreated(_))
    }

    /// Whether Juspay accepted the API key and this server's address, and rejected something else.
    const fn proves_access(&self) -> bool {
        match self {
            Self::CustomerNotFound
            | Self::NotCreated(NotCreated::RejectedField(_) | NotCreated::Exists)
            | Self::Status(400..=499, _) => true,
            Self::InvalidResponse(why) => !why.is_outage(),
            Self::NotCreated(NotCreated::NoMobileNumber | NotCreated::Limited(_))
            | Self::RejectedCredentials(_)
            | Self::RejectedOrigin(_)
            | Self::TooManyRequests(_)
            | Self::Status(..)
            | Self::Connection(_)
            | Self::Timeout
            | Self::BreakerOpen(_)
            | Self::Saturated
            | Self::Aborted => false,
        }
    }

    /// Whether Juspay has no such customer, whatever became of its creation. Then no token of it works.
    #[must_use]
    pub const fn is_about_missing_customer(&self) -> bool {
        if let Self::NotCreated(why) = self {
            return !matches!(why, NotCreated::Exists);
        }
        matches!(self, Self::CustomerNotFound)
    }

    /// Whether an immediate retry may succeed.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        use ConnectionFailure::Proxy;
        if let Self::Connection(Proxy(why)) = self {
            return !matches!(
                why,
                ProxyFailure::RejectedCredentials(_) | ProxyFailure::Refused(..=499)
            );
        }
        matches!(
            self,
            Self::Connection(_)
                | Self::Timeout
                | Self::Status(502..=504, _)
                | Self::InvalidResponse(InvalidResponse::Truncated)
        )
    }

    /// Whether the cache remembers the error for the customer and returns it again without a call.
    /// True for errors of calls that were made. Rejections before a call and
    /// [`Self::CustomerNotFound`] have their own rules.
    #[must_use]
    pub const fn is_remembered(&self) -> bool {
        match self {
            Self::RejectedCredentials(by) | Self::RejectedOrigin(by) => {
                !matches!(by, RejectedBy::Hold(_))
            }
            Self::TooManyRequests(_)
            | Self::Status(..)
            | Self::InvalidResponse(_)
            | Self::Connection(_)
            | Self::Timeout
            | Self::NotCreated(_)
            | Self::Aborted => true,
            Self::CustomerNotFound | Self::BreakerOpen(_) | Self::Saturated => false,
        }
    }

    /// How long the hold lasts, if the hold rejected this call.
    #[must_use]
    pub const fn hold(&self) -> Option<RetryAfter> {
        if let Self::RejectedCredentials(RejectedBy::Hold(after))
        | Self::RejectedOrigin(RejectedBy::Hold(after)) = self
        {
            Some(*after)
        } else {
            None
        }
    }

    /// How long to wait before the next call, if the error specifies it.
    #[must_use]
    pub const fn retry_after(&self) -> Option<RetryAfter> {
        match self {
            Self::TooManyRequests(after) | Self::Status(_, after) => *after,
            Self::BreakerOpen(after) | Self::NotCreated(NotCreated::Limited(after)) => Some(*after),
            Self::NotCreated(NotCreated::RejectedField(_)) => Some(REJECTED_FIELD_PAUSE),
            Self::CustomerNotFound
            | Self::NotCreated(NotCreated::NoMobileNumber | NotCreated::Exists)
            | Self::RejectedCredentials(_)
            | Self::RejectedOrigin(_)
            | Self::Connection(_)
            | Self::Timeout
            | Self::InvalidResponse(_)
            | Self::Saturated
            | Self::Aborted => None,
        }
    }
}

impl ProxyFailure {
    /// What the operator can do.
    #[must_use]
    pub const fn fix(self) -> &'static str {
        match self {
            Self::Unreachable => "check juspay.egress_proxy, and the network to the proxy",
            Self::RejectedCredentials(_) => {
                "write USER:PASSWORD to the file in juspay.egress_proxy_credentials_file"
            }
            Self::Refused(_) => {
                "let the proxy reach the host and port of juspay.base_url, and allow CONNECT to them"
            }
            Self::InvalidResponse => {
                "set juspay.egress_proxy to the address of an HTTP proxy that supports CONNECT"
            }
        }
    }
}

impl InvalidResponse {
    /// Whether the response has the customer, without a usable token.
    #[must_use]
    pub const fn lacks_only_token(self) -> bool {
        matches!(
            self,
            Self::MalformedToken
                | Self::NoToken
                | Self::NoExpiry
                | Self::TooShortLived
                | Self::ClockAhead(_)
        )
    }

    /// The `cause` field of the request log.
    const fn cause(self) -> &'static str {
        match self {
            Self::Interim => "interim",
            Self::Status => "status",
            Self::Redirect => "redirect",
            Self::Http => "http",
            Self::Truncated => "truncated",
            Self::TooLarge => "too_large",
            Self::Json => "json",
            Self::OtherCustomer => "other_customer",
            Self::NoToken => "no_token",
            Self::NoExpiry => "no_expiry",
            Self::TooShortLived => "too_short_lived",
            Self::MalformedIdentity => "malformed_identity",
            Self::MalformedToken => "malformed_token",
            Self::ClockAhead(_) => "clock_ahead",
        }
    }

    /// Whether the error indicates an outage, such as a maintenance page. A response with a
    /// readable identity doesn't, even if its data is invalid: customers may have chosen that
    /// data.
    const fn is_outage(self) -> bool {
        match self {
            Self::Interim
            | Self::Status
            | Self::Redirect
            | Self::Http
            | Self::Truncated
            | Self::TooLarge
            | Self::Json => true,
            Self::OtherCustomer
            | Self::MalformedIdentity
            | Self::MalformedToken
            | Self::NoToken
            | Self::NoExpiry
            | Self::TooShortLived
            | Self::ClockAhead(_) => false,
        }
    }
}

#[cfg(test)]
mod tests;
