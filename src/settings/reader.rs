//! Walks the merged tree: each key that is read becomes known, each fault is kept, what nobody
//! read is unknown in the end.
//!
//! serde would stop at the first fault; this goes on, so that all are told at once.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use config::{Map, Value};

use super::{
    effective::Effective,
    environment,
    fault::{Fault, Wrong},
    setting::Setting,
    unknown, value,
};

/// What the origin of a default begins with.
pub(super) const BUILT_IN: &str = "built-in defaults";

/// The tree being read, and what was found out about it.
pub(super) struct Reader<'v> {
    root: &'v Map<String, Value>,
    /// Every source could be read, so that what is missing really is.
    whole: bool,
    /// Keys whose environment variable is empty, which counts as unset, and that variable's name.
    empty: BTreeMap<String, String>,
    known: BTreeSet<String>,
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
    effective: Effective,
}

impl<'v> Reader<'v> {
    pub(super) fn new(root: &'v Map<String, Value>, whole: bool) -> Self {
        let (known, faults, effective) = (BTreeSet::new(), Vec::new(), Effective::default());
        let (empty, warnings) = (BTreeMap::new(), Vec::new());
        Self { root, whole, empty, known, faults, warnings, effective }
    }

    /// The same, with the keys whose environment variable is empty.
    pub(super) fn with_empty(self, empty: BTreeMap<String, String>) -> Self {
        Self { empty, ..self }
    }

    /// The setting called `key`, to be read in the way of its type.
    pub(super) fn at(&mut self, key: impl Into<String>) -> Setting<'_, 'v> {
        let key = key.into();
        self.known.insert(key.clone());
        let value = self.find(&key).map(Cow::Borrowed);
        Setting::new(self, key, value)
    }

    /// The same, for a key that was read before: nothing more is noted about it, and with a fault
    /// of its own it is as good as unset.
    pub(super) fn again(&mut self, key: impl Into<String>) -> Setting<'_, 'v> {
        let key = key.into();
        let of_key = |fault: &Fault| fault.key.split('[').next() == Some(&key);
        let is_good = !self.faults.iter().any(of_key);
        let value = self.find(&key).filter(|_| is_good).map(Cow::Borrowed);
        Setting::new(self, key, value).silently()
    }

    /// Whether a source says anything about `key`.
    pub(super) fn is_set(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// The names in the table called `key`, sorted; what isn't a table of tables with good names
    /// is a fault.
    pub(super) fn names(&mut self, key: &str) -> Vec<String> {
        self.known.insert(key.to_owned());
        let Some(table) = self.table(key) else { return Vec::new() };
        let good: BTreeSet<&String> = good_names(table).collect();
        let bad: BTreeSet<&String> = table.keys().filter(|name| !good.contains(name)).collect();
        for name in bad {
            let path = unknown::path(key, name);
            let found = table.get(name);
            let not_a_table = found.filter(|found| value::table(found).is_none());
            let wrong = if let Some(found) = not_a_table {
                let fix = format!("write [{key}.NAME], and the settings below it");
                value::mismatch(found, "a table", &fix)
            } else {
                let fix = format!("rename it, for example [{key}.main]");
                Wrong::new(fault_of_name(name), fix)
            };
            self.known.insert(path.clone());
            self.faults.push(wrong.of(path, found.and_then(value::origin)));
        }
        good.into_iter().cloned().collect()
    }

    /// The good names in the table called `key`, noting nothing.
    pub(super) fn names_again(&self, key: &str) -> Vec<String> {
        self.table(key).map(|table| good_names(table).cloned().collect()).unwrap_or_default()
    }

    /// Notes that something about `key` is wrong.
    pub(super) fn wrong(&mut self, key: &str, wrong: Wrong) {
        let origin = self.find(key).and_then(value::origin);
        self.faults.push(wrong.of(key, origin));
    }

    /// The text of `key`, whatever is wrong with it. Nothing is noted.
    pub(super) fn raw_text(&self, key: &str) -> Option<&'v str> {
        value::text(self.find(key)?).ok()
    }

    /// Notes that none of `keys` is there, unless they may stand in a source that can't be read. The
    /// fault is the first one's.
    pub(super) fn missing(&mut self, keys: &[&str], wrong: Wrong) {
        let Some(key) = keys.first().filter(|_| self.whole) else { return };
        let Some(variable) = keys.iter().find_map(|key| self.empty.get(*key)) else {
            return self.wrong(key, wrong);
        };
        let reason =
            format!("{}: {variable} is empty, and an empty variable counts as unset", wrong.reason);
        let origin = Some(format!("{}{variable}", environment::ORIGIN));
        self.faults.push(Wrong::new(reason, wrong.fix).of(*key, origin));
    }

    /// Notes that `keys` contradict each other, unless a source that can't be read may settle it.
    /// The fault is the first one's; where it comes from is told of all settings that were set.
    pub(super) fn contradiction(&mut self, keys: &[&str], wrong: Wrong) {
        if !self.whole {
            return;
        }
        // The origin of a table is that of any setting in it.
        let settings = keys.iter().filter_map(|key| self.find(key));
        let settings = settings.filter(|found| value::table(found).is_none());
        let origins = settings.filter_map(value::origin);
        let set: Vec<_> = origins.filter(|origin| !origin.starts_with(BUILT_IN)).collect();
        let origin = (!set.is_empty()).then(|| set.join(" and "));
        let key = keys.first().copied().unwrap_or_default();
        self.faults.push(wrong.of(key, origin));
    }

    pub(super) fn push(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// Notes that `key`, which can stay as it is, looks like a mistake.
    pub(super) fn warning(&mut self, key: &str, wrong: Wrong) {
        let origin = self.find(key).and_then(value::origin);
        self.warnings.push(wrong.of(key, origin));
    }

    /// The warnings so far, without those about settings with a fault.
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

    /// The faults so far, without unknown keys.
    pub(super) fn faults(self) -> Vec<Fault> {
        self.faults
    }

    pub(super) fn note(&mut self, key: &str, value: Option<toml::Value>, origin: Option<&str>) {
        let origin = origin.filter(|origin| !origin.starts_with(BUILT_IN)).map(str::to_owned);
        self.effective.note(key, value, origin);
    }

    /// What was found out, with the unknown keys last.
    pub(super) fn finish(mut self) -> (Vec<Fault>, Effective) {
        self.faults.extend(unknown::faults(self.root, &self.known));
        (self.faults, self.effective)
    }

    /// Every key that was read.
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

/// Why a name isn't `[a-z][a-z0-9_]*`.
fn fault_of_name(name: &str) -> &'static str {
    if name.contains(char::is_uppercase) {
        "the name contains an upper-case letter, but only a-z, 0-9 and _ are allowed"
    } else if !name.bytes().all(is_name_byte) {
        "the name contains a character other than a-z, 0-9 and _"
    } else {
        "the name does not begin with a letter"
    }
}

/// The names of tables that are `[a-z][a-z0-9_]*`, sorted.
fn good_names(table: &Map<String, Value>) -> impl Iterator<Item = &String> {
    let good = table.iter().filter(move |(name, value)| {
        value::table(value).is_some()
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.bytes().all(is_name_byte)
    });
    good.map(|(name, _)| name).collect::<BTreeSet<_>>().into_iter()
}
