//! Conflicts of issuers with introspection.

use crate::settings::{auth::ISSUERS, fault::Violation, reader::Reader};

/// Settings about JWTs, which introspection doesn't use.
const JWT_SETTINGS: [&str; 3] = ["algorithms", "typ", "logout_audiences"];

/// Settings that only introspection uses.
const INTROSPECTION_SETTINGS: [&str; 3] = [
    "introspection_client_id",
    "introspection_client_secret_file",
    "introspection_allow_no_audience",
];

pub(super) fn check(reader: &mut Reader<'_>) {
    let tables: Vec<_> =
        reader.lookup_names(ISSUERS).iter().map(|name| format!("{ISSUERS}.{name}")).collect();
    let (introspected, others): (Vec<_>, Vec<_>) =
        tables.iter().partition(|table| reader.is_set(&format!("{table}.introspection_url")));
    for table in &introspected {
        let url = format!("{table}.introspection_url");
        let reason = format!("{url} is set too, and an issuer of opaque tokens signs none");
        report_unused(reader, table, &JWT_SETTINGS, &reason, "remove it");
    }
    for table in others {
        let reason = format!("{table}.introspection_url is missing, so no token is introspected");
        report_unused(
            reader,
            table,
            &INTROSPECTION_SETTINGS,
            &reason,
            "set introspection_url, or remove this setting",
        );
    }
    if let [first, second, ..] = introspected.as_slice() {
        let reason = format!(
            "{first}.introspection_url is set too, and an opaque token does not name its issuer"
        );
        let keys = [second, first].map(|table| format!("{table}.introspection_url"));
        let fix = "keep one issuer with introspection_url";
        reader.conflict(&[&keys[0], &keys[1]], Violation::new(reason, fix));
    }
}

/// Reports each of `names` that is set without effect.
fn report_unused(reader: &mut Reader<'_>, table: &str, names: &[&str], reason: &str, fix: &str) {
    for name in names {
        let key = format!("{table}.{name}");
        if reader.is_set(&key) {
            reader.conflict(&[&key], Violation::new(reason.to_owned(), fix));
        }
    }
}
