//! The shared tier: replicas share customers through a Redis or Valkey server, so that together they
//! make one call to Juspay per customer and token life (promise P4).
//!
//! [`SharedTier`] is all that the cache sees. A look-up returns a value, or the lease to fetch one, or
//! that another replica is fetching. [`wait`] has the two loops around it: polling while another replica
//! fetches, and renewing a lease during a fetch. `redis` is the implementation, compiled with the cargo
//! feature `shared`. Nothing here knows Juspay: failures are opaque codes.
//!
//! A fetch begins with [`wait::Polls::look_up`]. With a lease ([`LookUp::Fetch`], or [`LookUp::Away`] with one), it
//! calls Juspay within [`wait::renewed`] and ends with [`SharedTier::store`] or [`SharedTier::fail`]. With
//! [`LookUp::Away`] without a lease, it calls Juspay as if there were no tier.
//!
//! The guarantee: while the server responds within `shared.timeout`, all replicas make one call per
//! customer. Otherwise each replica makes at most one, as without the tier: a look-up without a
//! response is [`LookUp::Away`], never an error. A token's life never gets longer (promise P3), and
//! entries are encrypted and bound to their customer (promises P1 and P2).

#[cfg(feature = "shared")]
pub mod redis;
pub mod wait;

use std::{fmt, time::Duration};

use futures_util::future::LocalBoxFuture;
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::{
    clock::{Moment, Monotonic},
    customer::{CustomerId, CustomerJson},
    settings::Rate,
};

/// What replicas share. Futures borrow nothing, so callers can spawn them. Each resolves within
/// `shared.timeout` if the server stops responding, and at once while it is away. They need no timer of the
/// caller, so a busy worker does not make a healthy server look slow.
pub trait SharedTier: fmt::Debug + Send + Sync {
    /// Looks up a customer. If no replica has what is needed and none is fetching it, the caller gets
    /// the lease and must call [`SharedTier::store`] or [`SharedTier::fail`].
    fn look_up(&self, request: Request) -> LocalBoxFuture<'static, LookUp>;

    /// Extends a lease by its full time, if it is still held. Call it every [`wait::RENEW_EVERY`].
    fn renew(&self, lease: &Lease) -> LocalBoxFuture<'static, ()>;

    /// Stores what was fetched, and ends the lease. Refused if the lease expired or was purged.
    fn store(&self, lease: Lease, content: Content) -> LocalBoxFuture<'static, Stored>;

    /// Ends a lease without a value. `is_missing`: Juspay has no such customer, so the tier's value is
    /// removed.
    fn fail(&self, lease: Lease, failure: Failure, is_missing: bool)
    -> LocalBoxFuture<'static, ()>;

    /// Adds responses with this version of the customer's token. Returns the total of all replicas.
    fn add_hand_outs(
        &self,
        customer: &CustomerId,
        version: Version,
        number: u32,
    ) -> LocalBoxFuture<'static, Result<u64, Unreached>>;

    /// Removes a customer from the tier. A fetch that is running anywhere will not be stored. Other replicas
    /// remove it from memory when they learn of [`News::Purged`].
    fn purge(&self, customer: &CustomerId) -> LocalBoxFuture<'static, Result<(), Unreached>>;

    /// Removes all customers from the tier, and announces it to the other replicas.
    fn purge_all(&self) -> LocalBoxFuture<'static, Result<(), Unreached>>;

    /// Announces something to the other replicas. A revocation is also kept until it expires, for
    /// replicas that start later; announcing it again is free.
    fn announce(&self, news: News) -> LocalBoxFuture<'static, Result<(), Unreached>>;
}

/// A look-up of a customer.
#[derive(Debug, Clone)]
pub struct Request {
    /// The customer.
    pub customer: CustomerId,
    /// What a value must fulfill.
    pub need: Need,
    /// The rate limit that a lease is charged to if a usable value would be replaced
    /// (`limits.force_refresh_per_customer`).
    pub charge: Option<Rate>,
    /// The lease that the caller has been waiting for. Its failure is the caller's failure too.
    pub waited_for: Option<LeaseId>,
}

/// What a value must fulfill to be returned instead of fetched. A value below its own normal floor
/// never does. That Juspay has no such customer always does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Need {
    /// Newer than this version, which the caller has.
    pub newer_than: Option<Version>,
    /// Fetched at most this long ago.
    pub max_age: Option<Duration>,
    /// At least this much remaining life.
    pub least_life: Duration,
}

/// The version of a customer's value: larger for a newer one. The server's clock assigns it, in
/// milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u64);

/// The result of a look-up.
#[derive(Debug)]
pub enum LookUp {
    /// A value that fulfills the need.
    Found(Found),
    /// Nothing does: the caller fetches. The value is a fallback for an outage of Juspay.
    Fetch(Lease, Option<SharedCustomer>),
    /// Another replica is fetching: look up again with its id in a moment. The value is a fallback.
    Elsewhere(LeaseId, Option<SharedCustomer>),
    /// The fetch that the caller waited for has failed with this code.
    Failed(FailureCode),
    /// The rate limit does not allow to replace the value, unless the caller has it, by another one.
    Limited(Option<SharedCustomer>),
    /// The server is not available. With a lease, the look-up was sent and only its response is lost:
    /// the lease may be held, so the caller fetches, then stores or fails it like any other.
    Away(Option<Lease>),
}

impl LookUp {
    /// The outcome, for spans.
    #[must_use]
    pub const fn outcome(&self) -> &'static str {
        match self {
            Self::Found(_) => "found",
            Self::Fetch(..) => "fetch",
            Self::Elsewhere(..) => "elsewhere",
            Self::Failed(_) => "failed",
            Self::Limited(_) => "limited",
            Self::Away(_) => "away",
        }
    }
}

/// A value that fulfills the need.
#[derive(Debug, Clone)]
pub enum Found {
    /// A customer with its token.
    Customer(SharedCustomer),
    /// Juspay reported that it doesn't exist.
    NotFound {
        /// How long that counts.
        remaining: Duration,
    },
}

/// A customer that a replica fetched.
#[derive(Debug, Clone)]
pub struct SharedCustomer {
    /// The body of responses.
    pub json: CustomerJson,
    /// The life of its token.
    pub life: SharedLife,
    /// Its version.
    pub version: Version,
}

/// The life of a shared token, on this replica's clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedLife {
    /// When the request to Juspay was sent.
    pub born: Monotonic,
    /// When the token expires, by the most conservative clock.
    pub end: Moment,
    /// The total life that the fetching replica determined.
    pub total: Duration,
    /// How long before its normal end the token is refreshed.
    pub refresh_lead: Duration,
}

/// What a fetch brought.
#[derive(Debug, Clone)]
pub enum Content {
    /// A customer with its token.
    Customer {
        /// The body of responses.
        json: CustomerJson,
        /// The life of its token.
        life: SharedLife,
        /// The remaining life below which a look-up fetches a new token.
        normal_floor: Duration,
    },
    /// Juspay reported that the customer doesn't exist (`cache.not_found_ttl`).
    NotFound {
        /// How long that counts.
        ttl: Duration,
    },
}

/// What happened to a value that was to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// Other replicas can use it.
    Yes(Version),
    /// The lease had expired, or the customer was purged during the fetch.
    Refused,
    /// The server is not available.
    Unreached,
}

/// The right to fetch a customer, for [`LEASE_TIME`] after each renewal.
#[derive(Debug, Clone)]
pub struct Lease {
    /// The customer.
    pub customer: CustomerId,
    /// Identifies the lease.
    pub id: LeaseId,
    /// The generation whose names its keys have.
    pub generation: u64,
    /// When it was requested.
    pub since: Monotonic,
}

/// How long a lease lasts if it is not renewed: other replicas wait this long for one that died.
pub const LEASE_TIME: Duration = Duration::from_millis(1500);

/// Identifies a lease. Random, so that a replica that lost its lease cannot store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseId(pub u128);

impl LeaseId {
    /// A new id.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }
}

/// Why a fetch failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Juspay's response, which any replica would get: those that wait for it fail too.
    Juspay(FailureCode),
    /// No failure: the result was not stored, so the next replica fetches.
    None,
    /// Trouble of this replica, such as its breaker or its address: one other replica tries once. If
    /// that fails too, whatever the cause, the replicas that wait for it fail with its code.
    Own(FailureCode),
}

/// A failure in the words of the caller: 1 to 128 visible ASCII characters. It is not encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureCode(String);

impl FailureCode {
    /// Parses a code; `None` if it has other characters or another length.
    #[must_use]
    pub fn new(code: &str) -> Option<Self> {
        let is_valid =
            (1..=128).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_graphic());
        is_valid.then(|| Self(code.to_owned()))
    }

    /// The code.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The server did not respond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the shared tier is not available")]
pub struct Unreached;

/// Something that all replicas must know.
#[derive(Clone, PartialEq, Eq)]
pub enum News {
    /// The customer was purged.
    Purged(CustomerId),
    /// A revocation, in its format of entries (JSON), and when it expires.
    Revoked(String, Timestamp),
    /// The customer's token was replaced by this version because the older one no longer works.
    Newer(CustomerId, Version),
    /// Juspay rejected a call because of its rate limit, at this time: no calls for this long.
    Hold(Timestamp, Duration),
}

/// Shows no customer.
impl fmt::Debug for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Purged(_) => "Purged(…)",
            Self::Revoked(..) => "Revoked(…)",
            Self::Newer(..) => "Newer(…)",
            Self::Hold(..) => "Hold(…)",
        })
    }
}

/// What a replica learns from the tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Another replica announced something. After the start, and after [`Event::Missed`], all
    /// revocations in force are events.
    News(News),
    /// All customers were purged, by another replica.
    PurgedAll,
    /// News may have been missed: purge this process's cache once, after a random pause, as any
    /// customer may have been purged elsewhere.
    Missed,
    /// The server is available again, or for the first time: announce the revocations in force, as it
    /// may have lost them.
    Connected,
}

/// The events of a tier, for its only reader.
#[derive(Debug)]
pub struct Events(pub mpsc::UnboundedReceiver<Event>);

impl Events {
    /// The next event; `None` after the end of the tier.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }
}
