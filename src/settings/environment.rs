//! Reads settings from environment variables (`JUSPAY_BFF__SECTION__KEY`), and warns about
//! variables with a similar name.

use config::{Environment, Map, Source, Value, ValueKind};

use super::fault::{Fault, Violation};

/// Prefix of the origin of values from the environment; the variable's name follows.
pub(super) const ORIGIN: &str = "environment variable ";

const PREFIX: &str = "JUSPAY_BFF";

/// The setting in one variable, as a tree. `None` if it isn't a setting, or is empty.
pub(super) fn layer(name: &str, value: &str) -> Option<Map<String, Value>> {
    // One variable at a time, because `config` drops the variables' names.
    let source = Environment::with_prefix(PREFIX)
        .separator("__")
        .ignore_empty(true)
        .source(Some(Map::from([(name.to_owned(), value.to_owned())])));
    let (path, value) = source.collect().ok()?.into_iter().next()?;
    let value = Value::new(Some(&format!("{ORIGIN}{name}")), value.kind);
    let nested = path.rsplit('.').fold(value, |inner, segment| {
        Value::new(None, ValueKind::Table(Map::from([(segment.to_owned(), inner)])))
    });
    nested.into_table().ok()
}

/// The key of a variable that is empty and would otherwise be a setting.
pub(super) fn empty(name: &str, value: &str) -> Option<String> {
    fn key(table: Map<String, Value>) -> Option<String> {
        let (name, value) = table.into_iter().next()?;
        let ValueKind::Table(inner) = value.kind else { return Some(name) };
        Some(format!("{name}.{}", key(inner)?))
    }
    if value.is_empty() { key(layer(name, "not empty")?) } else { None }
}

/// A warning about a variable that looks like a setting but isn't one.
pub(super) fn warning(name: &str, value: &str) -> Option<Fault> {
    let rest = strip_prefix_ignoring_case(name, PREFIX)?;
    let is_near = rest.starts_with('_') && !rest.starts_with("__");
    (is_near && !is_service_link(rest, value)).then(|| {
        let reason = format!(
            "is ignored: the names of settings begin with {PREFIX}__ and have two underscores \
             between section and key"
        );
        let fix = "rename the variable, or unset it";
        Violation::new(reason, fix).of(name, Some(format!("{ORIGIN}{name}")))
    })
}

/// Whether Kubernetes sets this variable for a service called `juspay-bff` or `juspay-bff-…`
/// ("Environment variables" in its Service documentation). `rest` is what follows `JUSPAY_BFF`.
fn is_service_link(rest: &str, value: &str) -> bool {
    let is_port = |after: &str| {
        let digits = after.trim_start_matches(|c: char| c.is_ascii_digit());
        let protocols = ["_TCP", "_UDP", "_SCTP"];
        let detail = protocols.into_iter().find_map(|protocol| digits.strip_prefix(protocol));
        digits.len() < after.len()
            && detail.is_some_and(|detail| matches!(detail, "" | "_PROTO" | "_PORT" | "_ADDR"))
    };
    rest.ends_with("_SERVICE_HOST")
        || rest.ends_with("_SERVICE_PORT")
        || rest.contains("_SERVICE_PORT_")
        || rest == "_PORT"
        || (rest.ends_with("_PORT") && value.contains("://"))
        || rest.match_indices("_PORT_").any(|(at, separator)| {
            rest.get(at..).and_then(|found| found.strip_prefix(separator)).is_some_and(is_port)
        })
}

fn strip_prefix_ignoring_case<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_becomes_a_nested_value_with_its_name_as_origin() {
        let layer = layer("JUSPAY_BFF__AUTH__ISSUERS__MAIN__ISSUER", "0123").unwrap();
        let issuers = layer["auth"].clone().into_table().unwrap()["issuers"].clone();
        let main = issuers.into_table().unwrap()["main"].clone().into_table().unwrap();
        assert_eq!(main["issuer"].kind, ValueKind::String("0123".to_owned()));
        let origin = "environment variable JUSPAY_BFF__AUTH__ISSUERS__MAIN__ISSUER";
        assert_eq!(main["issuer"].origin(), Some(origin));
    }

    #[test]
    fn other_and_empty_variables_are_ignored() {
        for (name, value) in
            [("JUSPAY_BFF__LOG__LEVEL", ""), ("JUSPAY_BFF_LOG_LEVEL", "info"), ("PATH", "/bin")]
        {
            assert_eq!(layer(name, value), None, "{name}");
        }
    }

    #[test]
    fn empty_variable_is_identified_by_its_key() {
        let key = |name, value| empty(name, value);
        let prefix = "JUSPAY_BFF__AUTH__ISSUERS__MAIN__CUSTOMER_ID_PREFIX";
        assert_eq!(key(prefix, "").as_deref(), Some("auth.issuers.main.customer_id_prefix"));
        assert_eq!(key(prefix, "web-"), None);
        assert_eq!(key("PATH", ""), None);
    }

    #[test]
    fn similar_names_cause_a_warning_without_the_value() {
        for name in
            ["JUSPAY_BFF_LOG_LEVEL", "juspay_bff_api_key", "JUSPAY_BFF_LOG__LEVEL", "JUSPAY_BFF_"]
        {
            let warning = warning(name, "hush").unwrap().warning();
            assert!(warning.contains(name) && !warning.contains("hush"), "{warning}");
        }
        for name in ["JUSPAY_BFF__LOG__LEVEL", "JUSPAY_BFF", "JUSPAY_BFFX_A", "PATH", "JÜSPAY_BFF"]
        {
            assert_eq!(warning(name, "x"), None, "{name}");
        }
    }

    #[test]
    fn kubernetes_service_variables_cause_no_warning() {
        for name in [
            "SERVICE_HOST",
            "SERVICE_PORT",
            "SERVICE_PORT_HTTP",
            "PORT",
            "PORT_8080_TCP",
            "PORT_8080_TCP_PROTO",
            "PORT_8080_UDP_ADDR",
            "PORT_9_SCTP_PORT",
            "ADMIN_SERVICE_HOST",
            "ADMIN_SERVICE_PORT_METRICS",
            "ADMIN_PORT",
            "ADMIN_PORT_9464_TCP_PORT",
        ] {
            assert_eq!(warning(&format!("JUSPAY_BFF_{name}"), "tcp://10.0.0.1:1"), None, "{name}");
        }
        for name in ["SERVER_PORT", "PORT_TCP", "PORT_80_TCP_X", "PORT_80", "SERVICE", "X_HOST"] {
            assert!(warning(&format!("JUSPAY_BFF_{name}"), "8080").is_some(), "{name}");
        }
    }
}
