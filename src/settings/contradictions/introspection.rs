//! What issuers that are asked about each token can't be together with.

use crate::settings::{auth::ISSUERS, fault::Wrong, reader::Reader};

/// Settings that say how JWTs are checked: there are none to check.
const FOR_SIGNATURES: [&str; 3] = ["algorithms", "typ", "logout_audiences"];

/// Settings that say how the issuer is asked.
const FOR_QUESTIONS: [&str; 3] = [
    "introspection_client_id",
    "introspection_client_secret_file",
    "introspection_allow_no_audience",
];

pub(super) fn check(reader: &mut Reader<'_>) {
    let tables: Vec<_> =
        reader.names_again(ISSUERS).iter().map(|name| format!("{ISSUERS}.{name}")).collect();
    let (asked, others): (Vec<_>, Vec<_>) =
        tables.iter().partition(|table| reader.is_set(&format!("{table}.introspection_url")));
    for table in &asked {
        let url = format!("{table}.introspection_url");
        let reason = format!("{url} is set too, and an issuer of opaque tokens signs none");
        idle(reader, table, &FOR_SIGNATURES, &reason, "remove it");
    }
    for table in others {
        let reason = format!("{table}.introspection_url is missing, so no token is introspected");
        idle(
            reader,
            table,
            &FOR_QUESTIONS,
            &reason,
            "set introspection_url, or remove this setting",
        );
    }
    if let [first, second, ..] = asked.as_slice() {
        let reason = format!(
            "{first}.introspection_url is set too, and an opaque token does not name its issuer"
        );
        let keys = [second, first].map(|table| format!("{table}.introspection_url"));
        let fix = "keep one issuer with introspection_url";
        reader.contradiction(&[&keys[0], &keys[1]], Wrong::new(reason, fix));
    }
}

/// Notes those of `names` that are set though they mean nothing.
fn idle(reader: &mut Reader<'_>, table: &str, names: &[&str], reason: &str, fix: &str) {
    for name in names {
        let key = format!("{table}.{name}");
        if reader.is_set(&key) {
            reader.contradiction(&[&key], Wrong::new(reason.to_owned(), fix));
        }
    }
}
