//! Magic customers: ids with a fixed fault, like a payment provider's test cards. Testers can reach
//! every error screen with only the app. Each one says what the service answers for it, which a test of
//! the service compares.

use std::{collections::BTreeMap, fmt};

use super::{
    errors::{ApiError, INVALID_VALUE},
    fault::{Fault, ObjectFault, TokenFault},
};

/// A customer id with a fixed fault.
#[derive(Debug, Clone, Copy)]
pub struct MagicCustomer {
    /// The id to request.
    pub id: &'static str,
    /// What the simulated Juspay does.
    pub description: &'static str,
    /// What the service answers.
    pub answer: Answer,
    /// The situation for the app.
    pub scenario: &'static str,
    fault: fn(base_url: &str) -> Fault,
}

/// The service's answer to `GET /me/customer`, with the settings of `config/demo.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// 200 with the customer and a client auth token.
    Customer,
    /// An error.
    Problem {
        /// The status.
        status: u16,
        /// The problem's `code`.
        code: &'static str,
    },
}

/// Status and code, such as `404 customer_not_found`.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Customer => f.pad("200"),
            Self::Problem { status, code } => f.pad(&format!("{status} {code}")),
        }
    }
}

impl MagicCustomer {
    /// The magic customer with this id.
    #[must_use]
    pub fn named(id: &str) -> Option<&'static Self> {
        // Returns early for nearly all ids of a load test.
        if !id.starts_with("sim_") {
            return None;
        }
        MAGIC_CUSTOMERS.iter().find(|magic| magic.id == id)
    }

    /// The fault, in a simulator at `base_url`.
    pub(super) fn fault(&self, base_url: &str) -> Fault {
        (self.fault)(base_url)
    }
}

const fn magic(
    id: &'static str,
    description: &'static str,
    answer: Answer,
    scenario: &'static str,
    fault: fn(&str) -> Fault,
) -> MagicCustomer {
    MagicCustomer { id, description, answer, scenario, fault }
}

const CUSTOMER: Answer = Answer::Customer;
const NOT_FOUND: Answer = Answer::Problem { status: 404, code: "customer_not_found" };
const UNAVAILABLE: Answer = Answer::Problem { status: 503, code: "upstream_unavailable" };
const TIMEOUT: Answer = Answer::Problem { status: 504, code: "upstream_timeout" };
const ERROR: Answer = bad_gateway("upstream_error");
const INVALID: Answer = bad_gateway("upstream_invalid_response");

const fn bad_gateway(code: &'static str) -> Answer {
    Answer::Problem { status: 502, code }
}

/// Every magic customer.
pub const MAGIC_CUSTOMERS: &[MagicCustomer] = &[
    magic(
        "sim_not_found",
        "404: unknown customer",
        NOT_FOUND,
        "the user has no customer at Juspay",
        |_| Fault::Error(ApiError::NotFound),
    ),
    magic(
        "sim_new",
        "404 until Create creates it",
        NOT_FOUND,
        "a new user; 200 with juspay.create_missing_customers",
        |_| Fault::NotCreated,
    ),
    magic(
        "sim_rejected_field",
        "404, and Create is rejected because of mobile_number",
        NOT_FOUND,
        "a new user; 422 with juspay.create_missing_customers",
        |_| Fault::RejectedField {
            field: "mobile_number".to_owned(),
            reason: INVALID_VALUE.to_owned(),
        },
    ),
    magic(
        "sim_bad_key",
        "401: wrong API key",
        bad_gateway("upstream_rejected_credentials"),
        "a mistake in the service's settings: an outage for the app, not a logout",
        |_| Fault::Error(ApiError::AccessDenied),
    ),
    magic(
        "sim_ip_blocked",
        "403: address not on the allow-list",
        bad_gateway("upstream_rejected_origin"),
        "a mistake in Juspay's settings: an outage for the app, not a logout",
        |_| Fault::Error(ApiError::BadOrigin),
    ),
    magic(
        "sim_bad_request",
        "400: mandatory fields are missing",
        ERROR,
        "Juspay rejects the service's request",
        |_| Fault::Error(ApiError::MandatoryFieldsMissing),
    ),
    magic(
        "sim_429",
        "429 with Retry-After: 7",
        UNAVAILABLE,
        "Juspay limits calls; Retry-After is 7 or more",
        |_| status(429, &[("Retry-After", "7")]),
    ),
    magic("sim_500", "500", ERROR, "Juspay fails", |_| status(500, &[])),
    magic("sim_503", "503", ERROR, "Juspay is down; the service has retried", |_| status(503, &[])),
    magic(
        "sim_slow",
        "response after 3 s",
        TIMEOUT,
        "five seconds without an answer, then an error",
        |_| Fault::Latency { ms: 3_000 },
    ),
    magic(
        "sim_hang",
        "no response; the connection stays open",
        TIMEOUT,
        "five seconds without an answer, then an error",
        |_| Fault::Hang,
    ),
    magic(
        "sim_reset",
        "no response; the connection is reset (TCP RST)",
        ERROR,
        "the connection to Juspay breaks",
        |_| Fault::Reset,
    ),
    magic(
        "sim_expires_20s",
        "the token is valid for 20 s",
        INVALID,
        "no token that lives long enough to use",
        |_| life(20),
    ),
    magic(
        "sim_expires_40s",
        "the token is valid for 40 s",
        CUSTOMER,
        "a token that is replaced after seconds",
        |_| life(40),
    ),
    magic(
        "sim_expired",
        "the token expired 60 s ago",
        INVALID,
        "no token that lives long enough to use",
        |_| life(-60),
    ),
    magic(
        "sim_used_up",
        "the token is used up",
        CUSTOMER,
        "the SDK rejects the token, also the next one",
        |_| Fault::Token(TokenFault::UsedUp),
    ),
    magic("sim_no_token", "no `juspay`", INVALID, "Juspay returns no token", |_| {
        Fault::Token(TokenFault::Missing)
    }),
    magic("sim_null_juspay", "`juspay` is null", INVALID, "Juspay returns no token", |_| {
        Fault::Token(TokenFault::Null)
    }),
    magic(
        "sim_null_token",
        "`client_auth_token` is null",
        INVALID,
        "Juspay returns no token",
        |_| Fault::Token(TokenFault::NullToken),
    ),
    magic(
        "sim_no_expiry",
        "no `client_auth_token_expiry`",
        INVALID,
        "a token of unknown life",
        |_| Fault::Token(TokenFault::NoExpiry),
    ),
    magic(
        "sim_offset_expiry",
        "the expiry ends in +0000",
        CUSTOMER,
        "Juspay's other date format",
        |_| Fault::Token(TokenFault::OffsetExpiry),
    ),
    magic(
        "sim_fractional_expiry",
        "the expiry has a fraction of a second",
        CUSTOMER,
        "Juspay's other date format",
        |_| Fault::Token(TokenFault::FractionalExpiry),
    ),
    magic(
        "sim_other_customer",
        "another customer's object",
        INVALID,
        "never another customer's data",
        |_| Fault::Object(ObjectFault::OtherCustomer),
    ),
    magic(
        "sim_sparse",
        "only object_reference_id and the token",
        CUSTOMER,
        "a customer without name, number and email address",
        |_| Fault::Object(ObjectFault::Sparse),
    ),
    magic(
        "sim_html",
        "an HTML page with status 200",
        INVALID,
        "Juspay's answer is damaged",
        |_| Fault::Html,
    ),
    magic(
        "sim_empty",
        "status 200 and an empty body",
        INVALID,
        "Juspay's answer is damaged",
        |_| Fault::Empty,
    ),
    magic("sim_huge", "8 MiB of JSON", INVALID, "Juspay's answer is damaged", |_| Fault::Huge {
        bytes: 8 * 1024 * 1024,
    }),
    magic(
        "sim_cut",
        "half of the body, then the connection closes",
        INVALID,
        "Juspay's answer is damaged",
        |_| Fault::CutBody { whole_json: false },
    ),
    magic(
        "sim_chunked_cut",
        "half of a chunked body, then the connection closes",
        INVALID,
        "Juspay's answer is damaged",
        |_| Fault::CutChunked { whole_json: false },
    ),
    magic(
        "sim_stalled_body",
        "half of the body, then nothing",
        TIMEOUT,
        "five seconds without an answer, then an error",
        |_| Fault::StalledBody,
    ),
    magic(
        "sim_redirect",
        "302 to /customers/sim_redirected of this simulator",
        INVALID,
        "the service follows no redirect",
        |base_url| Fault::Redirect { location: format!("{base_url}/customers/sim_redirected") },
    ),
    magic(
        "sim_early_hints",
        "unexpected 103; the response 20 ms later",
        INVALID,
        "Juspay's answer is damaged",
        |_| Fault::Interim { status: 103, gap_ms: 20 },
    ),
    magic(
        "sim_surplus",
        "the response, and the same response again 20 ms later",
        CUSTOMER,
        "the next customer gets its own data",
        |_| Fault::Surplus { gap_ms: 20 },
    ),
];

fn life(seconds: i64) -> Fault {
    Fault::Token(TokenFault::Life { seconds })
}

/// A body that a gateway might send; Juspay documents none.
fn status(status: u16, headers: &[(&str, &str)]) -> Fault {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Fault::Status {
        status,
        headers: headers.collect::<BTreeMap<_, _>>(),
        body: r#"{"status":"error","error_message":"Simulated."}"#.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn magic_ids_are_unique_and_described() {
        let ids: BTreeSet<_> = MAGIC_CUSTOMERS.iter().map(|magic| magic.id).collect();
        assert_eq!(ids.len(), MAGIC_CUSTOMERS.len());
        for magic in MAGIC_CUSTOMERS {
            assert!(magic.id.starts_with("sim_"), "{magic:?}");
            assert!(!magic.description.is_empty() && !magic.scenario.is_empty(), "{magic:?}");
            assert_eq!(MagicCustomer::named(magic.id).map(|found| found.id), Some(magic.id));
        }
        assert!(MagicCustomer::named("alice").is_none());
        assert!(MagicCustomer::named("sim_somebody").is_none());
    }
}
