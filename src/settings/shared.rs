//! `shared.*`: the Redis or Valkey server through which replicas share customers, and the keys that
//! encrypt and name its entries.

use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::{
    SecretBox,
    zeroize::{Zeroize as _, Zeroizing},
};

use super::{
    fault::Violation,
    files::{is_readable, read_text, validate_roots},
    reader::Reader,
    value::one_of,
};
use crate::net::{Authority, UrlParts, is_loopback_host, is_unambiguous_host, without_brackets};

/// A request waits at most this long for the server, so a long timeout is felt in an outage.
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(5)..=Duration::from_secs(1);

/// The port of `redis://` and `rediss://` without one.
const DEFAULT_PORT: u16 = 6379;

/// Longest prefix of key names, in bytes. It is part of every key.
const MAX_PREFIX_BYTES: usize = 64;

/// Maximum number of encryption keys: a rotation needs two, three allow for an unfinished one.
const MAX_SEALING_KEYS: usize = 3;

const URL: &str = "shared.url";
const TOPOLOGY: &str = "shared.topology";
const CA_FILE: &str = "shared.ca_file";
const PASSWORD_FILE: &str = "shared.password_file";
const KEY_FILE: &str = "shared.key_file";
const NAME_KEY_FILE: &str = "shared.name_key_file";

/// `shared.*`
#[derive(Debug, Clone)]
pub struct Shared {
    /// `shared.url`. If unset, replicas share nothing.
    pub url: Option<RedisUrl>,
    /// `shared.topology`
    pub topology: Topology,
    /// `shared.ca_file`: PEM root certificates, instead of the built-in ones.
    pub ca_file: Option<PathBuf>,
    /// `shared.password_file`, read at each connection attempt.
    pub password_file: Option<PathBuf>,
    /// `shared.key_file`
    pub key_file: Option<PathBuf>,
    /// `shared.name_key_file`
    pub name_key_file: Option<PathBuf>,
    /// `shared.prefix`
    pub prefix: String,
    /// `shared.timeout`
    pub timeout: Duration,
}

/// `shared.topology`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Topology {
    /// One primary, at one address.
    #[default]
    Single,
    /// Redis Cluster, of which the address is any node.
    Cluster,
}

/// The address of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisUrl {
    /// Where it listens.
    pub address: RedisAddress,
    /// The user of its access control list; `None`: the default user.
    pub user: Option<String>,
    /// The number of the database.
    pub database: u16,
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisAddress {
    /// A host, without brackets around IPv6, and a port.
    Tcp {
        /// The host name or IP address.
        host: String,
        /// The port.
        port: u16,
        /// `rediss://`
        is_tls: bool,
    },
    /// `unix:PATH`
    Unix(PathBuf),
}

/// A key of 256 bits.
pub type SharedKey = SecretBox<[u8; 32]>;

/// Why the content of a key file is invalid. Never contains any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SharedKeyError {
    /// No key at all.
    #[error("the file contains no key")]
    None,
    /// More keys than are ever needed.
    #[error("the file contains more than {0} key(s)")]
    TooMany(usize),
    /// Neither 64 hexadecimal digits nor the Base64 of 32 bytes.
    #[error("line {0} is not a key of 256 bits in hexadecimal or Base64")]
    Malformed(usize),
    /// The same key as another line.
    #[error("line {0} repeats another line")]
    Repeated(usize),
}

impl Shared {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            url: reader.at(URL).text(url),
            topology: reader.text(TOPOLOGY, Topology::parse),
            ca_file: reader.at(CA_FILE).file(validate_roots),
            password_file: reader.at(PASSWORD_FILE).file(is_readable),
            key_file: reader.at(KEY_FILE).file(|path| validate(path, sealing_keys)),
            name_key_file: reader.at(NAME_KEY_FILE).file(|path| validate(path, name_key)),
            prefix: reader.text("shared.prefix", prefix),
            timeout: reader.duration("shared.timeout", TIMEOUTS),
        }
    }

    /// The keys are required, and options of TLS or of a single server need one.
    pub(super) fn check(&self, reader: &mut Reader<'_>) {
        if reader.is_set(URL) {
            for (key, what) in [(KEY_FILE, "encrypts"), (NAME_KEY_FILE, "names")] {
                if !reader.is_set(key) {
                    let reason = format!("is missing, and {URL} is set");
                    let fix = format!(
                        "set it to a file with the key that {what} entries, made with openssl rand \
                         -hex 32; all replicas need the same"
                    );
                    reader.missing(&[key], Violation::new(reason, fix));
                }
            }
        }
        if self.key_file.is_some() && self.key_file == self.name_key_file {
            let reason = "is the same file as shared.key_file, but the key of names must stay the \
                          same when the encryption key is rotated";
            reader.conflict(&[NAME_KEY_FILE, KEY_FILE], reason, "use a file of its own");
        }
        let Some(url) = &self.url else { return };
        let is_tls = matches!(url.address, RedisAddress::Tcp { is_tls: true, .. });
        if !is_tls && reader.is_set(CA_FILE) {
            let reason = "is set, but shared.url does not use TLS";
            reader.conflict(&[CA_FILE, URL], reason, "write rediss:// in shared.url, or remove it");
        }
        if url.user.is_some() && !reader.is_set(PASSWORD_FILE) {
            let reason = "has a user name, but shared.password_file is not set";
            let fix = "set shared.password_file to a file with the user's password";
            reader.conflict(&[URL, PASSWORD_FILE], reason, fix);
        }
        if url.is_exposed() && reader.is_set(PASSWORD_FILE) {
            let reason = "does not use TLS, so the password crosses the network in plain text";
            let fix = "write rediss://, unless the network to the server is private; entries are \
                       encrypted in any case";
            reader.warning(URL, Violation::new(reason, fix));
        }
        if self.topology == Topology::Cluster {
            if matches!(url.address, RedisAddress::Unix(_)) {
                let reason = "is \"cluster\", whose nodes a unix socket cannot reach";
                reader.conflict(&[TOPOLOGY, URL], reason, "write redis:// or rediss://");
            }
            if url.database != 0 {
                let reason = "is \"cluster\", which has only database 0";
                reader.conflict(&[TOPOLOGY, URL], reason, "remove the number from shared.url");
            }
        }
    }
}

impl Topology {
    fn parse(text: &str) -> Result<Self, Violation> {
        one_of(text, None, &[("single", Self::Single), ("cluster", Self::Cluster)])
    }
}

impl RedisUrl {
    /// Whether the connection crosses the network unencrypted.
    fn is_exposed(&self) -> bool {
        match &self.address {
            RedisAddress::Tcp { host, is_tls, .. } => !is_tls && !is_loopback_host(host),
            RedisAddress::Unix(_) => false,
        }
    }
}

/// The server's address. Rejected if this program is built without the shared tier.
fn url(text: &str) -> Result<RedisUrl, Vec<Violation>> {
    let mut violations = Vec::new();
    let parsed = parse_url(text).map_err(|violation| violations.push(violation));
    if cfg!(not(feature = "shared")) {
        let reason = "this binary was built without the shared tier";
        let fix = "build it with `--features shared`, as the image is, or remove the setting";
        violations.push(Violation::new(reason, fix));
    }
    match parsed {
        Ok(url) if violations.is_empty() => Ok(url),
        Ok(_) | Err(()) => Err(violations),
    }
}

const EXAMPLE: &str = "write an address such as \"rediss://user@redis.example:6379\", \
                       \"redis://127.0.0.1/0\" or \"unix:/run/redis.sock\"";

fn parse_url(text: &str) -> Result<RedisUrl, Violation> {
    let wrong = |reason: &str| Violation::new(reason, EXAMPLE);
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if !path.starts_with('/') || path.contains(['\0', '?', '#']) {
            return Err(wrong("has no absolute path after unix:"));
        }
        let address = RedisAddress::Unix(PathBuf::from(path));
        return Ok(RedisUrl { address, user: None, database: 0 });
    }
    let parts = UrlParts::split(text).filter(|it| matches!(it.scheme, "redis" | "rediss"));
    let parts = parts.ok_or_else(|| wrong("expected redis://, rediss:// or unix:"))?;
    if parts.has_query || text.contains('#') {
        return Err(wrong("has a query or a fragment"));
    }
    let (user, authority) = match parts.authority.rsplit_once('@') {
        Some((user, authority)) => (Some(user), authority),
        None => (None, parts.authority),
    };
    if user.is_some_and(|user| user.contains(':')) {
        let fix = "remove it, and set shared.password_file to a file with the password";
        return Err(Violation::new("contains a password", fix));
    }
    let is_user_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if user.is_some_and(|user| user.is_empty() || !user.bytes().all(is_user_byte)) {
        return Err(wrong("has a user name with characters other than letters, digits and -._~"));
    }
    let Authority { host, port } = Authority::parse(authority)
        .filter(|it| is_unambiguous_host(it.host))
        .ok_or_else(|| wrong("has an invalid host or port"))?;
    let port = port.map_or(Ok(DEFAULT_PORT), str::parse).ok().filter(|port| *port > 0);
    let port = port.ok_or_else(|| wrong("has an invalid host or port"))?;
    let database = match parts.path.strip_prefix('/') {
        None | Some("") => 0,
        Some(number) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
            number.parse().map_err(|_| wrong("has an invalid number of a database"))?
        }
        Some(_) => return Err(wrong("has a path that is not the number of a database")),
    };
    let host = without_brackets(host).to_owned();
    let address = RedisAddress::Tcp { host, port, is_tls: parts.scheme == "rediss" };
    Ok(RedisUrl { address, user: user.map(str::to_owned), database })
}

/// The prefix must not contain braces, which decide where a cluster stores a key.
fn prefix(text: &str) -> Result<String, Violation> {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:/".contains(&byte);
    if text.is_empty() || text.len() > MAX_PREFIX_BYTES || !text.bytes().all(is_legal) {
        let reason = "is not 1 to 64 letters, digits and -._:/";
        return Err(Violation::new(reason, "write a short name, such as \"juspay-bff\""));
    }
    Ok(text.to_owned())
}

fn validate<T>(
    path: &Path,
    parse: impl FnOnce(&str) -> Result<T, SharedKeyError>,
) -> Result<(), Violation> {
    read_text(path, |text| {
        parse(text).map(drop).map_err(|error| {
            let fix = "write one key per line, made with openssl rand -hex 32; in \
                       shared.key_file the first key encrypts, the others only decrypt";
            Violation::new(format!("the file's content is invalid: {error}"), fix)
        })
    })
}

/// Parses the encryption keys in a file, one per line.
///
/// # Errors
/// If there is none, or one is malformed.
pub fn sealing_keys(text: &str) -> Result<Vec<SharedKey>, SharedKeyError> {
    keys(text, MAX_SEALING_KEYS)
}

/// Parses the key of names, the only line of its file.
///
/// # Errors
/// If there is none, or it is malformed.
pub fn name_key(text: &str) -> Result<SharedKey, SharedKeyError> {
    keys(text, 1)?.pop().ok_or(SharedKeyError::None)
}

fn keys(text: &str, at_most: usize) -> Result<Vec<SharedKey>, SharedKeyError> {
    let mut keys = Vec::new();
    let mut seen = Vec::<Zeroizing<[u8; 32]>>::new();
    let lines = (1..).zip(text.lines()).map(|(number, line)| (number, line.trim()));
    for (number, line) in lines.filter(|(_, line)| !line.is_empty()) {
        let key = key(line).ok_or(SharedKeyError::Malformed(number))?;
        if seen.contains(&key) {
            return Err(SharedKeyError::Repeated(number));
        }
        keys.push(SecretBox::init_with_mut(|secret: &mut [u8; 32]| *secret = *key));
        seen.push(key);
    }
    match keys.len() {
        0 => Err(SharedKeyError::None),
        number if number > at_most => Err(SharedKeyError::TooMany(at_most)),
        _ => Ok(keys),
    }
}

fn key(line: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    if line.len() == 64 {
        for (byte, digits) in key.iter_mut().zip(line.as_bytes().chunks_exact(2)) {
            let digits = str::from_utf8(digits).ok()?;
            let is_hexadecimal = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            *byte = u8::from_str_radix(digits, 16).ok().filter(|_| is_hexadecimal)?;
        }
        return Some(key);
    }
    let mut bytes = STANDARD.decode(line).ok()?;
    let whole = <&[u8; 32]>::try_from(bytes.as_slice()).ok().map(|bytes| *key = *bytes);
    bytes.zeroize();
    whole.map(|()| key)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn addresses_are_parsed() {
        let tcp = |host: &str, port, is_tls| {
            let host = host.to_owned();
            RedisAddress::Tcp { host, port, is_tls }
        };
        for (text, address, user, database) in [
            ("redis://cache", tcp("cache", 6379, false), None, 0),
            ("rediss://bff@cache.example:7000/3", tcp("cache.example", 7000, true), Some("bff"), 3),
            ("redis://[::1]:1/", tcp("::1", 1, false), None, 0),
            ("unix:/run/x.sock", RedisAddress::Unix("/run/x.sock".into()), None, 0),
            ("unix:///run/x.sock", RedisAddress::Unix("/run/x.sock".into()), None, 0),
        ] {
            let user = user.map(str::to_owned);
            assert_eq!(parse_url(text), Ok(RedisUrl { address, user, database }), "{text}");
        }
    }

    #[test]
    fn invalid_addresses_are_rejected_and_not_quoted() {
        for (text, reason) in [
            ("", "expected redis"),
            ("cache:6379", "expected redis"),
            ("http://hush", "expected redis"),
            ("redis://:hush@host", "a password"),
            ("redis://a:hush@host", "a password"),
            ("redis://@host", "user name"),
            ("redis://a%41@host", "user name"),
            ("redis://", "host or port"),
            ("redis://host:0", "host or port"),
            ("redis://host:99999", "host or port"),
            ("redis://127.1", "host or port"),
            ("redis://host/x", "number of a database"),
            ("redis://host/99999", "number of a database"),
            ("rediss://host?insecure", "a query"),
            ("rediss://host/#insecure", "a query"),
            ("unix:relative", "absolute path"),
            ("unix:", "absolute path"),
        ] {
            let violation = parse_url(text).unwrap_err();
            assert!(violation.reason.contains(reason), "{text}: {violation:?}");
            assert!(!format!("{violation:?}").contains("hush"));
        }
    }

    #[test]
    fn keys_are_hexadecimal_or_base64() {
        let hexadecimal = "00ff".repeat(16);
        let base64 = STANDARD.encode([7; 32]);
        let keys = sealing_keys(&format!("{hexadecimal}\n\n {base64} \n")).unwrap();
        assert_eq!(keys[0].expose_secret()[..4], [0, 255, 0, 255]);
        assert_eq!(keys[1].expose_secret(), &[7; 32]);
        assert_eq!(name_key(&base64).unwrap().expose_secret(), &[7; 32]);
        let short = STANDARD.encode([7; 31]);
        for (text, error) in [
            (String::new(), SharedKeyError::None),
            (short, SharedKeyError::Malformed(1)),
            (format!("{hexadecimal}\nhush"), SharedKeyError::Malformed(2)),
            (hexadecimal.replacen("00", "+0", 1), SharedKeyError::Malformed(1)),
            (format!("{base64}\n{base64}"), SharedKeyError::Repeated(2)),
            (format!("{}\n{base64}", STANDARD.encode([7; 32])), SharedKeyError::Repeated(2)),
        ] {
            assert_eq!(sealing_keys(&text).map(|keys| keys.len()), Err(error), "{text}");
        }
        let many: Vec<_> = (0..4).map(|byte| STANDARD.encode([byte; 32])).collect();
        assert_eq!(sealing_keys(&many.join("\n")).err(), Some(SharedKeyError::TooMany(3)));
        assert_eq!(name_key(&many.join("\n")).err(), Some(SharedKeyError::TooMany(1)));
        assert!(!format!("{keys:?}").contains("255"), "keys are not printed");
    }

    #[test]
    fn prefixes_are_short_and_without_braces() {
        assert_eq!(prefix("shop:bff-1").as_deref(), Ok("shop:bff-1"));
        let long = "x".repeat(65);
        for invalid in ["", "a{b}", "a b", "é", &long] {
            assert!(prefix(invalid).is_err(), "{invalid}");
        }
    }

    #[cfg(not(feature = "shared"))]
    #[test]
    fn url_is_rejected_if_built_without_the_tier() {
        let violation = url("redis://cache").unwrap_err().swap_remove(0);
        assert!(violation.reason.contains("without the shared tier"), "{violation:?}");
    }
}
