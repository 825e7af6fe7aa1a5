//! The lines, and how many of each kind there were.

use std::{fmt, io};

use jiff::{SignedDuration, Timestamp};

/// Columns of what a line is about.
const SUBJECT: usize = 30;

/// How many checks came out how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// All is well.
    pub ok: u32,
    /// The service works, but something should be seen to.
    pub warnings: u32,
    /// The service can't work so.
    pub failed: u32,
}

/// Where lines go.
pub(super) struct Report<'w> {
    out: &'w mut dyn io::Write,
    tally: Tally,
}

impl<'w> Report<'w> {
    pub(super) fn new(out: &'w mut dyn io::Write) -> Self {
        Self { out, tally: Tally::default() }
    }

    pub(super) fn ok(&mut self, subject: &str, found: &str) -> io::Result<()> {
        self.tally.ok = self.tally.ok.saturating_add(1);
        self.line("ok", subject, found)
    }

    pub(super) fn warning(&mut self, subject: &str, found: &str, fix: &str) -> io::Result<()> {
        self.tally.warnings = self.tally.warnings.saturating_add(1);
        self.line("warning", subject, &format!("{found}; to do: {fix}"))
    }

    pub(super) fn failed(&mut self, subject: &str, found: &str, fix: &str) -> io::Result<()> {
        self.tally.failed = self.tally.failed.saturating_add(1);
        self.line("FAILED", subject, &format!("{found}; to do: {fix}"))
    }

    /// Where others' text is in it, it still is one line.
    fn line(&mut self, level: &str, subject: &str, text: &str) -> io::Result<()> {
        let text = text.replace(char::is_control, " ");
        writeln!(self.out, "{level:<8} {subject:<SUBJECT$} {text}")
    }

    pub(super) fn finish(self) -> io::Result<Tally> {
        writeln!(self.out, "\n{}", self.tally)?;
        self.out.flush()?;
        Ok(self.tally)
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
