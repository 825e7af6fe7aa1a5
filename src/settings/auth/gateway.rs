//! `auth.gateway.*`: a trusted gateway authenticates callers and sends the customer id in a header.
//! Off unless the header is set.
//!
//! `conflicts` checks that only the gateway can reach the listeners.

use super::issuer::claim_text;
use crate::settings::{fault::Violation, reader::Reader, value::Items};

/// The key that turns the mode on.
pub(in crate::settings) const HEADER: &str = "auth.gateway.header";

/// Headers with a standard meaning, which clients send themselves.
const RESERVED: [&str; 13] = [
    "accept",
    "authorization",
    "cache-control",
    "connection",
    "content-length",
    "cookie",
    "expect",
    "host",
    "origin",
    "traceparent",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
];

/// `auth.gateway.*`, if the mode is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// `header`, in lower case.
    pub header: String,
    /// `client_subjects`: the subjects of the gateway's client certificates. If empty, certificates
    /// are not checked.
    pub client_subjects: Vec<String>,
}

impl Gateway {
    /// The inner option is `None` if the mode is off, the outer one if there are faults.
    #[expect(clippy::option_option, reason = "a fault and an absence are two things")]
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Option<Self>> {
        let header = reader.at(HEADER).text(header_name);
        let subjects = reader.at("auth.gateway.client_subjects").list(Items::Any, claim_text);
        if reader.is_set(HEADER) {
            Some(Some(Self { header: header?, client_subjects: subjects? }))
        } else {
            subjects.map(|_| None)
        }
    }
}

/// RFC 9110 §5.1
fn header_name(text: &str) -> Result<String, Violation> {
    let name = text.to_ascii_lowercase();
    let is_tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(is_tchar) {
        let fix = "write the name only, such as \"x-customer-id\"";
        return Err(Violation::new("expected a header name", fix));
    }
    if RESERVED.contains(&&*name) {
        let reason = "names a header that has another meaning";
        return Err(Violation::new(reason, "have the gateway send the customer in its own header"));
    }
    Ok(name)
}
