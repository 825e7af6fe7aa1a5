//! `WWW-Authenticate`: the authentication schemes that a client can use (RFC 6750 §3, RFC 9449
//! §7.1).
//!
//! A 401 lists all schemes, other responses only the scheme of the request. The error is part of
//! the challenge of that scheme.

use actix_web::http::{
    StatusCode,
    header::{AUTHORIZATION, HeaderMap, HeaderName},
};

use crate::settings::{Algorithm, Auth, DpopMode};

/// Protection space of the challenges (RFC 9110 §11.5).
const REALM: &str = "juspay-bff";

/// RFC 9449 §8.1
pub(super) const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// The schemes that a listener accepts.
#[derive(Debug, Clone, Copy)]
pub struct Challenges {
    bearer: bool,
    dpop: bool,
}

/// An authentication scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Bearer,
    Dpop,
}

/// Why the request is rejected.
#[derive(Debug)]
pub(super) struct Rejection<'a> {
    pub(super) status: StatusCode,
    /// The challenge's `error`, empty if the request has no token.
    pub(super) error: &'a str,
    /// The scopes that are required.
    pub(super) scope: Option<&'a str>,
}

impl Challenges {
    /// Bearer tokens only.
    pub const BEARER: Self = Self { bearer: true, dpop: false };

    /// The schemes that the settings of the issuers allow.
    #[must_use]
    pub fn of(auth: &Auth) -> Self {
        let mut modes = auth.issuers.values().map(|issuer| issuer.dpop);
        Self {
            bearer: modes.clone().any(|mode| mode != DpopMode::Required),
            dpop: modes.any(|mode| mode != DpopMode::Off),
        }
    }

    /// The values of `WWW-Authenticate` for a request with these headers.
    pub(super) fn for_request(self, headers: &HeaderMap, rejection: &Rejection<'_>) -> Vec<String> {
        let used = self.used(headers, rejection);
        let offered = [(Scheme::Bearer, self.bearer), (Scheme::Dpop, self.dpop)];
        offered
            .into_iter()
            .filter(|(scheme, is_accepted)| {
                *scheme == used || (*is_accepted && rejection.status == StatusCode::UNAUTHORIZED)
            })
            .map(|(scheme, _)| challenge(scheme, rejection, scheme == used))
            .collect()
    }

    /// The scheme that the request used, or the one that it should have used.
    fn used(self, headers: &HeaderMap, rejection: &Rejection<'_>) -> Scheme {
        let is_about_proofs = matches!(rejection.error, "invalid_dpop_proof" | "use_dpop_nonce");
        let by_dpop = headers.get(AUTHORIZATION).is_some_and(|value| {
            let scheme = value.as_bytes().get(..4);
            scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"dpop"))
        });
        if !self.bearer || (self.dpop && (by_dpop || is_about_proofs)) {
            Scheme::Dpop
        } else {
            Scheme::Bearer
        }
    }
}

fn challenge(scheme: Scheme, rejection: &Rejection<'_>, is_used: bool) -> String {
    let mut text = match scheme {
        Scheme::Bearer => format!("Bearer realm=\"{REALM}\""),
        Scheme::Dpop => format!("DPoP realm=\"{REALM}\""),
    };
    if is_used && !rejection.error.is_empty() {
        text.extend([", error=\"", rejection.error, "\""]);
    }
    if let Some(scope) = rejection.scope.filter(|_| is_used) {
        text.extend([", scope=\"", scope, "\""]);
    }
    if scheme == Scheme::Dpop {
        let algs = Algorithm::ALL.map(Algorithm::name).join(" ");
        text.extend([", algs=\"", &algs, "\""]);
    }
    text
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    const DPOP: &str = r#"DPoP realm="juspay-bff""#;
    const ALGS: &str = r#", algs="RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 EdDSA""#;
    const BEARER: &str = r#"Bearer realm="juspay-bff""#;

    fn challenges_for(
        challenges: Challenges,
        authorization: &str,
        rejection: &Rejection<'_>,
    ) -> Vec<String> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(authorization).unwrap());
        challenges.for_request(&headers, rejection)
    }

    #[test]
    fn response_401_lists_every_scheme_with_the_error_at_the_used_one() {
        let [bearer, dpop] = [true, false].map(|bearer| Challenges { bearer, dpop: true });
        let only_bearer = Challenges::BEARER;
        for (challenges, authorization, error, expected) in [
            (only_bearer, "", "", vec![BEARER.to_owned()]),
            (only_bearer, "DPoP x", "", vec![BEARER.to_owned()]),
            (bearer, "", "", vec![BEARER.to_owned(), format!("{DPOP}{ALGS}")]),
            (
                bearer,
                "bearer x",
                "invalid_token",
                vec![format!("{BEARER}, error=\"invalid_token\""), format!("{DPOP}{ALGS}")],
            ),
            (
                bearer,
                "dpop x",
                "invalid_token",
                vec![BEARER.to_owned(), format!("{DPOP}, error=\"invalid_token\"{ALGS}")],
            ),
            (
                bearer,
                "DPoP x",
                "use_dpop_nonce",
                vec![BEARER.to_owned(), format!("{DPOP}, error=\"use_dpop_nonce\"{ALGS}")],
            ),
            (dpop, "", "", vec![format!("{DPOP}{ALGS}")]),
            (
                dpop,
                "Bearer x",
                "invalid_token",
                vec![format!("{DPOP}, error=\"invalid_token\"{ALGS}")],
            ),
        ] {
            let rejection = Rejection { status: StatusCode::UNAUTHORIZED, error, scope: None };
            assert_eq!(
                challenges_for(challenges, authorization, &rejection),
                expected,
                "{authorization} {error}"
            );
        }
    }

    #[test]
    fn other_responses_list_only_the_used_scheme() {
        let both = Challenges { bearer: true, dpop: true };
        let rejection = Rejection {
            status: StatusCode::FORBIDDEN,
            error: "insufficient_scope",
            scope: Some("a b"),
        };
        let details = r#", error="insufficient_scope", scope="a b""#;
        assert_eq!(challenges_for(both, "Bearer x", &rejection), [format!("{BEARER}{details}")]);
        assert_eq!(challenges_for(both, "DPoP x", &rejection), [format!("{DPOP}{details}{ALGS}")]);
    }
}
