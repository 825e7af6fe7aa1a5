//! The output of `explain-token`, as text and as JSON: each check, the customer and the verdict.
//!
//! `auth/explanation.rs` makes the checks.

use std::{fmt, io, sync::Arc};

use serde::Serialize;

use crate::{
    auth::{AuthError, Check, Explanation, Outcome, Suggestion},
    customer::{CustomerId, CustomerRefKey},
    problem::Problem,
    secret_file::Secret,
    settings::Settings,
};

/// How the customer is shown: by the id with `--show-customer`, otherwise by the reference that
/// logs use. By neither if `log.customer_ref_key_file` is unset, too.
#[derive(Serialize)]
pub(crate) struct ShownCustomer {
    id: Option<String>,
    customer_ref: Option<String>,
}

impl ShownCustomer {
    pub(crate) fn new(id: &CustomerId, settings: &Settings, show_id: bool) -> io::Result<Self> {
        if show_id {
            return Ok(Self { id: Some(id.as_str().to_owned()), customer_ref: None });
        }
        let Some(path) = &settings.log.customer_ref_key_file else {
            return Ok(Self { id: None, customer_ref: None });
        };
        let key = Secret::open(path).map_err(io::Error::other)?;
        let reference = CustomerRefKey::new(Arc::new(key)).reference(id);
        Ok(Self { id: None, customer_ref: Some(reference.to_string()) })
    }
}

impl fmt::Display for ShownCustomer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { id: Some(id), .. } => write!(f, "id {id:?}"),
            Self { customer_ref: Some(reference), .. } => write!(f, "customer_ref {reference}"),
            Self { id: None, customer_ref: None } => {
                f.write_str("not shown: set log.customer_ref_key_file, or use --show-customer")
            }
        }
    }
}

/// The document of `--format json`, which docs/cli.md documents.
#[derive(Serialize)]
pub(crate) struct ExplanationDocument<'e> {
    ok: bool,
    verdict: Verdict<'e>,
    customer: Option<ShownCustomer>,
    checks: Vec<CheckDocument<'e>>,
}

/// The service's verdict, and the error that a client receives.
#[derive(Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
enum Verdict<'e> {
    Accepted { issuer: &'e str, needs_dpop_proof: bool },
    Rejected { status: u16, code: &'static str, reason: &'static str, message: String },
    Unknown,
}

#[derive(Serialize)]
struct CheckDocument<'e> {
    name: &'static str,
    outcome: &'static str,
    proven: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<&'e str>,
    found: &'e str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suggestion: Option<SuggestionDocument<'e>>,
}

#[derive(Serialize)]
struct SuggestionDocument<'e> {
    toml: &'e str,
    meaning: &'e str,
    proven: bool,
}

impl<'e> ExplanationDocument<'e> {
    pub(crate) fn new(explanation: &'e Explanation, customer: Option<ShownCustomer>) -> Self {
        let verdict = match &explanation.verdict {
            None => Verdict::Unknown,
            Some(Ok(caller)) => Verdict::Accepted {
                issuer: caller.issuer(),
                needs_dpop_proof: explanation.needs_proof,
            },
            Some(Err(error)) => {
                let problem = Problem::from(error);
                let (status, code) = (problem.status(), problem.code());
                Verdict::Rejected { status, code, reason: error.reason(), message: why(error) }
            }
        };
        let checks = explanation.checks.iter();
        let checks = checks.map(|check| CheckDocument::new(check, explanation.is_proven)).collect();
        Self { ok: matches!(verdict, Verdict::Accepted { .. }), verdict, customer, checks }
    }
}

impl<'e> CheckDocument<'e> {
    fn new(check: &'e Check, is_proven: bool) -> Self {
        let (outcome, error) = match &check.outcome {
            Outcome::Passed => ("passed", None),
            Outcome::Failed(error) => ("failed", Some(error)),
            Outcome::NotMade => ("open", None),
        };
        let suggestion = check.suggestion.as_ref().map(|Suggestion { toml, meaning }| {
            SuggestionDocument { toml, meaning, proven: is_proven }
        });
        Self {
            name: check.name,
            outcome,
            proven: check.proven,
            expected: check.expected.as_deref(),
            found: &check.found,
            reason: error.map(AuthError::reason),
            message: error.map(why),
            hint: check.hint.as_deref(),
            suggestion,
        }
    }
}

/// Prints the explanation for people: each check, the customer and the verdict.
pub(crate) fn print(
    explanation: &Explanation,
    customer: Option<&ShownCustomer>,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    for check in &explanation.checks {
        print_check(check, explanation.is_proven, out)?;
    }
    let customer = customer.map(ToString::to_string);
    let customer = customer.as_deref().unwrap_or("none named, or its claim was not checked");
    writeln!(out, "\ncustomer: {customer}")?;
    writeln!(out, "verdict:  {}", verdict(explanation))?;
    out.flush()
}

/// Prints one line, or for a failed check a line and the details below it.
fn print_check(check: &Check, is_proven: bool, out: &mut dyn io::Write) -> io::Result<()> {
    let Check { name, outcome, expected, found, hint, suggestion, proven } = check;
    let error = match outcome {
        Outcome::Failed(error) => error,
        Outcome::NotMade => return writeln!(out, "{:<8} {name:<14} {found}", "-"),
        Outcome::Passed => {
            let level = if *proven { "ok" } else { "unproven" };
            let expected = expected.as_ref().map(|expected| format!("; expected {expected}"));
            let expected = expected.unwrap_or_default();
            return writeln!(out, "{level:<8} {name:<14} {found}{expected}");
        }
    };
    let unproven = if *proven { "" } else { "; unproven" };
    writeln!(out, "{:<8} {name:<14} {} ({}){unproven}", "FAILED", why(error), error.reason())?;
    let blank = "";
    if let Some(expected) = expected {
        writeln!(out, "{blank:<8} expected       {expected}")?;
    }
    writeln!(out, "{blank:<8} found          {found}")?;
    if let Some(hint) = hint {
        writeln!(out, "{blank:<8} hint           {hint}")?;
    }
    if let Some(Suggestion { toml, meaning }) = suggestion {
        for line in toml.lines() {
            writeln!(out, "{blank:<8} to accept such tokens: {line}")?;
        }
        let caution = if is_proven {
            ""
        } else {
            "; the token's signature is unproven: anyone may have written its values"
        };
        writeln!(out, "{blank:<8} meaning        {meaning}{caution}")?;
    }
    Ok(())
}

fn why(error: &AuthError) -> String {
    if let AuthError::InvalidToken(reason) = error { reason.to_string() } else { error.to_string() }
}

/// The service's verdict, and the error that a client receives.
fn verdict(explanation: &Explanation) -> String {
    match &explanation.verdict {
        None => {
            "none, because of --offline; checks that FAILED above would reject the token".to_owned()
        }
        Some(Err(error)) => {
            let problem = Problem::from(error);
            let (status, code) = (problem.status(), problem.code());
            format!("rejected with {status} {code}, reason {}: {}", error.reason(), why(error))
        }
        Some(Ok(caller)) => {
            let proof = if explanation.needs_proof {
                "; each request needs a DPoP proof as well, which is not checked here"
            } else {
                ""
            };
            format!("accepted by auth.issuers.{}{proof}", caller.issuer())
        }
    }
}
