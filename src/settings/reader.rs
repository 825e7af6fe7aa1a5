//! Reads settings from the merged tree by their types, and records known keys, faults and effective
//! values.
//!
//! serde stops at the first fault. This reader continues: a value with a fault is replaced by a
//! placeholder, so that every section can be read and conflicts between other keys are still
//! found. Settings that contain a placeholder are never returned.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use config::{Map, Value, ValueKind};
use secrecy::SecretString;

use super::{
    duration,
    effective::{Effective, MASK},
    environment,
    fault::{Fault, Violation},
    unknown,
    value::{self, Items},
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
    /// See [`super::Sources::mounted`].
    mounts: Option<&'v [PathBuf]>,
    known: BTreeSet<String>,
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
    effective: Effective,
    placeholders: usize,
}

impl<'v> Reader<'v> {
    pub(super) fn new(root: &'v Map<String, Value>, sources_complete: bool) -> Self {
        Self {
            root,
            sources_complete,
            empty: BTreeMap::new(),
            mounts: None,
            known: BTreeSet::new(),
            faults: Vec::new(),
            warnings: Vec::new(),
            effective: Effective::default(),
            placeholders: 0,
        }
    }

    /// Adds the keys whose environment variable is empty.
    pub(super) fn with_empty(self, empty: BTreeMap<String, String>) -> Self {
        Self { empty, ..self }
    }

    /// With directories, files are not read, but must be below one of them.
    pub(super) fn with_mounts(self, mounts: Option<&'v [PathBuf]>) -> Self {
        Self { mounts, ..self }
    }

    /// The setting `key`, which may be unset. The caller then reads it by its type.
    pub(super) fn at(&mut self, key: impl Into<String>) -> Setting<'_, 'v> {
        let key = key.into();
        self.known.insert(key.clone());
        let value = self.find(&key).map(Cow::Borrowed);
        Setting { reader: self, key, value, fix_of_type: None }
    }

    /// An integer that has a default.
    pub(super) fn number<T>(&mut self, key: &str, range: RangeInclusive<u64>) -> T
    where
        T: TryFrom<u64> + Default,
    {
        self.filled(|it| it.at(key).number(range))
    }

    /// A duration that has a default.
    pub(super) fn duration(&mut self, key: &str, range: RangeInclusive<Duration>) -> Duration {
        self.filled(|it| it.at(key).duration(range))
    }

    /// A number from 0 to 1 that has a default.
    pub(super) fn ratio(&mut self, key: &str) -> f64 {
        self.filled(|it| it.at(key).ratio())
    }

    /// `true` or `false`, with a default.
    pub(super) fn boolean(&mut self, key: &str) -> bool {
        self.filled(|it| it.at(key).boolean())
    }

    /// A text that has a default.
    pub(super) fn text<T: Default>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, Violation>,
    ) -> T {
        self.filled(|it| it.at(key).text(parse))
    }

    /// Reads a value; returns a placeholder if it has a fault.
    pub(super) fn filled<T: Default>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> T {
        let value = read(self);
        self.filled_or(value, T::default())
    }

    /// Like [`Self::filled`], but an optional value is empty without being a placeholder.
    pub(super) fn filled_unless<T: Default>(
        &mut self,
        is_optional: bool,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> T {
        if is_optional { read(self).unwrap_or_default() } else { self.filled(read) }
    }

    /// The value, or this placeholder if it has a fault.
    pub(super) fn filled_or<T>(&mut self, value: Option<T>, placeholder: T) -> T {
        if value.is_none() {
            self.placeholders = self.placeholders.saturating_add(1);
        }
        value.unwrap_or(placeholder)
    }

    /// How many values are placeholders so far.
    pub(super) const fn placeholders(&self) -> usize {
        self.placeholders
    }

    /// Whether any source, including the defaults, contains `key`.
    pub(super) fn is_set(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// Whether `key` has no fault so far. Conflicts treat a key with a fault as unset.
    pub(super) fn is_valid(&self, key: &str) -> bool {
        self.faults.iter().all(|fault| fault.key.split('[').next() != Some(key))
    }

    /// Whether `key` has its default.
    pub(super) fn is_default(&self, key: &str) -> bool {
        self.origin(key).is_some_and(|origin| origin.starts_with(BUILT_IN))
    }

    /// The text of `key`, even if it has a fault.
    pub(super) fn raw_text(&self, key: &str) -> Option<&'v str> {
        value::text(self.find(key)?).ok()
    }

    /// The text of `key`, unless it has a fault.
    pub(super) fn valid_text(&self, key: &str) -> Option<&'v str> {
        self.raw_text(key).filter(|_| self.is_valid(key))
    }

    /// Whether `key` is set to this boolean.
    pub(super) fn is(&self, key: &str, boolean: bool) -> bool {
        self.is_valid(key) && self.find(key).and_then(value::boolean) == Some(boolean)
    }

    /// Whether `key` is a list with items, without a fault.
    pub(super) fn has_valid_items(&self, key: &str) -> bool {
        let items = self.find(key).map(|found| value::items(found, Items::AtLeastOne, None));
        self.is_valid(key) && items.is_some_and(|items| items.is_ok())
    }

    /// The names of the tables in table `key`, sorted. Entries that aren't tables or have an
    /// invalid name are faults.
    pub(super) fn names(&mut self, key: &str) -> Vec<String> {
        self.known.insert(key.to_owned());
        let Some(table) = self.find(key).and_then(value::table) else { return Vec::new() };
        let mut names = Vec::new();
        for (name, found) in table.iter().collect::<BTreeMap<_, _>>() {
            let violation = if value::table(found).is_none() {
                let fix = format!("write [{key}.NAME], and the settings below it");
                value::mismatch(found, "a table", &fix)
            } else if let Some(reason) = fault_of_name(name) {
                Violation::new(reason, format!("rename it, for example [{key}.main]"))
            } else {
                names.push(name.clone());
                continue;
            };
            let path = unknown::path(key, name);
            self.known.insert(path.clone());
            self.faults.push(violation.of(path, value::origin(found)));
        }
        names
    }

    /// Adds a fault of `key`.
    pub(super) fn fault(&mut self, key: &str, violation: Violation) {
        self.faults.push(violation.of(key, self.origin(key)));
    }

    /// Adds a fault because none of `keys` is set. The fault names the first key. Does nothing if a
    /// source is unreadable, because that source may contain one of them.
    pub(super) fn missing(&mut self, keys: &[&str], violation: Violation) {
        let Some(key) = keys.first().filter(|_| self.sources_complete) else { return };
        let Some(variable) = keys.iter().find_map(|key| self.empty.get(*key)) else {
            return self.fault(key, violation);
        };
        let Violation { reason, fix } = violation;
        let reason =
            format!("{reason}: {variable} is empty, and an empty variable counts as unset");
        let origin = Some(format!("{}{variable}", environment::ORIGIN));
        self.faults.push(Violation::new(reason, fix).of(*key, origin));
    }

    /// Adds a fault because `keys` conflict. The fault names the first key, and its
    /// origin lists all that are set. Does nothing if a source is unreadable, because that source
    /// may resolve the conflict.
    pub(super) fn conflict(
        &mut self,
        keys: &[&str],
        reason: impl Into<String>,
        fix: impl Into<String>,
    ) {
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
        self.faults.push(Violation::new(reason, fix).of(key, origin));
    }

    /// Adds a warning about `key`.
    pub(super) fn warning(&mut self, key: &str, violation: Violation) {
        self.warnings.push(violation.of(key, self.origin(key)));
    }

    /// Removes and returns the warnings, without those about settings with a fault.
    pub(super) fn take_warnings(&mut self) -> Vec<Fault> {
        let mut warnings = std::mem::take(&mut self.warnings);
        warnings.retain(|warning| self.faults.iter().all(|fault| fault.key != warning.key));
        warnings
    }

    /// Returns the faults, without checking for unknown keys.
    pub(super) fn faults(self) -> Vec<Fault> {
        self.faults
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

    fn note(&mut self, key: &str, value: Option<toml::Value>, origin: Option<&str>) {
        let origin = origin.filter(|origin| !origin.starts_with(BUILT_IN)).map(str::to_owned);
        self.effective.note(key, value, origin);
    }

    fn origin(&self, key: &str) -> Option<String> {
        self.find(key).and_then(value::origin)
    }

    fn find(&self, key: &str) -> Option<&'v Value> {
        let mut segments = key.split('.');
        let first = self.root.get(segments.next()?)?;
        segments.try_fold(first, |value, segment| value::table(value)?.get(segment))
    }
}

fn is_mounted(path: &Path, mounts: &[PathBuf]) -> Result<(), Violation> {
    if mounts.iter().any(|mount| path.starts_with(mount)) {
        return Ok(());
    }
    let fix = "mount a Secret or a ConfigMap at its directory (volumeMounts), or correct the path";
    Err(Violation::new("the file is in no volume of the container", fix))
}

/// Why a name does not match `[a-z][a-z0-9_]*`, if so.
fn fault_of_name(name: &str) -> Option<&'static str> {
    let is_name_byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if name.contains(char::is_uppercase) {
        Some("the name contains an upper-case letter, but only a-z, 0-9 and _ are allowed")
    } else if !name.bytes().all(is_name_byte) {
        Some("the name contains a character other than a-z, 0-9 and _")
    } else if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        Some("the name does not begin with a letter")
    } else {
        None
    }
}

/// A setting to be read, and the reader that records the result. If the value is invalid, the
/// methods record the faults and return `None`.
pub(super) struct Setting<'r, 'v> {
    reader: &'r mut Reader<'v>,
    key: String,
    value: Option<Cow<'v, Value>>,
    /// The fix if the value has the wrong type.
    fix_of_type: Option<&'static str>,
}

/// A switch, or a more specific value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Switch<T> {
    Off,
    On,
    At(T),
}

/// All violations of one value.
pub(super) struct Violations(Vec<(Part, Violation)>);

/// The part of a value that is invalid.
enum Part {
    Whole,
    Entry { name: String, origin: Option<String> },
    Item { index: usize, origin: Option<String> },
}

impl From<Violation> for Violations {
    fn from(violation: Violation) -> Self {
        vec![violation].into()
    }
}

impl From<Vec<Violation>> for Violations {
    fn from(violations: Vec<Violation>) -> Self {
        Self(violations.into_iter().map(|violation| (Part::Whole, violation)).collect())
    }
}

impl Setting<'_, '_> {
    /// Records a fault if it is unset.
    pub(super) fn required(self, fix: &str) -> Self {
        self.required_if(true, fix)
    }

    /// Records a fault if it is unset and the condition is met.
    pub(super) fn required_if(self, condition: bool, fix: &str) -> Self {
        if condition && self.value.is_none() {
            self.reader.missing(&[&self.key], Violation::new("is missing", fix));
        }
        self
    }

    /// Sets the fix for a value of the wrong type.
    pub(super) fn fix_of_type(self, fix: &'static str) -> Self {
        Self { fix_of_type: Some(fix), ..self }
    }

    /// Like [`Self::or`], if the condition is met.
    pub(super) fn or_if(self, condition: bool, default: impl Into<ValueKind>) -> Self {
        if condition { self.or(default) } else { self }
    }

    /// Sets a default, for keys below a name that the operator chooses. `config/default.toml` can't
    /// contain those.
    pub(super) fn or(self, default: impl Into<ValueKind>) -> Self {
        let default = || Cow::Owned(Value::new(Some(&BUILT_IN.to_owned()), default));
        Self { value: self.value.or_else(|| Some(default())), ..self }
    }

    /// A text that `parse` accepts.
    pub(super) fn text<T, E: Into<Violations>>(
        self,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        self.read(|value| {
            let text = value::text(value)?;
            Ok((parse(text).map_err(Into::into)?, text.into()))
        })
    }

    /// Like `text`, but its value is masked in the effective settings.
    pub(super) fn secret<E: Into<Violations>>(
        self,
        check: impl FnOnce(&str) -> Result<(), E>,
    ) -> Option<SecretString> {
        self.read(|value| {
            let text = value::text(value)?;
            check(text).map_err(Into::into)?;
            Ok((text.into(), MASK.into()))
        })
    }

    /// The path of a file that passes `check`.
    pub(super) fn file<E: Into<Violations>>(
        self,
        check: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Option<PathBuf> {
        let mounts = self.reader.mounts;
        self.text(|text| {
            let path = PathBuf::from(text);
            match mounts {
                None => check(&path).map_err(Into::into)?,
                Some(mounts) => is_mounted(&path, mounts)?,
            }
            Ok::<_, Violations>(path)
        })
    }

    /// `true` or `false`.
    pub(super) fn boolean(self) -> Option<bool> {
        self.read(|value| {
            let violation =
                || value::mismatch(value, "true or false", "write true or false without quotes");
            let boolean = value::boolean(value).ok_or_else(violation)?;
            Ok((boolean, boolean.into()))
        })
    }

    /// `true`, `false` or a text that `parse` accepts.
    pub(super) fn switch<T, E: Into<Violations>>(
        self,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Switch<T>> {
        self.read(|value| match value::boolean(value) {
            Some(true) => Ok((Switch::On, true.into())),
            Some(false) => Ok((Switch::Off, false.into())),
            None => {
                let text = value::switch_text(value)?;
                Ok((Switch::At(parse(text).map_err(Into::into)?), text.into()))
            }
        })
    }

    /// An integer within `range`.
    pub(super) fn number<T: TryFrom<u64>>(self, range: RangeInclusive<u64>) -> Option<T> {
        self.number_with(range, "")
    }

    /// The value for an integer within `range`, or for the text `word`.
    pub(super) fn number_or<N: TryFrom<u64>, T>(
        self,
        range: RangeInclusive<u64>,
        for_number: impl FnOnce(N) -> T,
        (word, for_word): (&str, T),
    ) -> Option<T> {
        let text = self.value.as_deref().map(value::text);
        if text.is_some_and(|text| text.is_ok_and(|text| text == word)) {
            return self.text(|_| Ok::<_, Violation>(for_word));
        }
        self.number_with(range, &format!(", or \"{word}\"")).map(for_number)
    }

    /// An integer. `alternative` ends the fix, for settings that accept a text as well.
    fn number_with<T: TryFrom<u64>>(
        self,
        range: RangeInclusive<u64>,
        alternative: &str,
    ) -> Option<T> {
        let number = self.read(|value| {
            let (least, most) = (range.start(), range.end());
            let wanted = format!("an integer from {least} to {most}");
            let fix = format!("write {wanted}, without quotes{alternative}");
            let read = value::number(value, &fix)?;
            let number = read.and_then(|read| u64::try_from(read).ok());
            let number = number.filter(|number| range.contains(number)).ok_or_else(|| {
                let reason = match read {
                    Some(read) if u64::try_from(read).is_ok_and(|read| read > *most) => {
                        format!("{read} is above the maximum of {most}")
                    }
                    Some(read) => format!("{read} is below the minimum of {least}"),
                    None => format!("expected {wanted}"),
                };
                Violation::new(reason, fix)
            })?;
            // Every range ends far below the largest number that TOML has.
            Ok((number, toml::Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))))
        })?;
        T::try_from(number).ok()
    }

    /// A number from 0 to 1.
    pub(super) fn ratio(self) -> Option<f64> {
        self.read(|value| {
            let fix = "write a number without quotes, such as 0.5";
            let read = value::ratio(value, fix)?;
            let ratio = read.filter(|ratio| (0.0..=1.0).contains(ratio)).ok_or_else(|| {
                let short = read.filter(|read| read.abs() < 1e6);
                let found = short.map(|read| format!(", found {read}")).unwrap_or_default();
                Violation::new(format!("expected a number from 0 to 1{found}"), fix)
            })?;
            Ok((ratio, ratio.into()))
        })
    }

    /// A duration within `range`.
    pub(super) fn duration(self, range: RangeInclusive<Duration>) -> Option<Duration> {
        self.read(|value| {
            let [least, most] = [range.start(), range.end()].map(|end| duration::write(*end));
            let violation = |reason: String| {
                let fix = format!("write a duration from \"{least}\" to \"{most}\", in quotes");
                Violation::new(reason, fix)
            };
            if value::is_number(value) {
                return Err(violation(
                    "expected a duration with a unit, found a number".to_owned(),
                )
                .into());
            }
            let text = value::text(value)?;
            let read = duration::parse(text).map_err(|error| violation(error.to_string()))?;
            if range.contains(&read) {
                Ok((read, text.into()))
            } else {
                // A text that was read as a duration is no secret.
                let (side, bound) = if read < *range.start() {
                    ("below the minimum", &least)
                } else {
                    ("above the maximum", &most)
                };
                Err(violation(format!("\"{text}\" is {side} of {bound}")).into())
            }
        })
    }

    /// A list of texts that `parse` accepts. Every invalid item is a separate fault.
    pub(super) fn list<T>(
        self,
        items: Items,
        parse: impl Fn(&str) -> Result<T, Violation>,
    ) -> Option<Vec<T>> {
        let fix = self.fix_of_type;
        self.read(|value| {
            let (mut read, mut shown, mut violations) = (Vec::new(), Vec::new(), Vec::new());
            let found = value::items(value, items, fix)?;
            for (index, (text, origin)) in found.into_iter().enumerate() {
                match text.and_then(|text| Ok((parse(&text)?, text))) {
                    Ok((item, text)) => {
                        read.push(item);
                        shown.push(toml::Value::String(text));
                    }
                    Err(violation) => violations.push((Part::Item { index, origin }, violation)),
                }
            }
            if violations.is_empty() {
                Ok((read, shown.into()))
            } else {
                Err(Violations(violations))
            }
        })
    }

    /// A table with entries that the operator names and `parse` accepts. Only settings files can
    /// contain it. Every invalid entry is a separate fault.
    pub(super) fn table<T>(
        self,
        parse: impl Fn(&str, &Value) -> Result<(T, toml::Value), Violation>,
    ) -> Option<Vec<T>> {
        let fix = self.fix_of_type.unwrap_or("write a table");
        self.read(|value| {
            let (mut read, mut shown, mut violations) =
                (Vec::new(), toml::Table::new(), Vec::new());
            let table =
                value::table(value).ok_or_else(|| value::mismatch(value, "a table", fix))?;
            for (name, value) in table.iter().collect::<BTreeMap<_, _>>() {
                let origin = value::origin(value);
                let is_variable =
                    origin.as_ref().is_some_and(|it| it.starts_with(environment::ORIGIN));
                let parsed = if is_variable {
                    let reason = "an environment variable cannot set it, because names of \
                                  variables have no upper and lower case";
                    Err(Violation::new(reason, fix))
                } else {
                    parse(name, value)
                };
                match parsed {
                    Ok((entry, as_shown)) => {
                        read.push(entry);
                        shown.insert(name.clone(), as_shown);
                    }
                    Err(violation) => {
                        violations.push((Part::Entry { name: name.clone(), origin }, violation));
                    }
                }
            }
            if violations.is_empty() {
                Ok((read, shown.into()))
            } else {
                Err(Violations(violations))
            }
        })
    }

    fn read<T>(
        self,
        convert: impl FnOnce(&Value) -> Result<(T, toml::Value), Violations>,
    ) -> Option<T> {
        let Self { reader, key, value, .. } = self;
        let Some(value) = value else {
            reader.note(&key, None, None);
            return None;
        };
        let violations = match convert(&value) {
            Ok((read, shown)) => {
                reader.note(&key, Some(shown), value.origin());
                return Some(read);
            }
            Err(Violations(violations)) => violations,
        };
        reader.faults.extend(violations.into_iter().map(|(part, violation)| match part {
            Part::Whole => violation.of(&*key, value::origin(&value)),
            Part::Entry { name, origin } => violation.of(unknown::path(&key, &name), origin),
            Part::Item { index, origin } => violation.of(format!("{key}[{index}]"), origin),
        }));
        None
    }
}
