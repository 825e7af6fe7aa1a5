//! What can go wrong with an answer. [`wire`] says how that looks to the peer.
//!
//! One mechanism with three doors: [`super::Simulator::inject`], the control API and the magic
//! customers of [`super::magic`]. Faults of the object or its token alter what
//! [`super::juspay`] writes; all others alter how a finished answer is sent.

mod wire;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::errors::ApiError;

/// A fault of an answer. In JSON: `"hang"`, `{"latency": {"ms": 200}}`, `{"token": "missing"}`,
/// `{"token": {"life": {"seconds": 20}}}`, `{"error": "not_found"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// The answer comes late.
    Latency {
        /// Milliseconds.
        ms: u64,
    },
    /// No answer, and the connection stays open.
    Hang,
    /// No answer, but a TCP reset.
    Reset,
    /// No answer; the connection is closed in good order.
    Close,
    /// A head that is begun and never finished.
    UnfinishedHead,
    /// The head and half of the body, then nothing more; the connection stays open.
    StalledBody,
    /// Every byte in a write of its own.
    ByteByByte,
    /// The body ends before its Content-Length.
    CutBody {
        /// All of the JSON comes and the length is a lie; else only half of it comes.
        #[serde(default)]
        whole_json: bool,
    },
    /// A chunked body without its last chunk.
    CutChunked {
        /// All of the JSON comes; else only half of it.
        #[serde(default)]
        whole_json: bool,
    },
    /// A body without any length, ended by the connection's end.
    NoLength,
    /// The status of the answer with an empty body.
    Empty,
    /// An HTML page with status 200.
    Html,
    /// The answer's JSON behind white space.
    Huge {
        /// Of the padding; 64 MiB at most.
        bytes: usize,
    },
    /// A 302 to elsewhere.
    Redirect {
        /// An absolute URL.
        location: String,
    },
    /// A 1xx that nobody asked for, in a packet of its own, before the answer.
    Interim {
        /// The 1xx status.
        status: u16,
        /// Milliseconds between the two.
        gap_ms: u64,
    },
    /// The answer, and then the same bytes again on the idle connection.
    Surplus {
        /// Milliseconds between the two.
        gap_ms: u64,
    },
    /// The answer with an `Age`, as from a cache in between.
    Age {
        /// Its value.
        seconds: u64,
    },
    /// The answer without `Date`.
    NoDate,
    /// An answer of the tester's own.
    Status {
        /// The status.
        status: u16,
        /// Header fields, instead of or besides those that the simulator sends.
        #[serde(default)]
        headers: BTreeMap<String, String>,
        /// The body.
        #[serde(default)]
        body: String,
    },
    /// An error that Juspay documents.
    Error(ApiError),
    /// A customer object that is unusual, or somebody else's.
    Object(ObjectFault),
    /// Something about the client auth token.
    Token(TokenFault),
}

/// What can be unusual about a customer object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectFault {
    /// It is another customer's, token included.
    OtherCustomer,
    /// It has `customer_id` too, as some versions send it.
    CustomerIdToo,
    /// It has `customer_id` and no `object_reference_id`.
    CustomerIdOnly,
    /// It has nothing but `object_reference_id` and, when asked for, the token.
    Sparse,
    /// It has fields that nobody has documented.
    UnknownFields,
}

/// What can be unusual about a client auth token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TokenFault {
    /// No `juspay`.
    Missing,
    /// `"juspay": null`.
    Null,
    /// `"client_auth_token": null`.
    NullToken,
    /// `"client_auth_token": ""`.
    EmptyToken,
    /// No `client_auth_token_expiry`.
    NoExpiry,
    /// `"client_auth_token_expiry": null`.
    NullExpiry,
    /// A `client_auth_token_expiry` that is no date.
    UnreadableExpiry,
    /// The expiry in Juspay's other date style, `…+0000`.
    OffsetExpiry,
    /// The expiry with a fraction of a second.
    FractionalExpiry,
    /// The token lives so long, and says so. Zero or less: it has expired.
    Life {
        /// Seconds.
        seconds: i64,
    },
    /// The reported expiry lies so much behind the real one.
    ReportedLate {
        /// Seconds.
        seconds: i64,
    },
    /// All its uses are used up.
    UsedUp,
}

impl Fault {
    /// The documented error that takes the place of an answer.
    pub(super) fn error(&self) -> Option<ApiError> {
        if let Self::Error(error) = self { Some(*error) } else { None }
    }

    /// What is unusual about the object.
    pub(super) fn object(&self) -> Option<ObjectFault> {
        if let Self::Object(fault) = self { Some(*fault) } else { None }
    }

    /// What is unusual about the token.
    pub(super) fn token(&self) -> Option<TokenFault> {
        if let Self::Token(fault) = self { Some(*fault) } else { None }
    }
}
