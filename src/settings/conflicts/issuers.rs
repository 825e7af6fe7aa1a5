//! Conflicts within an issuer, between issuers, and with the address of Juspay.
//!
//! These checks protect promise P1 in SECURITY.md: an issuer can't name another issuer's customers,
//! and an attacker between this service and an issuer can't sign for its customers.

use crate::settings::{
    CustomerIdForm,
    address::{WebAddress, bare_host},
    auth::{ISSUERS, PLAIN_HTTP_HOSTS},
    fault::Violation,
    reader::Reader,
    setting::Switch,
    value::Items,
};

/// Prefix of Juspay's own customer ids.
const JUSPAY_PREFIX: &str = "cst_";

pub(super) fn check(reader: &mut Reader<'_>) {
    let tables: Vec<_> =
        reader.lookup_names(ISSUERS).iter().map(|name| format!("{ISSUERS}.{name}")).collect();
    for table in &tables {
        key_source(reader, table);
        no_iss(reader, table);
        unused_roots(reader, table);
        local_issuer(reader, table);
        juspay_ids(reader, table);
    }
    same_issuer(reader, &tables);
    let shared = reader.lookup("auth.shared_customer_ids").boolean();
    if tables.len() > 1 && shared == Some(false) {
        namespaces(reader, &tables);
    }
}

fn key_source(reader: &mut Reader<'_>, table: &str) {
    let discovery = format!("{table}.discovery");
    let off = reader.lookup(&*discovery).switch(|_| Ok::<_, Violation>(())) == Some(Switch::Off);
    let mut set =
        vec!["jwks_url", "jwks_file", "discovery", "introspection_url", "hmac_secret_file"];
    set.retain(|name| reader.is_set(&format!("{table}.{name}")) && (*name != "discovery" || !off));
    match &*set {
        [] => {
            let fix = "set one of jwks_url, jwks_file, discovery, introspection_url and \
                       hmac_secret_file";
            reader.missing(&[table], Violation::new("has no keys", fix));
        }
        [_] => {}
        several => {
            let reason = format!("has more than one key source: {}", several.join(", "));
            let settings: Vec<_> = several.iter().map(|name| format!("{table}.{name}")).collect();
            let keys: Vec<_> =
                [table].into_iter().chain(settings.iter().map(String::as_str)).collect();
            reader.conflict(&keys, Violation::new(reason, "keep one, and remove the others"));
        }
    }
}

/// An issuer whose tokens have no `iss` supports neither discovery nor introspection.
fn no_iss(reader: &mut Reader<'_>, table: &str) {
    let key = format!("{table}.issuer");
    if reader.raw_text(&key) != Some("") {
        return;
    }
    let discovery = format!("{table}.discovery");
    let off = reader.lookup(&*discovery).switch(|_| Ok::<_, Violation>(())) == Some(Switch::Off);
    let introspection = format!("{table}.introspection_url");
    let is_set = [
        (&discovery, reader.is_set(&discovery) && !off),
        (&introspection, reader.is_set(&introspection)),
    ];
    for (other, _) in is_set.iter().filter(|(_, is_set)| *is_set) {
        let reason = format!(
            "is empty, which means tokens without iss, but {other} needs an issuer identifier"
        );
        let fix = "write the iss claim of its tokens, or set jwks_url, jwks_file or \
                   hmac_secret_file";
        reader.conflict(&[&key, other], Violation::new(reason, fix));
    }
}

/// `ca_file` has no effect if the keys are in a file.
fn unused_roots(reader: &mut Reader<'_>, table: &str) {
    let ca_file = format!("{table}.ca_file");
    for file in ["jwks_file", "hmac_secret_file"].map(|key| format!("{table}.{key}")) {
        if reader.is_set(&ca_file) && reader.is_set(&file) {
            let violation = Violation::new("nothing is fetched from this issuer", "remove ca_file");
            reader.conflict(&[&ca_file, &file], violation);
        }
    }
}

/// Any process on the machine can impersonate an issuer over plain http, so it is for development
/// only.
fn local_issuer(reader: &mut Reader<'_>, table: &str) {
    let juspay = reader.raw_text("juspay.base_url").and_then(WebAddress::read);
    let allowed = reader.lookup("auth.allow_local_issuer").boolean();
    if juspay.is_none_or(|address| !address.is_remote()) || allowed != Some(false) {
        return;
    }
    let hosts = reader.lookup(PLAIN_HTTP_HOSTS).list(Items::Any, bare_host).unwrap_or_default();
    for name in ["issuer", "jwks_url", "discovery", "introspection_url"] {
        let key = format!("{table}.{name}");
        let may_be_listed = matches!(name, "issuer" | "jwks_url");
        let plain = |text: &str| {
            let is_on_listed = |address: WebAddress| address.is_on(&hosts);
            let is_listed = may_be_listed && WebAddress::read(text).is_some_and(is_on_listed);
            Ok::<_, Violation>(text.starts_with("http://") && !is_listed)
        };
        if reader.lookup(&*key).text(plain) == Some(true) {
            let reason = "an issuer with plain http is for development, but juspay.base_url is not \
                          a loopback address";
            let fix = "use https, or set auth.allow_local_issuer = true if this is intended";
            reader.conflict(&[&key, "juspay.base_url"], Violation::new(reason, fix));
        }
    }
}

/// All of Juspay's ids begin with `cst_`, so any other prefix would reject every customer.
fn juspay_ids(reader: &mut Reader<'_>, table: &str) {
    let form = reader.lookup("juspay.customer_id_form").text(CustomerIdForm::parse);
    let Some((key, prefix)) = prefix(reader, table) else { return };
    let fits = prefix.starts_with(JUSPAY_PREFIX) || JUSPAY_PREFIX.starts_with(&*prefix);
    if form == Some(CustomerIdForm::Juspay) && !fits {
        let reason = "juspay.customer_id_form is \"juspay\", and all such ids begin with cst_, so \
                      none can begin with this prefix";
        let fix = "remove it, or set juspay.customer_id_form = \"merchant\"";
        reader.conflict(&[&key, "juspay.customer_id_form"], Violation::new(reason, fix));
    }
}

/// The `iss` of a token must identify one issuer.
fn same_issuer(reader: &mut Reader<'_>, tables: &[String]) {
    let mut seen: Vec<(String, &str)> = Vec::new();
    for table in tables {
        let key = format!("{table}.issuer");
        let Some(issuer) = reader.lookup(&*key).text(|text| Ok::<_, Violation>(text.to_owned()))
        else {
            continue;
        };
        match seen.iter().find(|(other, _)| *other == issuer) {
            Some((_, other)) => {
                let reason = format!("is the same as {other}.issuer");
                let fix = "merge the two into one, with the audiences and algorithms of both";
                reader.conflict(&[&key, &format!("{other}.issuer")], Violation::new(reason, fix));
            }
            None => seen.push((issuer, table)),
        }
    }
}

/// A customer id must identify its issuer, so no prefix may begin with another: `a` with `b1` and
/// `ab` with `1` are the same id. If one prefix is empty, ids with another issuer's prefix are
/// rejected at run time.
fn namespaces(reader: &mut Reader<'_>, tables: &[String]) {
    let fix = "give each issuer its own customer_id_prefix, which precedes the claim in the customer's \
               id, or set auth.shared_customer_ids = true if all of them name the same customers";
    let mut seen: Vec<(String, &str)> = Vec::new();
    for table in tables {
        let Some((key, prefix)) = prefix(reader, table) else {
            let key = format!("{table}.customer_id_prefix");
            if !reader.is_set(&key) {
                let reason =
                    "is missing; with several issuers the same id could mean two customers";
                let fix = format!("{fix}; one prefix may be empty, in a settings file only");
                reader.missing(&[&key], Violation::new(reason, fix));
            }
            continue;
        };
        let clash = seen.iter().find(|(other, _)| match (other.as_str(), prefix.as_str()) {
            ("", "") => true,
            ("", _) | (_, "") => false,
            (other, own) => other.starts_with(own) || own.starts_with(other),
        });
        if let Some((_, other)) = clash {
            let reason = if prefix.is_empty() {
                format!("the same id could mean two customers: this and that of {other} are empty")
            } else {
                format!("the same id could mean two customers: this overlaps with that of {other}")
            };
            let other = format!("{other}.customer_id_prefix");
            reader.conflict(&[&key, &other], Violation::new(reason, fix));
        }
        seen.push((prefix, table));
    }
}

/// The key of a table's prefix, and the prefix, if it is set.
fn prefix(reader: &mut Reader<'_>, table: &str) -> Option<(String, String)> {
    let key = format!("{table}.customer_id_prefix");
    let prefix = reader.lookup(&*key).text(|text| Ok::<_, Violation>(text.to_owned()))?;
    Some((key, prefix))
}
