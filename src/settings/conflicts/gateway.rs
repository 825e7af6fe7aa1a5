//! Checks that clients can't send the header of `auth.gateway` themselves.
//!
//! A client that sends this header chooses the customer (promise P1 in SECURITY.md). So each public
//! listener must be reachable by the gateway only, or require its client certificate.

use crate::{
    net::is_loopback_address,
    settings::{
        auth::{GATEWAY_HEADER, ISSUERS},
        fault::Violation,
        reader::Reader,
        server::{ClientAuth, Listen},
        value::Items,
    },
};

const SUBJECTS: &str = "auth.gateway.client_subjects";
const LISTEN: &str = "server.listen";

pub(super) fn check(reader: &mut Reader<'_>) {
    let has_subjects = reader.lookup(SUBJECTS).list(Items::Any, |_| Ok(()));
    let has_subjects = has_subjects.is_some_and(|subjects| !subjects.is_empty());
    if !reader.is_set(GATEWAY_HEADER) {
        if has_subjects {
            let reason = format!("{GATEWAY_HEADER} is missing, so no gateway is trusted");
            let fix = format!("set {GATEWAY_HEADER}, or remove this setting");
            reader.conflict(&[SUBJECTS], Violation::new(reason, fix));
        }
        return;
    }
    if !reader.lookup_names(ISSUERS).is_empty() {
        let reason = "auth.issuers is set too, and either this service or a gateway verifies the \
                      caller, not both";
        let fix = "remove this setting, or all issuers";
        reader.conflict(&[GATEWAY_HEADER, ISSUERS], Violation::new(reason, fix));
    }
    let are_certified = certificates_are_required(reader);
    if has_subjects && !are_certified {
        let reason = "clients need no certificate";
        let fix = "set server.tls.cert_file, key_file, client_ca_file and client_auth = \
                   \"required\", or remove this setting";
        reader.conflict(&[SUBJECTS, GATEWAY_HEADER], Violation::new(reason, fix));
    }
    if !(has_subjects && are_certified) && is_reached_by_others(reader) {
        let reason = "has an address that clients other than the gateway can reach: with \
                      auth.gateway.header they could pretend to be any customer";
        let fix = "listen on unix sockets and loopback only, or set server.tls with client_auth = \
                   \"required\" and auth.gateway.client_subjects";
        reader.conflict(&[LISTEN, GATEWAY_HEADER], Violation::new(reason, fix));
    }
}

fn certificates_are_required(reader: &mut Reader<'_>) -> bool {
    let auth = reader.lookup("server.tls.client_auth").text(ClientAuth::parse);
    reader.is_set("server.tls.cert_file") && auth == Some(ClientAuth::Required)
}

fn is_reached_by_others(reader: &mut Reader<'_>) -> bool {
    let listen =
        reader.lookup(LISTEN).list(Items::AtLeastOneOrText, Listen::parse).unwrap_or_default();
    listen.iter().any(|listen| match listen {
        Listen::Unix(_) => false,
        Listen::Tcp(address) => !is_loopback_address(address.ip()),
    })
}
