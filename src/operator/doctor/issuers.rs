//! Checks each issuer: its key set or shared secrets, its clock, and its introspection endpoint. Reports what
//! missing customers are created from.

use std::{io, sync::Arc};

use super::{CheckContext, DoctorError, keys::report_skew, report::Report};
use crate::{
    auth::{
        Authenticator, FetchError, InspectedKeys, IntrospectionError, IntrospectionProbe,
        KeySetInspection, SecretsInspection, SetError,
    },
    settings::{Issuer, KeySource},
};

pub(super) async fn check(
    context: &CheckContext<'_>,
    report: &mut Report<'_>,
) -> Result<(), DoctorError> {
    let auth = &context.settings.auth;
    if auth.gateway.is_some() {
        report.ok("auth.gateway", "set: the gateway verifies tokens")?;
        return Ok(());
    }
    let (authenticator, mut refreshers) =
        Authenticator::alone(context.settings, Arc::clone(&context.clock))?;
    for seen in refreshers.fetch_once().await {
        let Some(issuer) = auth.issuers.get(&*seen.issuer) else { continue };
        keys(issuer, &seen, report)?;
        if let Some(ahead) = seen.ahead {
            report_skew(context, &format!("issuer {} clock", seen.issuer), ahead, report)?;
        }
    }
    for seen in authenticator.inspect_secrets() {
        let Some(issuer) = auth.issuers.get(&*seen.issuer) else { continue };
        secrets(issuer, &seen, report)?;
    }
    if let Some(seen) = authenticator.probe_introspection().await {
        introspection(&seen, report)?;
    }
    for (name, issuer) in &auth.issuers {
        new_customers(name, issuer, report)?;
    }
    Ok(())
}

/// Reports what missing customers are created from, if they are.
fn new_customers(name: &str, issuer: &Issuer, report: &mut Report<'_>) -> io::Result<()> {
    let Some(claims) = &issuer.new_customer else { return Ok(()) };
    let number = &claims.mobile_number;
    let verified = match number.verified_claim() {
        Some(twin) if issuer.assumes_verified => format!(", unless {} is false", twin.as_str()),
        Some(twin) => format!(", if {} is true", twin.as_str()),
        None => String::new(),
    };
    let found = format!(
        "created if Juspay doesn't know them, with the mobile number in {}{verified} \
         (juspay.create_missing_customers)",
        number.as_str()
    );
    report.ok(&format!("issuer {name} new customers"), &found)
}

fn keys(issuer: &Issuer, seen: &KeySetInspection, report: &mut Report<'_>) -> io::Result<()> {
    let subject = format!("issuer {} keys", seen.issuer);
    match &seen.fetched {
        Ok(found) => report.ok(&subject, &describe_keys(issuer, found)),
        Err(error) => {
            let found = format!("failed to fetch JWKS: {error}");
            report.failed(&subject, &found, &fix_for(issuer, &seen.issuer, error))
        }
    }
}

/// Reports only success: missing and short secrets are faults of the settings, which are checked
/// first.
fn secrets(issuer: &Issuer, seen: &SecretsInspection, report: &mut Report<'_>) -> io::Result<()> {
    let Some(hmac) = issuer.keys.hmac() else { return Ok(()) };
    let SecretsInspection { issuer: name, count } = seen;
    let (secrets, has) = if *count == 1 { ("secret", "it has") } else { ("secrets", "each has") };
    let strictest = hmac.strictest();
    let found = format!(
        "{count} {secrets} read from auth.issuers.{name}.hmac_secret_file; {has} at least the {} bytes \
         that {} requires",
        strictest.min_secret_bytes(),
        strictest.name(),
    );
    report.ok(&format!("issuer {name} keys"), &found)
}

fn describe_keys(issuer: &Issuer, found: &InspectedKeys) -> String {
    let names = |algorithms: &mut dyn Iterator<Item = &'static str>| {
        algorithms.collect::<Vec<_>>().join(", ")
    };
    let served = names(&mut found.served.iter().map(|it| it.name()));
    let missing = issuer.algorithms.iter().filter(|it| !found.served.contains(it));
    let missing = names(&mut missing.map(|it| it.name()));
    let missing = if missing.is_empty() { missing } else { format!(", none for {missing}") };
    let left_out = found.left_out.iter().map(|(kid, why)| format!("{kid}: {why}"));
    let left_out = match left_out.collect::<Vec<_>>() {
        none if none.is_empty() => "none ignored".to_owned(),
        some => format!("{} ignored ({})", some.len(), some.join("; ")),
    };
    format!("{} usable for {served}{missing}; {left_out}", found.usable)
}

fn fix_for(issuer: &Issuer, name: &str, error: &FetchError) -> String {
    let table = format!("auth.issuers.{name}");
    let key = match issuer.keys {
        KeySource::Url(_) => format!("{table}.jwks_url"),
        KeySource::File(_) => format!("{table}.jwks_file"),
        KeySource::Discovery(_) | KeySource::Introspection(_) | KeySource::Hmac(_) => {
            format!("{table}.discovery")
        }
    };
    match error {
        FetchError::Unreadable(error) => format!("{} ({key})", error.fix()),
        FetchError::Address | FetchError::Downgrade => {
            format!("have the issuer publish its keys over https (see {key})")
        }
        FetchError::OtherOrigin | FetchError::TooManyRedirects => {
            format!("write the address that the issuer redirects to (see {key})")
        }
        FetchError::Connect(_) | FetchError::Timeout => format!(
            "let this machine reach the address in {key} (DNS, firewall, network policy); if the \
             certificate is from a private authority, set {table}.ca_file"
        ),
        FetchError::OtherIssuer => format!(
            "set {table}.issuer to the exact issuer in the document, or check the address in {key}"
        ),
        FetchError::Set(SetError::PrivateKey) => {
            format!("remove the private key from the file; the public key is enough ({key})")
        }
        FetchError::Set(_) => format!(
            "check the content of {key}, and list the algorithms of its keys in {table}.algorithms"
        ),
        FetchError::Broken
        | FetchError::Status(_)
        | FetchError::Truncated
        | FetchError::Discovery
        | FetchError::Panicked => format!("check the address in {key}"),
    }
}

fn introspection(seen: &IntrospectionProbe, report: &mut Report<'_>) -> io::Result<()> {
    let subject = format!("issuer {} introspection", seen.issuer);
    let key = format!("auth.issuers.{}.introspection", seen.issuer);
    match seen.is_active {
        Ok(false) => report.ok(
            &subject,
            "accepts the client credentials, and reports a made-up token as inactive",
        ),
        Ok(true) => {
            let found = "reports a made-up token as active, so any token would be accepted";
            report.failed(&subject, found, &format!("check the address in {key}_url"))
        }
        Err(error) => {
            let fix = match error {
                IntrospectionError::Credentials => format!(
                    "check {key}_client_id, the content of {key}_client_secret_file, and whether \
                     the client is allowed to introspect"
                ),
                IntrospectionError::Unreachable | IntrospectionError::Timeout => format!(
                    "let this machine reach the address in {key}_url; if the certificate is from a \
                     private authority, set auth.issuers.{}.ca_file",
                    seen.issuer
                ),
                IntrospectionError::Status(_)
                | IntrospectionError::InvalidResponse
                | IntrospectionError::Panicked => {
                    format!("check the address in {key}_url")
                }
            };
            report.failed(&subject, &format!("introspection failed: {error}"), &fix)
        }
    }
}
