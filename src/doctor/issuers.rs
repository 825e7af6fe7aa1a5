//! The issuers of phones' tokens: their key sets or shared secrets and their clocks, and whether they take
//! questions.

use std::{io, sync::Arc};

use super::{DoctorError, Patient, keys::skew, report::Report};
use crate::{
    auth::{
        AskError, Authenticator, FetchError, InspectedKeys, IntrospectionProbe, KeySetInspection,
        SecretsInspection, SetError,
    },
    settings::{Issuer, KeySource},
};

pub(super) async fn examine(
    patient: &Patient<'_>,
    report: &mut Report<'_>,
) -> Result<(), DoctorError> {
    let auth = &patient.settings.auth;
    if auth.gateway.is_some() {
        report.ok("auth.gateway", "on: tokens are the gateway's business")?;
        return Ok(());
    }
    let (authenticator, mut refreshers) =
        Authenticator::alone(patient.settings, Arc::clone(&patient.clock))?;
    for seen in refreshers.fetch_once().await {
        let Some(issuer) = auth.issuers.get(&*seen.issuer) else { continue };
        keys(issuer, &seen, report)?;
        if let Some(ahead) = seen.ahead {
            skew(patient, &format!("issuer {} clock", seen.issuer), ahead, report)?;
        }
    }
    for seen in authenticator.inspect_secrets() {
        let Some(issuer) = auth.issuers.get(&*seen.issuer) else { continue };
        secrets(issuer, &seen, report)?;
    }
    if let Some(seen) = authenticator.probe_introspection().await {
        introspection(&seen, report)?;
    }
    Ok(())
}

fn keys(issuer: &Issuer, seen: &KeySetInspection, report: &mut Report<'_>) -> io::Result<()> {
    let subject = format!("issuer {} keys", seen.issuer);
    match &seen.fetched {
        Ok(found) => report.ok(&subject, &counted(issuer, found)),
        Err(error) => {
            let found = format!("the key set can't be had: {error}");
            report.failed(&subject, &found, &remedy(issuer, &seen.issuer, error))
        }
    }
}

/// Shared secrets: a file without them, or with one that is too short, is a fault of the settings.
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

fn counted(issuer: &Issuer, found: &InspectedKeys) -> String {
    let names = |algorithms: &mut dyn Iterator<Item = &'static str>| {
        algorithms.collect::<Vec<_>>().join(", ")
    };
    let served = names(&mut found.served.iter().map(|it| it.name()));
    let idle = issuer.algorithms.iter().filter(|it| !found.served.contains(it));
    let idle = names(&mut idle.map(|it| it.name()));
    let idle = if idle.is_empty() { idle } else { format!(", none for {idle}") };
    let left_out = found.left_out.iter().map(|(kid, why)| format!("{kid}: {why}"));
    let left_out = match left_out.collect::<Vec<_>>() {
        none if none.is_empty() => "none left out".to_owned(),
        some => format!("{} left out ({})", some.len(), some.join("; ")),
    };
    format!("{} usable for {served}{idle}; {left_out}", found.usable)
}

fn remedy(issuer: &Issuer, name: &str, error: &FetchError) -> String {
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
            format!("have the issuer publish its keys by https, see {key}")
        }
        FetchError::OtherOrigin | FetchError::TooManyRedirects => {
            format!("write the address that it redirects to, see {key}")
        }
        FetchError::Connect(_) | FetchError::Timeout => format!(
            "let this machine reach the address of {key} (DNS, firewall, network policy); the \
             certificate of a private authority belongs into {table}.ca_file"
        ),
        FetchError::OtherIssuer => format!(
            "make {table}.issuer what the document says, to the letter, or see whose document is at \
             {key}"
        ),
        FetchError::Set(SetError::PrivateKey) => {
            format!("take the private key out of the file; the public one is enough ({key})")
        }
        FetchError::Set(_) => format!(
            "see what is at {key}, and list the algorithms of its keys in {table}.algorithms"
        ),
        FetchError::Broken
        | FetchError::Status(_)
        | FetchError::Truncated
        | FetchError::Discovery
        | FetchError::Panicked => format!("see what is at {key}"),
    }
}

fn introspection(seen: &IntrospectionProbe, report: &mut Report<'_>) -> io::Result<()> {
    let subject = format!("issuer {} introspection", seen.issuer);
    let key = format!("auth.issuers.{}.introspection", seen.issuer);
    match seen.is_active {
        Ok(false) => report.ok(&subject, "takes our credentials, and knows no nonsense token"),
        Ok(true) => {
            let found = "calls a token active that nobody has issued: anybody would get in";
            report.failed(&subject, found, &format!("see what is at {key}_url"))
        }
        Err(error) => {
            let fix = match error {
                AskError::Credentials => format!(
                    "check {key}_client_id and what is in {key}_client_secret_file, and whether that \
                     client may introspect"
                ),
                AskError::Unreachable | AskError::Timeout => format!(
                    "let this machine reach the address of {key}_url; the certificate of a private \
                     authority belongs into auth.issuers.{}.ca_file",
                    seen.issuer
                ),
                AskError::Status(_) | AskError::Answer | AskError::Panicked => {
                    format!("see what is at {key}_url")
                }
            };
            report.failed(&subject, &format!("can't be asked: {error}"), &fix)
        }
    }
}
