//! Settings: typed, validated, every fault told at once (promise P9).
//!
//! `config/default.toml` is embedded and documents every key; files and environment go over it.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use secrecy::SecretString;

use crate::customer::{CustomerIdForm, FieldSet};

/// Everything that can be set.
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
    /// `log.*`
    pub log: Log,
    /// `secrets.*`
    pub secrets: Secrets,
}

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// An IP address and port; port 0 takes a free one.
    Tcp(SocketAddr),
    /// `unix:PATH`
    Unix(PathBuf),
}

/// `server.*`
#[derive(Debug, Clone)]
pub struct Server {
    /// `server.listen`, one or more.
    pub listen: Vec<Listen>,
    /// `server.admin_listen`, one or more.
    pub admin_listen: Vec<Listen>,
    /// `server.admin_token_file`
    pub admin_token_file: Option<PathBuf>,
    /// `server.workers`; `None`: as many as the machine has cores for us.
    pub workers: Option<usize>,
    /// `server.shutdown_delay`
    pub shutdown_delay: Duration,
    /// `server.shutdown_grace`
    pub shutdown_grace: Duration,
}

/// A secret, by file (re-read when it changes) or in place.
#[derive(Debug, Clone)]
pub enum SecretSource {
    /// The file that holds it.
    File(PathBuf),
    /// The secret itself.
    Inline(SecretString),
}

/// `juspay.*`
#[derive(Debug, Clone)]
pub struct Juspay {
    /// `juspay.base_url`, an origin with or without a path, without a slash at its end.
    pub base_url: String,
    /// `juspay.merchant_id`
    pub merchant_id: String,
    /// `juspay.api_key_file` or `juspay.api_key`
    pub api_key: SecretSource,
    /// `juspay.customer_id_form`
    pub customer_id_form: CustomerIdForm,
    /// `juspay.api_version`, Juspay's `version` header.
    pub api_version: Option<String>,
    /// `juspay.ca_file`: PEM roots besides the built-in ones.
    pub ca_file: Option<PathBuf>,
    /// `juspay.connect_timeout`
    pub connect_timeout: Duration,
    /// `juspay.deadline`
    pub deadline: Duration,
    /// `juspay.max_in_flight`
    pub max_in_flight: usize,
}

/// A signature algorithm that an issuer may use (RFC 7518 §3.1, RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

/// Where an issuer's keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// `jwks_url`
    Url(String),
    /// `jwks_file`, re-read when it changes.
    File(PathBuf),
    /// `discovery`: the address of the OpenID provider's configuration document. `true` in the
    /// settings stands for the issuer with `/.well-known/openid-configuration`.
    Discovery(String),
}

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

/// `auth.issuers.NAME.*`
#[derive(Debug, Clone)]
pub struct Issuer {
    /// `issuer`: what the `iss` claim must be, to the letter.
    pub issuer: String,
    /// `audiences`: one of them must be in `aud`. At least one.
    pub audiences: Vec<String>,
    /// `algorithms`. At least one.
    pub algorithms: Vec<Algorithm>,
    /// `jwks_url`, `jwks_file` or `discovery`
    pub keys: KeySource,
    /// `customer_id_claim`
    pub customer_id_claim: String,
    /// `customer_id_prefix`, empty when there is none.
    pub customer_id_prefix: String,
    /// `required_scopes`
    pub required_scopes: Vec<String>,
    /// `typ`: accepted values of the header, in lower case; empty = absent.
    pub typ: Vec<String>,
}

/// `cache.*`
#[derive(Debug, Clone)]
pub struct Cache {
    /// `cache.capacity`, customers.
    pub capacity: u64,
    /// `cache.min_remaining`
    pub min_remaining: Duration,
    /// `cache.refresh_ahead`
    pub refresh_ahead: Duration,
    /// `cache.outage_min_remaining`
    pub outage_min_remaining: Duration,
    /// `cache.max_token_life`
    pub max_token_life: Duration,
    /// `cache.not_found_ttl`
    pub not_found_ttl: Duration,
}

/// `response.*`
#[derive(Debug, Clone)]
pub struct Response {
    /// `response.fields`
    pub fields: FieldSet,
}

/// `log.level`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// `log.format`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// `log.access`: which requests get a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLog {
    /// Every one.
    All,
    /// Those answered with 4xx or 5xx.
    Errors,
    /// None.
    Off,
    /// One of so many, and every error (`"1/100"`).
    OneIn(std::num::NonZeroU32),
}

/// `log.*`
#[derive(Debug, Clone)]
pub struct Log {
    /// `log.level`
    pub level: LogLevel,
    /// `log.format`
    pub format: LogFormat,
    /// `log.access`
    pub access: AccessLog,
    /// `log.customer_ref_key_file`; without one the key is random at each start.
    pub customer_ref_key_file: Option<PathBuf>,
}

/// `secrets.*`
#[derive(Debug, Clone)]
pub struct Secrets {
    /// `secrets.poll`: how often secret files are looked at.
    pub poll: Duration,
}
