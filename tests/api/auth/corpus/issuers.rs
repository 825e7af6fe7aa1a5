//! The kinds of issuer that the corpus runs against, their settings, and the rows whose result
//! depends on the kind.
//!
//! The issuer with public keys and the one with shared secrets are always in the same process.

use simulator::Issuer;
use tempfile::TempDir;

use super::{Row, forge::AUDIENCE};
use crate::support::{Stage, guard};

/// The secret that signs the tokens of the issuer with shared secrets. Long enough for HS512.
pub const SECRET: &str = "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXowMTIzNDU2Nzg5QUJDREVGYWJjZGVmZ2hpamts";

/// Its previous secret, the second line of the file.
pub const PREVIOUS: &str =
    "a previous secret of more than sixty-four bytes in all, which is still valid";

/// The client of the introspection endpoint.
const CLIENT: &str = "corpus";

/// How an issuer's tokens are verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IssuerKind {
    PublicKeys,
    Hmac,
    Introspection,
}

impl IssuerKind {
    /// The `iss` of its tokens.
    pub fn iss(self, issuer: &Issuer) -> String {
        let url = issuer.issuer_url();
        match self {
            Self::PublicKeys => url.to_owned(),
            Self::Hmac => format!("{url}/shared"),
            Self::Introspection => format!("{url}/opaque"),
        }
    }

    /// The settings of a process with an issuer of this kind and this `audience_claim`.
    pub fn settings(self, stage: &Stage, audience_claim: &str, files: &TempDir) -> String {
        let issuer = stage.issuer();
        let file = |name: &str, content: &str| {
            let path = files.path().join(name);
            std::fs::write(&path, content).unwrap();
            path.display().to_string()
        };
        // Without it the default applies.
        let claim = match audience_claim {
            "aud" => String::new(),
            claim => format!("audience_claim = '{claim}'"),
        };
        let both = format!(
            "auth.shared_customer_ids = true
            [auth.issuers.main]
            {claim}
            [auth.issuers.shared]
            issuer = '{}'
            audiences = ['{AUDIENCE}']
            algorithms = ['HS256', 'HS512']
            hmac_secret_file = '{}'
            {claim}",
            Self::Hmac.iss(issuer),
            file("shared", &format!("{SECRET}\n{PREVIOUS}\n")),
        );
        if self != Self::Introspection {
            return both;
        }
        issuer.set_client(CLIENT, guard::CLIENT_SECRET);
        format!(
            "{both}
                [auth.issuers.opaque]
                issuer = '{}'
                audiences = ['{AUDIENCE}']
                introspection_url = '{}'
                introspection_client_id = '{CLIENT}'
                introspection_client_secret_file = '{}'
                {claim}",
            self.iss(issuer),
            issuer.introspection_url(),
            file("client", guard::CLIENT_SECRET),
        )
    }

    /// The row with the result for this kind of issuer. `is_introspected`: the token is opaque, and its
    /// introspection response is active with the row's claims.
    pub fn adapt(self, table: &str, row: Row, is_introspected: bool) -> Row {
        match self {
            Self::PublicKeys => row,
            // These tokens name an issuer with keys, so they are not introspected.
            _ if table == "confusion" && row.reason != "unknown_issuer" => row,
            Self::Hmac => by_hmac(table, row),
            Self::Introspection if is_introspected => by_response(row),
            // The header was malformed or too long, so no issuer is called.
            Self::Introspection if row.status == 400 => row,
            // The issuer has not issued this token, so its content and its key do not matter.
            Self::Introspection => Row::invalid("inactive", row.what, row.token),
        }
    }
}

/// Rows with another reason if the issuer has shared secrets: table, reason in the row, prefix of
/// the row's name, reason here.
const BY_HMAC: [(&str, &str, &str, &str); 9] = [
    // HMACs are among its algorithms, and public keys are not its secrets. HS384 is not in its
    // settings.
    ("public_keys_as_secrets", "algorithm", "HS256 ", "signature"),
    ("public_keys_as_secrets", "algorithm", "HS512 ", "signature"),
    ("public_keys_as_secrets", "signature", "", "algorithm"),
    ("of_another_kind", "algorithm", "alg HS256", "signature"),
    ("of_another_kind", "signature", "", "algorithm"),
    ("of_another_kind", "unknown_key", "", "algorithm"),
    // A `kid` has no effect: each secret is tried.
    ("brought_along", "unknown_key", "", "signature"),
    ("kids", "unknown_key", "", "signature"),
    ("rsa", "signature", "", "algorithm"),
];

fn by_hmac(table: &str, row: Row) -> Row {
    let other = BY_HMAC.iter().find(|(its_table, reason, name, _)| {
        *its_table == table && *reason == row.reason && row.what.starts_with(name)
    });
    match other {
        Some((.., reason)) => Row::invalid(reason, row.what, row.token),
        None => row,
    }
}

/// Responses without `iss` belong to the issuer (RFC 7662 §2.2): name of the row, and the next
/// check that fails, if any.
const WITHOUT_ISS: [(&str, Option<&str>); 4] = [
    ("iss null", None),
    ("claims in a claim", Some("claims")),
    ("claims: {}", Some("claims")),
    ("claims: white space", Some("claims")),
];

fn by_response(row: Row) -> Row {
    if let Some((_, reason)) = WITHOUT_ISS.iter().find(|(name, _)| *name == row.what) {
        return match reason {
            Some(reason) => Row::invalid(reason, row.what, row.token),
            None => Row { status: 200, ..row },
        };
    }
    match row.reason {
        // A malformed response proves nothing about the token.
        "not_jws" => {
            Row { status: 503, code: "keys_unavailable", reason: "keys_unavailable", ..row }
        }
        _ => row,
    }
}
