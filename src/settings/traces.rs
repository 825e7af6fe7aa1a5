//! `traces.*`: which requests are traced, and the collector that receives their spans.

use std::path::{Path, PathBuf};

use super::{
    address::{WebAddress, is_exposed, no_query},
    fault::Violation,
    files::{read_text, validate_roots},
    reader::Reader,
};

/// The path that OTLP/HTTP appends to the endpoint.
const PATH: &str = "/v1/traces";

/// Header fields that the exporter or HTTP client sets, in lower case.
const RESERVED: [&str; 6] =
    ["connection", "content-length", "content-type", "host", "transfer-encoding", "user-agent"];

/// `traces.*`
#[derive(Debug, Clone)]
pub struct Traces {
    /// `traces.endpoint`, without a trailing slash. If unset, nothing is traced.
    pub endpoint: Option<String>,
    /// `traces.sample`, a ratio from 0 to 1.
    pub sample: f64,
    /// `traces.trust_traceparent`
    pub trust_traceparent: bool,
    /// `traces.service_name`
    pub service_name: String,
    /// `traces.headers_file`
    pub headers_file: Option<PathBuf>,
    /// `traces.ca_file`: PEM root certificates, in addition to the built-in ones.
    pub ca_file: Option<PathBuf>,
}

impl Traces {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            endpoint: reader.at("traces.endpoint").text(endpoint),
            sample: reader.ratio("traces.sample"),
            trust_traceparent: reader.boolean("traces.trust_traceparent"),
            service_name: reader.text("traces.service_name", service_name),
            headers_file: reader.at("traces.headers_file").file(validate_headers),
            ca_file: reader.at("traces.ca_file").file(validate_roots),
        }
    }
}

/// The headers may contain a secret.
pub(super) fn check_headers(reader: &mut Reader<'_>) {
    let keys = ["traces.endpoint", "traces.headers_file"];
    if is_exposed(reader, keys[0]) && reader.is_set(keys[1]) {
        let reason = "the headers in traces.headers_file would cross the network in plain http";
        let fix = "use https, or a collector on loopback, such as a sidecar";
        reader.conflict(&keys, reason, fix);
    }
}

/// The collector's address. Rejected if this program is built without traces.
pub(super) fn endpoint(text: &str) -> Result<String, Vec<Violation>> {
    let base = text.trim_end_matches('/');
    let mut violations = WebAddress::parse(text, &[no_query]).err().unwrap_or_default();
    if base.ends_with(PATH) {
        let reason = "ends in /v1/traces, which the service adds itself";
        violations.push(Violation::new(reason, "remove /v1/traces"));
    }
    if cfg!(not(feature = "traces")) {
        let reason = "this binary was built without traces";
        let fix = "build it with `--features traces`, as the image is, or remove the setting";
        violations.push(Violation::new(reason, fix));
    }
    if violations.is_empty() { Ok(base.to_owned()) } else { Err(violations) }
}

fn service_name(text: &str) -> Result<String, Violation> {
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        return Err(Violation::new("is empty or contains control characters", "write a name"));
    }
    Ok(text.to_owned())
}

fn validate_headers(path: &Path) -> Result<(), Violation> {
    read_text(path, |lines| match header_lines(lines) {
        Some(_) => Ok(()),
        None => Err(Violation::new(
            "the file contains a line that is not a header, or a header that the service sends \
             itself",
            "write one header per line, such as `Authorization: Bearer …`",
        )),
    })
}

/// Parses one header per line (RFC 9110 §5) into names and values; `None` if a line is invalid.
#[must_use]
pub fn header_lines(text: &str) -> Option<Vec<(&str, &str)>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(header_line).collect()
}

fn header_line(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(':')?;
    let is_name_byte = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let is_name = !name.is_empty() && name.bytes().all(is_name_byte);
    let value = value.trim();
    let is_value = value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    let is_reserved = RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved));
    (is_name && is_value && !is_reserved).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_one_header() {
        let text = "Authorization: Bearer a.b-c==\r\n\n  X-Scope-OrgID:shop 1\n";
        let headers = [("Authorization", "Bearer a.b-c=="), ("X-Scope-OrgID", "shop 1")];
        assert_eq!(header_lines(text).unwrap(), headers);
        assert_eq!(header_lines("X:").unwrap(), [("X", "")]);
        for invalid in
            ["hush", "A B: c", ": c", "A: \u{7f}", "A: é", "Host: a", "content-LENGTH: 3"]
        {
            assert_eq!(header_lines(&format!("X: y\n{invalid}")), None, "{invalid}");
        }
    }

    #[test]
    fn invalid_header_files_are_rejected_and_not_quoted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "Authorization: hush\n").unwrap();
        assert_eq!(validate_headers(file.path()), Ok(()));
        for invalid in ["hush", "", "Host: hush"] {
            std::fs::write(&file, invalid).unwrap();
            let violation = format!("{:?}", validate_headers(file.path()).unwrap_err());
            assert!(!violation.contains("hush"), "{violation}");
        }
    }

    #[test]
    fn endpoint_with_query_or_otlp_path_is_rejected() {
        let reason = |text| endpoint(text).unwrap_err().swap_remove(0).reason;
        assert!(reason("http://collector:4318?a=b").contains("query"));
        assert!(reason("https://collector.example/v1/traces/").contains("/v1/traces"));
        assert!(reason("collector:4318").contains("begins with"));
    }

    #[cfg(not(feature = "traces"))]
    #[test]
    fn endpoint_is_rejected_if_built_without_traces() {
        let violation = endpoint("http://collector:4318").unwrap_err().swap_remove(0);
        assert!(violation.reason.contains("without traces"), "{violation:?}");
        assert!(violation.fix.contains("--features traces"), "{violation:?}");
    }

    #[test]
    fn empty_service_name_is_rejected() {
        assert_eq!(service_name("shop's bff").unwrap(), "shop's bff");
        assert!(service_name(" ").is_err() && service_name("a\nb").is_err());
    }
}
