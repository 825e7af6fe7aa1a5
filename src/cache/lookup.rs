//! What a phone asks the cache for, and what it gets.

use std::{fmt::Debug, rc::Rc, time::Duration};

use bytes::Bytes;

use crate::{
    concurrency::LimitReached,
    customer::{CustomerId, CustomerRef},
    juspay::JuspayError,
    traces::{Parent, Span},
};

/// What a phone asks for.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// The customer that the verified token names.
    pub customer: CustomerId,
    /// Whether the client auth token is wanted (`options.get_client_auth_token`).
    pub want_token: bool,
    /// How fresh it is to be.
    pub freshness: Freshness,
    /// The request's `traceparent`, for a call to Juspay that it causes.
    pub traceparent: Option<String>,
    /// What spans of work for it are begun under.
    pub trace: Parent,
    /// The request that it is for.
    pub requester: Option<Rc<dyn Requester>>,
}

/// A request, as log lines about work for it name it.
pub trait Requester: Debug {
    /// Its id.
    fn request_id(&self) -> &str;

    /// The reference of its customer: computed here, as most requests never need it.
    fn customer_ref(&self) -> Option<CustomerRef>;
}

/// How fresh a token is to be (RFC 9111 §5.2.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Freshness {
    /// The life that the token should have left.
    pub min_fresh: Option<Duration>,
    /// A new token.
    pub no_cache: bool,
    /// What is in memory, or nothing.
    pub only_if_cached: bool,
}

/// A customer to answer with.
#[derive(Debug, Clone)]
pub struct Found {
    /// The JSON to send.
    pub body: Bytes,
    /// Where it came from.
    pub source: Source,
    /// What is to be said about it.
    pub detail: Option<Detail>,
    /// For how much longer it is handed out.
    pub ttl: Duration,
    /// The life left in the token, when there is one in the body.
    pub expires_in: Option<Duration>,
}

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Memory.
    Hit,
    /// Juspay.
    Fetched {
        /// Why memory didn't do.
        forward: Forward,
        /// Another request had asked already.
        collapsed: bool,
        /// It's in memory now.
        stored: bool,
    },
}

/// Why Juspay was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forward {
    /// Nothing was in memory.
    Miss,
    /// What was there was past its end.
    Stale,
    /// The phone wanted a fresher one.
    Request,
}

/// What is to be said about an answer that isn't all that was wished for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Juspay fails; the token has less life left than it should.
    Outage,
    /// The token lives shorter than the phone wants it to.
    MinFreshUnmet,
    /// The phone has asked for new tokens too often.
    RefreshLimited,
}

/// Why a look-up brings nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// Juspay had to be asked, and failed.
    #[error(transparent)]
    Juspay(#[from] JuspayError),
    /// Nothing in memory, and the phone wants nothing else.
    #[error("the customer is not cached")]
    NotCached,
    /// The phone wants a new token, and Juspay gives none now; the failure of the fetch.
    #[error("no new client auth token is available")]
    NoNewToken(JuspayError),
    /// Too many requests are waiting.
    #[error("too many requests are waiting")]
    Overloaded,
    /// Too many requests of this customer are waiting.
    #[error("too many requests of this customer are waiting")]
    TooManyAtOnce,
}

impl From<LimitReached> for LookupError {
    fn from(reached: LimitReached) -> Self {
        match reached {
            LimitReached::Key => Self::TooManyAtOnce,
            LimitReached::Total => Self::Overloaded,
        }
    }
}

impl Lookup {
    /// The same, for work within that of `span`.
    pub(super) fn within(self, span: &Span) -> Self {
        Self { trace: span.parent(), ..self }
    }
}

/// What came of a look-up, in a word.
#[must_use]
pub const fn outcome(found: &Result<Found, LookupError>) -> &'static str {
    match found {
        Ok(Found { detail: Some(Detail::Outage), .. }) => "outage",
        Ok(Found { source: Source::Hit, .. }) => "hit",
        Ok(Found { source: Source::Fetched { collapsed: true, .. }, .. }) => "joined",
        Ok(Found { source: Source::Fetched { forward, .. }, .. }) => match forward {
            Forward::Miss => "miss",
            Forward::Stale => "stale",
            Forward::Request => "bypass",
        },
        Err(LookupError::Juspay(JuspayError::CustomerNotFound)) => "not_found",
        Err(_) => "error",
    }
}

impl LookupError {
    /// The `cause` of a request's log line, unless the answer is about the customer alone.
    #[must_use]
    pub const fn cause(&self) -> Option<&'static str> {
        match self {
            Self::Juspay(JuspayError::CustomerNotFound) => None,
            Self::Juspay(error) | Self::NoNewToken(error) => Some(error.cause()),
            Self::NotCached => Some("not_cached"),
            Self::Overloaded => Some("max_waiting"),
            Self::TooManyAtOnce => Some("customer_share"),
        }
    }

    /// Whether it says that Juspay can't be asked now, or doesn't answer in time.
    pub(super) const fn is_about_now(&self) -> bool {
        match self {
            Self::NoNewToken(_) | Self::Overloaded | Self::TooManyAtOnce => true,
            Self::Juspay(error) => matches!(
                error,
                JuspayError::Timeout
                    | JuspayError::TooManyRequests(_)
                    | JuspayError::BreakerOpen(_)
                    | JuspayError::Saturated
            ),
            Self::NotCached => false,
        }
    }
}
