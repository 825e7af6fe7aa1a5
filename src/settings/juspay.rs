//! `juspay.*`: the connection to Juspay and the credentials for it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use secrecy::SecretString;

pub use crate::customer::CustomerIdForm;

use crate::net::{Origin, UrlParts};

use super::{
    address::{WebAddress, is_exposed, no_query},
    auth::gateway,
    fault::Violation,
    files::{read_text, validate_roots},
    reader::{Reader, Violations},
    value::one_of,
};

/// A secret in a file, which is reloaded when it changes, or in the settings themselves.
#[derive(Debug, Clone)]
pub enum SecretSource {
    /// The path of the file.
    File(PathBuf),
    /// The secret itself.
    Inline(SecretString),
}

/// `juspay.*`
#[derive(Debug, Clone)]
pub struct Juspay {
    /// `juspay.base_url`: an origin with an optional path, without a trailing slash.
    pub base_url: String,
    /// `juspay.merchant_id`
    pub merchant_id: String,
    /// `juspay.api_key_file` or `juspay.api_key`
    pub api_key: SecretSource,
    /// `juspay.api_key_next_file`
    pub api_key_next: Option<PathBuf>,
    /// `juspay.customer_id_form`
    pub customer_id_form: CustomerIdForm,
    /// `juspay.create_missing_customers`
    pub create_missing_customers: bool,
    /// `juspay.api_version`, Juspay's `version` header.
    pub api_version: Option<String>,
    /// `juspay.ca_file`: PEM root certificates, in addition to the built-in ones.
    pub ca_file: Option<PathBuf>,
    /// `juspay.egress_proxy`: the HTTP proxy through which Juspay is reached.
    pub egress_proxy: Option<Origin>,
    /// `juspay.egress_proxy_credentials_file`
    pub egress_proxy_credentials: Option<PathBuf>,
    /// `juspay.connect_timeout`
    pub connect_timeout: Duration,
    /// `juspay.try_timeout`
    pub try_timeout: Duration,
    /// `juspay.deadline`
    pub deadline: Duration,
    /// `juspay.ip_family`
    pub ip_family: IpFamily,
    /// `juspay.max_retries`
    pub max_retries: u32,
    /// `juspay.retry_budget`, a ratio from 0 to 1.
    pub retry_budget: f64,
    /// `juspay.max_in_flight`
    pub max_in_flight: usize,
    /// `juspay.breaker.*`
    pub breaker: Breaker,
}

/// `juspay.breaker.*`
#[derive(Debug, Clone)]
pub struct Breaker {
    /// `juspay.breaker.failure_rate`, a ratio above 0 and up to 1.
    pub failure_rate: f64,
    /// `juspay.breaker.window`
    pub window: Duration,
    /// `juspay.breaker.min_calls`
    pub min_calls: u32,
    /// `juspay.breaker.open_for`
    pub open_for: Duration,
}

/// `juspay.ip_family`: the addresses of the host that are used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IpFamily {
    /// All of them.
    #[default]
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

impl Juspay {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let times = Duration::from_millis(1)..=Duration::from_mins(1);
        let base_url = reader.filled(|it| {
            let fix = "set it to the address of Juspay's API, such as \"https://api.juspay.in\"";
            it.at(BASE_URL).required(fix).text(base_url)
        });
        // Only `check_plain_http` uses it.
        reader.boolean(ALLOW_PLAIN_HTTP);
        let merchant_id = reader.filled(|it| {
            let fix = "set it to the merchant id that Juspay's dashboard shows";
            it.at("juspay.merchant_id").required(fix).text(header_value)
        });
        let api_key_file = reader.at("juspay.api_key_file").file(validate_api_key);
        let api_key = reader.at("juspay.api_key").secret(api_key);
        let api_key = api_key_file.map(SecretSource::File).or(api_key.map(SecretSource::Inline));
        let api_key = reader.filled_or(api_key, SecretSource::File(PathBuf::new()));
        let api_key_next = reader.at("juspay.api_key_next_file").file(validate_api_key);
        let form = reader.at("juspay.customer_id_form").text(customer_id_form);
        Self {
            base_url,
            merchant_id,
            api_key,
            api_key_next,
            customer_id_form: reader.filled_or(form, CustomerIdForm::Merchant),
            create_missing_customers: reader.boolean(CREATE_MISSING),
            api_version: reader.at("juspay.api_version").text(header_value),
            ca_file: reader.at("juspay.ca_file").file(validate_roots),
            egress_proxy: reader.at(EGRESS_PROXY).text(egress_proxy),
            egress_proxy_credentials: reader.at(PROXY_CREDENTIALS).file(validate_credentials),
            connect_timeout: reader.duration("juspay.connect_timeout", times.clone()),
            try_timeout: reader.duration("juspay.try_timeout", times.clone()),
            deadline: reader.duration("juspay.deadline", times),
            ip_family: reader.text("juspay.ip_family", IpFamily::parse),
            max_retries: reader.number("juspay.max_retries", 0..=10),
            retry_budget: reader.ratio("juspay.retry_budget"),
            max_in_flight: reader.number("juspay.max_in_flight", 1..=65_536),
            breaker: Breaker::read(reader),
        }
    }

    /// One attempt must not take longer than all together.
    pub(super) fn check_attempts(&self, reader: &mut Reader<'_>) {
        let (short, long) =
            (("juspay.try_timeout", self.try_timeout), ("juspay.deadline", self.deadline));
        reader.check_at_most(short, long, ", which limits all attempts together");
    }
}

pub(super) const BASE_URL: &str = "juspay.base_url";

/// Whether the API key may cross the network in plain http.
const ALLOW_PLAIN_HTTP: &str = "juspay.allow_plain_http";

/// The API key must not cross the network in plain http, unless this is allowed.
pub(super) fn check_plain_http(reader: &mut Reader<'_>) {
    if is_exposed(reader, BASE_URL) && reader.is(ALLOW_PLAIN_HTTP, false) {
        let reason = "the API key would cross the network in plain http";
        let fix = "use https, or set juspay.allow_plain_http = true if the network to Juspay is \
                   private";
        reader.conflict(&[BASE_URL], reason, fix);
    }
}

/// Whether missing customers are created.
pub(super) const CREATE_MISSING: &str = "juspay.create_missing_customers";

/// A customer can be created only with the merchant's id, and from the claims of an access token.
pub(super) fn check_creation(form: CustomerIdForm, reader: &mut Reader<'_>) {
    if !reader.is(CREATE_MISSING, true) {
        return;
    }
    if form == CustomerIdForm::Juspay {
        let reason = "juspay.customer_id_form is \"juspay\", and only Juspay chooses such ids";
        let fix = "set it to false, or set juspay.customer_id_form = \"merchant\"";
        reader.conflict(&[CREATE_MISSING, "juspay.customer_id_form"], reason, fix);
    }
    if reader.is_set(gateway::HEADER) {
        let reason = "with auth.gateway there are no access tokens, and a customer is created from \
                      the claims of one";
        let fix = "set it to false, and create customers at Juspay in your backend";
        reader.conflict(&[CREATE_MISSING, gateway::HEADER], reason, fix);
    }
}

/// The HTTP proxy towards Juspay.
const EGRESS_PROXY: &str = "juspay.egress_proxy";

const PROXY_CREDENTIALS: &str = "juspay.egress_proxy_credentials_file";

/// Only TLS hides the API key from the proxy, and the proxy must be able to reach the same host.
pub(super) fn check_egress_proxy(reader: &mut Reader<'_>) {
    if !reader.is_set(EGRESS_PROXY) {
        if reader.is_set(PROXY_CREDENTIALS) && reader.is_valid(PROXY_CREDENTIALS) {
            let reason = "is set, but juspay.egress_proxy is not";
            let fix = "set juspay.egress_proxy, or remove the credentials";
            reader.conflict(&[PROXY_CREDENTIALS], reason, fix);
        }
        return;
    }
    let Some(address) = reader.raw_text(BASE_URL).and_then(WebAddress::read) else { return };
    let keys = [EGRESS_PROXY, BASE_URL];
    if address.exposed() {
        let reason = "juspay.base_url is plain http, so the proxy could read the API key";
        reader.conflict(&keys, reason, "use https in juspay.base_url");
    } else if !address.is_remote() {
        let reason = "juspay.base_url is a loopback address, which the proxy would look for on its \
                      own machine";
        let fix = "write Juspay's own address to juspay.base_url, or remove juspay.egress_proxy";
        reader.conflict(&keys, reason, fix);
    }
}

/// Exactly one source of the API key must be set.
pub(super) fn check_api_key(reader: &mut Reader<'_>) {
    let keys = ["juspay.api_key_file", "juspay.api_key"];
    match keys.map(|key| reader.is_set(key)) {
        [true, true] => {
            let reason = "juspay.api_key is set too, and only one of the two may be set";
            reader.conflict(&keys, reason, "remove one of them; the key in the file is safer");
        }
        [false, false] => {
            let reason = "no API key: neither juspay.api_key_file nor juspay.api_key is set";
            let fix = "set it to the path of a file that contains the API key";
            reader.missing(&keys, Violation::new(reason, fix));
        }
        [true, false] | [false, true] => {}
    }
}

impl Breaker {
    fn read(reader: &mut Reader<'_>) -> Self {
        let times = Duration::from_millis(100)..=Duration::from_mins(10);
        Self {
            failure_rate: reader.ratio("juspay.breaker.failure_rate"),
            window: reader.duration("juspay.breaker.window", times.clone()),
            min_calls: reader.number("juspay.breaker.min_calls", 1..=100_000),
            open_for: reader.duration("juspay.breaker.open_for", times),
        }
    }
}

impl IpFamily {
    fn parse(text: &str) -> Result<Self, Violation> {
        let families = [("any", Self::Any), ("ipv4", Self::V4), ("ipv6", Self::V6)];
        one_of(text, Some("an address family"), &families)
    }
}

fn customer_id_form(text: &str) -> Result<CustomerIdForm, Violation> {
    match text {
        "merchant" => Ok(CustomerIdForm::Merchant),
        "juspay" => Ok(CustomerIdForm::Juspay),
        _ => Err(Violation::new(
            "expected a form of customer ids",
            "write \"merchant\" (the merchant's own ids) or \"juspay\" (cst_…)",
        )),
    }
}

/// Rejects a query and an endpoint, because each call appends its own.
fn base_url(text: &str) -> Result<String, Vec<Violation>> {
    WebAddress::parse(text, &[no_query, no_endpoint])?;
    Ok(text.trim_end_matches('/').to_owned())
}

/// A gateway may serve Juspay's API below a path, but Juspay's own hosts don't. Each call appends
/// the endpoint's path.
fn no_endpoint(address: &WebAddress<'_>) -> Option<Violation> {
    let host = address.host.unwrap_or_default().to_ascii_lowercase();
    let is_juspay_host = ["juspay.in", "juspay.io"].iter().any(|domain| {
        host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    });
    let has_path = address.segments().next().is_some();
    let has_endpoint = address.segments().any(|segment| segment.eq_ignore_ascii_case("customers"));
    let reason = "has a path, but the service adds /customers/… itself";
    let fix = "remove the path: write the origin only, such as \"https://api.juspay.in\"";
    (has_endpoint || (is_juspay_host && has_path)).then(|| Violation::new(reason, fix))
}

/// Only the connection to the proxy is plain http: TLS to Juspay passes through it.
fn egress_proxy(text: &str) -> Result<Origin, Vec<Violation>> {
    if UrlParts::split(text).is_some_and(|parts| parts.authority.contains('@')) {
        let reason = "contains a user name or a password";
        let fix = "write them to a file as USER:PASSWORD, and its path to \
                   juspay.egress_proxy_credentials_file";
        return Err(vec![Violation::new(reason, fix)]);
    }
    let fix = "write host and port of an HTTP proxy, such as \"http://proxy.internal:3128\"";
    WebAddress::parse(text, &[no_query, no_path, not_https])?;
    Origin::parse(text).ok_or_else(|| vec![Violation::new("is not an address", fix)])
}

fn no_path(address: &WebAddress<'_>) -> Option<Violation> {
    let has_path = address.segments().next().is_some();
    has_path.then(|| Violation::new("has a path", "write only scheme, host and port"))
}

fn not_https(address: &WebAddress<'_>) -> Option<Violation> {
    let fix = "write http://; TLS to Juspay is inside the tunnel, and TLS to the proxy itself is not \
               supported";
    address.is_https().then(|| Violation::new("begins with https://", fix))
}

/// Visible ASCII (RFC 9110 §5.5). None of these values contains a space.
pub(super) fn header_value(text: &str) -> Result<String, Violation> {
    let fix = "write it as Juspay shows it, in ASCII and without spaces";
    if text.is_empty() {
        Err(Violation::new("is empty", "write a value, or remove the setting"))
    } else if text.contains(char::is_whitespace) {
        Err(Violation::new("contains whitespace", fix))
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let reason = "contains a control character or a non-ASCII character";
        Err(Violation::new(reason, fix))
    } else {
        Ok(text.to_owned())
    }
}

/// The user name of Basic authentication, which a colon would end (RFC 7617 §2).
fn api_key(text: &str) -> Result<(), Vec<Violation>> {
    let fix = "write only the key, as Juspay's dashboard shows it";
    let is_legal = text.bytes().all(|byte| byte.is_ascii_graphic());
    let violations: Vec<_> = [
        (text.is_empty(), "is empty"),
        (text.contains(':'), "contains a colon, which no API key can contain"),
        (!is_legal, "contains whitespace, control characters or non-ASCII characters"),
    ]
    .into_iter()
    .filter(|(is_wrong, _)| *is_wrong)
    .map(|(_, reason)| Violation::new(reason, fix))
    .collect();
    if violations.is_empty() { Ok(()) } else { Err(violations) }
}

/// RFC 7617 §2: a user name without a colon, and no control characters.
fn validate_credentials(path: &Path) -> Result<(), Violation> {
    read_text(path, |text| {
        let has_user = text.split_once(':').is_some_and(|(user, _)| !user.is_empty());
        if has_user && !text.contains(char::is_control) {
            return Ok(());
        }
        let reason = "the file's content is not a user name and a password";
        Err(Violation::new(reason, "write one line, USER:PASSWORD"))
    })
}

fn validate_api_key(path: &Path) -> Result<(), Violations> {
    let of_file = |Violation { reason, fix }| {
        Violation::new(format!("the file's content is invalid: {reason}"), fix)
    };
    read_text(path, |key| {
        api_key(key).map_err(|all| all.into_iter().map(of_file).collect::<Vec<_>>().into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_slash_of_base_url_is_removed() {
        assert_eq!(base_url("https://host/").unwrap(), "https://host");
        assert_eq!(base_url("https://host/a//").unwrap(), "https://host/a");
        assert_eq!(base_url("http://host:81").unwrap(), "http://host:81");
        assert_eq!(base_url("https://api.juspay.in/").unwrap(), "https://api.juspay.in");
        assert_eq!(base_url("https://notjuspay.in/a").unwrap(), "https://notjuspay.in/a");
        assert!(base_url("https://host/?a=b").is_err());
        assert!(base_url("https://host?").is_err());
    }

    #[test]
    fn base_url_with_endpoint_is_rejected() {
        for invalid in [
            "https://api.juspay.in/customers",
            "https://sandbox.juspay.in/v1/",
            "https://API.Juspay.in:443/v1",
            "https://eu.juspay.io/a",
            "https://juspay.in/a",
            "https://gateway.example/juspay/customers/",
        ] {
            let violations = base_url(invalid).unwrap_err();
            assert!(violations[0].reason.contains("has a path"), "{invalid}: {violations:?}");
        }
    }

    #[test]
    fn header_values_are_visible_ascii() {
        for valid in ["sim_merchant", "2019-05-07", "~!"] {
            assert_eq!(header_value(valid).as_deref(), Ok(valid));
        }
        for invalid in ["", " a", "a ", "a b", "a\tb", "a\r\nb: c", "é", "a\u{7f}"] {
            assert!(header_value(invalid).is_err(), "{invalid:?}");
        }
    }

    #[test]
    fn api_key_must_be_a_valid_basic_user_name() {
        assert_eq!(api_key("ABC~!0-=+/"), Ok(()));
        for invalid in ["", "a:b", "a b", "a\n", "é", "\u{feff}a", "a\u{7f}"] {
            assert!(api_key(invalid).is_err(), "{invalid:?}");
        }
    }
}
