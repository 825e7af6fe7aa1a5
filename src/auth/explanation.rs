//! Explains to operators why the service accepts or rejects a token (`juspay-bff explain-token`).
//! Clients never get more than a code.
//!
//! The verdict comes from the service's own verification. The checks are those of the lists that
//! verification walks (`jwt/checks.rs`), including those after the first failure. Of the token's
//! values, only those that are compared with settings are shown.

mod audience;
mod check;
mod claims;
mod customer;
mod grants;
mod header;
mod keys;
mod near_miss;
mod text;
mod times;

use std::{future::pending, sync::Arc};

pub use self::check::{Check, Outcome, Suggestion};
pub(super) use self::{
    check::first_failure,
    claims::explain_claims,
    header::{explain_form, explain_header},
};
use self::{
    check::{conclude, list_unmade},
    header::explain_unknown_issuer,
    keys::{explain_keys, explain_secrets},
};
use super::{
    SetUpError,
    authenticator::Authenticator,
    caller::Caller,
    credentials::{Credentials, Scheme, Token},
    digest::sha256,
    error::{AuthError, Reason},
    issuer::{Issuer, JwksRefreshers},
    jwt::{CheckContext, Claims, Unverified},
    revocation::TokenIdentity,
};
use crate::{
    clock::Clock,
    customer::CustomerId,
    settings::{KeySource, Settings},
};

/// The maximum of `auth.max_token_bytes`.
const MAX_TOKEN_BYTES: usize = 65536;

/// The explanation of a token.
#[derive(Debug)]
pub struct Explanation {
    /// Each check, in the service's order.
    pub checks: Vec<Check>,
    /// The customer that the token names, whether the token is valid or not.
    pub customer: Option<CustomerId>,
    /// The service's own verdict; `None` if it needs an issuer and `--offline` forbids calling one.
    pub verdict: Option<Result<Caller, AuthError>>,
    /// The token was sent as `DPoP`, so each request needs a proof.
    pub needs_proof: bool,
    /// Whether a signature or an introspection response proves the claims.
    pub is_proven: bool,
}

impl Explanation {
    /// The first check that fails.
    #[must_use]
    pub fn failure(&self) -> Option<&AuthError> {
        first_failure(&self.checks)
    }

    fn rejected(checks: Vec<Check>, error: AuthError) -> Self {
        Self {
            checks,
            customer: None,
            verdict: Some(Err(error)),
            needs_proof: false,
            is_proven: false,
        }
    }
}

/// Explains the result of a request with this `Authorization` header. With `offline`, no issuer is
/// called. Must run where local tasks can be spawned.
///
/// # Errors
/// If the settings are invalid.
pub async fn explain(
    settings: &Settings,
    authorization: &str,
    offline: bool,
    clock: Arc<dyn Clock>,
) -> Result<Explanation, SetUpError> {
    let (authenticator, refreshers) = Authenticator::alone(settings, clock)?;
    let header = authorization.as_bytes();
    let accepts_dpop = authenticator.dpop.is_accepted();
    let credentials =
        Credentials::of([header].into_iter(), authenticator.max_token_bytes, accepts_dpop)
            .and_then(|credentials| credentials.text().map(|text| (credentials.scheme, text)));
    Ok(match credentials {
        Ok((scheme, text)) => {
            let checks = vec![
                Check::passed("size", format!("{} bytes", text.len()))
                    .expecting(allowed_size(authenticator.max_token_bytes)),
            ];
            let explaining = Explaining { authenticator, scheme, text, offline, checks };
            explaining.with(refreshers).await
        }
        Err(error) => {
            let check = explain_credentials(&error, authorization, authenticator.max_token_bytes);
            let mut checks = vec![check];
            list_unmade(&mut checks, "size", "as there is no token in the header");
            conclude(&mut checks);
            Explanation::rejected(checks, error)
        }
    })
}

fn allowed_size(max: usize) -> String {
    format!("at most {max} bytes (auth.max_token_bytes)")
}

/// Explains why a header contains no token that the service accepts.
fn explain_credentials(error: &AuthError, authorization: &str, max: usize) -> Check {
    let check = Check::of("header", Err(error.clone())).finding(error.to_string());
    if *error == AuthError::TokenTooLarge {
        let token = authorization.split_once(' ').map_or("", |(_, token)| token.trim());
        let size = token.len().next_power_of_two();
        let suggestion = (size <= MAX_TOKEN_BYTES).then(|| Suggestion {
            toml: format!("auth.max_token_bytes = {size}"),
            meaning: "larger tokens use more memory for each waiting request".to_owned(),
        });
        return Check { found: format!("{} bytes", token.len()), ..check }
            .expecting(allowed_size(max))
            .suggesting(suggestion);
    }
    let dpop = "DPoP tokens are accepted if an issuer's dpop is \"optional\" or \"required\"";
    check
        .wanting("Bearer and one token, without spaces or quotes in it")
        .hinting((*error == AuthError::MissingToken).then_some(dpop))
}

/// An explanation in progress.
struct Explaining<'t> {
    authenticator: Authenticator,
    scheme: Scheme,
    text: &'t str,
    offline: bool,
    checks: Vec<Check>,
}

impl<'t> Explaining<'t> {
    async fn with(mut self, refreshers: JwksRefreshers) -> Explanation {
        self.checks.extend(explain_form(self.text));
        let parsed = Unverified::parse(self.text).and_then(|unverified| {
            let (index, _) = self.authenticator.issuer_of(&unverified)?;
            Ok((unverified, index))
        });
        match parsed {
            Ok((unverified, index)) => self.signed(&unverified, index, refreshers).await,
            Err(reason) => self.without_issuer(reason).await,
        }
    }

    /// Explains a token of an issuer with keys.
    async fn signed(
        mut self,
        unverified: &Unverified<'_>,
        index: usize,
        refreshers: JwksRefreshers,
    ) -> Explanation {
        let Some(issuer) = self.authenticator.issuers.get(index) else {
            return self.without_issuer(Reason::UnknownIssuer).await;
        };
        let (rules, table) = (&issuer.rules, &issuer.rules.table);
        let now = self.authenticator.clock.now();
        let context = CheckContext { rules, scheme: self.scheme, now };
        self.checks.extend(explain_header(unverified, rules));
        let mut refreshers = refreshers.of(&issuer.name);
        let has_local_keys =
            matches!(issuer.rules.settings.keys, KeySource::File(_) | KeySource::Hmac(_));
        let has_keys = !self.offline || has_local_keys;
        if let Some(secrets) = &issuer.secrets {
            self.checks.extend(explain_secrets(unverified, table, &secrets.current()));
        } else if has_keys {
            let inspections = refreshers.fetch_once().await;
            let now = self.authenticator.clock.monotonic();
            let current = issuer.keys.usable(now);
            self.checks.extend(explain_keys(
                unverified,
                table,
                inspections.first(),
                current.as_deref(),
            ));
        } else {
            let found = format!("not fetched, because of --offline: {table} has no jwks_file");
            self.checks.push(Check::not_made("keys", found));
            let found = "not checked, because of --offline: what follows is unproven";
            self.checks.push(Check::not_made("signature", found));
        }
        let claims = unverified.unproven_claims();
        let revoked = explain_revoked(&self.authenticator, index, issuer, claims);
        self.checks.push(revoked);
        self.checks.extend(explain_claims(claims, &context));
        let customer = claims.customer(rules).ok();
        let verdict = if has_keys { Some(self.verdict(refreshers).await) } else { None };
        self.end(customer, verdict)
    }

    /// Explains a token of no issuer with keys. An issuer with introspection may accept it.
    async fn without_issuer(mut self, reason: Reason) -> Explanation {
        if reason == Reason::UnknownIssuer && self.checks.iter().all(|it| it.failure().is_none()) {
            let issuers = self.authenticator.issuers.iter().filter(|issuer| issuer.has_keys());
            let issuers: Vec<_> =
                issuers.map(|issuer| (&*issuer.name, &issuer.rules.settings)).collect();
            self.checks.push(explain_unknown_issuer(self.text, &issuers));
        }
        let token = self.token();
        if let Err(reason) = self.authenticator.introspection_of(&token, reason) {
            let failed = self.checks.iter().find(|check| check.failure().is_some());
            let because = failed.map(|check| format!("as the check {:?} failed", check.name));
            let last = self.checks.last().map_or("size", |check| check.name);
            list_unmade(&mut self.checks, last, &because.unwrap_or_default());
            conclude(&mut self.checks);
            return Explanation::rejected(self.checks, reason.into());
        }
        // The issuer with introspection accepts tokens of any form.
        self.checks.retain(|check| check.failure().is_none());
        self.introspected(&token).await
    }

    async fn introspected(mut self, token: &Token<'_>) -> Explanation {
        let Some(introspection) = self.authenticator.introspection.as_ref() else {
            return self.end(None, None);
        };
        let Some(issuer) = self.authenticator.issuers.get(introspection.issuer()) else {
            return self.end(None, None);
        };
        let table = &issuer.rules.table;
        if self.offline {
            let found = format!("not sent to {table}.introspection_url, because of --offline");
            self.checks.push(Check::not_made("introspection", found));
            list_unmade(&mut self.checks, "introspection", "because of --offline");
            return self.end(None, None);
        }
        let url = format!("{table}.introspection_url");
        let response = introspection.probe(token.text).await;
        let check = match &response {
            Ok(Some(_)) => {
                let found = format!("{url} answers that it is active");
                Check::passed("introspection", found)
            }
            Ok(None) => Check::of("introspection", Err(Reason::Inactive))
                .finding(format!("{url} answers that it is not active"))
                .wanting("an active token")
                .hint("the token has expired, was revoked, or was issued by another server"),
            Err(error) => Check::of("introspection", Err(super::introspection::UNAVAILABLE))
                .finding(format!("{url} failed: {error}"))
                .wanting("an answer of the issuer"),
        };
        self.checks.push(check);
        let mut customer = None;
        if let Ok(Some(introspected)) = response {
            let claims = introspected.claims();
            let (auth, index) = (&self.authenticator, introspection.issuer());
            self.checks.push(explain_revoked(auth, index, issuer, claims));
            let (rules, scheme, now) = (&issuer.rules, self.scheme, auth.clock.now());
            self.checks.extend(explain_claims(claims, &CheckContext { rules, scheme, now }));
            customer = claims.customer(rules).ok();
        } else {
            let because = "as the issuer confirms no claims of the token";
            list_unmade(&mut self.checks, "introspection", because);
        }
        let verdict = self.verdict(JwksRefreshers::default()).await;
        self.end(customer, Some(verdict))
    }

    /// The service's own verdict.
    async fn verdict(&self, refreshers: JwksRefreshers) -> Result<Caller, AuthError> {
        let refreshing = async {
            refreshers.run().await;
            pending().await
        };
        let token = self.token();
        tokio::select! {
            biased;
            verdict = self.authenticator.verify(&token, self.scheme) => verdict,
            never = refreshing => never,
        }
    }

    fn token(&self) -> Token<'t> {
        Token { text: self.text, digest: sha256(self.text.as_bytes()) }
    }

    fn end(
        mut self,
        customer: Option<CustomerId>,
        verdict: Option<Result<Caller, AuthError>>,
    ) -> Explanation {
        let is_proven = conclude(&mut self.checks);
        let needs_proof = self.scheme == Scheme::Dpop;
        Explanation { checks: self.checks, customer, verdict, needs_proof, is_proven }
    }
}

fn explain_revoked(
    authenticator: &Authenticator,
    index: usize,
    issuer: &Issuer,
    claims: &Claims,
) -> Check {
    let identity = TokenIdentity::new(index, Arc::clone(&issuer.name), claims.identity());
    let result = authenticator.revocations.check(&identity);
    let found = if result.is_ok() {
        "not in auth.revocations_file; entries of POST /revocations and logouts are in the running \
         service only"
    } else {
        "in auth.revocations_file"
    };
    Check::of("revoked", result).finding(found).wanting("a token that is not revoked")
}
