//! `juspay.*`: the connection to Juspay and the credentials for it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};

pub use crate::customer::CustomerIdForm;

use super::{
    address::{WebAddress, no_query},
    fault::Violation,
    reader::Reader,
    roots::holds_roots,
    server::unreadable,
};
use crate::secret_file;

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
    /// `juspay.api_version`, Juspay's `version` header.
    pub api_version: Option<String>,
    /// `juspay.ca_file`: PEM root certificates, in addition to the built-in ones.
    pub ca_file: Option<PathBuf>,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpFamily {
    /// All of them.
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

impl Juspay {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let times = Duration::from_millis(1)..=Duration::from_mins(1);
        let base_url = reader
            .at("juspay.base_url")
            .required("set it to the address of Juspay's API, such as \"https://api.juspay.in\"")
            .text(base_url);
        let plain = reader.at("juspay.allow_plain_http").boolean();
        let merchant_id = reader
            .at("juspay.merchant_id")
            .required("set it to the merchant id that Juspay's dashboard shows")
            .text(header_value);
        let api_key_file = reader.at("juspay.api_key_file").file(holds_api_key);
        let api_key = reader.at("juspay.api_key").secret(api_key);
        let api_key_next = reader.at("juspay.api_key_next_file").file(holds_api_key);
        let customer_id_form = reader.at("juspay.customer_id_form").text(CustomerIdForm::parse);
        let api_version = reader.at("juspay.api_version").text(header_value);
        let ca_file = reader.at("juspay.ca_file").file(holds_roots);
        let connect_timeout = reader.at("juspay.connect_timeout").duration(times.clone());
        let try_timeout = reader.at("juspay.try_timeout").duration(times.clone());
        let deadline = reader.at("juspay.deadline").duration(times);
        let ip_family = reader.at("juspay.ip_family").text(IpFamily::parse);
        let max_retries = reader.at("juspay.max_retries").number(0..=10);
        let retry_budget = reader.at("juspay.retry_budget").ratio();
        let max_in_flight = reader.at("juspay.max_in_flight").number(1..=65_536);
        let breaker = Breaker::read(reader);
        plain?;
        Some(Self {
            base_url: base_url?,
            merchant_id: merchant_id?,
            api_key: match api_key_file {
                Some(path) => SecretSource::File(path),
                None => SecretSource::Inline(api_key?),
            },
            api_key_next,
            customer_id_form: customer_id_form?,
            api_version,
            ca_file,
            connect_timeout: connect_timeout?,
            try_timeout: try_timeout?,
            deadline: deadline?,
            ip_family: ip_family?,
            max_retries: u32::try_from(max_retries?).ok()?,
            retry_budget: retry_budget?,
            max_in_flight: usize::try_from(max_in_flight?).ok()?,
            breaker: breaker?,
        })
    }
}

impl Breaker {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let times = Duration::from_millis(100)..=Duration::from_mins(10);
        let failure_rate = reader.at("juspay.breaker.failure_rate").ratio();
        let window = reader.at("juspay.breaker.window").duration(times.clone());
        let min_calls = reader.at("juspay.breaker.min_calls").number(1..=100_000);
        let open_for = reader.at("juspay.breaker.open_for").duration(times);
        Some(Self {
            failure_rate: failure_rate?,
            window: window?,
            min_calls: u32::try_from(min_calls?).ok()?,
            open_for: open_for?,
        })
    }
}

impl IpFamily {
    fn parse(text: &str) -> Result<Self, Violation> {
        match text {
            "any" => Ok(Self::Any),
            "ipv4" => Ok(Self::V4),
            "ipv6" => Ok(Self::V6),
            _ => Err(Violation::new(
                "expected an address family",
                "write \"any\", \"ipv4\" or \"ipv6\"",
            )),
        }
    }
}

impl CustomerIdForm {
    pub(super) fn parse(text: &str) -> Result<Self, Violation> {
        match text {
            "merchant" => Ok(Self::Merchant),
            "juspay" => Ok(Self::Juspay),
            _ => Err(Violation::new(
                "expected a form of customer ids",
                "write \"merchant\" (the merchant's own ids) or \"juspay\" (cst_…)",
            )),
        }
    }
}

/// Rejects a query and an endpoint, because each call appends its own.
fn base_url(text: &str) -> Result<String, Vec<Violation>> {
    WebAddress::parse(text, &[no_query, no_endpoint])?;
    Ok(text.trim_end_matches('/').to_owned())
}

/// A gateway may serve Juspay's API below a path, but Juspay's own hosts don't. Each call appends
/// the endpoint's path.
fn no_endpoint(address: &WebAddress) -> Option<Violation> {
    let host = address.host.as_deref().unwrap_or_default().to_ascii_lowercase();
    let is_juspay_host = ["juspay.in", "juspay.io"].iter().any(|domain| {
        host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    });
    let mut segments = address.path.split('/').filter(|segment| !segment.is_empty());
    let has_path = segments.clone().next().is_some();
    let has_endpoint = segments.any(|segment| segment.eq_ignore_ascii_case("customers"));
    let reason = "has a path, but the service adds /customers/… itself";
    let fix = "remove the path: write the origin only, such as \"https://api.juspay.in\"";
    (has_endpoint || (is_juspay_host && has_path)).then(|| Violation::new(reason, fix))
}

/// Visible ASCII (RFC 9110 §5.5). None of these values contains a space.
fn header_value(text: &str) -> Result<String, Violation> {
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

fn holds_api_key(path: &Path) -> Result<(), Vec<Violation>> {
    let key = secret_file::read_blocking(path).map_err(|error| vec![unreadable(&error)])?;
    api_key(key.expose_secret()).map_err(|violations| {
        let of_file = |violation: Violation| {
            Violation::new(
                format!("the file's content is invalid: {}", violation.reason),
                violation.fix,
            )
        };
        violations.into_iter().map(of_file).collect()
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
