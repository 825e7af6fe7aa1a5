//! `server.*`: listeners and how they end.

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
    fault::Wrong,
    reader::Reader,
    value::Items,
};
use crate::secret_file::{self, SecretFileError};

/// Longest path of a socket, in bytes: `sun_path` has 108 with the zero at its end (unix(7)).
const MAX_SOCKET_PATH: usize = 107;

/// How many workers there may be: as many as actix can tell apart.
const WORKERS: std::ops::RangeInclusive<u64> = 1..=512;

/// How many connections may be asked for.
const CONNECTIONS: std::ops::RangeInclusive<u64> = 1..=1_000_000;

/// How many requests at a time may be asked for.
const IN_FLIGHT: std::ops::RangeInclusive<u64> = 1..=1_000_000;

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// An IP address and port; port 0 takes a free one.
    Tcp(SocketAddr),
    /// `unix:PATH`
    Unix(PathBuf),
}

/// `server.*`
#[derive(Debug, Clone)]
pub struct Server {
    /// `server.listen`, one or more.
    pub listen: Vec<Listen>,
    /// `server.admin_listen`, one or more.
    pub admin_listen: Vec<Listen>,
    /// `server.admin_token_file`
    pub admin_token_file: Option<PathBuf>,
    /// `server.public_url`: by which clients call this service; `None`: by what they say.
    pub public_url: Option<String>,
    /// `server.workers`; `None`: as many as the machine has cores for us.
    pub workers: Option<usize>,
    /// `server.max_connections`
    pub max_connections: usize,
    /// `server.tls.*`, when it is set.
    pub tls: Option<ServerTls>,
    /// `server.max_in_flight`
    pub max_in_flight: usize,
    /// `server.max_waiting`; half of `max_in_flight` when it isn't set.
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
    reader.at(key).fix_of_type(LISTEN).list(Items::SomeOrText, Listen::parse)
}

/// How a listener's address is written.
const LISTEN: &str =
    "write an IP address and port in quotes, such as \"0.0.0.0:8080\", or \"unix:PATH\"";

impl Listen {
    pub(super) fn parse(text: &str) -> Result<Self, Wrong> {
        let fix = LISTEN;
        match text.strip_prefix("unix:") {
            Some("") => Err(Wrong::new("has no path after unix:", fix)),
            Some(path) if path.len() > MAX_SOCKET_PATH || path.contains('\0') => Err(Wrong::new(
                format!(
                    "expected a socket path of at most {MAX_SOCKET_PATH} bytes without a NUL byte"
                ),
                "write a shorter path",
            )),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text
                .parse()
                .map(Self::Tcp)
                .map_err(|_| Wrong::new("expected an IP address and port", fix)),
        }
    }

    /// Whether the two can't be had at once.
    pub(super) fn clashes(&self, other: &Self) -> bool {
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

/// What must be right about a file whose content nobody else has to like.
pub(super) fn is_readable(path: &Path) -> Result<(), Wrong> {
    secret_file::read(path).map(drop).map_err(|error| unreadable(&error))
}

/// An address below which paths are.
fn without_query(text: &str) -> Result<String, Vec<Wrong>> {
    WebAddress::parse(text, &[no_query]).map(|address| address.text)
}

pub(super) fn unreadable(error: &SecretFileError) -> Wrong {
    let fix = "write the path of a file that this process can read and that is not empty";
    match error {
        SecretFileError::Unreadable { path, source } => Wrong::unreadable(path, *source),
        SecretFileError::Empty(_) => Wrong::new("the file is empty", fix),
        SecretFileError::NotText(_) => Wrong::new("the file is not UTF-8 text", fix),
    }
}

/// A bearer token must be able to travel: RFC 6750 §2.1, `b64token`.
fn holds_token(path: &Path) -> Result<(), Wrong> {
    let token = secret_file::read(path).map_err(|error| unreadable(&error))?;
    let is_token_byte = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    if token.expose_secret().bytes().all(is_token_byte) {
        Ok(())
    } else {
        let reason = "the file contains a character that a bearer token cannot contain";
        Err(Wrong::new(
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
    fn addresses_and_sockets_are_told_apart() {
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
    fn listeners_clash_on_the_same_port_of_the_same_address() {
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
            assert_eq!(listen(one).clashes(&listen(other)), clash, "{one} {other}");
        }
    }
}
