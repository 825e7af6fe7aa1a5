//! `traces.*`: which requests are traced, and where their spans go.

use std::path::{Path, PathBuf};

use secrecy::ExposeSecret as _;

use super::{
    address::{WebAddress, no_query},
    fault::Wrong,
    reader::Reader,
    roots::holds_roots,
    server::unreadable,
};
use crate::secret_file;

/// What OTLP/HTTP adds to the address by itself.
const PATH: &str = "/v1/traces";

/// Header fields that are ours to write, in lower case.
const OURS: [&str; 6] =
    ["connection", "content-length", "content-type", "host", "transfer-encoding", "user-agent"];

/// `traces.*`
#[derive(Debug, Clone)]
pub struct Traces {
    /// `traces.endpoint`, without a slash at its end; nothing is traced without it.
    pub endpoint: Option<String>,
    /// `traces.sample`, a share from 0 to 1.
    pub sample: f64,
    /// `traces.trust_traceparent`
    pub trust_traceparent: bool,
    /// `traces.service_name`
    pub service_name: String,
    /// `traces.headers_file`
    pub headers_file: Option<PathBuf>,
    /// `traces.ca_file`: PEM roots besides the built-in ones.
    pub ca_file: Option<PathBuf>,
}

impl Traces {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let endpoint = reader.at("traces.endpoint").text(endpoint);
        let sample = reader.at("traces.sample").share();
        let trust_traceparent = reader.at("traces.trust_traceparent").boolean();
        let service_name = reader.at("traces.service_name").text(service_name);
        let headers_file = reader.at("traces.headers_file").file(holds_headers);
        let ca_file = reader.at("traces.ca_file").file(holds_roots);
        Some(Self {
            endpoint,
            sample: sample?,
            trust_traceparent: trust_traceparent?,
            service_name: service_name?,
            headers_file,
            ca_file,
        })
    }
}

/// A collector's address, if this program can send anything there.
pub(super) fn endpoint(text: &str) -> Result<String, Vec<Wrong>> {
    let base = text.trim_end_matches('/');
    let mut wrongs = WebAddress::parse(text, &[no_query]).err().unwrap_or_default();
    if base.ends_with(PATH) {
        let reason = "ends in /v1/traces, which the service adds itself";
        wrongs.push(Wrong::new(reason, "remove /v1/traces"));
    }
    if cfg!(not(feature = "traces")) {
        let reason = "this binary was built without traces";
        let fix = "build it with `--features traces`, as the image is, or remove the setting";
        wrongs.push(Wrong::new(reason, fix));
    }
    if wrongs.is_empty() { Ok(base.to_owned()) } else { Err(wrongs) }
}

fn service_name(text: &str) -> Result<String, Wrong> {
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        return Err(Wrong::new("is empty or contains control characters", "write a name"));
    }
    Ok(text.to_owned())
}

fn holds_headers(path: &Path) -> Result<(), Wrong> {
    let lines = secret_file::read(path).map_err(|error| unreadable(&error))?;
    if header_lines(lines.expose_secret()).is_some() {
        return Ok(());
    }
    let reason = "the file contains a line that is not a header, or a header that the service \
                  sends itself";
    Err(Wrong::new(reason, "write one header per line, such as `Authorization: Bearer …`"))
}

/// The headers in a text that has one in each line (RFC 9110 §5): names and values; `None` when a
/// line is none.
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
    let is_ours = OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours));
    (is_name && is_value && !is_ours).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_a_line_each() {
        let text = "Authorization: Bearer a.b-c==\r\n\n  X-Scope-OrgID:shop 1\n";
        let headers = [("Authorization", "Bearer a.b-c=="), ("X-Scope-OrgID", "shop 1")];
        assert_eq!(header_lines(text).unwrap(), headers);
        assert_eq!(header_lines("X:").unwrap(), [("X", "")]);
        for bad in ["hush", "A B: c", ": c", "A: \u{7f}", "A: é", "Host: a", "content-LENGTH: 3"] {
            assert_eq!(header_lines(&format!("X: y\n{bad}")), None, "{bad}");
        }
    }

    #[test]
    fn files_with_headers_are_tried_and_never_quoted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "Authorization: hush\n").unwrap();
        assert_eq!(holds_headers(file.path()), Ok(()));
        for bad in ["hush", "", "Host: hush"] {
            std::fs::write(&file, bad).unwrap();
            let wrong = format!("{:?}", holds_headers(file.path()).unwrap_err());
            assert!(!wrong.contains("hush"), "{wrong}");
        }
    }

    #[test]
    fn a_collectors_address_has_neither_query_nor_the_path_that_is_added() {
        let reason = |text| endpoint(text).unwrap_err().swap_remove(0).reason;
        assert!(reason("http://collector:4318?a=b").contains("query"));
        assert!(reason("https://collector.example/v1/traces/").contains("/v1/traces"));
        assert!(reason("collector:4318").contains("begins with"));
    }

    #[cfg(not(feature = "traces"))]
    #[test]
    fn a_program_without_traces_says_how_to_get_them() {
        let wrong = endpoint("http://collector:4318").unwrap_err().swap_remove(0);
        assert!(wrong.reason.contains("without traces"), "{wrong:?}");
        assert!(wrong.fix.contains("--features traces"), "{wrong:?}");
    }

    #[test]
    fn a_service_has_a_name() {
        assert_eq!(service_name("shop's bff").unwrap(), "shop's bff");
        assert!(service_name(" ").is_err() && service_name("a\nb").is_err());
    }
}
