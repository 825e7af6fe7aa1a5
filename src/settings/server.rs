//! `server.*`: listeners, limits and shutdown.

pub(super) mod tls;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

pub use self::tls::{ClientAuth, ServerTls};
use crate::net::UrlParts;

use super::{
    address::{WebAddress, no_query},
    fault::Violation,
    files::read_text,
    reader::Reader,
    value::Items,
};

/// Longest path of a socket, in bytes: `sun_path` holds 108, including the final zero (unix(7)).
const MAX_SOCKET_PATH: usize = 107;

/// Range of `server.workers`. actix-server tracks the availability of at most 512.
const WORKERS: std::ops::RangeInclusive<u64> = 1..=512;

/// Range of the limits of connections and concurrent requests.
const CONCURRENT: std::ops::RangeInclusive<u64> = 1..=1_000_000;

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
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let listen = listeners(reader, LISTEN);
        let admin_listen = admin_listen(reader);
        let admin_token_file = reader.at("server.admin_token_file").file(validate_token);
        let public_url = reader.at("server.public_url").text(without_query);
        let workers = reader.at("server.workers").number(WORKERS);
        let max_connections = reader.number("server.max_connections", CONCURRENT);
        let max_in_flight: usize = reader.number("server.max_in_flight", CONCURRENT);
        let max_waiting = reader.at(MAX_WAITING).number(CONCURRENT);
        let longest_delay = Duration::from_mins(10);
        let grace = Duration::from_millis(1)..=Duration::from_hours(1);
        Self {
            listen,
            admin_listen,
            admin_token_file,
            public_url,
            workers,
            max_connections,
            max_in_flight,
            max_waiting: max_waiting.unwrap_or(max_in_flight.div_ceil(2)),
            shutdown_delay: reader
                .duration("server.shutdown_delay", Duration::ZERO..=longest_delay),
            shutdown_grace: reader.duration("server.shutdown_grace", grace),
            tls: ServerTls::read(reader),
        }
    }

    /// The path of `server.public_url`, without a slash at its end.
    #[must_use]
    pub fn base_path(&self) -> &str {
        let parts = self.public_url.as_deref().and_then(UrlParts::split);
        parts.map_or("", |parts| parts.base_path())
    }

    /// No two listeners may have the same address.
    pub(super) fn check_listeners(&self, reader: &mut Reader<'_>) {
        let all: Vec<&Listen> = self.listen.iter().chain(&self.admin_listen).collect();
        let clash =
            (1..).zip(&all).any(|(next, one)| all.iter().skip(next).any(|b| one.conflicts_with(b)));
        if clash {
            let reason = "two listeners, of this setting and of server.admin_listen, have the same \
                          address";
            let fix = "give each listener its own address or port";
            reader.conflict(&[LISTEN, ADMIN_LISTEN], reason, fix);
        }
    }

    /// A late request must not be cut off by the shutdown.
    pub(super) fn check_shutdown(&self, deadline: Duration, reader: &mut Reader<'_>) {
        let grace = ("server.shutdown_grace", self.shutdown_grace);
        let delay = ("server.shutdown_delay", self.shutdown_delay);
        let deadline = ("juspay.deadline", deadline);
        let times = [grace, delay, deadline];
        let is_valid = times.iter().all(|(key, _)| reader.is_valid(key));
        if is_valid && delay.1.saturating_add(deadline.1) >= grace.1 {
            let [own, delay, deadline] = times.map(|time| reader.shown_duration(time));
            let reason = format!(
                "is {own}, but must be longer than server.shutdown_delay ({delay}) plus \
                 juspay.deadline ({deadline}), or a late request would be cut off"
            );
            let fix = "raise it, or lower one of the two";
            reader.conflict(&times.map(|(key, _)| key), reason, fix);
        }
    }

    /// Waiting requests must leave room for others.
    pub(super) fn check_in_flight(&self, reader: &mut Reader<'_>) {
        let keys = [MAX_WAITING, "server.max_in_flight"];
        let is_valid = reader.is_set(MAX_WAITING) && keys.iter().all(|key| reader.is_valid(key));
        if is_valid && self.max_waiting >= self.max_in_flight {
            let [waiting, all] = [(keys[0], self.max_waiting), (keys[1], self.max_in_flight)]
                .map(|(key, number)| reader.shown(key, &number.to_string()));
            let reason = format!(
                "is {waiting}, but must be less than server.max_in_flight ({all}), or waiting \
                 requests leave no room for token verification"
            );
            let fix = "lower it; the default is half of server.max_in_flight";
            reader.conflict(&keys, reason, fix);
        }
    }
}

pub(super) const LISTEN: &str = "server.listen";
const ADMIN_LISTEN: &str = "server.admin_listen";
const MAX_WAITING: &str = "server.max_waiting";

/// `server.admin_listen`
pub(super) fn admin_listen(reader: &mut Reader<'_>) -> Vec<Listen> {
    listeners(reader, ADMIN_LISTEN)
}

fn listeners(reader: &mut Reader<'_>, key: &str) -> Vec<Listen> {
    reader.filled(|it| {
        it.at(key).fix_of_type(LISTEN_FIX).list(Items::AtLeastOneOrText, Listen::parse)
    })
}

/// The fix for an invalid address.
const LISTEN_FIX: &str =
    "write an IP address and port in quotes, such as \"0.0.0.0:8080\", or \"unix:PATH\"";

impl Listen {
    fn parse(text: &str) -> Result<Self, Violation> {
        let fix = LISTEN_FIX;
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
    fn conflicts_with(&self, other: &Self) -> bool {
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

/// A base URL to which paths are appended.
fn without_query(text: &str) -> Result<String, Vec<Violation>> {
    WebAddress::parse(text, &[no_query]).map(|_| text.to_owned())
}

/// Checks that the file contains a bearer token (RFC 6750 §2.1, `b64token`), as clients can't send
/// any other.
fn validate_token(path: &Path) -> Result<(), Violation> {
    let is_token_byte = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    read_text(path, |token| {
        if token.bytes().all(is_token_byte) {
            return Ok(());
        }
        Err(Violation::new(
            "the file contains a character that a bearer token cannot contain",
            "use letters, digits and -._~+/ only, such as the output of `openssl rand -hex 32`",
        ))
    })
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
