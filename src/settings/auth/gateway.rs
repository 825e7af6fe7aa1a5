//! `auth.gateway.*`: a gateway in front says who is calling. Off unless the header is named.
//!
//! Where it may be on is told by `contradictions`.

use super::issuer::claim_text;
use crate::settings::{fault::Wrong, reader::Reader, value::Items};

/// Names the mode.
pub(in crate::settings) const HEADER: &str = "auth.gateway.header";

/// Headers that anybody may send with a meaning of their own.
const TAKEN: [&str; 13] = [
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

/// `auth.gateway.*`, where it is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// `header`, in lower case.
    pub header: String,
    /// `client_subjects`: whose client certificates are the gateway's. Empty: none are looked at.
    pub client_subjects: Vec<String>,
}

impl Gateway {
    /// `None` inside when the mode is off, outside when there are faults.
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
fn header_name(text: &str) -> Result<String, Wrong> {
    let name = text.to_ascii_lowercase();
    let is_tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(is_tchar) {
        let fix = "write the name only, such as \"x-customer-id\"";
        return Err(Wrong::new("expected a header name", fix));
    }
    if TAKEN.contains(&&*name) {
        let reason = "names a header that has another meaning";
        return Err(Wrong::new(reason, "have the gateway send the customer in its own header"));
    }
    Ok(name)
}
