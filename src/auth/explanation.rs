//! Why a token is taken or refused, told to operators (`juspay-bff explain-token`); callers never
//! learn more than a code.
//!
//! The verdict is the service's own: the token is verified as any other. Beside it stands each check in
//! the service's order, made by the same functions, also those that the service doesn't come to any
//! more. Nothing of the token is in it but values that are compared with settings.

use std::{future::pending, sync::Arc};

use super::{
    AuthError, Authenticator, Caller, Keepers, Reason, SetUpError, Token,
    bearer::{Credentials, Scheme},
    hmac::SecretSet,
    inspection::KeySetSeen,
    introspection::Introspection,
    issuer::Issuer,
    jwks::Current,
    revocations::Grounds,
    sha256,
    token::{Against, Explained, Object, Unverified, explain_form, names_issuer},
};
use crate::{
    clock::Clock,
    customer::CustomerId,
    settings::{KeySource, Settings},
};

/// Longest text of a token's that is told, in characters.
const MAX_SHOWN: usize = 200;

/// How one check came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Passed,
    /// For this the token is refused.
    Failed(AuthError),
    /// It couldn't be made.
    Open,
}

/// One check of a token.
#[derive(Debug, Clone)]
pub struct Check {
    /// What is checked.
    pub name: &'static str,
    /// How it came out.
    pub outcome: Outcome,
    /// What was found, and what it is held against.
    pub found: String,
}

/// All that can be told of a token.
#[derive(Debug)]
pub struct Explanation {
    /// Each check, in the service's order.
    pub checks: Vec<Check>,
    /// Whom the token names, whether it is good or not.
    pub customer: Option<CustomerId>,
    /// The service's own verdict; `None` when nobody was to be asked and so there is none.
    pub verdict: Option<Result<Caller, AuthError>>,
    /// The token came as `DPoP`, so that a proof must come with each request.
    pub needs_proof: bool,
}

impl Check {
    pub(super) fn of<E: Into<AuthError>>(
        name: &'static str,
        result: Result<(), E>,
        found: impl Into<String>,
    ) -> Self {
        let outcome =
            result.map_or_else(|error| Outcome::Failed(error.into()), |()| Outcome::Passed);
        Self { name, outcome, found: found.into() }
    }

    pub(super) fn open(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, outcome: Outcome::Open, found: found.into() }
    }
}

impl Explanation {
    /// The first check that fails.
    #[must_use]
    pub fn failure(&self) -> Option<&AuthError> {
        first_failure(&self.checks)
    }

    fn refused(checks: Vec<Check>, error: AuthError) -> Self {
        Self { checks, customer: None, verdict: Some(Err(error)), needs_proof: false }
    }
}

/// Explains what would become of a request with this `Authorization` header. With `offline` nobody is
/// asked. To be called where local tasks can be spawned.
///
/// # Errors
/// When the settings can't be put to use.
pub async fn explain(
    settings: &Settings,
    authorization: &str,
    offline: bool,
    clock: Arc<dyn Clock>,
) -> Result<Explanation, SetUpError> {
    let (authenticator, keepers) = Authenticator::alone(settings, clock)?;
    let header = authorization.as_bytes();
    let takes_dpop = authenticator.dpop.is_taken();
    let credentials =
        Credentials::of([header].into_iter(), authenticator.max_token_bytes, takes_dpop)
            .and_then(|credentials| credentials.text().map(|text| (credentials.scheme, text)));
    Ok(match credentials {
        Ok((scheme, text)) => {
            let size = format!(
                "{} bytes; auth.max_token_bytes: {}",
                text.len(),
                authenticator.max_token_bytes
            );
            let first = Check::of::<AuthError>("size", Ok(()), size);
            let explaining =
                Explaining { authenticator, scheme, text, offline, checks: vec![first] };
            explaining.with(keepers).await
        }
        Err(error) => {
            let found = error.to_string();
            Explanation::refused(vec![Check::of("header", Err(error.clone()), found)], error)
        }
    })
}

/// An explanation under way.
struct Explaining<'t> {
    authenticator: Authenticator,
    scheme: Scheme,
    text: &'t str,
    offline: bool,
    checks: Vec<Check>,
}

impl Explaining<'_> {
    async fn with(mut self, keepers: Keepers) -> Explanation {
        self.checks.extend(explain_form(self.text));
        let parsed = Unverified::parse(self.text).and_then(|unverified| {
            let (index, _) = self.authenticator.issuer_of(&unverified)?;
            Ok((unverified, index))
        });
        match parsed {
            Ok((unverified, index)) => self.signed(&unverified, index, keepers).await,
            Err(reason) => self.unsigned(reason).await,
        }
    }

    /// A token that leads to an issuer with keys.
    async fn signed(
        mut self,
        unverified: &Unverified<'_>,
        index: usize,
        keepers: Keepers,
    ) -> Explanation {
        let Some(issuer) = self.authenticator.issuers.get(index) else {
            return self.unsigned(Reason::UnknownIssuer).await;
        };
        let table = format!("auth.issuers.{}", issuer.name);
        let now = self.authenticator.clock.now();
        let against = Against { rules: &issuer.rules, table: &table, scheme: self.scheme, now };
        let name = unverified.claimed_issuer().map_or_else(|| "no iss".to_owned(), shown);
        let mut checks = vec![Check::of::<Reason>("issuer", Ok(()), format!("{name} is {table}"))];
        checks.extend(unverified.explain_header(&against));
        let mut keepers = keepers.of(&issuer.name);
        let is_near = matches!(issuer.rules.settings.keys, KeySource::File(_) | KeySource::Hmac(_));
        let has_keys = !self.offline || is_near;
        if let Some(secrets) = &issuer.secrets {
            checks.extend(explain_secrets(unverified, &table, &secrets.current()));
        } else if has_keys {
            let seen = keepers.fetch_once().await;
            let now = self.authenticator.clock.monotonic();
            let current = issuer.keys.usable(now);
            checks.extend(explain_keys(unverified, &table, seen.first(), current.as_deref()));
        } else {
            let found = format!("not fetched (--offline), as {table} has no jwks_file");
            checks.push(Check::open("keys", found));
            checks.push(Check::open("signature", "not checked: what follows is unproven"));
        }
        checks.push(self.explain_revocation(unverified, index, issuer));
        let (claims, customer) = unverified.explain_claims(&against);
        checks.extend(claims);
        self.checks.extend(checks);
        let verdict = if has_keys { Some(self.verdict(keepers).await) } else { None };
        self.end(customer, verdict)
    }

    fn explain_revocation(
        &self,
        unverified: &Unverified<'_>,
        index: usize,
        issuer: &Issuer,
    ) -> Check {
        let grounds = Grounds::new(index, Arc::clone(&issuer.name), unverified.claimed_identity());
        let result = self.authenticator.revocations.check(&grounds);
        let found = "by auth.revocations_file; what POST /revocations and logouts have told the \
                     running service isn't known here";
        Check::of("revoked", result, found)
    }

    /// A token that leads to none: another issuer may be asked about it.
    async fn unsigned(mut self, reason: Reason) -> Explanation {
        if reason == Reason::UnknownIssuer && self.checks.iter().all(passed) {
            let issuers = self.authenticator.issuers.iter().filter(|issuer| issuer.has_keys());
            let names = listed(issuers.map(|issuer| issuer.rules.settings.issuer.as_str()));
            let found = if names_issuer(self.text, "") {
                format!("it has no iss, and no auth.issuers.NAME.issuer is \"\": {names}")
            } else {
                format!("no auth.issuers.NAME.issuer equals its iss: {names}")
            };
            self.checks.push(Check::of("issuer", Err(reason), found));
        }
        let token = self.token();
        if let Err(reason) = self.authenticator.introspection_of(&token, reason) {
            return Explanation::refused(self.checks, reason.into());
        }
        // It is no JWT of ours, and needn't be one.
        self.checks.retain(passed);
        self.introspected(&token).await
    }

    async fn introspected(mut self, token: &Token) -> Explanation {
        let Some(introspection) = self.authenticator.introspection.as_ref() else {
            return self.end(None, None);
        };
        let Some(issuer) = self.authenticator.issuers.get(introspection.issuer()) else {
            return self.end(None, None);
        };
        let table = format!("auth.issuers.{}", issuer.name);
        if self.offline {
            let found = format!("{table}.introspection_url would be asked, but for --offline");
            self.checks.push(Check::open("introspection", found));
            return self.end(None, None);
        }
        let now = self.authenticator.clock.now();
        let against = Against { rules: &issuer.rules, table: &table, scheme: self.scheme, now };
        let (checks, customer) = self.asked(introspection, token, &against).await;
        self.checks.extend(checks);
        let verdict = self.verdict(Keepers::default()).await;
        self.end(customer, Some(verdict))
    }

    async fn asked(
        &self,
        introspection: &Introspection,
        token: &Token,
        against: &Against<'_>,
    ) -> Explained {
        let url = format!("{}.introspection_url", against.table);
        let introspected = match introspection.probe(&token.text).await {
            Ok(Some(introspected)) => introspected,
            Ok(None) => {
                let found = format!("{url} says that it isn't active");
                return (vec![Check::of("introspection", Err(Reason::Inactive), found)], None);
            }
            Err(error) => {
                let unavailable = Err(super::introspection::UNAVAILABLE);
                let found = format!("{url} can't be asked: {error}");
                return (vec![Check::of("introspection", unavailable, found)], None);
            }
        };
        let found = format!("{url} says that it is active");
        let mut checks = vec![Check::of::<Reason>("introspection", Ok(()), found)];
        let (index, identity) = (introspection.issuer(), introspected.identity());
        let grounds = Grounds::new(index, against.table.into(), identity);
        let revoked = self.authenticator.revocations.check(&grounds);
        checks.push(Check::of("revoked", revoked, "by auth.revocations_file"));
        let (claims, customer) = introspected.explain(against);
        checks.extend(claims);
        (checks, customer)
    }

    /// What the service itself says of the token.
    async fn verdict(&self, keepers: Keepers) -> Result<Caller, AuthError> {
        let keeping = async {
            keepers.run().await;
            pending().await
        };
        tokio::select! {
            biased;
            verdict = self.authenticator.verify_uncounted(self.token(), self.scheme) => verdict,
            never = keeping => never,
        }
    }

    fn token(&self) -> Token {
        Token { text: self.text.into(), digest: sha256(self.text.as_bytes()) }
    }

    fn end(
        self,
        customer: Option<CustomerId>,
        verdict: Option<Result<Caller, AuthError>>,
    ) -> Explanation {
        let needs_proof = self.scheme == Scheme::Dpop;
        Explanation { checks: self.checks, customer, verdict, needs_proof }
    }
}

/// What the service would refuse a token for that comes to these checks.
pub(super) fn first_failure(checks: &[Check]) -> Option<&AuthError> {
    checks.iter().find_map(|check| match &check.outcome {
        Outcome::Failed(error) => Some(error),
        Outcome::Passed | Outcome::Open => None,
    })
}

fn passed(check: &Check) -> bool {
    check.outcome == Outcome::Passed
}

/// The key set as it was fetched, the keys that fit, and whether one of them has signed.
fn explain_keys(
    unverified: &Unverified<'_>,
    table: &str,
    seen: Option<&KeySetSeen>,
    current: Option<&Current>,
) -> Vec<Check> {
    let Some(current) = current else {
        let why = seen.and_then(|seen| seen.fetched.as_ref().err()).map(ToString::to_string);
        let found = format!("{table} has no keys: {}", why.unwrap_or_default());
        let retry_after = super::BUG_RETRY;
        return vec![Check::of("keys", Err(AuthError::KeysUnavailable { retry_after }), found)];
    };
    let fitting = unverified.wanted().map_or(0, |wanted| current.set.fitting(wanted).len());
    let kid = unverified.kid();
    let named = kid.map_or_else(|| "without kid".to_owned(), |kid| format!("kid {}", shown(kid)));
    let mut found = format!("{named}: {fitting} of {} keys of {table} fit", current.set.len());
    if fitting == 0 && kid.is_some() {
        found.push_str(
            "; a service that last fetched them less than auth.leeway after the token's iat answers \
             503 until its next fetch",
        );
    }
    let keys = if fitting == 0 { Err(Reason::UnknownKey) } else { Ok(()) };
    let signature = match unverified.verify(&current.set) {
        Ok(_) => Check::of::<Reason>("signature", Ok(()), "made with that key"),
        Err(Reason::UnknownKey | Reason::Algorithm) => {
            Check::open("signature", "not checked: what follows is unproven")
        }
        Err(reason) => {
            let found = "not made with that key: what follows is unproven";
            Check::of("signature", Err(reason), found)
        }
    };
    vec![Check::of("keys", keys, found), signature]
}

/// The shared secrets, and whether one of them has signed.
fn explain_secrets(unverified: &Unverified<'_>, table: &str, secrets: &SecretSet) -> Vec<Check> {
    let found = format!("{} of {table}.hmac_secret_file", secrets.len());
    let signature = match unverified.verify_hmac(secrets) {
        Ok((_, (_, line))) => {
            let found = format!("made with the secret of line {line}");
            Check::of::<Reason>("signature", Ok(()), found)
        }
        Err(Reason::Algorithm) => Check::open("signature", "not checked: what follows is unproven"),
        Err(reason) => {
            let found = "made with none of these secrets, which are used as they are, without \
                         decoding them: what follows is unproven";
            Check::of("signature", Err(reason), found)
        }
    };
    vec![Check::of::<Reason>("secrets", Ok(()), found), signature]
}

/// Text that anybody may have written, on one line, in quotes and not too long.
pub(super) fn shown(text: &str) -> String {
    format!("\"{}\"", plain(text))
}

/// The member of an object, as JSON that is as harmless.
pub(super) fn told(object: &Object, member: &str) -> String {
    object.get(member).map_or_else(|| "none".to_owned(), |value| plain(&value.to_string()))
}

/// Such texts, separated by commas.
pub(super) fn listed<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> String {
    let told: Vec<_> = texts.into_iter().map(|text| shown(text.as_ref())).collect();
    if told.is_empty() { "none".to_owned() } else { told.join(", ") }
}

/// What a terminal takes for text.
pub(super) fn plain(text: &str) -> String {
    let mut told = String::new();
    for c in text.chars().take(MAX_SHOWN) {
        match c {
            '"' | '\'' | '\\' => told.push(c),
            _ => told.extend(c.escape_debug()),
        }
    }
    if text.chars().nth(MAX_SHOWN).is_some() {
        told.push('…');
    }
    told
}
