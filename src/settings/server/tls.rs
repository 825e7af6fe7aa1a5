//! `server.tls.*`: TLS on the TCP addresses of the public listener.

use std::path::PathBuf;

use super::{LISTEN, Listen, Server};
use crate::{
    settings::{
        fault::Violation,
        files::{validate_authorities, validate_certificate, validate_key},
        reader::Reader,
        value::one_of,
    },
    tls,
};

const CERT: &str = "server.tls.cert_file";
const KEY: &str = "server.tls.key_file";
const CLIENT_CA: &str = "server.tls.client_ca_file";
const CLIENT_AUTH: &str = "server.tls.client_auth";

/// `server.tls.*`, if it is set.
#[derive(Debug, Clone)]
pub struct ServerTls {
    /// `server.tls.cert_file`
    pub cert_file: PathBuf,
    /// `server.tls.key_file`
    pub key_file: PathBuf,
    /// `server.tls.client_ca_file`
    pub client_ca_file: Option<PathBuf>,
    /// `server.tls.client_auth`
    pub client_auth: ClientAuth,
}

/// `server.tls.client_auth`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// Client certificates are not requested.
    #[default]
    Off,
    /// They are requested. Clients without one are accepted, clients with an invalid one are
    /// rejected.
    Optional,
    /// Clients without a valid certificate are rejected.
    Required,
}

impl ServerTls {
    /// `None` if TLS isn't set, or a file has a fault.
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let cert_file = reader.at(CERT).file(validate_certificate);
        let key_file = reader.at(KEY).file(validate_key);
        let client_ca_file = reader.at(CLIENT_CA).file(validate_authorities);
        let client_auth = reader.text(CLIENT_AUTH, ClientAuth::parse);
        Some(Self { cert_file: cert_file?, key_file: key_file?, client_ca_file, client_auth })
    }
}

impl ClientAuth {
    fn parse(text: &str) -> Result<Self, Violation> {
        let modes =
            [("off", Self::Off), ("optional", Self::Optional), ("required", Self::Required)];
        one_of(text, None, &modes)
    }
}

/// Reports conflicts within `server.tls.*`, and between it and the listeners.
pub(in crate::settings) fn check(server: &Server, reader: &mut Reader<'_>) {
    for (one, other) in [(CERT, KEY), (KEY, CERT)] {
        if reader.is_set(one) && !reader.is_set(other) {
            let reason = format!("is missing, but {one} is set");
            reader.missing(&[other], Violation::new(reason, "set both, or neither"));
        }
    }
    if server.tls.as_ref().is_some_and(is_mismatched) {
        let reason = format!("the certificate does not match the key in {KEY}");
        let fix = "use the files of one certificate and its key; the server's own certificate must \
                   be the first in its file";
        reader.conflict(&[CERT, KEY], reason, fix);
    }
    check_client_auth(reader);
    let mut listen = server.listen.iter();
    let is_only_unix = reader.is_valid(LISTEN) && listen.all(|it| matches!(it, Listen::Unix(_)));
    if is_only_unix && reader.is_set(CERT) {
        let reason = "server.listen has no TCP address, and unix sockets do not use TLS";
        let fix = "add a TCP address to server.listen, or remove this setting";
        reader.conflict(&[CERT], reason, fix);
    }
}

fn is_mismatched(settings: &ServerTls) -> bool {
    let (cert, key) =
        (tls::certificates(&settings.cert_file), tls::private_key(&settings.key_file));
    let (Ok(cert), Ok(key)) = (cert, key) else { return false };
    tls::certified_key(cert, &key).is_err()
}

fn check_client_auth(reader: &mut Reader<'_>) {
    let auth = reader.valid_text(CLIENT_AUTH);
    let has_authorities = reader.is_set(CLIENT_CA);
    if matches!(auth, Some("optional" | "required")) && !has_authorities {
        let reason = format!("requests client certificates, but {CLIENT_CA} is missing");
        let fix = format!("set {CLIENT_CA}, or set this to \"off\"");
        reader.conflict(&[CLIENT_AUTH], reason, fix);
    }
    if auth == Some("off") && has_authorities {
        let reason = format!("{CLIENT_AUTH} is \"off\", so no client certificate is requested");
        let fix =
            format!("set {CLIENT_AUTH} to \"optional\" or \"required\", or remove this setting");
        reader.conflict(&[CLIENT_CA], reason, fix);
    }
    if has_authorities && !reader.is_set(CERT) && !reader.is_set(KEY) {
        let fix = format!("set {CERT} and {KEY}, or remove this setting");
        reader.conflict(&[CLIENT_CA], "TLS is not configured", fix);
    }
}

/// Whether clients without a valid certificate are rejected.
pub(in crate::settings) fn requires_certificates(reader: &Reader<'_>) -> bool {
    reader.is_set(CERT) && reader.valid_text(CLIENT_AUTH) == Some("required")
}
