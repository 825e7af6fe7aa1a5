//! Conflicts within `server.tls.*`, and between it and the listeners.

use crate::{
    settings::{
        fault::Violation,
        reader::Reader,
        server::{
            Listen,
            tls::{ClientAuth, holds_certificate, holds_key},
        },
        value::Items,
    },
    tls,
};

const CERT: &str = "server.tls.cert_file";
const KEY: &str = "server.tls.key_file";
const CLIENT_CA: &str = "server.tls.client_ca_file";
const CLIENT_AUTH: &str = "server.tls.client_auth";

pub(super) fn check(reader: &mut Reader<'_>) {
    both_or_neither(reader);
    pair(reader);
    clients(reader);
    listeners(reader);
}

/// Certificate and key must be set together.
fn both_or_neither(reader: &mut Reader<'_>) {
    for (one, other) in [(CERT, KEY), (KEY, CERT)] {
        if reader.is_set(one) && !reader.is_set(other) {
            let reason = format!("is missing, but {one} is set");
            reader.missing(&[other], Violation::new(reason, "set both, or neither"));
        }
    }
}

fn pair(reader: &mut Reader<'_>) {
    let cert =
        reader.lookup(CERT).file(holds_certificate).and_then(|it| tls::certificates(&it).ok());
    let key = reader.lookup(KEY).file(holds_key).and_then(|it| tls::private_key(&it).ok());
    let (Some(cert), Some(key)) = (cert, key) else { return };
    if tls::certified_key(cert, &key).is_err() {
        let reason = format!("the certificate does not match the key in {KEY}");
        let fix = "use the files of one certificate and its key; the server's own certificate must \
                   be the first in its file";
        reader.conflict(&[CERT, KEY], Violation::new(reason, fix));
    }
}

fn clients(reader: &mut Reader<'_>) {
    let auth = reader.lookup(CLIENT_AUTH).text(ClientAuth::parse);
    let (on, off) = match auth {
        Some(ClientAuth::Off) => (false, true),
        Some(ClientAuth::Optional | ClientAuth::Required) => (true, false),
        None => (false, false),
    };
    let has_authorities = reader.is_set(CLIENT_CA);
    if on && !has_authorities {
        let reason = format!("requests client certificates, but {CLIENT_CA} is missing");
        let fix = format!("set {CLIENT_CA}, or set this to \"off\"");
        reader.conflict(&[CLIENT_AUTH], Violation::new(reason, fix));
    }
    if off && has_authorities {
        let reason = format!("{CLIENT_AUTH} is \"off\", so no client certificate is requested");
        let fix =
            format!("set {CLIENT_AUTH} to \"optional\" or \"required\", or remove this setting");
        reader.conflict(&[CLIENT_CA], Violation::new(reason, fix));
    }
    if has_authorities && !reader.is_set(CERT) && !reader.is_set(KEY) {
        let reason = "TLS is not configured";
        let fix = format!("set {CERT} and {KEY}, or remove this setting");
        reader.conflict(&[CLIENT_CA], Violation::new(reason, fix));
    }
}

fn listeners(reader: &mut Reader<'_>) {
    let listen = reader.lookup("server.listen").list(Items::AtLeastOneOrText, Listen::parse);
    let only_unix = listen.is_some_and(|all| all.iter().all(|it| matches!(it, Listen::Unix(_))));
    if only_unix && reader.is_set(CERT) {
        let reason = "server.listen has no TCP address, and unix sockets do not use TLS";
        let fix = "add a TCP address to server.listen, or remove this setting";
        reader.conflict(&[CERT], Violation::new(reason, fix));
    }
}
