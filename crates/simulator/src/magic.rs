//! Magic customers: ids with a fixed fault, like a payment provider's test cards. Testers can reach
//! every error screen with only the app.

use std::collections::BTreeMap;

use super::{
    errors::{ApiError, INVALID_VALUE},
    fault::{Fault, ObjectFault, TokenFault},
};

/// A customer id with a fixed fault.
#[derive(Debug, Clone, Copy)]
pub struct MagicCustomer {
    /// The id to request.
    pub id: &'static str,
    /// What the id simulates.
    pub description: &'static str,
    fault: fn(base_url: &str) -> Fault,
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
    fault: fn(&str) -> Fault,
) -> MagicCustomer {
    MagicCustomer { id, description, fault }
}

/// Every magic customer.
pub const MAGIC_CUSTOMERS: &[MagicCustomer] = &[
    magic("sim_not_found", "404: unknown customer", |_| Fault::Error(ApiError::NotFound)),
    magic("sim_new", "404 until Create creates it", |_| Fault::NotCreated),
    magic("sim_rejected_field", "404, and Create is rejected because of mobile_number", |_| {
        Fault::RejectedField { field: "mobile_number".to_owned(), reason: INVALID_VALUE.to_owned() }
    }),
    magic("sim_bad_key", "401: wrong API key", |_| Fault::Error(ApiError::AccessDenied)),
    magic("sim_ip_blocked", "403: address not on the allow-list", |_| {
        Fault::Error(ApiError::BadOrigin)
    }),
    magic("sim_bad_request", "400: mandatory fields are missing", |_| {
        Fault::Error(ApiError::MandatoryFieldsMissing)
    }),
    magic("sim_429", "429 with Retry-After: 7", |_| status(429, &[("Retry-After", "7")])),
    magic("sim_500", "500", |_| status(500, &[])),
    magic("sim_503", "503", |_| status(503, &[])),
    magic("sim_slow", "response after 3 s", |_| Fault::Latency { ms: 3_000 }),
    magic("sim_hang", "no response; the connection stays open", |_| Fault::Hang),
    magic("sim_reset", "no response; the connection is reset (TCP RST)", |_| Fault::Reset),
    magic("sim_expires_20s", "the token is valid for 20 s", |_| life(20)),
    magic("sim_expires_40s", "the token is valid for 40 s", |_| life(40)),
    magic("sim_expired", "the token expired 60 s ago", |_| life(-60)),
    magic("sim_used_up", "the token is used up", |_| Fault::Token(TokenFault::UsedUp)),
    magic("sim_no_token", "no `juspay`", |_| Fault::Token(TokenFault::Missing)),
    magic("sim_null_juspay", "`juspay` is null", |_| Fault::Token(TokenFault::Null)),
    magic("sim_null_token", "`client_auth_token` is null", |_| Fault::Token(TokenFault::NullToken)),
    magic("sim_no_expiry", "no `client_auth_token_expiry`", |_| Fault::Token(TokenFault::NoExpiry)),
    magic("sim_offset_expiry", "the expiry ends in +0000", |_| {
        Fault::Token(TokenFault::OffsetExpiry)
    }),
    magic("sim_fractional_expiry", "the expiry has a fraction of a second", |_| {
        Fault::Token(TokenFault::FractionalExpiry)
    }),
    magic("sim_other_customer", "another customer's object", |_| {
        Fault::Object(ObjectFault::OtherCustomer)
    }),
    magic("sim_sparse", "only object_reference_id and the token", |_| {
        Fault::Object(ObjectFault::Sparse)
    }),
    magic("sim_html", "an HTML page with status 200", |_| Fault::Html),
    magic("sim_empty", "status 200 and an empty body", |_| Fault::Empty),
    magic("sim_huge", "8 MiB of JSON", |_| Fault::Huge { bytes: 8 * 1024 * 1024 }),
    magic("sim_cut", "half of the body, then the connection closes", |_| Fault::CutBody {
        whole_json: false,
    }),
    magic("sim_chunked_cut", "half of a chunked body, then the connection closes", |_| {
        Fault::CutChunked { whole_json: false }
    }),
    magic("sim_stalled_body", "half of the body, then nothing", |_| Fault::StalledBody),
    magic("sim_redirect", "302 to /customers/sim_redirected of this simulator", |base_url| {
        Fault::Redirect { location: format!("{base_url}/customers/sim_redirected") }
    }),
    magic("sim_early_hints", "unexpected 103; the response 20 ms later", |_| Fault::Interim {
        status: 103,
        gap_ms: 20,
    }),
    magic("sim_surplus", "the response, and the same response again 20 ms later", |_| {
        Fault::Surplus { gap_ms: 20 }
    }),
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
            assert!(magic.id.starts_with("sim_") && !magic.description.is_empty(), "{magic:?}");
            assert_eq!(MagicCustomer::named(magic.id).map(|found| found.id), Some(magic.id));
        }
        assert!(MagicCustomer::named("alice").is_none());
        assert!(MagicCustomer::named("sim_somebody").is_none());
    }
}
