//! `auth.issuers.NAME.*`: one issuer, and whose customers its tokens name.

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
            Demand, WebAddress, lone_host, no_query, not_exposed, not_exposed_unless_listed,
        },
        fault::Wrong,
        reader::{BUILT_IN, Reader},
        roots::holds_roots,
        server::is_readable,
        setting::Switch,
        value::Items,
    },
};

/// Discovery documents are below this path (RFC 8615); no issuer identifier contains it.
const WELL_KNOWN: &str = "/.well-known/";

/// Longer files are rejected by those who use them.
const MAX_KEY_FILE_BYTES: u64 = 256 * 1024;

/// How old `max_token_age` may let tokens be.
const TOKEN_AGES: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_hours(366 * 24);

/// Where an issuer's keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// `jwks_url`
    Url(String),
    /// `jwks_file`, re-read when it changes.
    File(PathBuf),
    /// `discovery`: the address of the OpenID provider's configuration document. `true` in the
    /// settings stands for the issuer with `/.well-known/openid-configuration`.
    Discovery(String),
    /// `introspection_url`: there are no keys, the issuer is asked about each token.
    Introspection(Introspection),
    /// `hmac_secret_file`: there are no public keys, the issuer signs with a shared secret.
    Hmac(Hmac),
}

impl KeySource {
    /// The shared secret, where there is one in the place of keys.
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
    /// `issuer`: what the `iss` claim must be, to the letter. Empty: there must be none.
    pub issuer: String,
    /// `audience_claim`: the claim that is compared with `audiences`.
    pub audience_claim: AudienceClaim,
    /// `audiences`: one of them must be in that claim. At least one, unless nothing is compared.
    pub audiences: Vec<String>,
    /// `algorithms`. At least one, but for an issuer that is asked about its tokens, and one with a
    /// shared secret.
    pub algorithms: Vec<Algorithm>,
    /// `jwks_url`, `jwks_file` or `discovery`
    pub keys: KeySource,
    /// `customer_id_claim`
    pub customer_id_claim: ClaimPath,
    /// `customer_id_verified`: a `_verified` twin may be missing, but never be false.
    pub assumes_verified: bool,
    /// `customer_id_prefix`, empty when there is none.
    pub customer_id_prefix: String,
    /// `required_scopes`
    pub required_scopes: Vec<String>,
    /// `required_claims`
    pub required_claims: Vec<RequiredClaim>,
    /// `typ`: accepted values of the header, in lower case; empty = absent.
    pub typ: Vec<String>,
    /// `max_token_age`: since `iat`, which tokens must have then; `None`: only `exp` counts.
    pub max_token_age: Option<Duration>,
    /// `logout_audiences`: one of them must be in a logout token's `aud`. Without them, one of
    /// `audiences`.
    pub logout_audiences: Vec<String>,
    /// `id_tokens`: whether ID tokens are accepted as well.
    pub accepts_id_tokens: bool,
    /// `dpop`: whether its tokens may or must be bound to a key.
    pub dpop: DpopMode,
    /// `ca_file`: PEM roots besides the built-in ones, for whatever is fetched from it.
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
        let is_asked = Introspection::is_wanted(reader, at);
        let has_secret = reader.is_set(&format!("{at}.hmac_secret_file"));
        let hmac_algorithms = has_secret.then(|| hmac_algorithms(reader, at));
        let algorithms = match hmac_algorithms {
            Some(_) => Some(Vec::new()),
            None => algorithms(reader, at, is_asked),
        };
        let hmac = hmac(reader, at, hmac_algorithms.flatten());
        let keys = keys(reader, at, issuer.as_deref(), hmac);
        let customer_id_claim =
            reader.at(format!("{at}.customer_id_claim")).or("sub").text(ClaimPath::of_trusted);
        let customer_id_verified =
            reader.at(format!("{at}.customer_id_verified")).or("required").text(assumes_verified);
        let customer_id_prefix =
            reader.at(format!("{at}.customer_id_prefix")).or("").text(id_prefix);
        let required_scopes = reader
            .at(format!("{at}.required_scopes"))
            .or(Vec::<Value>::new())
            .list(Items::Any, scope);
        let required_claims = RequiredClaim::read(reader, at);
        let typ = types(reader, at, is_asked);
        let max_token_age = reader.at(format!("{at}.max_token_age")).duration(TOKEN_AGES);
        let logout_audiences = logout_audiences(reader, at, is_asked);
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

/// Of an issuer that is asked about its tokens: none. What is set all the same is told by
/// `contradictions`.
fn algorithms(reader: &mut Reader<'_>, at: &str, is_asked: bool) -> Option<Vec<Algorithm>> {
    let fix = "list the algorithms that the issuer signs with, such as [\"RS256\"]";
    let setting = reader.at(format!("{at}.algorithms"));
    let setting = if is_asked { setting } else { setting.required(fix) };
    setting.list(Items::Some, algorithm).or_else(|| is_asked.then(Vec::new))
}

/// Of an issuer with a shared secret.
fn hmac_algorithms(reader: &mut Reader<'_>, at: &str) -> Option<Vec<HmacAlgorithm>> {
    let fix = "list the algorithms that the issuer signs with, such as [\"HS256\"]";
    let setting = reader.at(format!("{at}.algorithms")).required(fix);
    setting.list(Items::Some, hmac_algorithm)
}

/// The secret is checked for the algorithms that are known by then.
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

fn types(reader: &mut Reader<'_>, at: &str, is_asked: bool) -> Option<Vec<String>> {
    let setting = reader.at(format!("{at}.typ"));
    let setting = if is_asked { setting } else { setting.or(default_typ()) };
    setting.list(Items::Some, typ).or_else(|| is_asked.then(Vec::new))
}

fn logout_audiences(reader: &mut Reader<'_>, at: &str, is_asked: bool) -> Option<Vec<String>> {
    let setting = reader.at(format!("{at}.logout_audiences"));
    let setting = if is_asked { setting } else { setting.or(Vec::<Value>::new()) };
    setting.list(Items::Any, claim_text).or_else(|| is_asked.then(Vec::new))
}

/// That it is exactly one is told by `contradictions`.
fn keys(
    reader: &mut Reader<'_>,
    at: &str,
    issuer: Option<&str>,
    hmac: Option<KeySource>,
) -> Option<KeySource> {
    let hosts = reader.again(PLAIN_HTTP_HOSTS).list(Items::Any, lone_host).unwrap_or_default();
    let url = reader.at(format!("{at}.jwks_url")).text(|text| jwks_address(text, &hosts));
    let file = reader.at(format!("{at}.jwks_file")).file(has_no_private_key);
    let key = format!("{at}.discovery");
    let discovery = match reader.at(&*key).switch(fetched) {
        None | Some(Switch::Off) => None,
        Some(Switch::At(address)) => Some(address),
        // Told by `contradictions`.
        Some(Switch::On) if issuer == Some("") => None,
        Some(Switch::On) => match discovery_of(issuer?) {
            Ok(address) => Some(address),
            Err(wrongs) => {
                for wrong in wrongs {
                    reader.wrong(&key, wrong);
                }
                None
            }
        },
    };
    let asked = Introspection::read(reader, at).map(KeySource::Introspection);
    let url = url.map(KeySource::Url);
    url.or(file.map(KeySource::File)).or(discovery.map(KeySource::Discovery)).or(asked).or(hmac)
}

/// Where an issuer's configuration stands by OpenID Connect Discovery 1.0 §4.1.
fn discovery_of(issuer: &str) -> Result<String, Vec<Wrong>> {
    let fix = "write the address of its openid-configuration instead of true";
    let wrong = |wrong: Wrong| {
        let reason =
            format!("the address cannot be derived from the issuer identifier: {}", wrong.reason);
        Wrong::new(reason, fix)
    };
    WebAddress::parse(issuer, &[no_query])
        .map_err(|wrongs| wrongs.into_iter().map(wrong).collect::<Vec<_>>())?;
    fetched(&format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')))
}

/// An address that keys are fetched from, or that vouches for tokens: nobody on the way may change
/// what it says.
pub(super) fn fetched(text: &str) -> Result<String, Vec<Wrong>> {
    WebAddress::parse(text, &[not_exposed]).map(|address| address.text)
}

/// The same, but http is accepted for the hosts of `auth.plain_http_hosts`.
fn jwks_address(text: &str, hosts: &[String]) -> Result<String, Vec<Wrong>> {
    let is_listed = WebAddress::read(text).is_some_and(|address| address.is_on(hosts));
    let demands: &[Demand] = if is_listed { &[] } else { &[not_exposed_unless_listed] };
    WebAddress::parse(text, demands).map(|address| address.text)
}

/// Whether a file of public keys can be read, and holds no private one in PEM.
fn has_no_private_key(path: &Path) -> Result<(), Wrong> {
    is_readable(path)?;
    let content = regular_file::read_blocking(path, MAX_KEY_FILE_BYTES).unwrap_or_default();
    let text = String::from_utf8_lossy(&content);
    let is_private = |line: &str| line.contains("-----BEGIN ") && line.contains("PRIVATE KEY-----");
    if text.lines().any(is_private) {
        let reason = "the file holds a private key, which this service must not have";
        return Err(Wrong::new(
            reason,
            "write the path of a file that contains the public key only",
        ));
    }
    Ok(())
}

fn algorithm(name: &str) -> Result<Algorithm, Wrong> {
    Algorithm::named(name).ok_or_else(|| match (name, HmacAlgorithm::named(name)) {
        ("none", _) => {
            Wrong::new("\"none\" means unsigned tokens, which anyone can create", "remove it")
        }
        (_, Some(hmac)) => Wrong::new(
            format!("{} needs a shared secret, but hmac_secret_file is not set", hmac.name()),
            "remove it; to verify HMAC tokens, use hmac_secret_file and no other key source",
        ),
        (_, None) => {
            let names = Algorithm::ALL.map(Algorithm::name).join(", ");
            Wrong::new("is not a supported algorithm", format!("write one or more of {names}"))
        }
    })
}

fn hmac_algorithm(name: &str) -> Result<HmacAlgorithm, Wrong> {
    HmacAlgorithm::named(name).ok_or_else(|| {
        let reason = "hmac_secret_file is set, and a shared secret signs with HS algorithms only";
        Wrong::new(reason, "write HS256, HS384 or HS512, or remove hmac_secret_file")
    })
}

/// What the `iss` claim is compared with. The address of a discovery document is none. The empty one
/// stands for tokens without that claim.
fn issuer_name(text: &str) -> Result<String, Wrong> {
    if text.is_empty() {
        return Ok(String::new());
    }
    if text.contains(WELL_KNOWN) {
        let reason = "expected the issuer identifier, found the address of its discovery document";
        let fix = "write the iss claim of its tokens, which is usually this address up to \
                   /.well-known (with a slash at the end at some issuers); and set discovery = true \
                   instead of another key source";
        return Err(Wrong::new(reason, fix));
    }
    if text.split_once('{').is_some_and(|(_, rest)| rest.contains('}')) {
        let reason =
            "contains a placeholder in braces, such as {tenantid}, which no token contains";
        let fix = "write the value from your tokens' iss claim instead, such as the tenant's id; \
                   configure each tenant as its own issuer";
        return Err(Wrong::new(reason, fix));
    }
    claim_text(text)
}

/// Text that a claim is compared with, or a claim's name.
pub(super) fn claim_text(text: &str) -> Result<String, Wrong> {
    if text.is_empty() {
        Err(Wrong::new("is empty", "write a value"))
    } else if text.trim() != text || text.contains(char::is_control) {
        let reason = "has whitespace at an end, or contains control characters";
        Err(Wrong::new(reason, "write it exactly as in the tokens"))
    } else {
        Ok(text.to_owned())
    }
}

/// What customer ids may begin with.
fn id_prefix(text: &str) -> Result<String, Wrong> {
    // Any id will do to see what the prefix makes of it.
    CustomerId::parse(&format!("{text}0")).map(|_| text.to_owned()).map_err(|error| {
        let reason = format!("no customer id can begin with this prefix: {error}");
        Wrong::new(reason, "write a short prefix such as \"web-\"")
    })
}

/// Whether ID tokens are accepted.
fn id_tokens(text: &str) -> Result<bool, Wrong> {
    match text {
        "reject" => Ok(false),
        "accept" => Ok(true),
        _ => Err(Wrong::new("expected \"reject\" or \"accept\"", "write \"reject\" or \"accept\"")),
    }
}

/// RFC 6749 §3.3, `scope-token`.
fn scope(text: &str) -> Result<String, Wrong> {
    let is_legal = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    if !text.is_empty() && text.bytes().all(is_legal) {
        Ok(text.to_owned())
    } else {
        let reason = "expected a scope (RFC 6749, section 3.3)";
        Err(Wrong::new(reason, "write one scope per item, without spaces and quotes"))
    }
}

/// A media type whose `application/` may be left out (RFC 7515 §4.1.9); empty: none.
fn typ(text: &str) -> Result<String, Wrong> {
    if text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.ends_with('/') {
        let text = text.to_ascii_lowercase();
        Ok(text.strip_prefix("application/").unwrap_or(&text).to_owned())
    } else {
        Err(Wrong::new("expected a token type", "write a type such as \"at+jwt\", or \"\""))
    }
}

/// Issuers that follow RFC 9068, and the many that don't yet.
fn default_typ() -> Vec<Value> {
    let origin = BUILT_IN.to_owned();
    let text = |text: &str| Value::new(Some(&origin), ValueKind::from(text));
    ["at+jwt", "JWT", ""].map(text).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discovery_follows_the_issuer() {
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
    fn every_algorithm_is_known_by_its_name() {
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
    fn texts_are_held_to_their_grammar() {
        assert!(claim_text("https://a b").is_ok());
        for bad in ["", " a", "a\n", "a\0b"] {
            assert!(claim_text(bad).is_err(), "{bad:?}");
        }
        for good in ["", "web-", "cst_", "a b", "a@"] {
            assert_eq!(id_prefix(good).as_deref(), Ok(good));
        }
        for bad in ["a/", " a", "a\0", &"x".repeat(256)] {
            assert!(id_prefix(bad).is_err(), "{bad:?}");
        }
        assert_eq!(scope("read:customer!#[]").as_deref(), Ok("read:customer!#[]"));
        for bad in ["", "a b", "a\"", "a\\b", "é"] {
            assert!(scope(bad).is_err(), "{bad:?}");
        }
        assert_eq!(typ("application/AT+jwt").as_deref(), Ok("at+jwt"));
        assert_eq!(typ("").as_deref(), Ok(""));
        for bad in ["a b", "application/", "é"] {
            assert!(typ(bad).is_err(), "{bad}");
        }
    }
}
