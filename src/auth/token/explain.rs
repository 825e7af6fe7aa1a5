//! Every check of a token before its claims, told one by one to operators; `claims` tells the rest.

use super::{
    Header, Unverified, claimed_issuer, claims::Against, claims::Explained, decode, object,
};
use crate::auth::{
    error::Reason,
    explanation::{Check, listed, shown, told},
};

/// What [`Unverified::parse`] looks at, in its order.
pub(in crate::auth) fn explain_form(text: &str) -> Vec<Check> {
    let parts: Vec<&str> = text.split('.').collect();
    let [header, payload, signature] = parts[..] else {
        let found = format!("{} parts between dots; a signed token has three", parts.len());
        return vec![Check::of("form", Err(Reason::NotJws), found)];
    };
    let (header, payload) = (object(header), object(payload));
    let broken = [
        ("header", header.is_ok()),
        ("payload", payload.is_ok()),
        ("signature", decode(signature).is_ok()),
    ];
    let broken: Vec<_> = broken.iter().filter(|(_, good)| !good).map(|(part, _)| *part).collect();
    let (Ok(header), Ok(payload), []) = (header, payload, &broken[..]) else {
        let found = format!(
            "{}: not base64url without padding, or no JSON object, or one with a member twice",
            broken.join(", ")
        );
        return vec![Check::of("form", Err(Reason::NotJws), found)];
    };
    let iss = claimed_issuer(&payload).map(drop);
    let read = Header::parse(&header);
    let found = format!(
        "members {}; alg {}, typ {}, kid {}",
        listed(header.names()),
        told(&header, "alg"),
        told(&header, "typ"),
        told(&header, "kid")
    );
    vec![
        Check::of::<Reason>(
            "form",
            Ok(()),
            format!("three parts; claims {}", listed(payload.names())),
        ),
        Check::of("header", read.map(drop), found),
        Check::of("iss", iss, told(&payload, "iss")),
    ]
}

impl Unverified<'_> {
    /// Each check of [`Unverified::check_header`].
    pub(in crate::auth) fn explain_header(&self, against: &Against<'_>) -> [Check; 2] {
        let (settings, table) = (&against.rules.settings, against.table);
        let algorithms = match settings.keys.hmac() {
            Some(hmac) => listed(hmac.algorithms.iter().map(|it| it.name())),
            None => listed(settings.algorithms.iter().map(|it| it.name())),
        };
        let algorithm = self.header.algorithm.name();
        [
            Check::of(
                "alg",
                self.header.check_algorithm(against.rules),
                format!("{algorithm}; {table}.algorithms: {algorithms}"),
            ),
            Check::of(
                "typ",
                self.header.check_typ(against.rules),
                format!("{}; {table}.typ: {}", shown(&self.header.typ), listed(&settings.typ)),
            ),
        ]
    }

    /// Each check of the claims, which anybody may have written.
    pub(in crate::auth) fn explain_claims(&self, against: &Against<'_>) -> Explained {
        self.claims.all.explain(against, self.header.says_access_token())
    }

    /// By what it could be revoked, if it is what it says.
    pub(in crate::auth) fn claimed_identity(&self) -> super::Identity {
        self.claims.all.identity()
    }
}
