//! `auth.issuers.NAME.*`: one issuer, its keys, and the claims that its tokens must have.

use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use config::{Value, ValueKind};

use super::{
    AudienceClaim, ClaimPath, DpopMode, Hmac, Introspection, PLAIN_HTTP_HOSTS, RequiredClaim,
    claims::assumes_verified, hmac::holds_secrets,
};
use crate::{
    algorithm::{Algorithm, HmacAlgorithm},
    customer::CustomerId,
    regular_file,
    settings::{
        address::{
            AddressRule, WebAddress, bare_host, no_query, not_exposed, not_exposed_unless_listed,
        },
        fault::Violation,
        reader::{BUILT_IN, Reader},
        roots::holds_roots,
        server::is_readable,
        setting::Switch,
        value::Items,
    },
};

/// Discovery documents are below this path (RFC 8615); no issuer identifier contains it.
const WELL_KNOWN: &str = "/.well-known/";

/// Longest key file that is searched for private keys, in bytes. `auth` rejects longer files.
const MAX_KEY_FILE_BYTES: u64 = 256 * 1024;

/// Range of `max_token_age`.
const TOKEN_AGES: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_hours(366 * 24);

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

/// `auth.issuers.NAME.*`
#[derive(Debug, Clone)]
pub struct Issuer {
    /// `issuer`: the exact value of the `iss` claim. If empty, tokens must not have `iss`.
    pub issuer: String,
    /// `audience_claim`: the claim that is compared with `audiences`.
    pub audience_claim: AudienceClaim,
    /// `audiences`: the accepted audiences. At least one, unless the audience is not compared.
    pub audiences: Vec<String>,
    /// `algorithms`: at least one, but none for an issuer with introspection or a shared secret.
    pub algorithms: Vec<Algorithm>,
    /// `jwks_url`, `jwks_file` or `discovery`
    pub keys: KeySource,
    /// `customer_id_claim`
    pub customer_id_claim: ClaimPath,
    /// `customer_id_verified`: accepts a missing `_verified` claim, but never a false one.
    pub assumes_verified: bool,
    /// `customer_id_prefix`, empty when there is none.
    pub customer_id_prefix: String,
    /// `required_scopes`
    pub required_scopes: Vec<String>,
    /// `required_claims`
    pub required_claims: Vec<RequiredClaim>,
    /// `typ`: accepted values of the header parameter, in lower case. An empty one means that it is
    /// missing.
    pub typ: Vec<String>,
    /// `max_token_age`: maximum time since `iat`, which tokens must have then. `None`: no limit
    /// except `exp`.
    pub max_token_age: Option<Duration>,
    /// `logout_audiences`: accepted audiences of logout tokens. If empty, `audiences` apply.
    pub logout_audiences: Vec<String>,
    /// `id_tokens`: whether ID tokens are accepted as well.
    pub accepts_id_tokens: bool,
    /// `dpop`: whether tokens may or must be bound to a key.
    pub dpop: DpopMode,
    /// `ca_file`: PEM root certificates for requests to the issuer, in addition to the built-in
    /// ones.
    pub ca_file: Option<PathBuf>,
}

impl Issuer {
    /// Reads the table at `at`.
    pub(super) fn read(reader: &mut Reader<'_>, at: &str) -> Option<Self> {
        let issuer = reader
            .at(format!("{at}.issuer"))
            .required("set it to the tokens' exact iss claim, or to \"\" if they have none")
            .text(issuer_name);
        let (audience_claim, audiences) = AudienceClaim::read(reader, at);
        let uses_introspection = Introspection::is_used(reader, at);
        let has_secret = reader.is_set(&format!("{at}.hmac_secret_file"));
        let hmac_algorithms = has_secret.then(|| hmac_algorithms(reader, at));
        let algorithms = match hmac_algorithms {
            Some(_) => Some(Vec::new()),
            None => algorithms(reader, at, uses_introspection),
        };
        let hmac = hmac(reader, at, hmac_algorithms.flatten());
        let keys = keys(reader, at, issuer.as_deref(), hmac);
        let customer_id_claim =
            reader.at(format!("{at}.customer_id_claim")).or("sub").text(ClaimPath::parse_trusted);
        let customer_id_verified =
            reader.at(format!("{at}.customer_id_verified")).or("required").text(assumes_verified);
        let customer_id_prefix =
            reader.at(format!("{at}.customer_id_prefix")).or("").text(id_prefix);
        let required_scopes = reader
            .at(format!("{at}.required_scopes"))
            .or(Vec::<Value>::new())
            .list(Items::Any, scope);
        let required_claims = RequiredClaim::read(reader, at);
        let typ = types(reader, at, uses_introspection);
        let max_token_age = reader.at(format!("{at}.max_token_age")).duration(TOKEN_AGES);
        let logout_audiences = logout_audiences(reader, at, uses_introspection);
        let id_tokens = reader.at(format!("{at}.id_tokens")).or("reject").text(id_tokens);
        let dpop = reader.at(format!("{at}.dpop")).or("off").text(DpopMode::parse);
        let ca_file = reader.at(format!("{at}.ca_file")).file(holds_roots);
        Some(Self {
            issuer: issuer?,
            audience_claim: audience_claim?,
            audiences: audiences?,
            algorithms: algorithms?,
            keys: keys?,
            customer_id_claim: customer_id_claim?,
            assumes_verified: customer_id_verified?,
            customer_id_prefix: customer_id_prefix?,
            required_scopes: required_scopes?,
            required_claims: required_claims?,
            typ: typ?,
            max_token_age,
            logout_audiences: logout_audiences?,
            accepts_id_tokens: id_tokens?,
            dpop: dpop?,
            ca_file,
        })
    }
}

/// None for an issuer with introspection. `conflicts` reports a value that is set nevertheless.
fn algorithms(
    reader: &mut Reader<'_>,
    at: &str,
    uses_introspection: bool,
) -> Option<Vec<Algorithm>> {
    let fix = "list the algorithms that the issuer signs with, such as [\"RS256\"]";
    let setting = reader.at(format!("{at}.algorithms"));
    let setting = if uses_introspection { setting } else { setting.required(fix) };
    setting.list(Items::AtLeastOne, algorithm).or_else(|| uses_introspection.then(Vec::new))
}

/// For an issuer with a shared secret.
fn hmac_algorithms(reader: &mut Reader<'_>, at: &str) -> Option<Vec<HmacAlgorithm>> {
    let fix = "list the algorithms that the issuer signs with, such as [\"HS256\"]";
    let setting = reader.at(format!("{at}.algorithms")).required(fix);
    setting.list(Items::AtLeastOne, hmac_algorithm)
}

/// Checks the length of the secrets only if `algorithms` are valid.
fn hmac(
    reader: &mut Reader<'_>,
    at: &str,
    algorithms: Option<Vec<HmacAlgorithm>>,
) -> Option<KeySource> {
    let setting = reader.at(format!("{at}.hmac_secret_file"));
    let secret_file = setting.file(|path| match &algorithms {
        Some(algorithms) => holds_secrets(path, algorithms),
        None => is_readable(path),
    });
    Some(KeySource::Hmac(Hmac { secret_file: secret_file?, algorithms: algorithms? }))
}

fn types(reader: &mut Reader<'_>, at: &str, uses_introspection: bool) -> Option<Vec<String>> {
    let setting = reader.at(format!("{at}.typ"));
    let setting = if uses_introspection { setting } else { setting.or(default_typ()) };
    setting.list(Items::AtLeastOne, typ).or_else(|| uses_introspection.then(Vec::new))
}

fn logout_audiences(
    reader: &mut Reader<'_>,
    at: &str,
    uses_introspection: bool,
) -> Option<Vec<String>> {
    let setting = reader.at(format!("{at}.logout_audiences"));
    let setting = if uses_introspection { setting } else { setting.or(Vec::<Value>::new()) };
    setting.list(Items::Any, claim_text).or_else(|| uses_introspection.then(Vec::new))
}

/// `conflicts` reports an issuer with none or more than one of these.
fn keys(
    reader: &mut Reader<'_>,
    at: &str,
    issuer: Option<&str>,
    hmac: Option<KeySource>,
) -> Option<KeySource> {
    let hosts = reader.lookup(PLAIN_HTTP_HOSTS).list(Items::Any, bare_host).unwrap_or_default();
    let url = reader.at(format!("{at}.jwks_url")).text(|text| jwks_address(text, &hosts));
    let file = reader.at(format!("{at}.jwks_file")).file(has_no_private_key);
    let key = format!("{at}.discovery");
    let discovery = match reader.at(&*key).switch(fetched) {
        None | Some(Switch::Off) => None,
        Some(Switch::At(address)) => Some(address),
        // `conflicts` reports it.
        Some(Switch::On) if issuer == Some("") => None,
        Some(Switch::On) => match discovery_of(issuer?) {
            Ok(address) => Some(address),
            Err(violations) => {
                for violation in violations {
                    reader.fault(&key, violation);
                }
                None
            }
        },
    };
    let introspection = Introspection::read(reader, at).map(KeySource::Introspection);
    let url = url.map(KeySource::Url);
    url.or(file.map(KeySource::File))
        .or(discovery.map(KeySource::Discovery))
        .or(introspection)
        .or(hmac)
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
pub(super) fn fetched(text: &str) -> Result<String, Vec<Violation>> {
    WebAddress::parse(text, &[not_exposed]).map(|address| address.text)
}

/// Like [`fetched`], but accepts http for the hosts of `auth.plain_http_hosts`.
fn jwks_address(text: &str, hosts: &[String]) -> Result<String, Vec<Violation>> {
    let is_listed = WebAddress::read(text).is_some_and(|address| address.is_on(hosts));
    let rules: &[AddressRule] = if is_listed { &[] } else { &[not_exposed_unless_listed] };
    WebAddress::parse(text, rules).map(|address| address.text)
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

/// The value of the `iss` claim, which is never the URL of a discovery document. An empty value
/// means that tokens have no `iss`.
fn issuer_name(text: &str) -> Result<String, Violation> {
    if text.is_empty() {
        return Ok(String::new());
    }
    if text.contains(WELL_KNOWN) {
        let reason = "expected the issuer identifier, found the address of its discovery document";
        let fix = "write the iss claim of its tokens, which is usually this address up to \
                   /.well-known (with a slash at the end at some issuers); and set discovery = true \
                   instead of another key source";
        return Err(Violation::new(reason, fix));
    }
    if text.split_once('{').is_some_and(|(_, rest)| rest.contains('}')) {
        let reason =
            "contains a placeholder in braces, such as {tenantid}, which no token contains";
        let fix = "write the value from your tokens' iss claim instead, such as the tenant's id; \
                   configure each tenant as its own issuer";
        return Err(Violation::new(reason, fix));
    }
    claim_text(text)
}

/// A claim's name, or a text that a claim is compared with.
pub(super) fn claim_text(text: &str) -> Result<String, Violation> {
    if text.is_empty() {
        Err(Violation::new("is empty", "write a value"))
    } else if text.trim() != text || text.contains(char::is_control) {
        let reason = "has whitespace at an end, or contains control characters";
        Err(Violation::new(reason, "write it exactly as in the tokens"))
    } else {
        Ok(text.to_owned())
    }
}

/// A prefix of customer ids.
fn id_prefix(text: &str) -> Result<String, Violation> {
    // Appends a valid id, because an id can't be empty.
    CustomerId::parse(&format!("{text}0")).map(|_| text.to_owned()).map_err(|error| {
        let reason = format!("no customer id can begin with this prefix: {error}");
        Violation::new(reason, "write a short prefix such as \"web-\"")
    })
}

/// Whether ID tokens are accepted.
fn id_tokens(text: &str) -> Result<bool, Violation> {
    match text {
        "reject" => Ok(false),
        "accept" => Ok(true),
        _ => Err(Violation::new(
            "expected \"reject\" or \"accept\"",
            "write \"reject\" or \"accept\"",
        )),
    }
}

/// A scope token (RFC 6749 §3.3).
fn scope(text: &str) -> Result<String, Violation> {
    let is_legal = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    if !text.is_empty() && text.bytes().all(is_legal) {
        Ok(text.to_owned())
    } else {
        let reason = "expected a scope (RFC 6749, section 3.3)";
        Err(Violation::new(reason, "write one scope per item, without spaces and quotes"))
    }
}

/// A media type, with or without `application/` (RFC 7515 §4.1.9). Empty means that it is missing.
fn typ(text: &str) -> Result<String, Violation> {
    if text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.ends_with('/') {
        let text = text.to_ascii_lowercase();
        Ok(text.strip_prefix("application/").unwrap_or(&text).to_owned())
    } else {
        Err(Violation::new("expected a token type", "write a type such as \"at+jwt\", or \"\""))
    }
}

/// `at+jwt` (RFC 9068), plus the values of the many issuers that don't follow it yet.
fn default_typ() -> Vec<Value> {
    let origin = BUILT_IN.to_owned();
    let text = |text: &str| Value::new(Some(&origin), ValueKind::from(text));
    ["at+jwt", "JWT", ""].map(text).to_vec()
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
    fn texts_must_match_their_grammar() {
        assert!(claim_text("https://a b").is_ok());
        for invalid in ["", " a", "a\n", "a\0b"] {
            assert!(claim_text(invalid).is_err(), "{invalid:?}");
        }
        for valid in ["", "web-", "cst_", "a b", "a@"] {
            assert_eq!(id_prefix(valid).as_deref(), Ok(valid));
        }
        for invalid in ["a/", " a", "a\0", &"x".repeat(256)] {
            assert!(id_prefix(invalid).is_err(), "{invalid:?}");
        }
        assert_eq!(scope("read:customer!#[]").as_deref(), Ok("read:customer!#[]"));
        for invalid in ["", "a b", "a\"", "a\\b", "é"] {
            assert!(scope(invalid).is_err(), "{invalid:?}");
        }
        assert_eq!(typ("application/AT+jwt").as_deref(), Ok("at+jwt"));
        assert_eq!(typ("").as_deref(), Ok(""));
        for invalid in ["a b", "application/", "é"] {
            assert!(typ(invalid).is_err(), "{invalid}");
        }
    }
}
