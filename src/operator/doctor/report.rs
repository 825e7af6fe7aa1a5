//! Collects and counts findings, and prints each as a line in text format.

use std::{fmt, io};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

/// Width of the subject's column.
const SUBJECT: usize = 30;

/// Number of checks by status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Passed.
    pub ok: u32,
    /// The service works, but something should be corrected.
    pub warnings: u32,
    /// The service can't work like this.
    pub failed: u32,
}

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Passed.
    Ok,
    /// The service works, but something should be corrected.
    Warning,
    /// The service can't work like this.
    Failed,
}

/// The finding of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The result.
    pub status: Status,
    /// What was checked: a setting, or a part of the connection to Juspay or to an issuer.
    pub subject: String,
    /// What was found.
    pub found: String,
    /// What the operator can do, unless the check passed.
    pub fix: Option<String>,
}

/// The results of all checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckResults {
    /// The findings, in order.
    pub findings: Vec<Finding>,
    /// The number of findings by status.
    pub counts: Counts,
}

/// Collects the findings.
pub(super) struct Report<'w> {
    lines: Option<&'w mut dyn io::Write>,
    findings: Vec<Finding>,
    counts: Counts,
}

impl<'w> Report<'w> {
    pub(super) fn new(lines: Option<&'w mut dyn io::Write>) -> Self {
        Self { lines, findings: Vec::new(), counts: Counts::default() }
    }

    pub(super) fn ok(&mut self, subject: &str, found: &str) -> io::Result<()> {
        self.counts.ok += 1;
        self.add(Status::Ok, subject, found, None)
    }

    pub(super) fn warning(&mut self, subject: &str, found: &str, fix: &str) -> io::Result<()> {
        self.counts.warnings += 1;
        self.add(Status::Warning, subject, found, Some(fix))
    }

    pub(super) fn failed(&mut self, subject: &str, found: &str, fix: &str) -> io::Result<()> {
        self.counts.failed += 1;
        self.add(Status::Failed, subject, found, Some(fix))
    }

    fn add(
        &mut self,
        status: Status,
        subject: &str,
        found: &str,
        fix: Option<&str>,
    ) -> io::Result<()> {
        if let Some(out) = &mut self.lines {
            let fix = fix.map(|fix| format!("; fix: {fix}")).unwrap_or_default();
            // Text from other hosts may contain line breaks.
            let text = format!("{found}{fix}").replace(char::is_control, " ");
            writeln!(out, "{:<8} {subject:<SUBJECT$} {text}", status.word())?;
        }
        let (subject, found, fix) = (subject.to_owned(), found.to_owned(), fix.map(str::to_owned));
        self.findings.push(Finding { status, subject, found, fix });
        Ok(())
    }

    pub(super) fn finish(self) -> io::Result<CheckResults> {
        let Self { lines, findings, counts } = self;
        if let Some(out) = lines {
            writeln!(out, "\n{counts}")?;
            out.flush()?;
        }
        Ok(CheckResults { findings, counts })
    }
}

impl Status {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "FAILED",
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ok, warnings, failed } = self;
        let plural = if *warnings == 1 { "" } else { "s" };
        write!(f, "{ok} ok, {warnings} warning{plural}, {failed} FAILED")
    }
}

/// A duration in words, in whole seconds.
pub(super) fn format_duration(duration: impl TryInto<SignedDuration>) -> String {
    let duration: SignedDuration = duration.try_into().unwrap_or_default();
    format!("{:#}", SignedDuration::from_secs(duration.as_secs()))
}

/// The time until `until`, in days if there are at least two.
pub(super) fn time_left(until: Timestamp, now: Timestamp) -> String {
    let time_left = until.duration_since(now);
    match time_left.as_hours() / 24 {
        days if days > 1 => format!("in {days} days"),
        _ => format!("in {}", format_duration(time_left)),
    }
}
