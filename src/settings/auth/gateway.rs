//! `auth.gateway.*`: a trusted gateway authenticates callers and sends the customer id in a header.
//! Off unless the header is set.
//!
//! A client that sends this header chooses the customer (promise P1 in SECURITY.md). So each public
//! listener must be reachable by the gateway only, or require its client certificate.

use super::{Auth, ISSUERS, claims::claim_text};
use crate::{
    net::is_loopback_address,
    settings::{
        fault::Violation,
        reader::Reader,
        server::{LISTEN, Listen, tls},
        value::Items,
    },
};

/// The key that turns the mode on.
pub(in crate::settings) const HEADER: &str = "auth.gateway.header";
const SUBJECTS: &str = "auth.gateway.client_subjects";

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
    /// `None` if the mode is off.
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let header = reader.at(HEADER).text(header_name);
        let client_subjects = reader.filled(|it| it.at(SUBJECTS).list(Items::Any, claim_text));
        let is_on = reader.is_set(HEADER);
        is_on.then(|| Self { header: reader.filled(|_| header), client_subjects })
    }
}

/// Reports settings that let clients send the header themselves.
pub(in crate::settings) fn check(auth: &Auth, listen: &[Listen], reader: &mut Reader<'_>) {
    let has_subjects = reader.has_valid_items(SUBJECTS);
    if auth.gateway.is_none() {
        if has_subjects {
            let reason = format!("{HEADER} is missing, so no gateway is trusted");
            reader.conflict(&[SUBJECTS], reason, format!("set {HEADER}, or remove this setting"));
        }
        return;
    }
    if !auth.issuers.is_empty() {
        let reason = "auth.issuers is set too, and either this service or a gateway verifies the \
                      caller, not both";
        let fix = "remove this setting, or all issuers";
        reader.conflict(&[HEADER, ISSUERS], reason, fix);
    }
    let are_certified = tls::requires_certificates(reader);
    if has_subjects && !are_certified {
        let fix = "set server.tls.cert_file, key_file, client_ca_file and client_auth = \
                   \"required\", or remove this setting";
        reader.conflict(&[SUBJECTS, HEADER], "clients need no certificate", fix);
    }
    let is_remote = |listen: &Listen| matches!(listen, Listen::Tcp(address) if !is_loopback_address(address.ip()));
    let is_reached_by_others = reader.is_valid(LISTEN) && listen.iter().any(is_remote);
    if !(has_subjects && are_certified) && is_reached_by_others {
        let reason = "has an address that clients other than the gateway can reach: with \
                      auth.gateway.header they could pretend to be any customer";
        let fix = "listen on unix sockets and loopback only, or set server.tls with client_auth = \
                   \"required\" and auth.gateway.client_subjects";
        reader.conflict(&[LISTEN, HEADER], reason, fix);
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
