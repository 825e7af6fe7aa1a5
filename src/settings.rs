//! Reads and validates the settings, and reports every fault at once.
//!
//! `config/default.toml` is embedded and documents every key. Settings files override it, and
//! environment variables override both. [`Sources`] lists the sources and loads them. Each section
//! has a file here with its types and the valid values of each key; `conflicts` checks combinations
//! of keys.
//!
//! A key passes through these modules: `document` and `environment` parse values together with
//! their origins, `sources` merges them, `reader` returns one `setting` at a time and collects
//! faults, and `unknown` reports keys that no section read. No [`Fault`] quotes a value other
//! than a number or a duration.

// Untrusted input is parsed here.
#![cfg_attr(
    not(test),
    deny(clippy::as_conversions, clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

mod address;
mod auth;
mod cache;
mod conflicts;
mod cors;
mod document;
pub mod duration;
mod effective;
mod environment;
mod fault;
mod files;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub(crate) mod fuzzing;
mod juspay;
mod limits;
mod log;
mod reader;
mod sdk;
mod server;
mod shared;
mod sources;
#[cfg(test)]
mod tests;
mod traces;
mod unknown;
mod value;

use std::time::Duration;

pub use self::{
    auth::{
        Algorithm, AudienceClaim, Auth, ClaimPath, ClaimValue, Dpop, DpopMode, Gateway, Hmac,
        HmacAlgorithm, HmacSecretError, Introspection, Issuer, KeySource, NewCustomerClaims,
        RequiredClaim, hmac_secrets,
    },
    cache::{Cache, MaxHandOuts},
    cors::Cors,
    effective::Effective,
    fault::{Fault, Faults},
    juspay::{Breaker, CustomerIdForm, IpFamily, Juspay, SecretSource},
    limits::{Limits, Rate},
    log::{AccessLog, Log, LogFormat, LogLevel},
    sdk::{Platform, Sdk, SdkProfile},
    server::{ClientAuth, Listen, Server, ServerTls},
    shared::{
        RedisAddress, RedisUrl, Shared, SharedKey, SharedKeyError, Topology, name_key, sealing_keys,
    },
    sources::{Loaded, Sources},
    traces::{Traces, header_lines},
};
use self::{fault::Violation, reader::Reader, value::Items};
use crate::customer::{Field, FieldSet};

/// All settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `server.*`
    pub server: Server,
    /// `juspay.*`
    pub juspay: Juspay,
    /// `auth.*`
    pub auth: Auth,
    /// `cache.*`
    pub cache: Cache,
    /// `response.*`
    pub response: Response,
    /// `limits.*`
    pub limits: Limits,
    /// `log.*`
    pub log: Log,
    /// `traces.*`
    pub traces: Traces,
    /// `shared.*`
    pub shared: Shared,
    /// `sdk.*`
    pub sdk: Sdk,
    /// `cors.*`
    pub cors: Cors,
    /// `secrets.*`
    pub secrets: Secrets,
}

/// `response.*`
#[derive(Debug, Clone)]
pub struct Response {
    /// `response.fields`
    pub fields: FieldSet,
}

/// `secrets.*`
#[derive(Debug, Clone)]
pub struct Secrets {
    /// `secrets.poll`: how often secret files are checked for changes.
    pub poll: Duration,
}

impl Settings {
    /// Reads every section. A value with a fault is a placeholder.
    fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            server: Server::read(reader),
            juspay: Juspay::read(reader),
            auth: Auth::read(reader),
            cache: Cache::read(reader),
            response: Response::read(reader),
            limits: Limits::read(reader),
            log: Log::read(reader),
            traces: Traces::read(reader),
            shared: Shared::read(reader),
            sdk: Sdk::read(reader),
            cors: Cors::read(reader),
            secrets: Secrets { poll: reader.duration("secrets.poll", POLL_RANGE) },
        }
    }
}

impl Response {
    fn read(reader: &mut Reader<'_>) -> Self {
        let fields = reader.at("response.fields").list(Items::AtLeastOne, field);
        if fields.as_ref().is_some_and(|fields| !fields.contains(&Field::Juspay)) {
            let reason = "does not include \"juspay\", so phones get no client auth token";
            let fix = "add \"juspay\", unless this is intended; a phone that needs no token sends \
                       ?options.get_client_auth_token=false";
            reader.warning("response.fields", Violation::new(reason, fix));
        }
        Self { fields: FieldSet::new(&reader.filled(|_| fields)) }
    }
}

/// Each check reads every secret file once.
const POLL_RANGE: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_hours(1);

fn field(name: &str) -> Result<Field, Violation> {
    Field::from_name(name).ok_or_else(|| {
        let names = Field::ALL.map(Field::name).join(", ");
        let reason = "is not a documented field of Juspay's customer object";
        Violation::new(reason, format!("remove it, or write one of {names}"))
    })
}
