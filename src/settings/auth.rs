//! `auth.*`: settings of authentication. `issuer` reads the table of each issuer.

mod claims;
mod dpop;
mod gateway;
mod hmac;
mod introspection;
mod issuer;
mod revocations;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

pub(super) use self::gateway::HEADER as GATEWAY_HEADER;
pub use self::{
    claims::{AudienceClaim, ClaimPath, ClaimValue, RequiredClaim},
    dpop::{Dpop, DpopMode},
    gateway::Gateway,
    hmac::{Hmac, HmacSecretError, hmac_secrets},
    introspection::Introspection,
    issuer::{Issuer, KeySource},
};
use super::{address::bare_host, fault::Violation, reader::Reader, value::Items};
pub use crate::algorithm::{Algorithm, HmacAlgorithm};

/// The table of all issuers.
pub(super) const ISSUERS: &str = "auth.issuers";

/// Hosts whose `jwks_url` may use http.
pub(super) const PLAIN_HTTP_HOSTS: &str = "auth.plain_http_hosts";

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

impl Auth {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let fetches = Duration::from_millis(1)..=Duration::from_hours(24);
        let leeway = reader.at("auth.leeway").duration(Duration::ZERO..=Duration::from_mins(5));
        let jwks_refresh = reader.at("auth.jwks_refresh").duration(fetches.clone());
        let jwks_cooldown = reader.at("auth.jwks_cooldown").duration(fetches);
        let jwks_max_stale = reader
            .at("auth.jwks_max_stale")
            .duration(Duration::from_millis(1)..=Duration::from_hours(30 * 24));
        let plain_http_hosts = reader.at(PLAIN_HTTP_HOSTS).list(Items::Any, bare_host);
        let introspection_cache = reader
            .at("auth.introspection_cache")
            .duration(Duration::ZERO..=Duration::from_hours(1));
        let max_token_bytes = reader.at("auth.max_token_bytes").number(256..=65_536);
        let verified_tokens = reader.at("auth.verified_tokens").number(0..=100_000_000);
        let switches = ["auth.allow_local_issuer", "auth.shared_customer_ids"]
            .map(|key| reader.at(key).boolean());
        let gateway = Gateway::read(reader);
        let issuers = issuers(reader);
        let max_revocations = reader.at("auth.max_revocations").number(1..=10_000_000);
        let max_revocations = max_revocations.and_then(|most| usize::try_from(most).ok());
        let revocations_file = reader
            .at("auth.revocations_file")
            .file(|path| revocations::check(path, max_revocations, issuers.as_ref()));
        let logout_ttl = reader
            .at("auth.logout_ttl")
            .duration(Duration::from_mins(1)..=Duration::from_hours(30 * 24));
        let dpop = Dpop::read(reader);
        switches.into_iter().collect::<Option<Vec<_>>>()?;
        Some(Self {
            gateway: gateway?,
            issuers: issuers?,
            leeway: leeway?,
            jwks_refresh: jwks_refresh?,
            jwks_cooldown: jwks_cooldown?,
            jwks_max_stale: jwks_max_stale?,
            plain_http_hosts: plain_http_hosts?,
            max_token_bytes: usize::try_from(max_token_bytes?).ok()?,
            verified_tokens: verified_tokens?,
            introspection_cache: introspection_cache?,
            revocations_file,
            max_revocations: max_revocations?,
            logout_ttl: logout_ttl?,
            dpop: dpop?,
        })
    }

    /// The index of the issuer that a revocation names: by its name in the settings, or by its
    /// `iss`.
    #[must_use]
    pub fn issuer_index(&self, name_or_iss: &str) -> Option<usize> {
        issuer_index(&self.issuers, name_or_iss)
    }
}

fn issuer_index(issuers: &BTreeMap<String, Issuer>, name_or_iss: &str) -> Option<usize> {
    let by_name = issuers.keys().position(|name| name == name_or_iss);
    by_name.or_else(|| issuers.values().position(|issuer| issuer.issuer == name_or_iss))
}

/// Reads all issuers; `None` if one has faults.
fn issuers(reader: &mut Reader<'_>) -> Option<BTreeMap<String, Issuer>> {
    let names = reader.names(ISSUERS);
    if names.is_empty() && !reader.is_set(GATEWAY_HEADER) {
        let fix = "write [auth.issuers.NAME] with issuer, audiences, and algorithms with one of \
                   jwks_url, jwks_file, discovery and hmac_secret_file, or introspection_url";
        reader.missing(&[ISSUERS], Violation::new("no issuer is configured", fix));
    }
    let read: Vec<_> = names
        .into_iter()
        .map(|name| {
            let issuer = Issuer::read(reader, &format!("{ISSUERS}.{name}"));
            issuer.map(|issuer| (name, issuer))
        })
        .collect();
    read.into_iter().collect()
}
