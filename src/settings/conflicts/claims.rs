//! Conflicts between claims of an issuer's tokens.

use crate::settings::{
    auth::{AudienceClaim, ClaimPath, ISSUERS},
    fault::Violation,
    reader::Reader,
};

/// Issuers that are shared by unrelated apps: Google, Apple, Facebook, LINE, and Microsoft's tenant
/// of personal accounts. Without an audience, a token of any app would be accepted.
const SHARED_ISSUERS: [&str; 7] = [
    "https://accounts.google.com",
    "accounts.google.com",
    "https://appleid.apple.com",
    "https://www.facebook.com",
    "https://limited.facebook.com",
    "https://access.line.me",
    "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0",
];

pub(super) fn check(reader: &mut Reader<'_>) {
    for name in reader.lookup_names(ISSUERS) {
        let table = format!("{ISSUERS}.{name}");
        let key = format!("{table}.audience_claim");
        nothing_to_assume(reader, &table);
        let claim = reader.lookup(&*key).or("aud").text(AudienceClaim::parse);
        let Some(claim) = claim else { continue };
        if claim == AudienceClaim::None {
            no_audience(reader, &table, &key);
        }
        if claim != AudienceClaim::Aud {
            missing_aud(reader, &table, &key);
        }
        customers_claim(reader, &table, &key, &claim);
    }
}

/// `customer_id_verified` applies only to claims with a `_verified` claim.
fn nothing_to_assume(reader: &mut Reader<'_>, table: &str) {
    let [key, claim] =
        ["customer_id_verified", "customer_id_claim"].map(|it| format!("{table}.{it}"));
    let path = ClaimPath::parse(reader.raw_text(&claim).unwrap_or("sub"));
    let has_twin = path.is_ok_and(|path| path.verified_claim().is_some());
    if reader.raw_text(&key) == Some("assumed") && !has_twin {
        let reason = format!(
            "applies to the claims email and phone_number only, but {claim} is another claim"
        );
        reader.conflict(&[&key, &claim], Violation::new(reason, "remove it"));
    }
}

fn no_audience(reader: &mut Reader<'_>, table: &str, key: &str) {
    let audiences = format!("{table}.audiences");
    if reader.is_set(&audiences) {
        let reason = format!("{key} is \"none\", so nothing is compared with this list");
        let fix = "remove it, or set audience_claim to the claim that names the audience";
        reader.conflict(&[&audiences, key], Violation::new(reason, fix));
    }
    let id_tokens = format!("{table}.id_tokens");
    if reader.raw_text(&id_tokens) == Some("accept") {
        let reason = format!(
            "is \"none\", and {id_tokens} is \"accept\": ID tokens of any app would be accepted"
        );
        let fix = "set audience_claim = \"aud\" and audiences to your app's client ids";
        reader.conflict(&[key, &id_tokens], Violation::new(reason, fix));
    }
    let issuer = format!("{table}.issuer");
    let is_shared = reader.raw_text(&issuer).is_some_and(is_shared);
    if is_shared {
        let reason = "this issuer issues tokens for every developer's apps: with audience_claim \
                      \"none\" all of them would be accepted";
        let fix = "set audience_claim = \"aud\" and audiences to your app's client ids";
        reader.conflict(&[key, &issuer], Violation::new(reason, fix));
    }
}

fn is_shared(issuer: &str) -> bool {
    let issuer = issuer.trim_end_matches('/');
    SHARED_ISSUERS.iter().any(|shared| shared.eq_ignore_ascii_case(issuer))
}

/// `introspection_allow_no_audience` is about `aud`, not about another claim.
fn missing_aud(reader: &mut Reader<'_>, table: &str, key: &str) {
    let allowed = format!("{table}.introspection_allow_no_audience");
    if reader.lookup(&*allowed).boolean() == Some(true) {
        let reason = format!("applies to the claim aud, but {key} names another claim");
        let fix = "remove it, or remove audience_claim";
        reader.conflict(&[&allowed, key], Violation::new(reason, fix));
    }
}

/// One claim can't name both the customer and the audience: the comparison with the audience would
/// prove nothing.
fn customers_claim(reader: &mut Reader<'_>, table: &str, key: &str, claim: &AudienceClaim) {
    let customer = format!("{table}.customer_id_claim");
    let named = reader.raw_text(&customer).and_then(|text| ClaimPath::parse(text).ok());
    let outermost = named.as_ref().and_then(|named| named.segments().first());
    if outermost.is_some_and(|name| claim.name() == Some(name)) {
        let reason = format!("{customer} uses the same claim, and a customer is no audience");
        let fix = "write another claim in one of the two";
        reader.conflict(&[key, &customer], Violation::new(reason, fix));
    }
}
