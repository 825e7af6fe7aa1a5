//! Faults of settings, with the reason and the fix.
//!
//! A fault names keys, files and variables and never quotes a value: a value in the wrong place
//! may well be a secret. The exceptions are a path that is known to be one, and a number or a duration
//! that was read as such.

use std::{fmt, path::Path};

use serde::Serialize;

use crate::regular_file::ReadError;

/// One fault or warning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The setting, or the settings file.
    pub key: String,
    /// Why it is rejected.
    pub reason: String,
    /// What the operator can do.
    pub fix: String,
    /// The origin: file and line, or environment variable.
    pub origin: Option<String>,
}

/// All faults and warnings, in the order of `config/default.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    pub(super) faults: Vec<Fault>,
    pub(super) warnings: Vec<Fault>,
}

impl Faults {
    /// Faults that another module found.
    #[must_use]
    pub fn new(faults: Vec<Fault>, warnings: Vec<Fault>) -> Self {
        Self { faults, warnings }
    }

    /// Iterates over the faults, without warnings.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.faults.iter()
    }

    /// Warnings found along with the faults.
    #[must_use]
    pub fn warnings(&self) -> &[Fault] {
        &self.warnings
    }
}

impl Fault {
    /// Formats it as a one-line warning.
    #[must_use]
    pub fn warning(&self) -> String {
        let Self { key, reason, fix, .. } = self;
        format!("{key} {reason}; {fix}")
    }
}

impl<'f> IntoIterator for &'f Faults {
    type Item = &'f Fault;
    type IntoIter = std::slice::Iter<'f, Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.key)?;
        writeln!(f, "  reason: {}", self.reason)?;
        writeln!(f, "  fix:    {}", self.fix)?;
        self.origin.iter().try_for_each(|origin| writeln!(f, "  where:  {origin}"))
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.faults.len() {
            1 => writeln!(f, "The settings have 1 error:")?,
            count => writeln!(f, "The settings have {count} errors:")?,
        }
        self.iter().try_for_each(|fault| write!(f, "\n{fault}"))?;
        let mut warnings = self.warnings.iter();
        warnings.try_for_each(|warning| write!(f, "\nwarning: {}\n", warning.warning()))
    }
}

impl std::error::Error for Faults {}

/// A broken rule, not yet assigned to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    /// Follows the key and begins with "it" or similar.
    pub(super) reason: String,
    /// What the operator can do.
    pub(super) fix: String,
}

impl Violation {
    /// Neither text may hold the value, unless it is a number or a duration.
    pub(super) fn new(reason: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { reason: reason.into(), fix: fix.into() }
    }

    /// A file that can't be read.
    pub(super) fn unreadable(path: &Path, error: ReadError) -> Self {
        let shown = if is_certainly_a_path(path, error) {
            format!("{} can't be read: {error}", path.display())
        } else {
            format!("the file can't be read: {error}")
        };
        Self::new(shown, error.fix())
    }

    /// The fault of `key`.
    pub(super) fn of(self, key: impl Into<String>, origin: Option<String>) -> Fault {
        Fault { key: key.into(), reason: self.reason, fix: self.fix, origin }
    }
}

/// Whether a value that should be a path is one, and not a misplaced secret: either the file
/// exists, or its directory does. A secret in base64 may begin with a slash, but names no existing
/// directory.
fn is_certainly_a_path(path: &Path, error: ReadError) -> bool {
    let is_below_a_directory =
        path.is_absolute() && path.parent().is_some_and(|parent| parent.parent().is_some());
    match error {
        ReadError::NotRegular(_) | ReadError::TooLarge(_) => true,
        ReadError::NoFile | ReadError::Denied | ReadError::TimedOut => is_below_a_directory,
        ReadError::NoDirectory | ReadError::Other(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_shown_only_if_it_cannot_be_a_secret() {
        for (path, error, expected) in [
            ("/etc/bff/key", ReadError::NoFile, "/etc/bff/key can't be read: no such file"),
            ("/etc/bff/key", ReadError::Denied, "/etc/bff/key can't be read: permission denied"),
            ("bff", ReadError::NotRegular("a directory"), "bff can't be read: it is a directory"),
            ("hush", ReadError::NoFile, "the file can't be read: no such file"),
            ("/hush", ReadError::NoFile, "the file can't be read: no such file"),
            ("/hu/sh", ReadError::NoDirectory, "the file can't be read: no such file, and no such"),
            ("hush", ReadError::Denied, "the file can't be read: permission denied"),
        ] {
            let reason = Violation::unreadable(Path::new(path), error).reason;
            assert!(reason.starts_with(expected), "{path}: {reason}");
        }
    }

    #[test]
    fn each_fault_is_a_separate_block() {
        let violation = Violation::new("is missing", "set it");
        let first = violation.clone().of("a.b", Some("prod.toml, line 3".to_owned()));
        let warning = Violation::new("is ignored", "drop it").of("d", None);
        let faults =
            Faults { faults: vec![first, violation.of("c", None)], warnings: vec![warning] };
        assert_eq!(
            faults.to_string(),
            "The settings have 2 errors:\n\
             \na.b\n  reason: is missing\n  fix:    set it\n  where:  prod.toml, line 3\n\
             \nc\n  reason: is missing\n  fix:    set it\n\
             \nwarning: d is ignored; drop it\n"
        );
    }
}
