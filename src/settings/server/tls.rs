//! `server.tls.*`: TLS on the TCP addresses of the public listener.

use std::path::{Path, PathBuf};

use crate::{
    settings::{fault::Violation, reader::Reader, value::off_optional_or_required},
    tls::{self, FileError},
};

use super::unreadable;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// Client certificates are not requested.
    Off,
    /// They are requested. Clients without one are accepted, clients with an invalid one are
    /// rejected.
    Optional,
    /// Clients without a valid certificate are rejected.
    Required,
}

impl ServerTls {
    /// The inner option is `None` if TLS isn't set, the outer one if there are faults.
    #[expect(clippy::option_option, reason = "a fault and an absence are two things")]
    pub(in crate::settings) fn read(reader: &mut Reader<'_>) -> Option<Option<Self>> {
        let cert_file = reader.at("server.tls.cert_file").file(holds_certificate);
        let key_file = reader.at("server.tls.key_file").file(holds_key);
        let client_ca_file = reader.at("server.tls.client_ca_file").file(holds_authorities);
        let client_auth = reader.at("server.tls.client_auth").text(ClientAuth::parse)?;
        let (Some(cert_file), Some(key_file)) = (cert_file, key_file) else {
            return Some(None);
        };
        Some(Some(Self { cert_file, key_file, client_ca_file, client_auth }))
    }
}

impl ClientAuth {
    pub(in crate::settings) fn parse(text: &str) -> Result<Self, Violation> {
        off_optional_or_required(text, [Self::Off, Self::Optional, Self::Required])
    }
}

pub(in crate::settings) fn holds_certificate(path: &Path) -> Result<(), Violation> {
    let fix = "write the path of a file with the server's certificate chain in PEM (BEGIN \
               CERTIFICATE), the server's own certificate first";
    tls::certificates(path).map(drop).map_err(|error| invalid_file(error, fix))
}

pub(in crate::settings) fn holds_key(path: &Path) -> Result<(), Violation> {
    let fix = "write the path of a file with the certificate's unencrypted private key in PEM \
               (BEGIN PRIVATE KEY): RSA of at least 2048 bits, P-256, P-384, P-521 or Ed25519";
    tls::private_key(path).map(drop).map_err(|error| invalid_file(error, fix))
}

fn holds_authorities(path: &Path) -> Result<(), Violation> {
    let fix = "write the path of a file with the certificates of the client CAs in PEM (BEGIN \
               CERTIFICATE)";
    tls::client_authorities(path).map(drop).map_err(|error| invalid_file(error, fix))
}

fn invalid_file(error: FileError, fix: &str) -> Violation {
    match error {
        FileError::File(error) => unreadable(&error),
        FileError::NotPem => Violation::new("the file is not PEM", fix),
        FileError::Lacks(what) => Violation::new(format!("the file contains no {what}"), fix),
        FileError::Unusable(what) => {
            Violation::new(format!("a {what} in the file is invalid"), fix)
        }
    }
}
