//! `auth.issuers.NAME.*`: where the keys of an issuer come from, and its algorithms. The source is one
//! of `jwks_url`, `jwks_file`, `discovery`, `introspection_url` (RFC 7662) and `hmac_secret_file`
//! (RFC 7518 §3.2).

use std::path::{Path, PathBuf};

use super::{Algorithm, HmacAlgorithm, claims::claim_text};
use crate::{
    regular_file,
    settings::{
        address::{AddressRule, WebAddress, no_query, not_exposed, not_exposed_unless_listed},
        fault::Violation,
        files::{is_readable, read_text},
        reader::{Reader, Switch},
        value::Items,
    },
};

/// Names of all key sources.
const SOURCES: [&str; 5] =
    ["jwks_url", "jwks_file", "discovery", "introspection_url", "hmac_secret_file"];

/// Settings about JWTs, which introspection doesn't use.
const JWT_SETTINGS: [&str; 3] = ["algorithms", "typ", "logout_audiences"];

/// Settings that only introspection uses.
const INTROSPECTION_SETTINGS: [&str; 3] = [
    "introspection_client_id",
    "introspection_client_secret_file",
    "introspection_allow_no_audience",
];

/// Longest key file that is searched for private keys, in bytes. `auth` rejects longer files.
const MAX_KEY_FILE_BYTES: u64 = 256 * 1024;

/// Maximum number of secrets per issuer: the current and the previous one.
const MAX_SECRETS: usize = 2;

/// How an issuer's tokens are verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// `jwks_url`
    Url(String),
    /// `jwks_file`, reloaded when it changes.
    File(PathBuf),
    /// `discovery`: the URL of the OpenID configuration document. `true` in the settings means the
    /// issuer followed by `/.well-known/openid-configuration`.
    Discovery(String),
    /// `introspection_url`: the issuer validates each token, and no keys are needed.
    Introspection(Introspection),
    /// `hmac_secret_file`: tokens are signed with a shared secret.
    Hmac(Hmac),
}

impl KeySource {
    /// The shared secret, if the issuer uses one.
    #[must_use]
    pub const fn hmac(&self) -> Option<&Hmac> {
        match self {
            Self::Hmac(hmac) => Some(hmac),
            Self::Url(_) | Self::File(_) | Self::Discovery(_) | Self::Introspection(_) => None,
        }
    }
}

/// The introspection endpoint of an issuer, and the credentials for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introspection {
    /// `introspection_url`
    pub url: String,
    /// `introspection_client_id`
    pub client_id: String,
    /// `introspection_client_secret_file`
    pub client_secret_file: PathBuf,
    /// `introspection_allow_no_audience`: a response without `aud` is accepted.
    pub allow_no_audience: bool,
}

/// An issuer's shared secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hmac {
    /// `hmac_secret_file`
    pub secret_file: PathBuf,
    /// `algorithms`, at least one.
    pub algorithms: Vec<HmacAlgorithm>,
}

impl Hmac {
    /// The algorithm that requires the longest secret.
    #[must_use]
    pub fn strictest(&self) -> HmacAlgorithm {
        strictest(&self.algorithms)
    }
}

fn strictest(algorithms: &[HmacAlgorithm]) -> HmacAlgorithm {
    let strictest = algorithms.iter().copied().max_by_key(|it| it.min_secret_bytes());
    strictest.unwrap_or(HmacAlgorithm::HS512)
}

/// Why the content of a secret file is invalid. Never contains any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HmacSecretError {
    /// More than two lines.
    #[error("expected one or two lines (the current and the previous secret), found more")]
    TooMany,
    /// A secret that is shorter than one of its algorithms requires (RFC 7518 §3.2).
    #[error("expected at least {required_length} bytes in line {line} for {}, found {length}", .algorithm.name())]
    TooShort {
        /// Line number, from 1.
        line: usize,
        /// Length of the secret, in bytes.
        length: usize,
        /// Required length, in bytes.
        required_length: usize,
        /// The algorithm that requires it.
        algorithm: HmacAlgorithm,
    },
}

/// Parses the secrets in a file, one per line, without trimming spaces.
///
/// # Errors
/// If there are too many, or one is too short for one of `algorithms`.
pub fn hmac_secrets<'t>(
    text: &'t str,
    algorithms: &[HmacAlgorithm],
) -> Result<Vec<&'t str>, HmacSecretError> {
    let secrets: Vec<_> = text.lines().collect();
    if secrets.len() > MAX_SECRETS {
        return Err(HmacSecretError::TooMany);
    }
    let algorithm = strictest(algorithms);
    let required_length = algorithm.min_secret_bytes();
    for (line, secret) in (1..).zip(&secrets) {
        let length = secret.len();
        if length < required_length {
            return Err(HmacSecretError::TooShort { line, length, required_length, algorithm });
        }
    }
    Ok(secrets)
}

/// Reads `algorithms` and the key source from the table at `at`. There are no algorithms with
/// introspection or a shared secret.
pub(super) fn read(
    reader: &mut Reader<'_>,
    at: &str,
    issuer: Option<&str>,
    plain_http_hosts: &[String],
) -> (Vec<Algorithm>, KeySource) {
    let key = |name: &str| format!("{at}.{name}");
    let is_introspected = reader.is_set(&key("introspection_url"));
    let has_secret = reader.is_set(&key("hmac_secret_file"));
    let example = if has_secret { "HS256" } else { "RS256" };
    let fix = format!("list the algorithms that the issuer signs with, such as [\"{example}\"]");
    let setting = reader.at(key("algorithms")).required_if(has_secret || !is_introspected, &fix);
    let (algorithms, hmac_algorithms) = if has_secret {
        (Vec::new(), setting.list(Items::AtLeastOne, hmac_algorithm))
    } else {
        let algorithms = setting.list(Items::AtLeastOne, algorithm);
        (reader.filled_unless(is_introspected, |_| algorithms), None)
    };
    // The length of secrets depends on the algorithms.
    let secret_file = reader.at(key("hmac_secret_file")).file(|path| match &hmac_algorithms {
        Some(algorithms) => validate_secrets(path, algorithms),
        None => is_readable(path),
    });
    let url = reader.at(key("jwks_url")).text(|text| jwks_address(text, plain_http_hosts));
    let file = reader.at(key("jwks_file")).file(has_no_private_key);
    let discovery = read_discovery(reader, at, issuer);
    let introspection = read_introspection(reader, at, is_introspected);
    let hmac = secret_file.zip(hmac_algorithms);
    let hmac = hmac.map(|(secret_file, algorithms)| Hmac { secret_file, algorithms });
    let keys = url
        .map(KeySource::Url)
        .or(file.map(KeySource::File))
        .or(discovery.map(KeySource::Discovery))
        .or(introspection.map(KeySource::Introspection))
        .or(hmac.map(KeySource::Hmac));
    (algorithms, reader.filled_or(keys, KeySource::File(PathBuf::new())))
}

/// The URL of the discovery document.
fn read_discovery(reader: &mut Reader<'_>, at: &str, issuer: Option<&str>) -> Option<String> {
    let key = format!("{at}.discovery");
    match reader.at(&*key).switch(fetched)? {
        Switch::Off => None,
        Switch::At(address) => Some(address),
        Switch::On => {
            // `check` reports an empty one.
            let issuer = issuer.filter(|issuer| !issuer.is_empty())?;
            let violations = match discovery_of(issuer) {
                Ok(address) => return Some(address),
                Err(violations) => violations,
            };
            for violation in violations {
                reader.fault(&key, violation);
            }
            None
        }
    }
}

/// `None` if it isn't used, or has faults.
fn read_introspection(reader: &mut Reader<'_>, at: &str, is_used: bool) -> Option<Introspection> {
    let key = |name: &str| format!("{at}.introspection_{name}");
    let url = reader.at(key("url")).text(fetched);
    let fix = "set it to this service's client id at the issuer";
    let client_id = reader.at(key("client_id")).required_if(is_used, fix).text(claim_text);
    let fix = "set it to the path of a file that contains that client's secret";
    let secret_file = reader.at(key("client_secret_file")).required_if(is_used, fix);
    let client_secret_file = secret_file.file(is_readable);
    let allow_no_audience = reader.at(key("allow_no_audience")).or_if(is_used, false).boolean();
    Some(Introspection {
        url: url?,
        client_id: client_id?,
        client_secret_file: client_secret_file?,
        allow_no_audience: allow_no_audience?,
    })
}

/// Reports conflicts between key sources of one issuer.
pub(super) fn check(table: &str, reader: &mut Reader<'_>) {
    let key = |name: &str| format!("{table}.{name}");
    let is_off = reader.is(&key("discovery"), false);
    let mut set = SOURCES.to_vec();
    set.retain(|name| reader.is_set(&key(name)) && (*name != "discovery" || !is_off));
    match &*set {
        [] => {
            let fix = "set one of jwks_url, jwks_file, discovery, introspection_url and \
                       hmac_secret_file";
            reader.missing(&[table], Violation::new("has no keys", fix));
        }
        [_] => {}
        several => {
            let reason = format!("has more than one key source: {}", several.join(", "));
            let settings: Vec<_> = several.iter().map(|name| key(name)).collect();
            let keys: Vec<_> =
                [table].into_iter().chain(settings.iter().map(String::as_str)).collect();
            reader.conflict(&keys, reason, "keep one, and remove the others");
        }
    }
    let issuer = key("issuer");
    let has_no_iss = reader.raw_text(&issuer) == Some("");
    for source in
        set.iter().filter(|it| has_no_iss && matches!(**it, "discovery" | "introspection_url"))
    {
        let source = key(source);
        let reason = format!(
            "is empty, which means tokens without iss, but {source} needs an issuer identifier"
        );
        let fix = "write the iss claim of its tokens, or set jwks_url, jwks_file or \
                   hmac_secret_file";
        reader.conflict(&[&issuer, &source], reason, fix);
    }
    let ca_file = key("ca_file");
    for source in set.iter().filter(|it| matches!(**it, "jwks_file" | "hmac_secret_file")) {
        if reader.is_set(&ca_file) {
            let keys = [&*ca_file, &key(source)];
            reader.conflict(&keys, "nothing is fetched from this issuer", "remove ca_file");
        }
    }
}

/// Reports settings that introspection doesn't use or only introspection uses, and a second issuer
/// with introspection.
pub(super) fn check_introspection(tables: &[String], reader: &mut Reader<'_>) {
    let url = |table: &String| format!("{table}.introspection_url");
    let (introspected, others): (Vec<_>, Vec<_>) =
        tables.iter().partition(|table| reader.is_set(&url(table)));
    for table in &introspected {
        let reason =
            format!("{} is set too, and an issuer of opaque tokens signs none", url(table));
        report_unused(table, &JWT_SETTINGS, &reason, "remove it", reader);
    }
    for table in others {
        let reason = format!("{} is missing, so no token is introspected", url(table));
        let fix = "set introspection_url, or remove this setting";
        report_unused(table, &INTROSPECTION_SETTINGS, &reason, fix, reader);
    }
    if let [first, second, ..] = introspected.as_slice() {
        let keys = [&url(second), &url(first)];
        let reason =
            format!("{} is set too, and an opaque token does not name its issuer", keys[1]);
        reader.conflict(
            &keys.map(String::as_str),
            reason,
            "keep one issuer with introspection_url",
        );
    }
}

/// Reports each of `names` that is set without effect.
fn report_unused(table: &str, names: &[&str], reason: &str, fix: &str, reader: &mut Reader<'_>) {
    for key in names.iter().map(|name| format!("{table}.{name}")) {
        if reader.is_set(&key) {
            reader.conflict(&[&key], reason, fix);
        }
    }
}

/// The URL of an issuer's configuration document, by OpenID Connect Discovery 1.0 §4.1.
fn discovery_of(issuer: &str) -> Result<String, Vec<Violation>> {
    let fix = "write the address of its openid-configuration instead of true";
    let violation = |violation: Violation| {
        let reason = format!(
            "the address cannot be derived from the issuer identifier: {}",
            violation.reason
        );
        Violation::new(reason, fix)
    };
    WebAddress::parse(issuer, &[no_query])
        .map_err(|violations| violations.into_iter().map(violation).collect::<Vec<_>>())?;
    fetched(&format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')))
}

/// A URL of keys or of introspection. An attacker on the network must not be able to change its
/// responses.
fn fetched(text: &str) -> Result<String, Vec<Violation>> {
    WebAddress::parse(text, &[not_exposed]).map(|_| text.to_owned())
}

/// Like [`fetched`], but accepts http for the hosts of `auth.plain_http_hosts`.
fn jwks_address(text: &str, hosts: &[String]) -> Result<String, Vec<Violation>> {
    let is_listed = WebAddress::read(text).is_some_and(|address| address.is_on(hosts));
    let rules: &[AddressRule] = if is_listed { &[] } else { &[not_exposed_unless_listed] };
    WebAddress::parse(text, rules).map(|_| text.to_owned())
}

/// Checks that a file of public keys is readable and contains no private key in PEM.
fn has_no_private_key(path: &Path) -> Result<(), Violation> {
    is_readable(path)?;
    let content = regular_file::read_blocking(path, MAX_KEY_FILE_BYTES).unwrap_or_default();
    let text = String::from_utf8_lossy(&content);
    let is_private = |line: &str| line.contains("-----BEGIN ") && line.contains("PRIVATE KEY-----");
    if text.lines().any(is_private) {
        let reason = "the file holds a private key, which this service must not have";
        return Err(Violation::new(
            reason,
            "write the path of a file that contains the public key only",
        ));
    }
    Ok(())
}

fn algorithm(name: &str) -> Result<Algorithm, Violation> {
    Algorithm::from_name(name).ok_or_else(|| match (name, HmacAlgorithm::from_name(name)) {
        ("none", _) => {
            Violation::new("\"none\" means unsigned tokens, which anyone can create", "remove it")
        }
        (_, Some(hmac)) => Violation::new(
            format!("{} needs a shared secret, but hmac_secret_file is not set", hmac.name()),
            "remove it; to verify HMAC tokens, use hmac_secret_file and no other key source",
        ),
        (_, None) => {
            let names = Algorithm::ALL.map(Algorithm::name).join(", ");
            Violation::new("is not a supported algorithm", format!("write one or more of {names}"))
        }
    })
}

fn hmac_algorithm(name: &str) -> Result<HmacAlgorithm, Violation> {
    HmacAlgorithm::from_name(name).ok_or_else(|| {
        let reason = "hmac_secret_file is set, and a shared secret signs with HS algorithms only";
        Violation::new(reason, "write HS256, HS384 or HS512, or remove hmac_secret_file")
    })
}

/// Checks that a file contains secrets that are long enough for these algorithms.
fn validate_secrets(path: &Path, algorithms: &[HmacAlgorithm]) -> Result<(), Violation> {
    read_text(path, |text| match hmac_secrets(text, algorithms) {
        Ok(_) => Ok(()),
        Err(error) => {
            let fix = "write one secret per line, as the issuer shows it: first the current secret, \
                       then the previous one while its tokens are valid; generate a longer secret \
                       with openssl rand -base64 64 | tr -d '\\n'";
            Err(Violation::new(format!("the file's secrets are invalid: {error}"), fix))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discovery_url_is_derived_from_the_issuer() {
        for issuer in ["https://id.example/realm", "https://id.example/realm/"] {
            let expected = "https://id.example/realm/.well-known/openid-configuration";
            assert_eq!(discovery_of(issuer).as_deref(), Ok(expected));
        }
        let local = "http://127.0.0.1:8082/.well-known/openid-configuration";
        assert_eq!(discovery_of("http://127.0.0.1:8082").as_deref(), Ok(local));
        for issuer in ["my-issuer", "https://a.example?x=y", "https://a#b", "http://id.example"] {
            assert!(discovery_of(issuer).is_err(), "{issuer}");
        }
    }

    #[test]
    fn keys_are_fetched_over_https_or_loopback() {
        assert!(fetched("https://id.example/keys?p=policy").is_ok());
        assert!(fetched("http://[::1]:9/keys").is_ok());
        assert!(fetched("http://id.example/keys").unwrap_err()[0].reason.contains("plain http"));
    }

    #[test]
    fn every_algorithm_is_parsed_by_name() {
        for known in Algorithm::ALL {
            assert_eq!(algorithm(known.name()).unwrap(), known);
        }
        for (name, reason) in [
            ("none", "unsigned tokens"),
            ("HS256", "HS256 needs a shared secret"),
            ("HS384", "HS384 needs a shared secret"),
            ("HS512", "HS512 needs a shared secret"),
            ("ES512", "not a supported"),
            ("rs256", "not a supported"),
            ("", "not a supported"),
        ] {
            assert!(algorithm(name).unwrap_err().reason.contains(reason), "{name}");
        }
    }

    #[test]
    fn secret_must_be_as_long_as_the_longest_hash() {
        use HmacAlgorithm::{HS256, HS384, HS512};
        for (algorithms, required_length) in
            [(&[HS256][..], 32), (&[HS384], 48), (&[HS512], 64), (&[HS512, HS256], 64)]
        {
            let [sufficient, short] =
                [required_length, required_length - 1].map(|length| "x".repeat(length));
            assert_eq!(hmac_secrets(&sufficient, algorithms), Ok(vec![&*sufficient]));
            let both = format!("{sufficient}\n{sufficient}");
            assert_eq!(hmac_secrets(&both, algorithms).unwrap().len(), 2);
            for (text, invalid) in [(short.clone(), 1), (format!("{sufficient}\n{short}"), 2)] {
                let error = hmac_secrets(&text, algorithms).unwrap_err();
                let HmacSecretError::TooShort { line, required_length: needed, .. } = error else {
                    panic!()
                };
                assert_eq!((line, needed), (invalid, required_length));
            }
        }
        let long = "x".repeat(64);
        let three = format!("{long}\n{long}\n{long}");
        assert_eq!(hmac_secrets(&three, &[HS256]), Err(HmacSecretError::TooMany));
        assert!(hmac_secrets(&format!("{long}\n\n"), &[HS256]).is_err(), "an empty line");
        let spaced = format!(" {} ", "x".repeat(30));
        assert_eq!(hmac_secrets(&spaced, &[HS256]), Ok(vec![&*spaced]), "spaces are kept");
    }
}
