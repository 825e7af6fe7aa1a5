//! `auth.*`: settings of authentication. `issuer` reads the table of each issuer.

mod claims;
pub(super) mod gateway;
pub(super) mod issuer;
mod key_source;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

pub use self::{
    claims::{AudienceClaim, ClaimPath, ClaimValue, NewCustomerClaims, RequiredClaim},
    gateway::Gateway,
    issuer::{DpopMode, Issuer},
    key_source::{Hmac, HmacSecretError, Introspection, KeySource, hmac_secrets},
};
use super::{
    address::bare_host, fault::Violation, files::is_readable, reader::Reader, value::Items,
};
pub use crate::algorithm::{Algorithm, HmacAlgorithm};
use crate::revocation::{self, FileError};

/// The table of all issuers.
const ISSUERS: &str = "auth.issuers";

/// `auth.*`
#[derive(Debug, Clone)]
pub struct Auth {
    /// `auth.gateway.*` if the gateway mode is on. There are no issuers then.
    pub gateway: Option<Gateway>,
    /// `auth.issuers.NAME`, by name. At least one, unless the gateway mode is on.
    pub issuers: BTreeMap<String, Issuer>,
    /// `auth.leeway`
    pub leeway: Duration,
    /// `auth.jwks_refresh`
    pub jwks_refresh: Duration,
    /// `auth.jwks_cooldown`
    pub jwks_cooldown: Duration,
    /// `auth.jwks_max_stale`
    pub jwks_max_stale: Duration,
    /// `auth.plain_http_hosts`, in lower case.
    pub plain_http_hosts: Vec<String>,
    /// `auth.max_token_bytes`
    pub max_token_bytes: usize,
    /// `auth.verified_tokens`
    pub verified_tokens: u64,
    /// `auth.introspection_cache`: how long an introspection response is valid.
    pub introspection_cache: Duration,
    /// `auth.revocations_file`
    pub revocations_file: Option<PathBuf>,
    /// `auth.max_revocations`: the limit for the file, and separately for memory.
    pub max_revocations: usize,
    /// `auth.logout_ttl`
    pub logout_ttl: Duration,
    /// `auth.dpop.*`
    pub dpop: Dpop,
}

/// `auth.dpop.*`
#[derive(Debug, Clone)]
pub struct Dpop {
    /// `auth.dpop.max_age`: the maximum age of a proof, and of the nonce in it.
    pub max_age: Duration,
    /// `auth.dpop.max_proofs`: how many proofs are stored to detect replays.
    pub max_proofs: usize,
    /// `auth.dpop.nonces`: whether proofs must contain a nonce that this service issued.
    pub nonces: bool,
    /// `auth.dpop.nonce_key_file`; if unset, a random key is generated at each start.
    pub nonce_key_file: Option<PathBuf>,
}

impl Auth {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let fetches = Duration::from_millis(1)..=Duration::from_hours(24);
        let month = Duration::from_hours(30 * 24);
        let up_to = |longest| Duration::ZERO..=longest;
        let leeway = reader.duration("auth.leeway", up_to(Duration::from_mins(5)));
        let jwks_refresh = reader.duration(JWKS_REFRESH, fetches.clone());
        let jwks_cooldown = reader.duration("auth.jwks_cooldown", fetches);
        let jwks_max_stale = reader.duration(JWKS_MAX_STALE, Duration::from_millis(1)..=month);
        let plain_http_hosts =
            reader.filled(|it| it.at("auth.plain_http_hosts").list(Items::Any, bare_host));
        let introspection_cache =
            reader.duration("auth.introspection_cache", up_to(Duration::from_hours(1)));
        let max_token_bytes = reader.number("auth.max_token_bytes", 256..=65_536);
        let verified_tokens = reader.number("auth.verified_tokens", 0..=100_000_000);
        // Only conflicts use them.
        for key in [issuer::ALLOW_LOCAL, issuer::SHARED_IDS] {
            reader.boolean(key);
        }
        let gateway = Gateway::read(reader);
        let placeholders = reader.placeholders();
        let issuers = issuers(reader, &plain_http_hosts);
        let are_issuers_valid = reader.placeholders() == placeholders;
        let max_revocations = reader.number(MAX_REVOCATIONS, 1..=10_000_000);
        let is_max_valid = reader.is_valid(MAX_REVOCATIONS);
        let revocations_file = reader.at("auth.revocations_file").file(|path| {
            let is_known =
                |name: &str| !are_issuers_valid || issuer_index(&issuers, name).is_some();
            if is_max_valid {
                validate_revocations(path, max_revocations, is_known)
            } else {
                Ok(())
            }
        });
        Self {
            gateway,
            issuers,
            leeway,
            jwks_refresh,
            jwks_cooldown,
            jwks_max_stale,
            plain_http_hosts,
            max_token_bytes,
            verified_tokens,
            introspection_cache,
            revocations_file,
            max_revocations,
            logout_ttl: reader.duration("auth.logout_ttl", Duration::from_mins(1)..=month),
            dpop: Dpop::read(reader),
        }
    }

    /// Keys must be fetched again before they are dropped.
    pub(super) fn check_jwks(&self, reader: &mut Reader<'_>) {
        let stale = (JWKS_MAX_STALE, self.jwks_max_stale);
        let refresh = (JWKS_REFRESH, self.jwks_refresh);
        reader.check_longer(stale, refresh, "valid keys are dropped between two fetches");
    }

    /// The index of the issuer that a revocation names: by its name in the settings, or by its
    /// `iss`.
    #[must_use]
    pub fn issuer_index(&self, name_or_iss: &str) -> Option<usize> {
        issuer_index(&self.issuers, name_or_iss)
    }
}

const JWKS_REFRESH: &str = "auth.jwks_refresh";
const JWKS_MAX_STALE: &str = "auth.jwks_max_stale";
const MAX_REVOCATIONS: &str = "auth.max_revocations";

fn issuer_index(issuers: &BTreeMap<String, Issuer>, name_or_iss: &str) -> Option<usize> {
    let by_name = issuers.keys().position(|name| name == name_or_iss);
    by_name.or_else(|| issuers.values().position(|issuer| issuer.issuer == name_or_iss))
}

/// Reads all issuers.
fn issuers(reader: &mut Reader<'_>, plain_http_hosts: &[String]) -> BTreeMap<String, Issuer> {
    let names = reader.names(ISSUERS);
    if names.is_empty() && !reader.is_set(gateway::HEADER) {
        let fix = "write [auth.issuers.NAME] with issuer, audiences, and algorithms with one of \
                   jwks_url, jwks_file, discovery and hmac_secret_file, or introspection_url";
        reader.missing(&[ISSUERS], Violation::new("no issuer is configured", fix));
    }
    let read = names.into_iter().map(|name| {
        let issuer = Issuer::read(reader, &format!("{ISSUERS}.{name}"), plain_http_hosts);
        (name, issuer)
    });
    read.collect()
}

impl Dpop {
    fn read(reader: &mut Reader<'_>) -> Self {
        let max_age = Duration::from_secs(1)..=Duration::from_mins(10);
        Self {
            max_age: reader.duration("auth.dpop.max_age", max_age),
            max_proofs: reader.number("auth.dpop.max_proofs", 100..=10_000_000),
            nonces: reader.boolean("auth.dpop.nonces"),
            nonce_key_file: reader.at("auth.dpop.nonce_key_file").file(is_readable),
        }
    }
}

/// Checks a list of revocations.
fn validate_revocations(
    path: &Path,
    max_entries: usize,
    is_known: impl Fn(&str) -> bool,
) -> Result<(), Violation> {
    revocation::read_file(path, max_entries, is_known).map(drop).map_err(|error| {
        if let FileError::Unreadable(error) = error {
            Violation::unreadable(path, error)
        } else {
            Violation::new(error.to_string(), revocations_fix(error))
        }
    })
}

const fn revocations_fix(error: FileError) -> &'static str {
    match error {
        FileError::Unreadable(error) => error.fix(),
        FileError::TooLarge(_) | FileError::TooMany(_) => {
            "remove expired entries, or raise auth.max_revocations"
        }
        FileError::Malformed { .. } | FileError::Entry { .. } => {
            "correct the file; config/default.toml shows the format of entries"
        }
        FileError::UnknownIssuer(_) => {
            "write a name below auth.issuers, or the iss claim of the issuer's tokens"
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::settings::Sources;

    fn faults(json: &str, settings: &str) -> Option<String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, json).unwrap();
        let valid = "juspay = {base_url = 'https://a.example', merchant_id = 'm', api_key = 'k'}\n\
                    [auth.issuers.main]\nissuer = 'https://id.example'\naudiences = ['a']\n\
                    algorithms = ['RS256']\ndiscovery = true";
        let path = format!("auth.revocations_file = {:?}", file.path());
        let sources = Sources::default().text("good", valid).text("path", path);
        let loaded = sources.text("x", settings).load();
        loaded.err().map(|faults| faults.to_string())
    }

    fn of(issuer: &str) -> String {
        format!(r#"{{"revocations": [{{"issuer": "{issuer}", "jti": "hush", "expires": 9}}]}}"#)
    }

    #[test]
    fn issuer_is_found_by_name_or_iss() {
        for issuer in ["main", "https://id.example"] {
            assert_eq!(faults(&of(issuer), ""), None);
        }
        for issuer in ["", "Main", "https://id.example/"] {
            let fault = faults(&of(issuer), "").unwrap();
            assert!(fault.contains("auth.revocations_file"), "{fault}");
            assert!(fault.contains("entry 1 of the file names an issuer that is not"), "{fault}");
            assert!(!fault.contains("hush"), "{fault}");
        }
    }

    #[test]
    fn fault_of_a_related_key_adds_no_second_fault() {
        let fault = faults(&of("other"), "auth.issuers.main.algorithms = []").unwrap();
        assert!(!fault.contains("revocations_file"), "{fault}");
        let fault = faults(&of("main"), "auth.max_revocations = 0").unwrap();
        assert!(!fault.contains("revocations_file"), "{fault}");
    }

    #[test]
    fn too_many_entries_are_a_fault() {
        let one = r#"{"issuer": "main", "jti": "a", "expires": 9}"#;
        let fault =
            faults(&format!(r#"{{"revocations": [{one}, {one}]}}"#), "auth.max_revocations = 1");
        assert!(fault.unwrap().contains("contains more than 1 entries"));
    }
}
