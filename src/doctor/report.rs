//! What the checks have found: kept, counted, and written as lines where people read them.

use std::{fmt, io};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

/// Columns of what a line is about.
const SUBJECT: usize = 30;

/// How many checks came out how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// All is well.
    pub ok: u32,
    /// The service works, but something should be seen to.
    pub warnings: u32,
    /// The service can't work so.
    pub failed: u32,
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// All is well.
    Ok,
    /// The service works, but something should be corrected.
    Warning,
    /// The service can't work like this.
    Failed,
}

/// What one check has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How it came out.
    pub status: Status,
    /// What it is about: a setting, or a part of the way to Juspay or to an issuer.
    pub subject: String,
    /// What was found.
    pub found: String,
    /// What to do, unless all is well.
    pub fix: Option<String>,
}

/// All that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// Each check, in order.
    pub findings: Vec<Finding>,
    /// How many of each kind.
    pub tally: Tally,
}

/// Where findings go.
pub(super) struct Report<'w> {
    lines: Option<&'w mut dyn io::Write>,
    findings: Vec<Finding>,
    tally: Tally,
}

impl<'w> Report<'w> {
    pub(super) fn new(lines: Option<&'w mut dyn io::Write>) -> Self {
        Self { lines, findings: Vec::new(), tally: Tally::default() }
    }

    pub(super) fn ok(&mut self, subject: &str, found: &str) -> io::Result<()> {
        self.tally.ok = self.tally.ok.saturating_add(1);
        self.add(Status::Ok, subject, found, None)
    }

    pub(super) fn warning(&mut self, subject: &str, found: &str, fix: &str) -> io::Result<()> {
        self.tally.warnings = self.tally.warnings.saturating_add(1);
        self.add(Status::Warning, subject, found, Some(fix))
    }

    pub(super) fn failed(&mut self, subject: &str, found: &str, fix: &str) -> io::Result<()> {
        self.tally.failed = self.tally.failed.saturating_add(1);
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
            // Where others' text is in it, it still is one line.
            let text = format!("{found}{fix}").replace(char::is_control, " ");
            writeln!(out, "{:<8} {subject:<SUBJECT$} {text}", status.word())?;
        }
        let (subject, found, fix) = (subject.to_owned(), found.to_owned(), fix.map(str::to_owned));
        self.findings.push(Finding { status, subject, found, fix });
        Ok(())
    }

    pub(super) fn finish(self) -> io::Result<Examined> {
        let Self { lines, findings, tally } = self;
        if let Some(out) = lines {
            writeln!(out, "\n{tally}")?;
            out.flush()?;
        }
        Ok(Examined { findings, tally })
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

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ok, warnings, failed } = self;
        let plural = if *warnings == 1 { "" } else { "s" };
        write!(f, "{ok} ok, {warnings} warning{plural}, {failed} FAILED")
    }
}

/// A duration as people say it, in whole seconds.
pub(super) fn span(duration: impl TryInto<SignedDuration>) -> String {
    let duration: SignedDuration = duration.try_into().unwrap_or_default();
    format!("{:#}", SignedDuration::from_secs(duration.as_secs()))
}

/// How long from now on, in days where there are some.
pub(super) fn left(until: Timestamp, now: Timestamp) -> String {
    let left = until.duration_since(now);
    match left.as_hours().checked_div(24) {
        Some(days) if days > 1 => format!("in {days} days"),
        _ => format!("in {}", span(left)),
    }
}
