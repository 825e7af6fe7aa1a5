//! Counts of responses, and their latencies.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

/// Number of faulty responses that are printed; all are counted.
const MAX_PRINTED: usize = 10;

/// Buckets per power of two, as a power of two: latencies are at most 1.6 % too high.
const PARTS_BITS: u32 = 6;

/// Latencies in buckets, so memory does not grow with their number.
#[derive(Debug, Clone, Default)]
pub struct Latencies {
    buckets: Vec<u64>,
    count: u64,
    most: Duration,
}

impl Latencies {
    pub fn add(&mut self, took: Duration) {
        let bucket = bucket(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += 1;
        self.count += 1;
        self.most = self.most.max(took);
    }

    pub fn merge(&mut self, other: &Self) {
        if self.buckets.len() < other.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        for (bucket, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *bucket += more;
        }
        self.count += other.count;
        self.most = self.most.max(other.most);
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn most(&self) -> Duration {
        self.most
    }

    /// The latency that this number of thousandths do not exceed.
    pub fn permille(&self, permille: u64) -> Duration {
        let mut left = (self.count * permille).div_ceil(1000);
        for (bucket, count) in self.buckets.iter().enumerate() {
            if left <= *count {
                return Duration::from_micros(upper_end(bucket)).min(self.most);
            }
            left -= count;
        }
        self.most
    }

    pub fn p50(&self) -> Duration {
        self.permille(500)
    }

    pub fn p99(&self) -> Duration {
        self.permille(990)
    }
}

/// Small values have buckets of their own; larger ones share one with all values that have the same
/// leading bits.
fn bucket(value: u64) -> usize {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(PARTS_BITS + 1);
    let bucket = (u64::from(shift) << PARTS_BITS) + (value >> shift);
    usize::try_from(bucket).unwrap()
}

fn upper_end(bucket: usize) -> u64 {
    let bucket = u64::try_from(bucket).unwrap();
    let shift = (bucket >> PARTS_BITS).saturating_sub(1);
    (((bucket - (shift << PARTS_BITS)) + 1) << shift) - 1
}

/// A response's status and problem code, which is `ok` without a problem.
pub type Outcome = (u16, String);

/// Counts of responses.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// By status and code.
    pub answers: BTreeMap<Outcome, Latencies>,
    /// 200s by the source in `Cache-Status`.
    pub sources: BTreeMap<&'static str, Latencies>,
    /// Connections that broke before the response or could not be opened.
    pub broken: u64,
    /// Requests that were due while all connections were busy.
    pub unsent: u64,
    /// Faulty responses.
    pub violations: u64,
    shown: Vec<String>,
}

impl Counts {
    pub fn all(&self) -> Latencies {
        let mut all = Latencies::default();
        self.answers.values().for_each(|latencies| all.merge(latencies));
        all
    }

    pub fn of(&self, status: u16, code: &str) -> Latencies {
        self.answers.get(&(status, code.to_owned())).cloned().unwrap_or_default()
    }

    pub fn ok(&self) -> Latencies {
        self.of(200, "ok")
    }

    /// The latencies of 200s from this source.
    pub fn from(&self, name: &str) -> Latencies {
        self.sources.get(name).cloned().unwrap_or_default()
    }

    pub fn source(&self, name: &str) -> u64 {
        self.from(name).count()
    }

    /// Responses other than 200.
    pub fn not_ok(&self) -> u64 {
        self.all().count() - self.ok().count()
    }

    /// `200 ok: 12, 503 overloaded: 3`
    pub fn outcomes(&self) -> String {
        let observed = self
            .answers
            .iter()
            .map(|((status, code), latencies)| format!("{status} {code}: {}", latencies.count()));
        observed.collect::<Vec<_>>().join(", ")
    }

    /// Adds other counts.
    pub fn merge(&mut self, other: &Self) {
        for (outcome, latencies) in &other.answers {
            self.answers.entry(outcome.clone()).or_default().merge(latencies);
        }
        for (source, latencies) in &other.sources {
            self.sources.entry(source).or_default().merge(latencies);
        }
        self.broken += other.broken;
        self.unsent += other.unsent;
        self.violations += other.violations;
        self.shown.extend_from_slice(&other.shown);
    }

    /// The first faulty responses.
    pub fn first_violations(&self) -> &[String] {
        &self.shown
    }
}

/// Counts that all tasks share.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Counts>);

impl Tally {
    pub fn answered(&self, outcome: Outcome, source: Option<&'static str>, took: Duration) {
        let mut counts = self.0.lock().unwrap();
        counts.answers.entry(outcome).or_default().add(took);
        if let Some(source) = source {
            counts.sources.entry(source).or_default().add(took);
        }
    }

    pub fn broke(&self, why: &std::io::Error) {
        let mut counts = self.0.lock().unwrap();
        counts.broken += 1;
        if counts.shown.len() < MAX_PRINTED {
            counts.shown.push(format!("a connection broke: {why}"));
        }
    }

    pub fn unsent(&self) {
        self.0.lock().unwrap().unsent += 1;
    }

    pub fn violation(&self, what: String) {
        let mut counts = self.0.lock().unwrap();
        counts.violations += 1;
        if counts.shown.len() < MAX_PRINTED {
            counts.shown.push(what);
        }
    }

    pub fn counts(&self) -> Counts {
        self.0.lock().unwrap().clone()
    }

    /// Returns the counts and resets them.
    pub fn take(&self) -> Counts {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}
