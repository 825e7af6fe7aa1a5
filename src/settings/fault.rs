//! What is wrong with the settings, told so that it can be put right.
//!
//! A fault names keys, files and variables and never quotes a value: a value in the wrong place
//! may well be a secret.

use std::fmt;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
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
pub struct Faults(pub(super) Vec<Fault>);

impl Faults {
    /// Each fault.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.0.iter()
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
        match self.0.len() {
            1 => writeln!(f, "The settings have 1 fault:")?,
            count => writeln!(f, "The settings have {count} faults:")?,
        }
        self.iter().try_for_each(|fault| write!(f, "\n{fault}"))
    }
}

impl std::error::Error for Faults {}

/// Why a value can't be taken, before it is known whose value it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    /// Follows the key: "it …".
    pub(super) reason: String,
    /// What to do about it.
    pub(super) fix: String,
}

impl Wrong {
    /// Neither text may hold the value.
    pub(super) fn new(reason: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { reason: reason.into(), fix: fix.into() }
    }

    /// The fault that this is for `key`.
    pub(super) fn of(self, key: impl Into<String>, origin: Option<String>) -> Fault {
        Fault { key: key.into(), reason: self.reason, fix: self.fix, origin }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_is_a_block_of_its_own() {
        let wrong = Wrong::new("it is missing", "set it");
        let first = wrong.clone().of("a.b", Some("prod.toml, line 3".to_owned()));
        let faults = Faults(vec![first, wrong.of("c", None)]);
        assert_eq!(
            faults.to_string(),
            "The settings have 2 faults:\n\
             \na.b\n  reason: it is missing\n  fix:    set it\n  where:  prod.toml, line 3\n\
             \nc\n  reason: it is missing\n  fix:    set it\n"
        );
    }
}
