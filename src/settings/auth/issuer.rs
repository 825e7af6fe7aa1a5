//! `auth.issuers.NAME.*`: one issuer, and conflicts between issuers.
//!
//! These checks protect promise P1 in SECURITY.md: an issuer can't name another issuer's customers,
//! and an attacker between this service and an issuer can't sign for its customers.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use config::{Value, ValueKind};

use super::{
    Algorithm, AudienceClaim, Auth, ClaimPath, ISSUERS, KeySource, NewCustomerClaims,
    RequiredClaim,
    claims::{self, claim_text},
    key_source,
};
use crate::{
    customer::{CustomerId, CustomerIdForm},
    settings::{
        address::WebAddress,
        fault::Violation,
        files::validate_roots,
        juspay::{BASE_URL, CREATE_MISSING},
        reader::{BUILT_IN, Reader},
        value::{Items, one_of},
    },
};

/// Discovery documents are below this path (RFC 8615); no issuer identifier contains it.
const WELL_KNOWN: &str = "/.well-known/";

/// Prefix of Juspay's own customer ids.
const JUSPAY_PREFIX: &str = "cst_";

/// Whether issuers may use plain http on loopback although Juspay is remote.
pub(super) const ALLOW_LOCAL: &str = "auth.allow_local_issuer";

/// Whether all issuers name the same customers.
pub(super) const SHARED_IDS: &str = "auth.shared_customer_ids";

/// Range of `max_token_age`.
const TOKEN_AGES: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_hours(366 * 24);

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
    /// The claims that a missing customer is created from. `None` unless
    /// `juspay.create_missing_customers` is on.
    pub new_customer: Option<NewCustomerClaims>,
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

/// `auth.issuers.NAME.dpop`: which of its tokens are accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DpopMode {
    /// Rejects tokens that are bound to a key.
    #[default]
    Off,
    /// Accepts bound tokens with a valid proof, and unbound tokens.
    Optional,
    /// Accepts only bound tokens with a valid proof.
    Required,
}

impl Issuer {
    /// Reads the table at `at`.
    pub(super) fn read(reader: &mut Reader<'_>, at: &str, plain_http_hosts: &[String]) -> Self {
        let key = |name: &str| format!("{at}.{name}");
        let issuer = reader
            .at(key("issuer"))
            .required("set it to the tokens' exact iss claim, or to \"\" if they have none")
            .text(issuer_name);
        let (audience_claim, audiences) = AudienceClaim::read(reader, at);
        let is_introspected = reader.is_set(&key("introspection_url"));
        let (algorithms, keys) = key_source::read(reader, at, issuer.as_deref(), plain_http_hosts);
        let issuer = reader.filled(|_| issuer);
        let mut customer_id_claim = ClaimPath::named("sub");
        reader.filled(|it| {
            it.at(key("customer_id_claim")).or("sub").text(|text| {
                // Kept even if it is not trusted: other claims are compared with it.
                customer_id_claim = ClaimPath::parse(text)?;
                customer_id_claim.check_trusted()
            })
        });
        Self {
            issuer,
            audience_claim,
            audiences,
            algorithms,
            keys,
            customer_id_claim,
            assumes_verified: choice(reader, key("customer_id_verified"), ["required", "assumed"]),
            new_customer: Some(NewCustomerClaims::read(reader, at))
                .filter(|_| reader.is(CREATE_MISSING, true)),
            customer_id_prefix: reader
                .filled(|it| it.at(key("customer_id_prefix")).or("").text(id_prefix)),
            required_scopes: reader.filled(|it| {
                it.at(key("required_scopes")).or(Vec::<Value>::new()).list(Items::Any, scope)
            }),
            required_claims: RequiredClaim::read(reader, at),
            typ: reader.filled_unless(is_introspected, |it| {
                let setting = it.at(key("typ")).or_if(!is_introspected, default_typ());
                setting.list(Items::AtLeastOne, typ)
            }),
            max_token_age: reader.at(key("max_token_age")).duration(TOKEN_AGES),
            logout_audiences: reader.filled_unless(is_introspected, |it| {
                let setting = it.at(key("logout_audiences"));
                setting.or_if(!is_introspected, Vec::<Value>::new()).list(Items::Any, claim_text)
            }),
            accepts_id_tokens: choice(reader, key("id_tokens"), ["reject", "accept"]),
            dpop: reader.filled(|it| it.at(key("dpop")).or("off").text(DpopMode::parse)),
            ca_file: reader.at(key("ca_file")).file(validate_roots),
        }
    }
}

/// One of two values; the first is the default.
fn choice(reader: &mut Reader<'_>, key: String, [no, yes]: [&str; 2]) -> bool {
    let parse = |text: &str| one_of(text, None, &[(no, false), (yes, true)]);
    reader.filled(|it| it.at(key).or(no).text(parse))
}

impl DpopMode {
    fn parse(text: &str) -> Result<Self, Violation> {
        let modes =
            [("off", Self::Off), ("optional", Self::Optional), ("required", Self::Required)];
        one_of(text, None, &modes)
    }
}

/// Reports conflicts within each issuer, between issuers, and with the settings of Juspay.
pub(in crate::settings) fn check(auth: &Auth, form: CustomerIdForm, reader: &mut Reader<'_>) {
    let tables: Vec<_> = auth.issuers.keys().map(|name| format!("{ISSUERS}.{name}")).collect();
    for table in &tables {
        key_source::check(table, reader);
        check_plain_http(table, &auth.plain_http_hosts, reader);
        check_juspay_ids(table, form, reader);
    }
    check_identifiers(&tables, reader);
    if tables.len() > 1 && reader.is(SHARED_IDS, false) {
        check_prefixes(&tables, reader);
    }
    claims::check(&auth.issuers, reader);
    key_source::check_introspection(&tables, reader);
}

/// Any process on the machine can impersonate an issuer over plain http, so it is for development
/// only.
fn check_plain_http(table: &str, plain_http_hosts: &[String], reader: &mut Reader<'_>) {
    let juspay = reader.raw_text(BASE_URL).and_then(WebAddress::read);
    if juspay.is_none_or(|address| !address.is_remote()) || !reader.is(ALLOW_LOCAL, false) {
        return;
    }
    for name in ["issuer", "jwks_url", "discovery", "introspection_url"] {
        let key = format!("{table}.{name}");
        let Some(text) = reader.valid_text(&key) else { continue };
        let is_listed = matches!(name, "issuer" | "jwks_url")
            && WebAddress::read(text).is_some_and(|address| address.is_on(plain_http_hosts));
        if text.starts_with("http://") && !is_listed {
            let reason = "an issuer with plain http is for development, but juspay.base_url is not \
                          a loopback address";
            let fix = "use https, or set auth.allow_local_issuer = true if this is intended";
            reader.conflict(&[&key, BASE_URL], reason, fix);
        }
    }
}

/// All of Juspay's ids begin with `cst_`, so any other prefix would reject every customer.
fn check_juspay_ids(table: &str, form: CustomerIdForm, reader: &mut Reader<'_>) {
    let keys = [&format!("{table}.customer_id_prefix"), "juspay.customer_id_form"];
    let Some(prefix) = reader.valid_text(keys[0]) else { return };
    let fits = prefix.starts_with(JUSPAY_PREFIX) || JUSPAY_PREFIX.starts_with(prefix);
    if form == CustomerIdForm::Juspay && !fits {
        let reason = "juspay.customer_id_form is \"juspay\", and all such ids begin with cst_, so \
                      none can begin with this prefix";
        let fix = "remove it, or set juspay.customer_id_form = \"merchant\"";
        reader.conflict(&keys, reason, fix);
    }
}

/// The `iss` of a token must identify one issuer.
fn check_identifiers(tables: &[String], reader: &mut Reader<'_>) {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for table in tables {
        let key = format!("{table}.issuer");
        let Some(issuer) = reader.valid_text(&key) else { continue };
        match seen.iter().find(|(other, _)| *other == issuer) {
            Some((_, other)) => {
                let other = format!("{other}.issuer");
                let reason = format!("is the same as {other}");
                let fix = "merge the two into one, with the audiences and algorithms of both";
                reader.conflict(&[&key, &other], reason, fix);
            }
            None => seen.push((issuer, table)),
        }
    }
}

/// A customer id must identify its issuer, so no prefix may begin with another: `a` with `b1` and
/// `ab` with `1` are the same id. If one prefix is empty, ids with another issuer's prefix are
/// rejected at run time.
fn check_prefixes(tables: &[String], reader: &mut Reader<'_>) {
    let fix = "give each issuer its own customer_id_prefix, which precedes the claim in the customer's \
               id, or set auth.shared_customer_ids = true if all of them name the same customers";
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for table in tables {
        let key = format!("{table}.customer_id_prefix");
        if !reader.is_set(&key) {
            let reason = "is missing; with several issuers the same id could mean two customers";
            let fix = format!("{fix}; one prefix may be empty, in a settings file only");
            reader.missing(&[&key], Violation::new(reason, fix));
        }
        let Some(prefix) = reader.valid_text(&key) else { continue };
        let clash = seen.iter().find(|(other, _)| match (*other, prefix) {
            ("", "") => true,
            ("", _) | (_, "") => false,
            (other, own) => other.starts_with(own) || own.starts_with(other),
        });
        if let Some((_, other)) = clash {
            let relation = if prefix.is_empty() {
                format!("this and that of {other} are empty")
            } else {
                format!("this overlaps with that of {other}")
            };
            let reason = format!("the same id could mean two customers: {relation}");
            reader.conflict(&[&key, &format!("{other}.customer_id_prefix")], reason, fix);
        }
        seen.push((prefix, table));
    }
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

/// A prefix of customer ids.
fn id_prefix(text: &str) -> Result<String, Violation> {
    // Appends a valid id, because an id can't be empty.
    CustomerId::parse(&format!("{text}0")).map(|_| text.to_owned()).map_err(|error| {
        let reason = format!("no customer id can begin with this prefix: {error}");
        Violation::new(reason, "write a short prefix such as \"web-\"")
    })
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
