//! `juspay-bff explain-token`: reads the token, prints what `auth` explains of it.

use std::{
    io::{self, Read as _},
    sync::Arc,
};

use secrecy::zeroize::Zeroizing;

use super::{Ended, failed, keep_memory_private, load};
use crate::{
    auth::{AuthError, Check, Explanation, Outcome, explain},
    cli::ExplainToken,
    clock::SystemClock,
    customer::{CustomerId, CustomerRefs},
    problem::Problem,
    secret_file::Secret,
    settings::Settings,
};

/// Most that is read: more than any `auth.max_token_bytes`.
const MAX_INPUT: u64 = 128 * 1024;

pub(super) async fn run(flags: ExplainToken) -> Result<(), Ended> {
    keep_memory_private()?;
    let settings = load(flags.settings)?.settings;
    if settings.auth.gateway.is_some() {
        return Err(failed("auth.gateway is on: the service looks at no token"));
    }
    let header = presented(&read(io::stdin()).map_err(failed)?)
        .ok_or_else(|| failed("there is no token on standard input"))?;
    let clock = SystemClock::shared();
    let explanation = explain(&settings, &header, flags.offline, clock).await.map_err(failed)?;
    let customer = explanation.customer.as_ref();
    let customer = customer.map(|customer| named(customer, &settings, flags.show_customer));
    let customer = customer.transpose().map_err(failed)?;
    print(&explanation, customer.as_deref(), &mut io::stdout()).map_err(failed)?;
    match explanation.verdict {
        Some(Ok(_)) => Ok(()),
        Some(Err(_)) => Err(failed("the token is refused")),
        None => Err(failed("whether the token is good can't be told offline")),
    }
}

fn read(input: impl io::Read) -> io::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::new());
    input.take(MAX_INPUT).read_to_end(&mut bytes)?;
    Ok(Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned()))
}

/// The `Authorization` header with that token, however it was pasted.
fn presented(pasted: &str) -> Option<Zeroizing<String>> {
    let text = pasted.trim();
    let text = match text.split_once(':') {
        Some((name, value)) if name.eq_ignore_ascii_case("authorization") => value.trim(),
        _ => text,
    };
    let has_scheme = text.split_once(' ').is_some_and(|(scheme, _)| {
        scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("dpop")
    });
    let header = if has_scheme { text.to_owned() } else { format!("Bearer {text}") };
    (!text.is_empty()).then(|| Zeroizing::new(header))
}

/// The customer as logs tell it, or plainly.
fn named(id: &CustomerId, settings: &Settings, plainly: bool) -> io::Result<String> {
    if plainly {
        return Ok(format!("id {:?}", id.as_str()));
    }
    let Some(path) = &settings.log.customer_ref_key_file else {
        return Ok("not told: set log.customer_ref_key_file, or use --show-customer".to_owned());
    };
    let key = Secret::open(path).map_err(io::Error::other)?;
    Ok(format!("customer_ref {}", CustomerRefs::new(Arc::new(key)).reference(id)))
}

fn print(
    explanation: &Explanation,
    customer: Option<&str>,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    for Check { name, outcome, found } in &explanation.checks {
        let (level, why) = match outcome {
            Outcome::Passed => ("ok", String::new()),
            Outcome::Failed(error) => ("FAILED", format!(": {} ({})", why(error), error.reason())),
            Outcome::Open => ("-", String::new()),
        };
        writeln!(out, "{level:<8} {name:<14} {found}{why}")?;
    }
    writeln!(out, "\ncustomer: {}", customer.unwrap_or("none is named, or nobody was asked"))?;
    writeln!(out, "verdict:  {}", verdict(explanation))?;
    out.flush()
}

fn why(error: &AuthError) -> String {
    if let AuthError::InvalidToken(reason) = error { reason.to_string() } else { error.to_string() }
}

/// The service's own, and what a phone is told of it.
fn verdict(explanation: &Explanation) -> String {
    let told = |error: &AuthError| {
        let problem = Problem::from(error);
        let (status, code) = (problem.status(), problem.code());
        format!("refused with {status} {code}, reason {}: {}", error.reason(), why(error))
    };
    match &explanation.verdict {
        None => "none, as nobody was asked (--offline); what is FAILED above stands".to_owned(),
        Some(Err(error)) => told(error),
        Some(Ok(caller)) if explanation.needs_proof => format!(
            "good, by auth.issuers.{}; a DPoP proof must come with each request, which isn't checked \
             here",
            caller.issuer()
        ),
        Some(Ok(caller)) => format!("good, by auth.issuers.{}", caller.issuer()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_taken_however_it_was_pasted() {
        let presented = |pasted| presented(pasted).map(|header| header.to_string());
        for pasted in
            ["a.b.c", "a.b.c\n", " a.b.c\r\n", "Bearer a.b.c", "Authorization: Bearer a.b.c\n"]
        {
            assert_eq!(presented(pasted).as_deref(), Some("Bearer a.b.c"), "{pasted:?}");
        }
        assert_eq!(presented("bearer  a").as_deref(), Some("bearer  a"));
        assert_eq!(presented("DPoP a.b.c\n").as_deref(), Some("DPoP a.b.c"));
        assert_eq!(presented("a b").as_deref(), Some("Bearer a b"));
        assert_eq!((presented(""), presented(" \n")), (None, None));
    }

    #[test]
    fn no_more_is_read_than_a_token_may_have() {
        let long = io::repeat(b'x');
        assert_eq!(read(long).unwrap().len(), 128 * 1024);
        assert_eq!(&**read(&b"a\xffb"[..]).unwrap(), "a\u{fffd}b");
    }
}
