//! `server.*`: listeners, limits and shutdown.

pub(super) mod tls;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use secrecy::ExposeSecret;

pub use self::tls::{ClientAuth, ServerTls};
use super::{
    address::{WebAddress, no_query},
    fault::Violation,
    reader::Reader,
    value::Items,
};
use crate::secret_file::{self, SecretFileError};

/// Longest path of a socket, in bytes: `sun_path` holds 108, including the final zero (unix(7)).
const MAX_SOCKET_PATH: usize = 107;

/// Range of `server.workers`. actix-server tracks the availability of at most 512.
const WORKERS: std::ops::RangeInclusive<u64> = 1..=512;

/// Range of the limit of connections.
const CONNECTIONS: std::ops::RangeInclusive<u64> = 1..=1_000_000;

/// Range of the limits of concurrent requests.
const IN_FLIGHT: std::ops::RangeInclusive<u64> = 1..=1_000_000;

/// The address of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// An IP address and port; with port 0, the system chooses a free one.
    Tcp(SocketAddr),
    /// `unix:PATH`
    Unix(PathBuf),
}

/// `server.*`
#[derive(Debug, Clone)]
pub struct Server {
    /// `server.listen`, at least one.
    pub listen: Vec<Listen>,
    /// `server.admin_listen`, at least one.
    pub admin_listen: Vec<Listen>,
    /// `server.admin_token_file`
    pub admin_token_file: Option<PathBuf>,
    /// `server.public_url`: the URL that clients use. `None`: derived from each request.
    pub public_url: Option<String>,
    /// `server.workers`; `None`: the number of available cores.
    pub workers: Option<usize>,
    /// `server.max_connections`
    pub max_connections: usize,
    /// `server.tls.*`, if set.
    pub tls: Option<ServerTls>,
    /// `server.max_in_flight`
    pub max_in_flight: usize,
    /// `server.max_waiting`; defaults to half of `max_in_flight`.
    pub max_waiting: usize,
    /// `server.shutdown_delay`
    pub shutdown_delay: Duration,
    /// `server.shutdown_grace`
    pub shutdown_grace: Duration,
}

impl Server {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let listen = listeners(reader, "server.listen");
        let admin_listen = admin_listen(reader);
        let admin_token_file = reader.at("server.admin_token_file").file(holds_token);
        let public_url = reader.at("server.public_url").text(without_query);
        let workers = reader.at("server.workers").number(WORKERS);
        let max_connections = reader.at("server.max_connections").number(CONNECTIONS);
        let max_in_flight = reader.at("server.max_in_flight").number(IN_FLIGHT);
        let max_waiting = reader.at("server.max_waiting").number(IN_FLIGHT);
        let shutdown_delay =
            reader.at("server.shutdown_delay").duration(Duration::ZERO..=Duration::from_mins(10));
        let shutdown_grace = reader
            .at("server.shutdown_grace")
            .duration(Duration::from_millis(1)..=Duration::from_hours(1));
        let tls = ServerTls::read(reader);
        let max_in_flight = usize::try_from(max_in_flight?).ok()?;
        let half = max_in_flight.div_ceil(2);
        Some(Self {
            listen: listen?,
            admin_listen: admin_listen?,
            admin_token_file,
            public_url,
            workers: workers.and_then(|workers| usize::try_from(workers).ok()),
            max_connections: usize::try_from(max_connections?).ok()?,
            tls: tls?,
            max_in_flight,
            max_waiting: max_waiting.and_then(|it| usize::try_from(it).ok()).unwrap_or(half),
            shutdown_delay: shutdown_delay?,
            shutdown_grace: shutdown_grace?,
        })
    }
}

/// `server.admin_listen`
pub(super) fn admin_listen(reader: &mut Reader<'_>) -> Option<Vec<Listen>> {
    listeners(reader, "server.admin_listen")
}

fn listeners(reader: &mut Reader<'_>, key: &str) -> Option<Vec<Listen>> {
    reader.at(key).fix_of_type(LISTEN).list(Items::AtLeastOneOrText, Listen::parse)
}

/// The fix for an invalid address.
const LISTEN: &str =
    "write an IP address and port in quotes, such as \"0.0.0.0:8080\", or \"unix:PATH\"";

impl Listen {
    pub(super) fn parse(text: &str) -> Result<Self, Violation> {
        let fix = LISTEN;
        match text.strip_prefix("unix:") {
            Some("") => Err(Violation::new("has no path after unix:", fix)),
            Some(path) if path.len() > MAX_SOCKET_PATH || path.contains('\0') => {
                Err(Violation::new(
                    format!(
                        "expected a socket path of at most {MAX_SOCKET_PATH} bytes without a NUL byte"
                    ),
                    "write a shorter path",
                ))
            }
            Some(path) => Ok(Self::Unix(path.into())),
            None => text
                .parse()
                .map(Self::Tcp)
                .map_err(|_| Violation::new("expected an IP address and port", fix)),
        }
    }

    /// Whether binding both is impossible.
    pub(super) fn conflicts_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(one), Self::Tcp(other)) => {
                let same_family = one.is_ipv4() == other.is_ipv4();
                let one_is_all = one.ip().is_unspecified() || other.ip().is_unspecified();
                one.port() == other.port()
                    && one.port() != 0
                    && (one.ip() == other.ip() || (same_family && one_is_all))
            }
            (Self::Unix(one), Self::Unix(other)) => one == other,
            (Self::Tcp(_), Self::Unix(_)) | (Self::Unix(_), Self::Tcp(_)) => false,
        }
    }
}

/// Checks only that the file can be read, not its content.
pub(super) fn is_readable(path: &Path) -> Result<(), Violation> {
    secret_file::read_blocking(path).map(drop).map_err(|error| unreadable(&error))
}

/// A base URL to which paths are appended.
fn without_query(text: &str) -> Result<String, Vec<Violation>> {
    WebAddress::parse(text, &[no_query]).map(|address| address.text)
}

pub(super) fn unreadable(error: &SecretFileError) -> Violation {
    let fix = "write the path of a file that this process can read and that is not empty";
    match error {
        SecretFileError::Unreadable { path, source } => Violation::unreadable(path, *source),
        SecretFileError::Empty(_) => Violation::new("the file is empty", fix),
        SecretFileError::NotText(_) => Violation::new("the file is not UTF-8 text", fix),
    }
}

/// Checks that the file contains a bearer token (RFC 6750 §2.1, `b64token`), as clients can't send
/// any other.
fn holds_token(path: &Path) -> Result<(), Violation> {
    let token = secret_file::read_blocking(path).map_err(|error| unreadable(&error))?;
    let is_token_byte = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    if token.expose_secret().bytes().all(is_token_byte) {
        Ok(())
    } else {
        let reason = "the file contains a character that a bearer token cannot contain";
        Err(Violation::new(
            reason,
            "use letters, digits and -._~+/ only, such as the output of `openssl rand -hex 32`",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(text: &str) -> Listen {
        Listen::parse(text).unwrap()
    }

    #[test]
    fn tcp_addresses_and_unix_sockets_are_parsed() {
        assert_eq!(listen("127.0.0.1:0"), Listen::Tcp(([127, 0, 0, 1], 0).into()));
        assert!(matches!(listen("[::]:8080"), Listen::Tcp(address) if address.is_ipv6()));
        assert_eq!(listen("unix:/run/x"), Listen::Unix("/run/x".into()));
        assert!(Listen::parse(&format!("unix:{}", "x".repeat(MAX_SOCKET_PATH))).is_ok());
        for text in ["", "8080", "localhost:8080", "127.0.0.1", "unix:", "/run/x", "unix:a\0b"] {
            assert!(Listen::parse(text).is_err(), "{text:?}");
        }
        assert!(Listen::parse(&format!("unix:{}", "x".repeat(MAX_SOCKET_PATH + 1))).is_err());
    }

    #[test]
    fn listeners_conflict_on_the_same_port_of_the_same_address() {
        for (one, other, clash) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("0.0.0.0:80", "127.0.0.2:80", true),
            ("127.0.0.2:80", "0.0.0.0:80", true),
            ("[::]:80", "[::1]:80", true),
            ("[::]:80", "127.0.0.1:80", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
            ("unix:a", "unix:a", true),
            ("unix:a", "unix:b", false),
            ("unix:a", "127.0.0.1:80", false),
            ("127.0.0.1:80", "unix:a", false),
        ] {
            assert_eq!(listen(one).conflicts_with(&listen(other)), clash, "{one} {other}");
        }
    }
}
