//! The result of a run: measurements and checks, printed as Markdown.

use std::{collections::BTreeMap, fmt::Display, time::Duration};

use serde_json::Value;

use super::tally::{Counts, Latencies};

/// The result of a run.
#[derive(Debug)]
pub struct Report {
    title: String,
    measures: Vec<(String, String)>,
    checks: Vec<Check>,
}

#[derive(Debug)]
struct Check {
    what: String,
    seen: String,
    passed: bool,
}

impl Report {
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), measures: Vec::new(), checks: Vec::new() }
    }

    /// Adds a measurement.
    pub fn measure(&mut self, what: impl Into<String>, value: impl Display) {
        self.measures.push((what.into(), format!("{value}")));
    }

    /// Adds a row for each kind of response.
    pub fn measure_answers(&mut self, prefix: &str, counts: &Counts) {
        for ((status, code), latencies) in &counts.answers {
            let observed = format!("{}, {}", grouped(latencies.count()), spread(latencies));
            self.measure(format!("{prefix}{status} {code}"), observed);
        }
    }

    /// Adds a check with the observed value.
    pub fn check(&mut self, what: impl Into<String>, seen: impl Display, passed: bool) {
        self.checks.push(Check { what: what.into(), seen: format!("{seen}"), passed });
    }

    /// Checks that two counts are equal.
    pub fn same(&mut self, what: impl Into<String>, one: u64, other: u64) {
        self.check(what, format!("{one} and {other}"), one == other);
    }

    /// Prints the report; returns whether every check passed.
    pub fn print(&self) -> bool {
        println!("\n### {}\n\n| measure | |\n|---|---|", self.title);
        for (what, value) in &self.measures {
            println!("| {what} | {value} |");
        }
        println!("\n| check | seen | |\n|---|---|---|");
        for Check { what, seen, passed } in &self.checks {
            println!("| {what} | {seen} | {} |", if *passed { "ok" } else { "**FAILED**" });
        }
        self.checks.iter().all(|check| check.passed)
    }
}

/// `p50 0.31 ms, p99 1.20 ms, max 8.00 ms`
pub fn spread(latencies: &Latencies) -> String {
    let [p50, p99, most] = [latencies.p50(), latencies.p99(), latencies.most()].map(ms);
    format!("p50 {p50}, p99 {p99}, max {most}")
}

pub fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

/// `12 345`
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// Thousandths as percent: `99.8 %`.
pub fn percent(part: u64, whole: u64) -> String {
    let permille = part * 1000 / whole.max(1);
    format!("{}.{} %", permille / 10, permille % 10)
}

/// The number of occurrences of each warning and error in a log of JSON lines.
pub fn log_messages(log: &str) -> BTreeMap<String, u64> {
    let mut log_messages = BTreeMap::new();
    for line in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let (level, message) = (line["level"].as_str(), line["message"].as_str());
        if let (Some(level @ ("WARN" | "ERROR")), Some(message)) = (level, message) {
            *log_messages.entry(format!("{level} {message}")).or_default() += 1;
        }
    }
    log_messages
}
