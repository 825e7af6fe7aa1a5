//! One check of an explanation: what it expects, what it found, and which setting would change the
//! outcome. Also decides which checks are unproven, and for which tokens no setting is suggested.

use super::header::FORM_CHECKS;
use crate::auth::{
    error::{AuthError, Reason},
    jwt::{ClaimCheck, HeaderCheck, Source},
};

/// The names of a token's checks, in the service's order. `required claim` is not listed, because
/// it depends on the issuer.
fn names(is_introspected: bool) -> Vec<&'static str> {
    let claims = |source| {
        let listed = ClaimCheck::of(source).filter(|check| *check != ClaimCheck::RequiredClaims);
        listed.map(move |check| check.name(source))
    };
    if is_introspected {
        ["introspection", "revoked"].into_iter().chain(claims(Source::Introspection)).collect()
    } else {
        let before = ["size"].into_iter().chain(FORM_CHECKS);
        let header = HeaderCheck::ALL.map(HeaderCheck::name);
        let proof = ["keys", "signature", "revoked"];
        let claims = claims(Source::Jwt { has_access_token_type: false });
        before.chain(header).chain(proof).chain(claims).collect()
    }
}

/// The outcome of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The token is as expected.
    Passed,
    /// The service rejects the token for this reason.
    Failed(AuthError),
    /// The check was not made.
    NotMade,
}

/// One check of a token.
#[derive(Debug, Clone)]
pub struct Check {
    /// What is checked.
    pub name: &'static str,
    /// The outcome.
    pub outcome: Outcome,
    /// The value that a comparison expects, with its setting.
    pub expected: Option<String>,
    /// What was found.
    pub found: String,
    /// For a failed check: the difference if it is a common one, or what to do.
    pub hint: Option<String>,
    /// For a failed check: the setting that would accept such tokens.
    pub suggestion: Option<Suggestion>,
    /// False if the check relied on claims that no valid signature covers, or was not made.
    pub proven: bool,
}

/// A change of settings that would accept a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggestion {
    /// Lines of TOML, each with its whole key.
    pub toml: String,
    /// What the change means.
    pub meaning: String,
}

impl Check {
    /// A check with this result.
    pub(super) fn of<E: Into<AuthError>>(name: &'static str, result: Result<(), E>) -> Self {
        let outcome =
            result.map_or_else(|error| Outcome::Failed(error.into()), |()| Outcome::Passed);
        let (found, expected, hint, suggestion) = (String::new(), None, None, None);
        Self { name, outcome, expected, found, hint, suggestion, proven: true }
    }

    pub(super) fn passed(name: &'static str, found: impl Into<String>) -> Self {
        Self::of::<Reason>(name, Ok(())).finding(found)
    }

    pub(super) fn not_made(name: &'static str, found: impl Into<String>) -> Self {
        Self { outcome: Outcome::NotMade, ..Self::passed(name, found) }
    }

    pub(super) fn finding(mut self, found: impl Into<String>) -> Self {
        self.found = found.into();
        self
    }

    pub(super) fn expecting(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    /// Sets an expectation that depends on no setting. Only a failed check keeps it.
    pub(super) fn wanting(self, expected: impl Into<String>) -> Self {
        if self.failure().is_some() { self.expecting(expected) } else { self }
    }

    /// Sets the hint. Only a failed check keeps it.
    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        self.hinting(Some(hint))
    }

    /// Sets the hint, if there is one. Only a failed check keeps it.
    pub(super) fn hinting<H: Into<String>>(mut self, hint: Option<H>) -> Self {
        self.hint = hint.map(Into::into).filter(|_| self.failure().is_some());
        self
    }

    /// Sets the suggestion. Only a failed check keeps it.
    pub(super) fn suggesting(mut self, suggestion: Option<Suggestion>) -> Self {
        self.suggestion = suggestion.filter(|_| self.failure().is_some());
        self
    }

    pub(super) const fn failure(&self) -> Option<&AuthError> {
        match &self.outcome {
            Outcome::Failed(error) => Some(error),
            Outcome::Passed | Outcome::NotMade => None,
        }
    }

    fn has_passed(&self) -> bool {
        self.outcome == Outcome::Passed
    }

    fn is_id_token(&self) -> bool {
        self.failure() == Some(&AuthError::InvalidToken(Reason::IdToken))
    }

    /// Whether no setting may be suggested after this failure: the token is forged, expired, or not
    /// an access token.
    fn forbids_suggestions(&self) -> bool {
        let Some(AuthError::InvalidToken(reason)) = self.failure() else {
            return self.failure() == Some(&AuthError::ExpiredToken);
        };
        matches!(reason, Reason::Signature | Reason::Revoked | Reason::Inactive)
            || (*reason == Reason::Type && self.suggestion.is_none())
    }
}

/// Lists the service's checks after `last`, which were not made.
pub(super) fn list_unmade(checks: &mut Vec<Check>, last: &str, because: &str) {
    let is_introspected = checks.iter().any(|check| check.name == "introspection");
    let order = names(is_introspected);
    let made: Vec<_> = checks.iter().map(|check| check.name).collect();
    let rest = order.iter().skip_while(|name| **name != last).skip(1);
    // An introspected token may have an iss check of its own before the introspection.
    let unmade = rest.filter(|name| is_introspected || !made.contains(name));
    checks.extend(unmade.map(|name| Check::not_made(name, format!("not checked, {because}"))));
}

/// Marks unproven checks, and removes suggestions where accepting the token would be dangerous.
/// Returns whether the claims are proven.
pub(super) fn conclude(checks: &mut [Check]) -> bool {
    let is_proof = |check: &Check| matches!(check.name, "signature" | "introspection");
    let proof = checks.iter().position(is_proof);
    let is_proven = checks.iter().any(|check| is_proof(check) && check.has_passed());
    // One change may accept an ID token, where that is the app's credential. Several would accept any.
    let failures = checks.iter().filter(|check| check.failure().is_some()).count();
    let is_unfit_id_token = failures > 1 && checks.iter().any(Check::is_id_token);
    let is_dangerous = is_unfit_id_token || checks.iter().any(Check::forbids_suggestions);
    for (index, check) in checks.iter_mut().enumerate() {
        let follows = proof.is_some_and(|proof| index > proof);
        check.proven = check.outcome != Outcome::NotMade && (is_proven || !follows);
        check.suggestion.take_if(|_| is_dangerous);
    }
    is_proven
}

/// The first failed check, which is the service's reason to reject the token.
pub(in crate::auth) fn first_failure(checks: &[Check]) -> Option<&AuthError> {
    checks.iter().find_map(Check::failure)
}
