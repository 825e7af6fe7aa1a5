//! `auth.*`: who may call, and how their keys are looked after. Each issuer is `issuer`'s.

mod issuer;

use std::{collections::BTreeMap, time::Duration};

pub use self::issuer::{Issuer, KeySource};
use super::{fault::Wrong, reader::Reader};
pub use crate::algorithm::Algorithm;

/// The table of issuers.
pub(super) const ISSUERS: &str = "auth.issuers";

/// `auth.*`
#[derive(Debug, Clone)]
pub struct Auth {
    /// `auth.issuers.NAME`, by name. At least one.
    pub issuers: BTreeMap<String, Issuer>,
    /// `auth.leeway`
    pub leeway: Duration,
    /// `auth.jwks_refresh`
    pub jwks_refresh: Duration,
    /// `auth.jwks_cooldown`
    pub jwks_cooldown: Duration,
    /// `auth.jwks_max_stale`
    pub jwks_max_stale: Duration,
    /// `auth.max_token_bytes`
    pub max_token_bytes: usize,
    /// `auth.verified_tokens`
    pub verified_tokens: u64,
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
        let max_token_bytes = reader.at("auth.max_token_bytes").number(256..=65_536);
        let verified_tokens = reader.at("auth.verified_tokens").number(0..=100_000_000);
        let switches = ["auth.allow_local_issuer", "auth.shared_customer_ids"]
            .map(|key| reader.at(key).boolean());
        let issuers = issuers(reader);
        switches.into_iter().collect::<Option<Vec<_>>>()?;
        Some(Self {
            issuers: issuers?,
            leeway: leeway?,
            jwks_refresh: jwks_refresh?,
            jwks_cooldown: jwks_cooldown?,
            jwks_max_stale: jwks_max_stale?,
            max_token_bytes: usize::try_from(max_token_bytes?).ok()?,
            verified_tokens: verified_tokens?,
        })
    }
}

/// All issuers; `None` when one has faults.
fn issuers(reader: &mut Reader<'_>) -> Option<BTreeMap<String, Issuer>> {
    let names = reader.names(ISSUERS);
    if names.is_empty() {
        let fix = "write [auth.issuers.NAME] with issuer, audiences, algorithms and one of \
                   jwks_url, jwks_file and discovery";
        reader.missing(ISSUERS, Wrong::new("there is no issuer", fix));
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
