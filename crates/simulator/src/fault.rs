//! Faults of responses. [`wire`] defines how a fault looks to the client.
//!
//! Faults are set by [`super::Simulator::inject`], by the control API, and by the customers in
//! [`super::magic`]. Faults of the object or its token change what [`super::juspay`] returns. All
//! others change how a complete response is sent.

mod wire;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::errors::{ApiError, INVALID_VALUE};

/// A fault of a response. In JSON: `"hang"`, `{"latency": {"ms": 200}}`, `{"token": "missing"}`,
/// `{"token": {"life": {"seconds": 20}}}`, `{"error": "not_found"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// The response is late.
    Latency {
        /// Milliseconds.
        ms: u64,
    },
    /// No response; the connection stays open.
    Hang,
    /// A TCP reset instead of a response.
    Reset,
    /// The connection is closed without a response.
    Close,
    /// An incomplete head.
    UnfinishedHead,
    /// The head and half of the body; the connection stays open.
    StalledBody,
    /// A separate write for each byte.
    ByteByByte,
    /// The body is shorter than its Content-Length.
    CutBody {
        /// Send the whole JSON with too large a length; otherwise half of it.
        #[serde(default)]
        whole_json: bool,
    },
    /// A chunked body without its last chunk.
    CutChunked {
        /// Send the whole JSON; otherwise half of it.
        #[serde(default)]
        whole_json: bool,
    },
    /// A body without a length, which ends with the connection.
    NoLength,
    /// The response's status with an empty body.
    Empty,
    /// An HTML page with status 200.
    Html,
    /// The response's JSON, preceded by white space.
    Huge {
        /// Amount of white space; at most 64 MiB.
        bytes: usize,
    },
    /// A 302 to another URL.
    Redirect {
        /// An absolute URL.
        location: String,
    },
    /// An unsolicited 1xx in its own packet, before the response.
    Interim {
        /// The 1xx status.
        status: u16,
        /// Milliseconds between the two.
        gap_ms: u64,
    },
    /// The response, followed by the same bytes again on the idle connection.
    Surplus {
        /// Milliseconds between the two.
        gap_ms: u64,
    },
    /// The response with an `Age`, as if from a cache.
    Age {
        /// Its value.
        seconds: u64,
    },
    /// The response without `Date`.
    NoDate,
    /// A custom response.
    Status {
        /// The status.
        status: u16,
        /// Additional header fields, which replace default ones with the same name.
        #[serde(default)]
        headers: BTreeMap<String, String>,
        /// The body.
        #[serde(default)]
        body: String,
    },
    /// An error that Juspay documents.
    Error(ApiError),
    /// The customer doesn't exist until Create has created it.
    NotCreated,
    /// The customer doesn't exist, and Create is rejected because of a field.
    RejectedField {
        /// Its name, such as `mobile_number`.
        field: String,
        /// Juspay's reason.
        #[serde(default = "invalid_value")]
        reason: String,
    },
    /// An unusual customer object, or another customer's.
    Object(ObjectFault),
    /// A fault of the client auth token.
    Token(TokenFault),
}

/// What is unusual about a customer object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectFault {
    /// Another customer's object, including the token.
    OtherCustomer,
    /// With `customer_id` as well, as in some versions of the API.
    CustomerIdToo,
    /// With `customer_id` and without `object_reference_id`.
    CustomerIdOnly,
    /// Only `object_reference_id` and, if requested, the token.
    Sparse,
    /// With undocumented fields.
    UnknownFields,
}

/// What is unusual about a client auth token.
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
    /// A `client_auth_token_expiry` that isn't a date.
    UnreadableExpiry,
    /// The expiry in Juspay's other date format, `…+0000`.
    OffsetExpiry,
    /// The expiry with a fraction of a second.
    FractionalExpiry,
    /// The token lives this long, and its expiry is correct. Zero or less: it has expired.
    Life {
        /// Seconds.
        seconds: i64,
    },
    /// The reported expiry is this much later than the real one.
    ReportedLate {
        /// Seconds.
        seconds: i64,
    },
    /// The token has no uses left.
    UsedUp,
}

fn invalid_value() -> String {
    INVALID_VALUE.to_owned()
}

impl Fault {
    /// The documented error that replaces the response.
    pub(super) fn error(&self) -> Option<ApiError> {
        if let Self::Error(error) = self { Some(*error) } else { None }
    }

    /// Whether only Create creates the customer, and a request for it does not.
    pub(super) fn requires_creation(&self) -> bool {
        matches!(self, Self::NotCreated | Self::RejectedField { .. })
    }

    /// The field because of which Create is rejected, and the reason.
    pub(super) fn rejected_field(&self) -> Option<(&str, &str)> {
        if let Self::RejectedField { field, reason } = self { Some((field, reason)) } else { None }
    }

    /// The fault of the object.
    pub(super) fn object(&self) -> Option<ObjectFault> {
        if let Self::Object(fault) = self { Some(*fault) } else { None }
    }

    /// The fault of the token.
    pub(super) fn token(&self) -> Option<TokenFault> {
        if let Self::Token(fault) = self { Some(*fault) } else { None }
    }
}
