//! Checks each issuer: its key set or shared secrets, its clock, and its introspection endpoint.

use std::{io, sync::Arc};

use super::{CheckContext, DoctorError, keys::report_skew, report::Report};
use crate::{
    auth::{
        AskError, Authenticator, FetchError, Introspectable, KeySetSeen, KeysFound, SecretsSeen,
        SetError,
    },
    settings::{Issuer, KeySource},
};

pub(super) async fn check(
    context: &CheckContext<'_>,
    report: &mut Report<'_>,
) -> Result<(), DoctorError> {
    let auth = &context.settings.auth;
    if auth.gateway.is_some() {
        report.ok("auth.gateway", "on: tokens are the gateway's business")?;
        return Ok(());
    }
    let (authenticator, mut keepers) =
        Authenticator::alone(context.settings, Arc::clone(&context.clock))?;
    for seen in keepers.fetch_once().await {
        let Some(issuer) = auth.issuers.get(&*seen.issuer) else { continue };
        keys(issuer, &seen, report)?;
        if let Some(ahead) = seen.ahead {
            report_skew(context, &format!("issuer {} clock", seen.issuer), ahead, report)?;
        }
    }
    for seen in authenticator.secrets_seen() {
        let Some(issuer) = auth.issuers.get(&*seen.issuer) else { continue };
        secrets(issuer, &seen, report)?;
    }
    if let Some(seen) = authenticator.probe_introspection().await {
        introspection(&seen, report)?;
    }
    Ok(())
}

fn keys(issuer: &Issuer, seen: &KeySetSeen, report: &mut Report<'_>) -> io::Result<()> {
    let subject = format!("issuer {} keys", seen.issuer);
    match &seen.fetched {
        Ok(found) => report.ok(&subject, &describe_keys(issuer, found)),
        Err(error) => {
            let found = format!("the key set can't be had: {error}");
            report.failed(&subject, &found, &fix_for(issuer, &seen.issuer, error))
        }
    }
}

/// Reports only success: missing and short secrets are faults of the settings, which are checked
/// first.
fn secrets(issuer: &Issuer, seen: &SecretsSeen, report: &mut Report<'_>) -> io::Result<()> {
    let Some(hmac) = issuer.keys.hmac() else { return Ok(()) };
    let SecretsSeen { issuer: name, count } = seen;
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

fn describe_keys(issuer: &Issuer, found: &KeysFound) -> String {
    let names = |algorithms: &mut dyn Iterator<Item = &'static str>| {
        algorithms.collect::<Vec<_>>().join(", ")
    };
    let served = names(&mut found.served.iter().map(|it| it.name()));
    let missing = issuer.algorithms.iter().filter(|it| !found.served.contains(it));
    let missing = names(&mut missing.map(|it| it.name()));
    let missing = if missing.is_empty() { missing } else { format!(", none for {missing}") };
    let left_out = found.left_out.iter().map(|(kid, why)| format!("{kid}: {why}"));
    let left_out = match left_out.collect::<Vec<_>>() {
        none if none.is_empty() => "none left out".to_owned(),
        some => format!("{} left out ({})", some.len(), some.join("; ")),
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

fn introspection(seen: &Introspectable, report: &mut Report<'_>) -> io::Result<()> {
    let subject = format!("issuer {} introspection", seen.issuer);
    let key = format!("auth.issuers.{}.introspection", seen.issuer);
    match seen.vouches {
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
