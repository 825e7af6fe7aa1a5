//! Explains the key lookup and the signature check.

use super::{
    check::Check,
    near_miss,
    text::{listed, quoted},
};
use crate::auth::{
    error::{AuthError, BUG_RETRY, Reason},
    hmac::SecretSet,
    inspection::KeySetInspection,
    jwks::CurrentKeySet,
    jwt::Unverified,
};

/// Maximum number of listed `kid`s of a key set.
const MAX_KIDS: usize = 8;

/// Explains the fetched key set, the matching keys, and whether one of them made the signature.
pub(super) fn explain_keys(
    unverified: &Unverified<'_>,
    table: &str,
    inspection: Option<&KeySetInspection>,
    current: Option<&CurrentKeySet>,
) -> Vec<Check> {
    let Some(current) = current else {
        let why = inspection
            .and_then(|inspection| inspection.fetched.as_ref().err())
            .map(ToString::to_string);
        let found = format!("{table} has no keys: {}", why.unwrap_or_default());
        let unavailable = Err(AuthError::KeysUnavailable { retry_after: BUG_RETRY });
        return vec![
            Check::of("keys", unavailable)
                .finding(found)
                .wanting(format!("the key set of {table}")),
            Check::not_made(
                "signature",
                "not checked, as there are no keys: what follows is unproven",
            ),
        ];
    };
    let fitting = unverified
        .key_selector()
        .map_or(0, |key_selector| current.set.candidates(key_selector).len());
    let kid = unverified.kid();
    let named = kid.map_or_else(|| "no kid".to_owned(), |kid| format!("kid {}", quoted(kid)));
    let kids = current.set.kids();
    let mut expected = match current.set.len() {
        1 => format!("the key of {table}"),
        number => format!("one of the {number} keys of {table}"),
    };
    if !kids.is_empty() {
        expected = format!("{expected}, kid {}", listed(kids.iter().take(MAX_KIDS)));
    }
    let keys = if fitting == 0 { Err(Reason::UnknownKey) } else { Ok(()) };
    let keys = Check::of("keys", keys)
        .finding(format!("{named}; fitting keys: {fitting}"))
        .expecting(expected)
        .hint(unknown_key(unverified, inspection, current));
    let signature = match unverified.verify(&current.set) {
        Ok(_) => Check::passed("signature", "made with that key"),
        Err(Reason::UnknownKey | Reason::Algorithm) => Check::not_made(
            "signature",
            "not checked, as no key fits the token: what follows is unproven",
        ),
        Err(reason) => {
            let found = "not made with that key: what follows is unproven";
            Check::of("signature", Err(reason))
                .finding(found)
                .wanting("a signature made with that key")
                .hint("the token was changed, cut or forged, or another key has the same kid")
        }
    };
    vec![keys, signature]
}

fn unknown_key(
    unverified: &Unverified<'_>,
    inspection: Option<&KeySetInspection>,
    current: &CurrentKeySet,
) -> String {
    let algorithm = unverified.algorithm().name();
    let Some(key_selector) = unverified.key_selector() else {
        return format!("{algorithm} is signed with a shared secret, not with one of these keys");
    };
    let Some(kid) = key_selector.kid else {
        return format!(
            "without kid, exactly one key must be for {algorithm}; the issuer should send kid"
        );
    };
    let found = inspection.and_then(|inspection| inspection.fetched.as_ref().ok());
    if let Some((_, why)) =
        found.and_then(|found| found.left_out.iter().find(|(left_out, _)| left_out == kid))
    {
        return format!("the set has a key of that kid, which is not usable: {why}");
    }
    if current.set.may_have_kid(kid) {
        return format!("the key of that kid is not for {algorithm}");
    }
    let kids = current.set.kids();
    let near = kids.iter().find_map(|known| near_miss::text(known, kid));
    let near = near.map(|difference| format!("; the kid {difference}"));
    format!(
        "the key was removed, or the token is from another issuer or environment{}; a service that last \
         fetched the keys less than auth.leeway after the token's iat answers 503 until its next fetch",
        near.unwrap_or_default()
    )
}

/// Explains the shared secrets, and whether one of them made the signature.
pub(super) fn explain_secrets(
    unverified: &Unverified<'_>,
    table: &str,
    secrets: &SecretSet,
) -> Vec<Check> {
    let found = format!("{} of {table}.hmac_secret_file", secrets.len());
    let signature = match unverified.verify_hmac(secrets) {
        Ok((_, (_, line))) => {
            Check::passed("signature", format!("made with the secret of line {line}"))
        }
        Err(Reason::Algorithm) => Check::not_made(
            "signature",
            "not checked, as no secret fits the token's alg: what follows is unproven",
        ),
        Err(reason) => {
            let found = "made with none of these secrets: what follows is unproven";
            Check::of("signature", Err(reason))
                .finding(found)
                .wanting(format!("a signature made with a secret of {table}.hmac_secret_file"))
                .hint("a secret is the bytes of its line, which are not decoded: if the issuer decodes \
                     base64, its secret is another one")
        }
    };
    vec![Check::passed("secrets", found), signature]
}
