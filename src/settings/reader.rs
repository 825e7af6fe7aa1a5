//! Reads settings from the merged tree and records known keys, faults and effective values.
//!
//! serde stops at the first fault; this reader continues, so that all faults are reported at once.
//! Keys that no section has read are reported as unknown at the end.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use config::{Map, Value};

use super::{
    effective::Effective,
    environment,
    fault::{Fault, Violation},
    setting::Setting,
    unknown, value,
};

/// Prefix of a default's origin.
pub(super) const BUILT_IN: &str = "built-in defaults";

/// The merged tree, and the results of reading it.
pub(super) struct Reader<'v> {
    root: &'v Map<String, Value>,
    /// Every source was readable, so a missing key is missing everywhere.
    sources_complete: bool,
    /// Keys whose environment variable is empty, with the variable's name. They count as unset.
    empty: BTreeMap<String, String>,
    known: BTreeSet<String>,
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
    effective: Effective,
}

impl<'v> Reader<'v> {
    pub(super) fn new(root: &'v Map<String, Value>, sources_complete: bool) -> Self {
        let (known, faults, effective) = (BTreeSet::new(), Vec::new(), Effective::default());
        let (empty, warnings) = (BTreeMap::new(), Vec::new());
        Self { root, sources_complete, empty, known, faults, warnings, effective }
    }

    /// Adds the keys whose environment variable is empty.
    pub(super) fn with_empty(self, empty: BTreeMap<String, String>) -> Self {
        Self { empty, ..self }
    }

    /// The setting `key`. The caller then reads it by its type.
    pub(super) fn at(&mut self, key: impl Into<String>) -> Setting<'_, 'v> {
        let key = key.into();
        self.known.insert(key.clone());
        let value = self.find(&key).map(Cow::Borrowed);
        Setting::new(self, key, value)
    }

    /// Like [`Self::at`], for a key that its section has already read: records nothing, and treats
    /// a key with a fault of its own as unset.
    pub(super) fn lookup(&mut self, key: impl Into<String>) -> Setting<'_, 'v> {
        let key = key.into();
        let of_key = |fault: &Fault| fault.key.split('[').next() == Some(&key);
        let is_valid = !self.faults.iter().any(of_key);
        let value = self.find(&key).filter(|_| is_valid).map(Cow::Borrowed);
        Setting::new(self, key, value).silently()
    }

    /// Whether any source, including the defaults, contains `key`.
    pub(super) fn is_set(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// The names of the tables in table `key`, sorted. Entries that aren't tables or have an
    /// invalid name are faults.
    pub(super) fn names(&mut self, key: &str) -> Vec<String> {
        self.known.insert(key.to_owned());
        let Some(table) = self.table(key) else { return Vec::new() };
        let valid: BTreeSet<&String> = valid_names(table).collect();
        let invalid: BTreeSet<&String> =
            table.keys().filter(|name| !valid.contains(name)).collect();
        for name in invalid {
            let path = unknown::path(key, name);
            let found = table.get(name);
            let not_a_table = found.filter(|found| value::table(found).is_none());
            let violation = if let Some(found) = not_a_table {
                let fix = format!("write [{key}.NAME], and the settings below it");
                value::mismatch(found, "a table", &fix)
            } else {
                let fix = format!("rename it, for example [{key}.main]");
                Violation::new(fault_of_name(name), fix)
            };
            self.known.insert(path.clone());
            self.faults.push(violation.of(path, found.and_then(value::origin)));
        }
        valid.into_iter().cloned().collect()
    }

    /// The valid names in table `key`; records nothing.
    pub(super) fn lookup_names(&self, key: &str) -> Vec<String> {
        self.table(key).map(|table| valid_names(table).cloned().collect()).unwrap_or_default()
    }

    /// Adds a fault of `key`.
    pub(super) fn fault(&mut self, key: &str, violation: Violation) {
        let origin = self.find(key).and_then(value::origin);
        self.faults.push(violation.of(key, origin));
    }

    /// The text of `key`, even if it has a fault; records nothing.
    pub(super) fn raw_text(&self, key: &str) -> Option<&'v str> {
        value::text(self.find(key)?).ok()
    }

    /// Adds a fault because none of `keys` is set. The fault names the first key. Does nothing if a
    /// source is unreadable, because that source may contain one of them.
    pub(super) fn missing(&mut self, keys: &[&str], violation: Violation) {
        let Some(key) = keys.first().filter(|_| self.sources_complete) else { return };
        let Some(variable) = keys.iter().find_map(|key| self.empty.get(*key)) else {
            return self.fault(key, violation);
        };
        let reason = format!(
            "{}: {variable} is empty, and an empty variable counts as unset",
            violation.reason
        );
        let origin = Some(format!("{}{variable}", environment::ORIGIN));
        self.faults.push(Violation::new(reason, violation.fix).of(*key, origin));
    }

    /// Adds a fault because `keys` conflict. The fault names the first key, and its origin lists
    /// all that are set. Does nothing if a source is unreadable, because that source may resolve
    /// the conflict.
    pub(super) fn conflict(&mut self, keys: &[&str], violation: Violation) {
        if !self.sources_complete {
            return;
        }
        // The origin of a table is that of any setting in it.
        let settings = keys.iter().filter_map(|key| self.find(key));
        let settings = settings.filter(|found| value::table(found).is_none());
        let origins = settings.filter_map(value::origin);
        let set: Vec<_> = origins.filter(|origin| !origin.starts_with(BUILT_IN)).collect();
        let origin = (!set.is_empty()).then(|| set.join(" and "));
        let key = keys.first().copied().unwrap_or_default();
        self.faults.push(violation.of(key, origin));
    }

    pub(super) fn push(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// Adds a warning about `key`.
    pub(super) fn warning(&mut self, key: &str, violation: Violation) {
        let origin = self.find(key).and_then(value::origin);
        self.warnings.push(violation.of(key, origin));
    }

    /// Removes and returns the warnings, without those about settings with a fault.
    pub(super) fn take_warnings(&mut self) -> Vec<Fault> {
        let mut warnings = std::mem::take(&mut self.warnings);
        warnings.retain(|warning| self.faults.iter().all(|fault| fault.key != warning.key));
        warnings
    }

    /// Whether `key` has its default.
    pub(super) fn is_default(&self, key: &str) -> bool {
        let origin = self.find(key).and_then(value::origin);
        origin.is_some_and(|origin| origin.starts_with(BUILT_IN))
    }

    /// Returns the faults, without checking for unknown keys.
    pub(super) fn faults(self) -> Vec<Fault> {
        self.faults
    }

    pub(super) fn note(&mut self, key: &str, value: Option<toml::Value>, origin: Option<&str>) {
        let origin = origin.filter(|origin| !origin.starts_with(BUILT_IN)).map(str::to_owned);
        self.effective.note(key, value, origin);
    }

    /// Returns all faults, unknown keys last, and the effective settings.
    pub(super) fn finish(mut self) -> (Vec<Fault>, Effective) {
        self.faults.extend(unknown::faults(self.root, &self.known));
        (self.faults, self.effective)
    }

    /// All keys that were read.
    #[cfg(test)]
    pub(super) fn known(&self) -> impl Iterator<Item = &str> {
        self.known.iter().map(String::as_str)
    }

    fn table(&self, key: &str) -> Option<&'v Map<String, Value>> {
        value::table(self.find(key)?)
    }

    fn find(&self, key: &str) -> Option<&'v Value> {
        let mut segments = key.split('.');
        let first = self.root.get(segments.next()?)?;
        segments.try_fold(first, |value, segment| value::table(value)?.get(segment))
    }
}

const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'
}

/// Why a name does not match `[a-z][a-z0-9_]*`.
fn fault_of_name(name: &str) -> &'static str {
    if name.contains(char::is_uppercase) {
        "the name contains an upper-case letter, but only a-z, 0-9 and _ are allowed"
    } else if !name.bytes().all(is_name_byte) {
        "the name contains a character other than a-z, 0-9 and _"
    } else {
        "the name does not begin with a letter"
    }
}

/// The names of tables that match `[a-z][a-z0-9_]*`, sorted.
fn valid_names(table: &Map<String, Value>) -> impl Iterator<Item = &String> {
    let valid = table.iter().filter(move |(name, value)| {
        value::table(value).is_some()
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.bytes().all(is_name_byte)
    });
    valid.map(|(name, _)| name).collect::<BTreeSet<_>>().into_iter()
}
