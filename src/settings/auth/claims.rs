//! `auth.issuers.NAME.*`: claims that the operator names.

use super::issuer::claim_text;
use crate::settings::{fault::Wrong, reader::Reader, value::Items};

/// Claims that never say whom a token is for.
const NO_AUDIENCES: [&str; 3] = ["sub", "iss", "jti"];

/// `audience_claim`: what is compared with `audiences`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AudienceClaim {
    /// `aud`, a text or a list of texts.
    Aud,
    /// Another claim, a text.
    Named(String),
    /// `"none"`: nothing, as every token of the issuer is for this service.
    None,
}

impl AudienceClaim {
    /// Reads `audience_claim` and `audiences` of the table at `at`.
    pub(super) fn read(reader: &mut Reader<'_>, at: &str) -> (Option<Self>, Option<Vec<String>>) {
        let key = format!("{at}.audience_claim");
        let claim = reader.at(&*key).or("aud").text(Self::parse);
        let is_none = claim == Some(Self::None);
        if is_none {
            let reason = "is \"none\": every token of this issuer is accepted, whichever app or API \
                          it was issued for";
            let fix = "keep it only if this issuer serves no other app or API";
            reader.warning(&key, Wrong::new(reason, fix));
        }
        let fix = "list the accepted values of audience_claim, such as [\"my-api\"]";
        let audiences = reader.at(format!("{at}.audiences"));
        let audiences = if is_none { audiences } else { audiences.required(fix) };
        let audiences = audiences.list(Items::Some, claim_text);
        (claim, audiences.or_else(|| is_none.then(Vec::new)))
    }

    pub(in crate::settings) fn parse(text: &str) -> Result<Self, Wrong> {
        match text {
            "aud" => Ok(Self::Aud),
            "none" => Ok(Self::None),
            name if NO_AUDIENCES.contains(&name) => {
                let reason = "it is a claim that doesn't say whom a token is for";
                Err(Wrong::new(
                    reason,
                    "write \"aud\", \"client_id\", \"azp\", \"cid\" or \"none\"",
                ))
            }
            pointer if pointer.starts_with('/') => {
                let reason = "it is a JSON Pointer, and the audience must be a claim of its own";
                Err(Wrong::new(reason, "write the name of a claim, such as \"client_id\""))
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
