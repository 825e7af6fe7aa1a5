//! Explains the checks of a token's form, header and issuer.

use serde_json::Value;

use super::{
    check::{Check, Suggestion},
    claims::one_of,
    near_miss::{self, Closeness, NearMiss},
    text::{listed, member, quoted, toml_list, toml_text},
};
use crate::{
    auth::{
        error::Reason,
        jwt::{
            Header, HeaderCheck, Jws, Rules, TokenAlgorithm, TokenType, Unverified, claimed_issuer,
            decode, object,
        },
    },
    json::UniqueMembers,
    settings::{self, Algorithm, HmacAlgorithm, KeySource},
};

/// Types of access tokens, which may be suggested for `typ`. Any other type may be another kind of
/// token (RFC 8725 §3.11).
const ACCESS_TOKEN_TYPES: [&str; 3] = ["", "jwt", "at+jwt"];

/// The checks of [`Unverified::parse`].
pub(super) const FORM_CHECKS: [&str; 3] = ["form", "header", "iss"];

/// Explains [`Unverified::parse`].
pub(in crate::auth) fn explain_form(text: &str) -> Vec<Check> {
    let [form, header, iss] = FORM_CHECKS;
    let (payload, members) = match Jws::parse(text) {
        Ok(Jws { payload, header, .. }) => (payload, header),
        Err(reason) => return vec![explain_parts(text, Check::of(form, Err(reason)))],
    };
    let found = format!("three parts; claims {}", listed(payload.names()));
    vec![
        Check::passed(form, found),
        explain_members(&members, header),
        Check::of(iss, claimed_issuer(&payload).map(drop))
            .finding(member(&payload, "iss"))
            .wanting("a string, or no iss"),
    ]
}

/// Names the parts that are missing or broken.
fn explain_parts(text: &str, check: Check) -> Check {
    let parts: Vec<&str> = text.split('.').collect();
    let (found, hint) = if let [header, payload, signature] = parts[..] {
        let broken = [
            ("header", object(header).is_err()),
            ("payload", object(payload).is_err()),
            ("signature", decode(signature).is_err()),
        ];
        let broken: Vec<_> =
            broken.iter().filter(|(_, is_broken)| *is_broken).map(|(part, _)| *part).collect();
        let found = format!(
            "{}: not base64url without padding, not a JSON object, or with a duplicate member",
            broken.join(", ")
        );
        (found, None)
    } else {
        let hint = match parts.len() {
            1 => "an opaque token: only an issuer with introspection_url accepts those",
            5 => "an encrypted token (JWE): the issuer must send signed tokens",
            _ => "the token was cut, or is not a JWT",
        };
        (format!("{} parts between dots; a signed token has three", parts.len()), Some(hint))
    };
    check
        .finding(found)
        .wanting("a signed JWT: three parts of base64url without padding, two of them JSON objects")
        .hinting(hint)
}

fn explain_members(header: &UniqueMembers, name: &'static str) -> Check {
    let read = Header::parse(header).map(drop);
    let names = listed(header.names());
    let [alg, typ, kid] = ["alg", "typ", "kid"].map(|name| member(header, name));
    let (expected, hint) = if read == Err(Reason::Algorithm) {
        ("an algorithm that this service knows", unknown_algorithm(header))
    } else {
        let hint = "the token is encrypted (JWE): the issuer must send signed tokens";
        let expected = "alg, kid and typ as strings, without crit, b64 and enc";
        (expected, header.has("enc").then(|| hint.to_owned()))
    };
    Check::of(name, read)
        .finding(format!("members {names}; alg {alg}, typ {typ}, kid {kid}"))
        .wanting(expected)
        .hinting(hint)
}

fn unknown_algorithm(header: &UniqueMembers) -> Option<String> {
    let alg = header.get("alg").and_then(Value::as_str)?;
    if alg.eq_ignore_ascii_case("none") {
        return Some("the token is not signed".to_owned());
    }
    let known = Algorithm::ALL.map(Algorithm::name).into_iter();
    let known = known.chain(HmacAlgorithm::ALL.map(HmacAlgorithm::name));
    known.into_iter().find_map(|name| {
        let difference = near_miss::text(name, alg)?;
        Some(format!("alg {difference} from {name}, and letter case counts"))
    })
}

/// Explains why the token's `iss` matches no issuer with keys. `issuers` are those of the settings,
/// with their names.
pub(super) fn explain_unknown_issuer(text: &str, issuers: &[(&str, &settings::Issuer)]) -> Check {
    let payload = text.split('.').nth(1).and_then(|payload| object(payload).ok());
    let iss = payload.as_ref().and_then(|payload| claimed_issuer(payload).ok().flatten());
    let expected = issuers
        .iter()
        .map(|(name, it)| format!("{} (auth.issuers.{name}.issuer)", quoted(&it.issuer)))
        .collect::<Vec<_>>()
        .join(" or ");
    let check = Check::of(HeaderCheck::Issuer.name(), Err(Reason::UnknownIssuer))
        .expecting(if expected.is_empty() { "an issuer with keys".to_owned() } else { expected });
    let Some(iss) = iss else {
        return check
            .finding("the token has no iss")
            .hint(
                "only an issuer with issuer = \"\" accepts tokens without iss; it needs jwks_url, \
                 jwks_file or hmac_secret_file",
            )
            .suggesting(no_iss_suggestion(issuers));
    };
    let check = check.finding(format!("iss {}", quoted(iss)));
    let closest = issuers
        .iter()
        .filter_map(|(name, it)| Some((near_miss::issuer(&it.issuer, iss)?, name, it)))
        .min_by_key(|(near, ..)| near.closeness);
    let Some((near, name, it)) = closest else {
        return check.hint("no configured issuer is similar");
    };
    let table = format!("auth.issuers.{name}");
    let hint = issuer_hint(&near, &it.issuer, iss);
    check
        .hint(format!("the closest issuer is {table}: {hint}"))
        .suggesting(suggested_issuer(&near, &table, it, iss))
}

/// Suggests accepting tokens without `iss` if there is only one issuer, and its keys are not
/// discovered by its name.
fn no_iss_suggestion(issuers: &[(&str, &settings::Issuer)]) -> Option<Suggestion> {
    let [(name, it)] = issuers else { return None };
    let is_found_by_name = matches!(it.keys, KeySource::Discovery(_));
    (!is_found_by_name).then(|| Suggestion {
        toml: format!("auth.issuers.{name}.issuer = \"\""),
        meaning:
            "only if this issuer's access tokens have no iss: tokens without iss are then checked \
                  with its keys, whatever they were made for, and others are not"
                .to_owned(),
    })
}

/// The difference between the issuer in the settings and the token's `iss`.
pub(super) fn issuer_hint(near: &NearMiss, expected: &str, found: &str) -> String {
    let difference = &near.difference;
    if is_downgrade(expected, found) {
        return format!(
            "the token's iss {difference}; set the provider's public address to https, which it does not \
             know behind a proxy"
        );
    }
    format!("the token's iss {difference}")
}

/// Suggests the token's `iss` as issuer if both are the same party.
pub(super) fn suggested_issuer(
    near: &NearMiss,
    table: &str,
    settings: &settings::Issuer,
    iss: &str,
) -> Option<Suggestion> {
    let is_same = matches!(near.closeness, Closeness::Form | Closeness::Version);
    let is_found_by_name = matches!(settings.keys, KeySource::Discovery(_));
    let lacks_scheme = is_found_by_name && !iss.contains("://");
    if !is_same || is_downgrade(&settings.issuer, iss) || lacks_scheme || iss.is_empty() {
        return None;
    }
    let toml = toml_text(iss)?;
    let meaning = "tokens with the previous issuer are then rejected".to_owned();
    Some(Suggestion { toml: format!("{table}.issuer = {toml}"), meaning })
}

fn is_downgrade(expected: &str, found: &str) -> bool {
    let is_plain = |text: &str| text.get(..7).is_some_and(|it| it.eq_ignore_ascii_case("http://"));
    is_plain(found) && !is_plain(expected)
}

impl HeaderCheck {
    /// The check's name in an explanation.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Issuer => "issuer",
            Self::Algorithm => "alg",
            Self::Type => "typ",
        }
    }
}

/// Explains [`Unverified::check_header`].
pub(in crate::auth) fn explain_header(
    unverified: &Unverified<'_>,
    rules: &Rules,
) -> impl Iterator<Item = Check> {
    HeaderCheck::ALL.into_iter().map(move |check| {
        let made = Check::of(check.name(), unverified.check(check, rules));
        match check {
            HeaderCheck::Issuer => {
                let iss = unverified.claimed_issuer();
                let name = iss.map_or_else(|| "no iss".to_owned(), quoted);
                made.finding(format!("{name} is {}", rules.table))
            }
            HeaderCheck::Algorithm => explain_algorithm(unverified.algorithm(), rules, made),
            HeaderCheck::Type => explain_typ(unverified, rules, made),
        }
    })
}

fn explain_algorithm(algorithm: TokenAlgorithm, rules: &Rules, made: Check) -> Check {
    let (settings, table) = (&rules.settings, &rules.table);
    let accepted: Vec<_> = match settings.keys.hmac() {
        Some(hmac) => hmac.algorithms.iter().map(|it| it.name()).collect(),
        None => settings.algorithms.iter().map(|it| it.name()).collect(),
    };
    let name = algorithm.name();
    let has_secret = settings.keys.hmac().is_some();
    let made =
        made.finding(quoted(name)).expecting(rules.expects(&one_of(&accepted), "algorithms"));
    match (algorithm, has_secret) {
        (TokenAlgorithm::Hmac(_), false) => made.hint(format!(
            "{name} is signed with a shared secret, but {table} has public keys; the token is of \
             another issuer, or the issuer must sign with a private key"
        )),
        (TokenAlgorithm::Signature(_), true) => made.hint(format!(
            "{name} is signed with a private key, but {table} has a shared secret \
             (hmac_secret_file); tokens signed so need an issuer with jwks_url, jwks_file or discovery"
        )),
        _ => {
            let toml = toml_list(accepted.iter().copied().chain([name]));
            let meaning = if has_secret {
                "the secret must be long enough for it"
            } else {
                "the issuer's key set must have a key for it"
            };
            made.suggesting(rules.suggest("algorithms", toml, meaning))
        }
    }
}

fn explain_typ(unverified: &Unverified<'_>, rules: &Rules, made: Check) -> Check {
    let (accepted, typ) = (&rules.settings.typ, unverified.typ());
    let written = unverified.written_header();
    let written = written.as_ref().and_then(|it| it.get("typ")).and_then(Value::as_str);
    let found = match written {
        None => "no typ".to_owned(),
        Some(written) if written == typ => quoted(typ),
        Some(written) => {
            let same = "letter case and the prefix application/ do not count";
            format!("{}, compared as {}: {same}", quoted(written), quoted(typ))
        }
    };
    let is_access_token = ACCESS_TOKEN_TYPES.contains(&typ);
    let meaning = "only if the issuer's access tokens have this type: ID tokens often have it too; \"\" \
                   stands for tokens without typ";
    let toml = toml_list(accepted.iter().map(String::as_str).chain([typ]));
    let toml = toml.filter(|_| is_access_token);
    let hint = match TokenType::named(typ) {
        Some(other) => Some(format!("the type names {other}; the app must send its access token")),
        None if is_access_token => None,
        None => Some(format!(
            "it may be another kind of token; if the issuer's access tokens have this type, add it to \
             {}.typ",
            rules.table
        )),
    };
    made.finding(found)
        .expecting(rules.expects(&one_of(accepted), "typ"))
        .hinting(hint)
        .suggesting(rules.suggest("typ", toml, meaning))
}
