//! `auth.issuers.NAME.*`: the claims that the operator names, for the audience, the customer and
//! `required_claims`.

use std::collections::BTreeMap;

use config::{Map, Value, ValueKind};

use super::{ISSUERS, Issuer};
use crate::settings::{
    fault::Violation,
    reader::Reader,
    value::{self, Items},
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

/// Claims that are usable only if `<claim>_verified` is true (OpenID Connect Core §5.1).
const VERIFIED: [&str; 2] = ["email", "phone_number"];

/// Claims that users of Supabase, Auth0 and Clerk can edit. Compared without underscores.
const USER_EDITABLE: [&str; 4] =
    ["usermetadata", "unsafemetadata", "untrustedmetadata", "clientmetadata"];

/// Claims that never name an audience.
const NO_AUDIENCES: [&str; 3] = ["sub", "iss", "jti"];

/// A claim, given by name or by JSON Pointer (RFC 6901), which begins with a slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimPath {
    text: String,
    segments: Vec<String>,
}

/// The claims that a missing customer is created from (`juspay.create_missing_customers`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCustomerClaims {
    /// `mobile_number_claim`
    pub mobile_number: ClaimPath,
    /// `email_claim`
    pub email: ClaimPath,
    /// `first_name_claim`
    pub first_name: ClaimPath,
    /// `last_name_claim`
    pub last_name: ClaimPath,
}

/// An entry of `required_claims`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequiredClaim {
    /// The required claim.
    pub claim: ClaimPath,
    /// The claim must equal one of these values.
    pub accepted: Vec<ClaimValue>,
}

/// A value that a claim is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimValue {
    /// A text, compared exactly.
    Text(String),
    /// `true` or `false`.
    Boolean(bool),
    /// An integer.
    Integer(i64),
}

/// `audience_claim`: the claim that is compared with `audiences`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AudienceClaim {
    /// `aud`, a text or a list of texts.
    Aud,
    /// Another claim, a text.
    Named(String),
    /// `"none"`: no comparison, because all tokens of the issuer are for this service.
    None,
}

impl AudienceClaim {
    /// Reads `audience_claim` and `audiences` from the table at `at`.
    pub(super) fn read(reader: &mut Reader<'_>, at: &str) -> (Self, Vec<String>) {
        let key = format!("{at}.audience_claim");
        let claim = reader.at(&*key).or("aud").text(Self::parse);
        let claim = reader.filled_or(claim, Self::Aud);
        let is_none = claim == Self::None;
        if is_none {
            let reason = "is \"none\": every token of this issuer is accepted, whichever app or API \
                          it was issued for";
            let fix = "keep \"none\" only if this issuer serves no other app or API";
            reader.warning(&key, Violation::new(reason, fix));
        }
        let fix = "list the accepted values of audience_claim, such as [\"my-api\"]";
        let audiences = reader.filled_unless(is_none, |it| {
            let setting = it.at(format!("{at}.audiences")).fix_of_type(fix);
            setting.required_if(!is_none, fix).list(Items::AtLeastOne, claim_text)
        });
        (claim, audiences)
    }

    fn parse(text: &str) -> Result<Self, Violation> {
        match text {
            "aud" => Ok(Self::Aud),
            "none" => Ok(Self::None),
            name if NO_AUDIENCES.contains(&name) => {
                let reason = "names a claim that does not identify a token's audience";
                Err(Violation::new(
                    reason,
                    "write \"aud\", \"client_id\", \"azp\", \"cid\" or \"none\"",
                ))
            }
            pointer if pointer.starts_with('/') => {
                let reason = "expected the name of a claim, found a JSON Pointer";
                Err(Violation::new(reason, "write the name of a claim, such as \"client_id\""))
            }
            name => claim_text(name).map(Self::Named),
        }
    }

    /// The claim's name; `None` for [`AudienceClaim::None`].
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Aud => Some("aud"),
            Self::Named(name) => Some(name),
            Self::None => None,
        }
    }
}

impl NewCustomerClaims {
    /// Reads the claims from the table at `at`. Users may choose their names, but mustn't be able to
    /// claim another person's number or address.
    pub(super) fn read(reader: &mut Reader<'_>, at: &str) -> Self {
        let mut claim = |name: &str, default: &str, parse: fn(&str) -> Result<ClaimPath, _>| {
            let claim = reader.at(format!("{at}.{name}")).or(default).text(parse);
            reader.filled_or(claim, ClaimPath::named(default))
        };
        Self {
            mobile_number: claim("mobile_number_claim", "phone_number", ClaimPath::parse_trusted),
            email: claim("email_claim", "email", ClaimPath::parse_trusted),
            first_name: claim("first_name_claim", "given_name", ClaimPath::parse),
            last_name: claim("last_name_claim", "family_name", ClaimPath::parse),
        }
    }

    /// Whether one of the claims has a `_verified` claim.
    fn needs_verification(&self) -> bool {
        [&self.mobile_number, &self.email].iter().any(|it| it.verified_claim().is_some())
    }
}

impl ClaimPath {
    pub(super) fn parse(text: &str) -> Result<Self, Violation> {
        let text = claim_text(text)?;
        let segments = match text.strip_prefix('/') {
            Some(pointer) => pointer.split('/').map(segment).collect::<Result<_, _>>()?,
            None => return Ok(Self::named(&text)),
        };
        Ok(Self { text, segments })
    }

    /// A top-level claim.
    pub(super) fn named(name: &str) -> Self {
        Self { text: name.to_owned(), segments: vec![name.to_owned()] }
    }

    /// A claim that may name a customer; `None` if it is malformed or users can edit it.
    #[must_use]
    pub fn trusted(text: &str) -> Option<Self> {
        Self::parse_trusted(text).ok()
    }

    /// A claim that is known to be valid.
    #[cfg(test)]
    pub(crate) fn of(text: &str) -> Self {
        Self::parse(text).expect("a claim")
    }

    /// The text in the settings.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn parse_trusted(text: &str) -> Result<Self, Violation> {
        let path = Self::parse(text)?;
        path.check_trusted().map(|()| path)
    }

    /// Rejects claims that users can edit.
    pub(super) fn check_trusted(&self) -> Result<(), Violation> {
        let is_editable = |segment: &String| {
            let words = segment.split(['/', '.']).map(|word| word.replace('_', ""));
            let is_one =
                |word: String| USER_EDITABLE.iter().any(|name| name.eq_ignore_ascii_case(&word));
            words.into_iter().any(is_one)
        };
        if self.segments.iter().any(is_editable) {
            let reason = "users can edit user_metadata, unsafe_metadata, untrusted_metadata and \
                          client_metadata, so they could write any value there";
            let fix = "write a claim that only your backend sets, such as \
                       \"/app_metadata/customer_id\"";
            return Err(Violation::new(reason, fix));
        }
        Ok(())
    }

    /// Whether it is the top-level claim `claim`, written by name or as a pointer.
    #[must_use]
    pub fn is(&self, claim: &str) -> bool {
        matches!(&self.segments[..], [name] if name == claim)
    }

    /// The claim that says whether this one was verified: `email_verified` for `email`, also within
    /// nested claims and lists.
    #[must_use]
    pub fn verified_claim(&self) -> Option<Self> {
        let is_index = |segment: &String| segment.bytes().all(|byte| byte.is_ascii_digit());
        let at = self.segments.iter().rposition(|segment| !is_index(segment))?;
        let (parents, rest) = self.segments.split_at_checked(at)?;
        let name = rest.first().filter(|name| VERIFIED.contains(&name.as_str()))?;
        let twin = format!("{name}_verified");
        let text = match parents {
            [] => twin.clone(),
            parents => {
                let escape = |name: &String| name.replace('~', "~0").replace('/', "~1");
                let parents: Vec<_> = parents.iter().map(escape).collect();
                format!("/{}/{twin}", parents.join("/"))
            }
        };
        let segments = parents.iter().cloned().chain([twin]).collect();
        Some(Self { text, segments })
    }

    /// The names on the path to the claim, outermost first. A claim given by name has one.
    #[must_use]
    pub fn segments(&self) -> &[String] {
        &self.segments
    }
}

/// Decodes a segment of a JSON Pointer (RFC 6901 §3).
fn segment(escaped: &str) -> Result<String, Violation> {
    let violation = |reason| {
        let fix = "write it as \"/app_metadata/customer_id\", with ~1 for a slash and ~0 for a tilde \
                   in a name";
        Err(Violation::new(reason, fix))
    };
    if escaped.is_empty() {
        return violation("is a JSON Pointer (it begins with a slash) with an empty name");
    }
    let is_escape = |rest: &str| rest.starts_with(['0', '1']);
    if !escaped.split('~').skip(1).all(is_escape) {
        return violation(
            "is a JSON Pointer (it begins with a slash) with a ~ that is not followed by 0 or 1",
        );
    }
    Ok(escaped.replace("~1", "/").replace("~0", "~"))
}

impl RequiredClaim {
    /// Reads `required_claims` from the table at `at`.
    pub(super) fn read(reader: &mut Reader<'_>, at: &str) -> Vec<Self> {
        let fix = "write a table in a settings file, such as { token_use = \"access\" }";
        reader.filled(|it| {
            let setting = it.at(format!("{at}.required_claims")).fix_of_type(fix);
            setting.or(Map::<String, Value>::new()).table(|name, value| {
                let claim = ClaimPath::parse_trusted(name)?;
                let (accepted, shown) = ClaimValue::all(value)?;
                Ok((Self { claim, accepted }, shown))
            })
        })
    }
}

impl ClaimValue {
    fn all(value: &Value) -> Result<(Vec<Self>, toml::Value), Violation> {
        let ValueKind::Array(items) = &value.kind else {
            return Self::one(value).map(|(accepted, shown)| (vec![accepted], shown));
        };
        if items.is_empty() {
            return Err(Violation::new("the list is empty", "add at least one value"));
        }
        let read = items.iter().map(Self::one).collect::<Result<Vec<_>, _>>()?;
        let (accepted, shown): (Vec<_>, Vec<_>) = read.into_iter().unzip();
        Ok((accepted, shown.into()))
    }

    fn one(value: &Value) -> Result<(Self, toml::Value), Violation> {
        match &value.kind {
            ValueKind::String(text) => Ok((Self::Text(text.clone()), text.clone().into())),
            ValueKind::Boolean(boolean) => Ok((Self::Boolean(*boolean), (*boolean).into())),
            ValueKind::I64(number) => Ok((Self::Integer(*number), (*number).into())),
            ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_) => Err(Violation::new(
                "expected an integer of at most 64 bits",
                "write a smaller integer",
            )),
            ValueKind::Nil | ValueKind::Float(_) | ValueKind::Table(_) | ValueKind::Array(_) => {
                let expected = "a string, a boolean, an integer or a list of them";
                let fix = "write it as token_use = \"access\" or is_anonymous = false";
                Err(value::mismatch(value, expected, fix))
            }
        }
    }
}

/// A claim's name, or a text that a claim is compared with.
pub(super) fn claim_text(text: &str) -> Result<String, Violation> {
    if text.is_empty() {
        Err(Violation::new("is empty", "write a value"))
    } else if text.trim() != text || text.contains(char::is_control) {
        let reason = "has whitespace at an end, or contains control characters";
        Err(Violation::new(reason, "write it exactly as in the tokens"))
    } else {
        Ok(text.to_owned())
    }
}

/// Reports conflicts between claims of an issuer's tokens.
pub(super) fn check(issuers: &BTreeMap<String, Issuer>, reader: &mut Reader<'_>) {
    for (name, issuer) in issuers {
        let table = format!("{ISSUERS}.{name}");
        check_verified(issuer, &table, reader);
        if issuer.audience_claim == AudienceClaim::None {
            check_no_audience(issuer, &table, reader);
        }
        let key = format!("{table}.audience_claim");
        let allowed = format!("{table}.introspection_allow_no_audience");
        if issuer.audience_claim != AudienceClaim::Aud && reader.is(&allowed, true) {
            let reason = format!("applies to the claim aud, but {key} names another claim");
            reader.conflict(&[&allowed, &key], reason, "remove it, or remove audience_claim");
        }
        // The comparison with the audience would prove nothing.
        let audience = issuer.audience_claim.name();
        if audience.is_some_and(|name| {
            issuer.customer_id_claim.segments.first().is_some_and(|it| it == name)
        }) {
            let customer = format!("{table}.customer_id_claim");
            let reason = format!("{customer} uses the same claim, and a customer is no audience");
            reader.conflict(&[&key, &customer], reason, "write another claim in one of the two");
        }
    }
}

/// `customer_id_verified` applies only to claims with a `_verified` claim.
fn check_verified(issuer: &Issuer, table: &str, reader: &mut Reader<'_>) {
    let creates = issuer.new_customer.as_ref().is_some_and(NewCustomerClaims::needs_verification);
    let is_used = issuer.customer_id_claim.verified_claim().is_some() || creates;
    if issuer.assumes_verified && creates {
        let reason = "customers are also created from a phone_number and an email that the issuer does not \
                      report as verified (juspay.create_missing_customers)";
        let fix = "make sure that the issuer verifies both, or set it to \"required\"";
        let key = format!("{table}.customer_id_verified");
        reader.warning(&key, Violation::new(reason, fix));
    }
    if issuer.assumes_verified && !is_used {
        let [key, claim] =
            ["customer_id_verified", "customer_id_claim"].map(|it| format!("{table}.{it}"));
        let reason = format!(
            "applies to the claims email and phone_number only, but {claim} is another claim"
        );
        reader.conflict(&[&key, &claim], reason, "remove it");
    }
}

fn check_no_audience(of: &Issuer, table: &str, reader: &mut Reader<'_>) {
    let [key, audiences, id_tokens, issuer] =
        ["audience_claim", "audiences", "id_tokens", "issuer"].map(|it| format!("{table}.{it}"));
    if reader.is_set(&audiences) {
        let reason = format!("{key} is \"none\", so nothing is compared with this list");
        let fix = "remove it, or set audience_claim to the claim that names the audience";
        reader.conflict(&[&audiences, &key], reason, fix);
    }
    let fix = "set audience_claim = \"aud\" and audiences to your app's client ids";
    if of.accepts_id_tokens {
        let reason = format!(
            "is \"none\", and {id_tokens} is \"accept\": ID tokens of any app would be accepted"
        );
        reader.conflict(&[&key, &id_tokens], reason, fix);
    }
    let identifier = of.issuer.trim_end_matches('/');
    if SHARED_ISSUERS.iter().any(|shared| shared.eq_ignore_ascii_case(identifier)) {
        let reason = "this issuer issues tokens for every developer's apps: with audience_claim \
                      \"none\" all of them would be accepted";
        reader.conflict(&[&key, &issuer], reason, fix);
    }
}
