//! ③ The provider: what we ask of Juspay, and how it can fail.
//!
//! The cache knows Juspay by [`CustomerApi`] only, so that its tests can script the answers.
//! `client` is the real thing, `wire` its JSON, `skew` compares the clocks; `inspection` goes its way step
//! by step for `doctor`.

mod breaker;
pub mod client;
mod connect;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod hold;
pub(crate) mod inspection;
pub mod keys;
mod pool;
mod probes;
mod rejection;
pub mod resilience;
pub mod skew;
mod window;
mod wire;

use std::{fmt::Debug, time::Duration};

use futures_util::future::LocalBoxFuture;
use jiff::Timestamp;

pub use self::rejection::RejectedBy;
use crate::{
    clock::Monotonic,
    customer::{ClientAuth, Customer, CustomerId},
    metrics,
    traces::Parent,
};

/// Juspay's Get Customer API, with `options.get_client_auth_token=true`.
///
/// Futures aren't `Send`: each worker has its own client.
pub trait CustomerApi: Debug {
    /// Asks for one customer, once.
    fn get_customer(
        &self,
        request: GetCustomer,
    ) -> LocalBoxFuture<'static, Result<Answer, JuspayError>>;

    /// Counts events after which calls that failed may succeed: another API key is in use, or the
    /// breaker has closed.
    fn recoveries(&self) -> u64 {
        0
    }
}

/// One question to Juspay.
#[derive(Debug, Clone)]
pub struct GetCustomer {
    /// Whom to ask for.
    pub customer: CustomerId,
    /// W3C `traceparent` of the phone's request that made us ask, passed on.
    pub traceparent: Option<String>,
    /// What the span of the call is begun under.
    pub trace: Parent,
    /// Which try of the call it is, from 1 on.
    pub attempt: u32,
    /// When this try ends.
    pub deadline: Monotonic,
    /// When the whole call ends. If a pooled connection turns out to be stale, the request is
    /// repeated at once, and the repeat has the time of a try of its own, up to this deadline.
    pub call_deadline: Monotonic,
}

/// A whole answer about the customer that was asked for.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The customer.
    pub customer: Customer,
    /// The token; an error where the rest of the answer is good but no token can be used.
    pub auth: Result<ClientAuth, InvalidAnswer>,
    /// Juspay's clock when it answered: its `Date`, unless a cache on the way makes that useless.
    pub date: Option<Timestamp>,
}

/// How a call to Juspay ends badly. Nothing in it is secret or personal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JuspayError {
    /// Juspay knows no such customer (`object_not_found`).
    #[error("Juspay has no such customer")]
    CustomerNotFound,
    /// 401: our API key is wrong, or something else rejected the call.
    #[error("Juspay rejected the API key (401)")]
    RejectedCredentials(RejectedBy),
    /// 403: our address isn't on the merchant's allow-list, or something else rejected the call.
    #[error("Juspay rejected this server's address (403)")]
    RejectedOrigin(RejectedBy),
    /// 429.
    #[error("Juspay rejected the call because of its rate limit (429)")]
    TooManyRequests(Option<RetryAfter>),
    /// Any other error status.
    #[error("Juspay returned status {0}")]
    Status(u16, Option<RetryAfter>),
    /// An answer that can't be used.
    #[error("Juspay returned an invalid response: {0}")]
    InvalidAnswer(#[from] InvalidAnswer),
    /// No connection, or it broke before the answer began.
    #[error("failed to reach Juspay: {0}")]
    Connection(ConnectionFailure),
    /// `juspay.deadline` passed.
    #[error("Juspay did not respond within the deadline")]
    Timeout,
    /// So many calls have failed that Juspay isn't asked for a while.
    #[error("the circuit breaker is open after too many failed calls to Juspay")]
    BreakerOpen(RetryAfter),
    /// So many calls are under way that this one wasn't made.
    #[error("too many calls to Juspay are in progress")]
    Saturated,
    /// The task that fetched ended without an answer: a bug of ours.
    #[error("the fetch ended without a result")]
    Aborted,
}

/// How long to wait before asking again.
pub type RetryAfter = Duration;

/// Why a connection to Juspay failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionFailure {
    /// The host's name can't be resolved.
    #[error("host name lookup failed")]
    Resolve,
    /// Nobody listens there, or no route leads there.
    #[error("connection failed")]
    Connect,
    /// The connection took longer than `juspay.connect_timeout`.
    #[error("connection timed out")]
    ConnectTimeout,
    /// The TLS handshake failed.
    #[error("TLS handshake failed")]
    Tls,
    /// An open connection broke.
    #[error("connection broke")]
    Broken,
}

/// Why an answer of Juspay's can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAnswer {
    /// A 1xx that nobody asked for.
    #[error("an unexpected interim response (1xx)")]
    Interim,
    /// A success that isn't 200.
    #[error("an unexpected status")]
    Status,
    /// A redirect.
    #[error("a redirect")]
    Redirect,
    /// Not what HTTP allows.
    #[error("malformed HTTP")]
    Http,
    /// Less than was announced, or JSON that ends too early.
    #[error("a truncated body")]
    Truncated,
    /// More than 64 KiB.
    #[error("a body that is too large")]
    TooLarge,
    /// Not the JSON of a customer.
    #[error("a body that is not a customer's JSON")]
    Json,
    /// About somebody else, or nobody.
    #[error("a response about another customer")]
    OtherCustomer,
    /// A customer's JSON in which an id occurs twice, or isn't valid text: it can't be known for
    /// certain whom it is about.
    #[error("an id that occurs twice, or is not valid text")]
    MalformedIdentity,
    /// About the right customer, but `juspay`, the token or its expiry occurs twice, or isn't valid
    /// text.
    #[error("a client auth token that occurs twice, or is not valid text")]
    MalformedToken,
    /// `juspay` is missing or null, or has no token.
    #[error("no client auth token")]
    NoToken,
    /// The token has no readable expiry.
    #[error("no readable client_auth_token_expiry")]
    NoExpiry,
    /// The token has expired, or will in no time.
    #[error("a client auth token that expires too soon")]
    TooShortLived,
    /// The token would live long enough by Juspay's clock, but not by this server's, which is ahead by
    /// so many seconds.
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
            Self::RejectedCredentials(_) => "rejected_credentials",
            Self::RejectedOrigin(_) => "rejected_origin",
            Self::TooManyRequests(_) => "too_many_requests",
            Self::Status(400..=499, _) => "client_error",
            Self::Status(..) => "server_error",
            Self::InvalidAnswer(_) => "invalid_response",
            Self::Connection(_) => "connection",
            Self::Timeout => "timeout",
            Self::BreakerOpen(_) => "breaker_open",
            Self::Saturated => "saturated",
            Self::Aborted => "aborted",
        }
    }

    /// The `cause` of a request's log line: the outcome, with the fault of an answer by its name.
    #[must_use]
    pub const fn cause(&self) -> &'static str {
        match self {
            Self::InvalidAnswer(why) => why.cause(),
            Self::Aborted => "panic",
            Self::CustomerNotFound
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

    /// Whether it speaks against Juspay's health: not what is about one customer's data or this
    /// service. It counts once for each customer: one customer alone never makes an outage.
    #[must_use]
    pub const fn is_outage(&self) -> bool {
        match self {
            Self::TooManyRequests(_)
            | Self::Status(500.., _)
            | Self::Connection(_)
            | Self::Timeout => true,
            Self::InvalidAnswer(why) => why.is_outage(),
            Self::CustomerNotFound
            | Self::RejectedCredentials(_)
            | Self::RejectedOrigin(_)
            | Self::Status(..)
            | Self::BreakerOpen(_)
            | Self::Saturated
            | Self::Aborted => false,
        }
    }

    /// Whether Juspay has taken our key and our address, and then said no to something else.
    const fn shows_that_we_are_let_in(&self) -> bool {
        match self {
            Self::CustomerNotFound | Self::Status(400..=499, _) => true,
            Self::InvalidAnswer(why) => !why.is_outage(),
            Self::RejectedCredentials(_)
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

    /// Whether the same call may succeed when it is made again right now.
    #[must_use]
    pub const fn is_worth_another_try(&self) -> bool {
        matches!(
            self,
            Self::Connection(_)
                | Self::Timeout
                | Self::Status(502..=504, _)
                | Self::InvalidAnswer(InvalidAnswer::Truncated)
        )
    }

    /// Whether the customer gets it again for a while, without a call: when a call was made and
    /// failed for that customer. What kept a call from being made has a rule of its own; so has
    /// [`Self::CustomerNotFound`].
    #[must_use]
    pub const fn is_remembered(&self) -> bool {
        match self {
            Self::RejectedCredentials(by) | Self::RejectedOrigin(by) => {
                !matches!(by, RejectedBy::Hold(_))
            }
            Self::TooManyRequests(_)
            | Self::Status(..)
            | Self::InvalidAnswer(_)
            | Self::Connection(_)
            | Self::Timeout
            | Self::Aborted => true,
            Self::CustomerNotFound | Self::BreakerOpen(_) | Self::Saturated => false,
        }
    }

    /// How long the hold after rejections refuses calls, where it refused this one.
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

    /// How long Juspay wants us to wait, when it says so.
    #[must_use]
    pub const fn retry_after(&self) -> Option<RetryAfter> {
        match self {
            Self::TooManyRequests(after) | Self::Status(_, after) => *after,
            Self::BreakerOpen(after) => Some(*after),
            Self::CustomerNotFound
            | Self::RejectedCredentials(_)
            | Self::RejectedOrigin(_)
            | Self::Connection(_)
            | Self::Timeout
            | Self::InvalidAnswer(_)
            | Self::Saturated
            | Self::Aborted => None,
        }
    }
}

impl InvalidAnswer {
    /// The `cause` of a request's log line.
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

    /// Whether such answers come of an outage, such as a page that says so. An answer whose identity
    /// could be read is none, whatever is wrong with its data, which the customer may have chosen.
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
