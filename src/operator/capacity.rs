//! Calculates upper bounds of memory and of calls to Juspay from the settings, for capacity
//! planning.
//!
//! The text form is TOML comments, which `check-config` prints after the settings. The sizes were
//! measured; each constant names its source.

use std::{collections::BTreeSet, fmt, num::NonZeroU32, time::Duration};

use jiff::SignedDuration;
use serde::Serialize;

use crate::{
    cache::{LOWEST_MAX_HAND_OUTS, lifetime::LifetimePolicy},
    settings::{MaxHandOuts, Rate, Settings},
};

/// Bytes of a cached customer with one verified token: the rows "memory, N customers" of
/// docs/measurements/speed.md (`make bench`) with glibc's allocator, rounded up. jemalloc needs a
/// fifth less.
const CUSTOMER_BYTES: u64 = 2304;

/// Bytes of a further verified token. Not in `make bench`; measured manually as the growth of PSS
/// with 30,000 tokens of one customer (0.9 KiB each), rounded up.
const TOKEN_BYTES: u64 = 1024;

/// Bytes that a verified token has in addition if missing customers are created from its claims: 72 for the
/// values, and the allocations of a mobile number, an e-mail address and two names of usual length.
const NEW_CUSTOMER_BYTES: u64 = 256;

/// Bytes of a connection that is sending a request head, the maximum that a connection uses
/// (docs/operations.md#capacity).
const CONNECTION_BYTES: u64 = 60 * 1024;

/// Bytes of the process without customers: the row "memory, no customer" of
/// docs/measurements/speed.md, rounded up.
const IDLE_BYTES: u64 = 10 * 1024 * 1024;

/// Bytes of a customer on the server of the shared tier, measured with a body of 950 bytes on Redis 7.0:
/// 1.18 KB, rounded up.
pub(crate) const SHARED_ENTRY_BYTES: u64 = 1200;

/// Numbers of customers in the table of calls.
const CUSTOMERS: [u64; 3] = [1_000, 10_000, 100_000];

/// The input of the calculation.
#[derive(Debug)]
pub struct Capacity<'s> {
    /// The settings.
    pub settings: &'s Settings,
    /// Number of processes with these settings.
    pub replicas: NonZeroU32,
    /// Juspay's rate limit for the merchant, shared by all replicas.
    pub quota: Option<Rate>,
}

/// The results for programs; docs/cli.md documents the members.
#[derive(Debug, Serialize)]
pub struct Summary {
    replicas: u32,
    memory_bytes: MemoryBytes,
    /// Of the shared tier's server, for `cache.capacity` customers.
    #[serde(skip_serializing_if = "Option::is_none")]
    shared_memory_bytes: Option<u64>,
    juspay_quota_per_second: Option<f64>,
    juspay_calls_per_second: Vec<CallRates>,
    warning: Option<String>,
}

/// Upper bounds for each replica.
#[derive(Debug, Serialize)]
struct MemoryBytes {
    customers: u64,
    verified_tokens: u64,
    connections: u64,
    process: u64,
    total: u64,
}

/// Calls per second of all replicas, for a number of active customers.
#[derive(Debug, Serialize)]
struct CallRates {
    customers: u64,
    usual: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    usual_is_above_quota: Option<bool>,
    /// `None` if unlimited.
    worst: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    worst_is_above_quota: Option<bool>,
}

impl Capacity<'_> {
    /// A warning if a full cache of active customers exceeds the quota.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let quota = self.quota?.per_second();
        let capacity = self.settings.cache.capacity;
        let rate = self.steady_rate(capacity);
        let within = count(quota * self.steady_interval() / self.callers());
        (rate > quota).then(|| {
            format!(
                "{} active customers (cache.capacity) need {} to Juspay, above the quota of {}, \
                 which is enough for {within} customers: raise the quota, lower \
                 cache.min_remaining to reuse tokens for longer{}",
                count(float(capacity)),
                calls(rate),
                calls(quota),
                if self.is_shared() { "" } else { ", or run fewer replicas" },
            )
        })
    }

    /// How long a token is returned from the cache in normal operation.
    fn usable_life(&self) -> Duration {
        let policy = LifetimePolicy::from(&self.settings.cache);
        policy.max_token_life.saturating_sub(policy.normal_floor(policy.max_token_life))
    }

    /// Minimum seconds between two calls for a continuously active customer: two thirds of the
    /// usable life, which the tests of `cache::lifetime` assert.
    fn steady_interval(&self) -> f64 {
        self.usable_life().as_secs_f64() * 2.0 / 3.0
    }

    fn steady_rate(&self, customers: u64) -> f64 {
        float(customers) * self.callers() / self.steady_interval()
    }

    /// Whether replicas share customers.
    const fn is_shared(&self) -> bool {
        self.settings.shared.url.is_some()
    }

    /// How many replicas usually call Juspay for the same customer.
    fn callers(&self) -> f64 {
        if self.is_shared() { 1.0 } else { f64::from(self.replicas.get()) }
    }

    /// Memory of the shared tier's server, if there is one.
    fn shared_bytes(&self) -> Option<u64> {
        let bytes = self.settings.cache.capacity.saturating_mul(SHARED_ENTRY_BYTES);
        self.is_shared().then_some(bytes)
    }

    /// Maximum calls per second for one customer. Clients cause calls by using tokens up and by
    /// forcing refreshes. Infinite if the settings don't limit it.
    fn worst_rate_per_customer(&self) -> f64 {
        let (cache, limits) = (&self.settings.cache, &self.settings.limits);
        let requests = limits.per_customer.map_or(f64::INFINITY, |rate| rate.per_second());
        let used_up = |number: u32| {
            (requests / f64::from(number)).min(1.0 / cache.hand_out_min_age().as_secs_f64())
        };
        let used_up = match cache.max_hand_outs {
            MaxHandOuts::Number(0) => 0.0,
            MaxHandOuts::Number(number) => used_up(number),
            MaxHandOuts::Auto => used_up(LOWEST_MAX_HAND_OUTS),
        };
        let asked_for =
            limits.force_refresh_per_customer.map_or(requests, |rate| rate.per_second());
        (used_up + asked_for).min(requests).max(1.0 / self.steady_interval())
    }

    fn worst_rate(&self, customers: u64) -> f64 {
        float(customers) * f64::from(self.replicas.get()) * self.worst_rate_per_customer()
    }

    /// The maximum number of each kind, and the bytes of one. `None` for the process itself.
    fn memory_rows(&self) -> [(Option<u64>, &'static str, u64); 4] {
        let customers = self.settings.cache.capacity;
        let tokens = self.settings.auth.verified_tokens.saturating_sub(customers);
        let claims =
            if self.settings.juspay.create_missing_customers { NEW_CUSTOMER_BYTES } else { 0 };
        let connections = u64::try_from(self.settings.server.max_connections).unwrap_or(u64::MAX);
        [
            (
                Some(customers),
                "customers, each with a verified token (cache.capacity)",
                CUSTOMER_BYTES.saturating_add(claims),
            ),
            (
                Some(tokens),
                "further verified tokens (auth.verified_tokens)",
                TOKEN_BYTES.saturating_add(claims),
            ),
            (
                Some(connections),
                "connections, all sending headers (server.max_connections)",
                CONNECTION_BYTES,
            ),
            (None, "the process itself", IDLE_BYTES),
        ]
    }

    /// The numbers of customers in the table of calls.
    fn customer_rows(&self) -> BTreeSet<u64> {
        CUSTOMERS.into_iter().chain([self.settings.cache.capacity]).collect()
    }

    /// Calculates the results for programs.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let bytes =
            self.memory_rows().map(|(number, _, bytes)| bytes.saturating_mul(number.unwrap_or(1)));
        let [customers, verified_tokens, connections, process] = bytes;
        let total = bytes.into_iter().fold(0, u64::saturating_add);
        let quota = self.quota.map(|quota| quota.per_second());
        let is_above = |rate: f64| quota.map(|quota| rate > quota);
        let calls = self.customer_rows().into_iter().map(|customers| {
            let (usual, worst) = (self.steady_rate(customers), self.worst_rate(customers));
            CallRates {
                customers,
                usual,
                usual_is_above_quota: is_above(usual),
                worst: worst.is_finite().then_some(worst),
                worst_is_above_quota: is_above(worst),
            }
        });
        Summary {
            replicas: self.replicas.get(),
            memory_bytes: MemoryBytes { customers, verified_tokens, connections, process, total },
            shared_memory_bytes: self.shared_bytes(),
            juspay_quota_per_second: quota,
            juspay_calls_per_second: calls.collect(),
            warning: self.warning(),
        }
    }

    fn memory(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# Memory of each replica, at most:")?;
        let mut together: u64 = 0;
        for (number, what, bytes) in self.memory_rows() {
            let all = bytes.saturating_mul(number.unwrap_or(1));
            together = together.saturating_add(all);
            let shown = number.map(|number| count(float(number))).unwrap_or_default();
            let each = number.map(|_| format!("{:>6.2} KiB each", float(bytes) / 1024.0));
            let line =
                format!("#   {shown:>11} {what:<58} {}  {}", mib(all), each.unwrap_or_default());
            writeln!(f, "{}", line.trim_end())?;
        }
        writeln!(f, "#   {:>11} {:<58} {}", "", "total", mib(together))?;
        let Some(bytes) = self.shared_bytes() else { return Ok(()) };
        let customers = count(float(self.settings.cache.capacity));
        let each = format!("{:>6.2} KiB each", float(SHARED_ENTRY_BYTES) / 1024.0);
        writeln!(
            f,
            "#\n# Memory of the server that replicas share (shared.url), for as many customers:"
        )?;
        writeln!(f, "#   {customers:>11} {:<58} {}  {each}", "shared customers", mib(bytes))
    }

    fn calls(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quota = self.quota.map_or(f64::INFINITY, |quota| quota.per_second());
        let shown = |rate: f64| {
            let mark = if rate > quota { " (above the quota)" } else { "" };
            format!("{}{mark}", calls(rate))
        };
        writeln!(
            f,
            "# Calls to Juspay, by the number of customers whose apps send requests continuously:"
        )?;
        writeln!(f, "#   {:>11}   {:<28} worst", "customers", "usual")?;
        for customers in self.customer_rows() {
            let (steady, worst) = (self.steady_rate(customers), self.worst_rate(customers));
            let customers = count(float(customers));
            writeln!(f, "#   {customers:>11}   {:<28} {}", shown(steady), shown(worst))?;
        }
        self.reasons(f)
    }

    fn reasons(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steady = format_duration(self.steady_interval());
        let worst = 1.0 / self.worst_rate_per_customer();
        writeln!(
            f,
            "# Usual: one call per customer{} every {steady}, two thirds of the time for \
             which the cache\n# returns a token of cache.max_token_life. Worst: one every {}, when \
             every checkout uses a token up\n# (cache.max_hand_outs, not before \
             cache.force_refresh_min_age) or requests a new one\n# \
             (limits.force_refresh_per_customer), and every replica serves every customer{}.",
            if self.is_shared() { "" } else { " and replica" },
            format_duration(worst),
            if self.is_shared() { " while the shared server is away" } else { "" },
        )?;
        if self.is_shared() {
            writeln!(f, "# Then usual calls are up to {} times as many.", self.replicas)?;
        }
        Ok(())
    }
}

impl fmt::Display for Capacity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let replicas = match self.replicas.get() {
            1 => "1 replica".to_owned(),
            replicas => format!("{replicas} replicas"),
        };
        let quota = self.quota.map_or_else(String::new, |quota| {
            format!(", Juspay's quota {}", calls(quota.per_second()))
        });
        writeln!(f, "# Capacity: memory and calls to Juspay ({replicas}{quota})\n#")?;
        self.memory(f)?;
        writeln!(f, "#")?;
        self.calls(f)
    }
}

/// An integer with thousands separators.
fn count(number: f64) -> String {
    let digits = format!("{:.0}", number.floor());
    let mut shown = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && digits.len().saturating_sub(at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

fn calls(rate: f64) -> String {
    match rate {
        rate if rate.is_infinite() => "unlimited".to_owned(),
        rate if rate < 100.0 => format!("{rate:.1}/s"),
        rate => format!("{}/s", count(rate.round())),
    }
}

fn mib(bytes: u64) -> String {
    format!("{:>8} MiB", count((float(bytes) / 1024.0 / 1024.0).ceil()))
}

/// A duration in words.
fn format_duration(seconds: f64) -> String {
    let duration = SignedDuration::try_from_secs_f64(seconds.round()).unwrap_or_default();
    if duration.is_zero() { "no time".to_owned() } else { format!("{duration:#}") }
}

/// Converts without rounding all numbers that are valid in settings.
fn float(number: u64) -> f64 {
    let [high, low] = [number >> 32, number & u64::from(u32::MAX)];
    let part = |part: u64| f64::from(u32::try_from(part).unwrap_or(u32::MAX));
    part(high).mul_add(4_294_967_296.0, part(low))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Sources;

    fn settings(over: &str) -> Settings {
        let least = r#"
            juspay = { base_url = "https://juspay.example", merchant_id = "m", api_key = "k" }
            [auth.issuers.main]
            issuer = "https://id.example"
            audiences = ["a"]
            algorithms = ["RS256"]
            discovery = true
        "#;
        let sources = Sources::default().text("least", least).text("over", over);
        sources.load().unwrap().settings
    }

    fn capacity<'s>(settings: &'s Settings, replicas: u32, quota: Option<&str>) -> Capacity<'s> {
        let replicas = NonZeroU32::new(replicas).unwrap();
        Capacity { settings, replicas, quota: quota.map(|quota| quota.parse().unwrap()) }
    }

    /// The row of the table that begins with `start` and contains `unit`.
    fn row(shown: &str, start: &str, unit: &str) -> String {
        let mut rows = shown.lines().map(|line| line.trim_start_matches(['#', ' ']));
        let row = rows.find(|row| row.starts_with(start) && row.contains(unit));
        let row = row.unwrap_or_else(|| panic!("{start}: {shown}"));
        row.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn calls(shown: &str, customers: &str) -> String {
        row(shown, &format!("{customers} "), "/s")
    }

    fn memory(shown: &str, what: &str) -> String {
        row(shown, what, " MiB")
    }

    #[test]
    fn calls_depend_on_usable_life_and_replicas() {
        // 15 min minus 2 min, and two thirds of that: one call in 520 s.
        let shipped = settings("");
        let one = capacity(&shipped, 1, None).to_string();
        assert_eq!(calls(&one, "1,000"), "1,000 1.9/s 83.3/s");
        assert_eq!(calls(&one, "100,000"), "100,000 192/s 8,333/s");
        assert!(
            one.contains("every 8m 40s, two thirds") && one.contains("one every 12s,"),
            "{one}"
        );
        let three = capacity(&shipped, 3, None).to_string();
        assert_eq!(calls(&three, "10,000"), "10,000 57.7/s 2,500/s");
        assert!(three.contains("(3 replicas)"), "{three}");
        let short = settings(
            "cache = { min_remaining = \"1m\", refresh_ahead = \"2m\", max_token_life = \"4m\" }",
        );
        assert_eq!(calls(&capacity(&short, 1, None).to_string(), "1,000"), "1,000 8.3/s 83.3/s");
    }

    #[test]
    fn worst_case_is_bounded_by_the_limits() {
        for (over, worst) in [
            ("cache.max_hand_outs = 0", "50.0/s"),
            ("cache.max_hand_outs = \"auto\"", "250/s"),
            ("limits.force_refresh_per_customer = \"1/h\"", "33.6/s"),
            ("limits = { per_customer = \"1/h\", force_refresh_per_customer = \"off\" }", "1.9/s"),
            (
                "limits = { per_customer = \"off\", force_refresh_per_customer = \"off\" }",
                "unlimited",
            ),
            ("cache.force_refresh_min_age = \"0s\"", "1,050/s"),
        ] {
            let settings = settings(over);
            let shown = calls(&capacity(&settings, 1, None).to_string(), "1,000");
            assert_eq!(shown, format!("1,000 1.9/s {worst}"), "{over}");
        }
    }

    #[test]
    fn insufficient_quota_causes_a_warning() {
        let settings = settings("cache.capacity = 50000");
        assert_eq!(capacity(&settings, 1, None).warning(), None);
        assert_eq!(capacity(&settings, 1, Some("97/s")).warning(), None);
        let small = capacity(&settings, 2, Some("97/s"));
        let warning = small.warning().unwrap();
        for shown in ["50,000 active customers", "192/s", "97.0/s", "is enough for 25,220"] {
            assert!(warning.contains(shown), "{shown} in {warning}");
        }
        let shown = small.to_string();
        assert_eq!(calls(&shown, "10,000"), "10,000 38.5/s 1,667/s (above the quota)");
        assert!(calls(&shown, "50,000").starts_with("50,000 192/s (above the quota)"), "{shown}");
    }

    #[test]
    fn memory_is_listed_by_purpose() {
        let creating = settings("juspay.create_missing_customers = true\ncache.capacity = 1000000");
        let settings = settings("cache.capacity = 1000000\nserver.max_connections = 1000");
        let shown = capacity(&settings, 1, None).to_string();
        assert!(
            memory(&shown, "1,000,000 customers").ends_with("2,198 MiB 2.25 KiB each"),
            "{shown}"
        );
        assert!(memory(&shown, "0 further").ends_with(" 0 MiB 1.00 KiB each"), "{shown}");
        assert!(memory(&shown, "1,000 connections").ends_with(" 59 MiB 60.00 KiB each"), "{shown}");
        assert!(memory(&shown, "total").ends_with(" 2,266 MiB"), "{shown}");
        assert!(shown.lines().all(|line| line.starts_with('#')), "{shown}");
        let shown = capacity(&creating, 1, None).to_string();
        assert!(memory(&shown, "1,000,000 customers").ends_with(" 2.50 KiB each"), "{shown}");
    }

    #[cfg(feature = "shared")]
    #[test]
    fn shared_tier_needs_memory_and_saves_calls() {
        let files = tempfile::tempdir().unwrap();
        let file = |name: &str, digit: &str| {
            let path = files.path().join(name);
            std::fs::write(&path, digit.repeat(64)).unwrap();
            path.display().to_string()
        };
        let shared = settings(&format!(
            "shared = {{ url = 'redis://cache', key_file = '{}', name_key_file = '{}' }}",
            file("keys", "1"),
            file("name-key", "2")
        ));
        let three = capacity(&shared, 3, Some("100/s"));
        let shown = three.to_string();
        assert_eq!(calls(&shown, "10,000"), "10,000 19.2/s 2,500/s (above the quota)");
        assert!(shown.contains("one call per customer every 8m 40s"), "{shown}");
        assert!(shown.contains("while the shared server is away.\n# Then usual calls"), "{shown}");
        assert!(memory(&shown, "100,000 shared").ends_with(" 115 MiB 1.17 KiB each"), "{shown}");
        assert_eq!(three.summary().shared_memory_bytes, Some(120_000_000));
        assert!(!three.warning().unwrap().contains("fewer replicas"));
    }

    #[test]
    fn numbers_are_exact() {
        for number in [0, 1, 999, 1_000, 123_456_789, 100_000_000, u64::from(u32::MAX) + 1] {
            assert_eq!(count(float(number)).replace(',', ""), number.to_string());
        }
    }
}
