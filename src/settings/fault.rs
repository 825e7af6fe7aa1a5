//! What is wrong with the settings, told so that it can be put right.
//!
//! A fault names keys, files and variables and never quotes a value: a value in the wrong place
//! may well be a secret. The exceptions are a path that is known to be one, and a number or a duration
//! that was read as such.

use std::{fmt, path::Path};

use serde::Serialize;

use crate::regular_file::ReadError;

/// One thing that is wrong, or, as a warning, looks like it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The setting, or the file that can't be taken.
    pub key: String,
    /// Why it can't stay as it is.
    pub reason: String,
    /// What to do about it.
    pub fix: String,
    /// The file and line, or the environment variable, that it came from.
    pub origin: Option<String>,
}

/// Everything that is wrong, in the order of `config/default.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    pub(super) faults: Vec<Fault>,
    pub(super) warnings: Vec<Fault>,
}

impl Faults {
    /// Each fault.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.faults.iter()
    }

    /// What looks like a mistake beside them.
    #[must_use]
    pub fn warnings(&self) -> &[Fault] {
        &self.warnings
    }
}

impl Fault {
    /// The same as a warning, on one line.
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

/// Why a value can't be taken, before it is known whose value it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    /// Follows the key: "is missing", "expected a list, found a string".
    pub(super) reason: String,
    /// What to do about it.
    pub(super) fix: String,
}

impl Wrong {
    /// Neither text may hold the value, unless it is a number or a duration.
    pub(super) fn new(reason: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { reason: reason.into(), fix: fix.into() }
    }

    /// A file that can't be read.
    pub(super) fn unreadable(path: &Path, error: ReadError) -> Self {
        let shown = if is_surely_a_path(path, error) {
            format!("{} can't be read: {error}", path.display())
        } else {
            format!("the file can't be read: {error}")
        };
        Self::new(shown, error.fix())
    }

    /// The fault that this is for `key`.
    pub(super) fn of(self, key: impl Into<String>, origin: Option<String>) -> Fault {
        Fault { key: key.into(), reason: self.reason, fix: self.fix, origin }
    }
}

/// Whether the value of a setting that should be a path is one, and not a secret that was written in
/// its place: something is there, or the directory is that it should be in. A secret in base64 may
/// begin with a slash, but has no directory.
fn is_surely_a_path(path: &Path, error: ReadError) -> bool {
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
    fn a_path_is_told_only_where_it_can_be_no_secret() {
        for (path, error, told) in [
            ("/etc/bff/key", ReadError::NoFile, "/etc/bff/key can't be read: no such file"),
            ("/etc/bff/key", ReadError::Denied, "/etc/bff/key can't be read: permission denied"),
            ("bff", ReadError::NotRegular("a directory"), "bff can't be read: it is a directory"),
            ("hush", ReadError::NoFile, "the file can't be read: no such file"),
            ("/hush", ReadError::NoFile, "the file can't be read: no such file"),
            ("/hu/sh", ReadError::NoDirectory, "the file can't be read: no such file, and no such"),
            ("hush", ReadError::Denied, "the file can't be read: permission denied"),
        ] {
            let reason = Wrong::unreadable(Path::new(path), error).reason;
            assert!(reason.starts_with(told), "{path}: {reason}");
        }
    }

    #[test]
    fn each_fault_is_a_block_of_its_own() {
        let wrong = Wrong::new("is missing", "set it");
        let first = wrong.clone().of("a.b", Some("prod.toml, line 3".to_owned()));
        let warning = Wrong::new("is ignored", "drop it").of("d", None);
        let faults = Faults { faults: vec![first, wrong.of("c", None)], warnings: vec![warning] };
        assert_eq!(
            faults.to_string(),
            "The settings have 2 errors:\n\
             \na.b\n  reason: is missing\n  fix:    set it\n  where:  prod.toml, line 3\n\
             \nc\n  reason: is missing\n  fix:    set it\n\
             \nwarning: d is ignored; drop it\n"
        );
    }
}
