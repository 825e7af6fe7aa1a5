//! Writes the table as Markdown: measurements, the machine, and whether the goals are met.

use std::{fmt::Write as _, fs};

use super::{
    Plan,
    contest::{RoundResult, ServerResults},
    paced::SliceLatencies,
};

/// The goal for a ratio to the baseline.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

/// A line of the table.
#[derive(Debug)]
pub struct Figure {
    pub what: String,
    ours: String,
    floor: String,
    pub ratio: Option<f64>,
    pub limit: Option<Goal>,
    goal: Option<(String, bool)>,
}

impl Figure {
    pub fn new(what: impl Into<String>, ours: impl Into<String>, floor: impl Into<String>) -> Self {
        let (what, ours, floor) = (what.into(), ours.into(), floor.into());
        Self { what, ours, floor, ratio: None, limit: None, goal: None }
    }

    /// Adds the ratio to the baseline.
    pub fn with_ratio(self, ratio: f64, limit: Option<Goal>) -> Self {
        let goal = limit.map(|limit| match limit {
            Goal::AtMost(most) => (format!("≤ {most}"), ratio <= most),
            Goal::AtLeast(least) => (format!("≥ {least}"), ratio >= least),
        });
        Self { ratio: Some(ratio), limit, goal, ..self }
    }

    /// Adds a goal that isn't a ratio.
    pub fn with_goal(self, goal: String, met: bool) -> Self {
        Self { goal: Some((goal, met)), ..self }
    }

    fn line(&self) -> String {
        let Self { what, ours, floor, .. } = self;
        let ratio = self.ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
        let (goal, met) = match &self.goal {
            Some((goal, met)) => (goal.as_str(), if *met { "yes" } else { "**no**" }),
            None => ("–", "–"),
        };
        format!("| {what} | {ours} | {floor} | {ratio} | {goal} | {met} |")
    }
}

/// All measurements.
#[derive(Debug, Default)]
pub struct Report {
    pub figures: Vec<Figure>,
    results: String,
}

impl Report {
    pub fn figure(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// Adds wrk's measurements of each server.
    pub fn results(&mut self, row: &str, all: &[ServerResults]) {
        for results in all {
            let median = |of: fn(&RoundResult) -> f64| results.median(of);
            writeln!(
                self.results,
                "| {row} | {} | {:.0} | {:.2} | {:.2} | {:.2} | {:.1} | {:.0} % | {:.0} % |",
                results.name,
                median(|it| it.measured.a_second),
                median(|it| it.measured.p50 / 1e3),
                median(|it| it.measured.p99 / 1e3),
                median(|it| it.measured.p999 / 1e3),
                median(|it| it.cpu),
                median(|it| it.measured.busy * 100.0),
                median(|it| it.others * 100.0),
            )
            .unwrap();
        }
    }

    /// Adds the latencies of a server at this rate.
    pub fn paced(&mut self, name: &str, server: &str, rate: f64, measured: SliceLatencies) {
        let [p50, p99, p999] = [measured.p50, measured.p99, measured.p999].map(|it| it / 1e3);
        writeln!(
            self.results,
            "| rate, {name} | {server} | {rate:.0} | {p50:.2} | {p99:.2} | {p999:.2} | – | – | {:.0} % |",
            measured.others * 100.0
        )
        .unwrap();
    }

    pub fn markdown(&self, plan: Plan) -> String {
        let Plan { rounds, seconds, .. } = plan;
        let mut text = format!(
            "# Measured speed\n\n\
             Written by `make bench`: version {}, commit {}. Medians of {rounds} rounds, in which \
             each server runs for {seconds} s in turn.\n\n\
             | {} | juspay-bff | actix-web | ratio | goal | met |\n|---|---|---|---|---|---|\n",
            juspay_bff::VERSION,
            juspay_bff::COMMIT,
            machine(),
        );
        let lines = self.figures.iter().map(Figure::line);
        text += &lines.collect::<Vec<_>>().join("\n");
        text += "\n\nThe column actix-web is a bare actix-web server that returns the same bytes; \
                 for misses it calls Juspay with awc first. CPU is the server's time in user and \
                 kernel mode per request. Limits and `max_hand_outs` are active, but too high to \
                 have an effect. Metrics are on. Memory is PSS.\n";
        if !self.results.is_empty() {
            text += "\nLatencies that clients saw over 64 connections, in milliseconds. Ignore a \
                     row if other processes used much of a core during it (last column).\n\n\
                     | row | server | requests/s | p50 | p99 | p99.9 | CPU, µs | wrk's own core \
                     | other processes |\n\
                     |---|---|---|---|---|---|---|---|---|\n";
            text += &self.results;
        }
        text
    }
}

/// The number and model of the cores, and the kernel.
fn machine() -> String {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown", |(_, model)| model);
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    format!("{cores} cores, {model}, Linux {}", read("/proc/sys/kernel/osrelease").trim())
}
