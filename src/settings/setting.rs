//! Reads one setting by its type.
//!
//! If the value is invalid, the reader records the faults and the method returns `None`.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use config::{Value, ValueKind};
use secrecy::SecretString;

use super::{
    duration,
    effective::MASK,
    environment,
    fault::Violation,
    reader::{BUILT_IN, Reader},
    unknown,
    value::{self, Items},
};

/// A setting to be read, and the reader that records the result.
pub(super) struct Setting<'r, 'v> {
    reader: &'r mut Reader<'v>,
    key: String,
    value: Option<Cow<'v, Value>>,
    silent: bool,
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

impl<'r, 'v> Setting<'r, 'v> {
    pub(super) const fn new(
        reader: &'r mut Reader<'v>,
        key: String,
        value: Option<Cow<'v, Value>>,
    ) -> Self {
        Self { reader, key, value, silent: false, fix_of_type: None }
    }

    /// Reads without recording faults or the effective value.
    pub(super) fn silently(self) -> Self {
        Self { silent: true, ..self }
    }

    /// Records a fault if it is unset.
    pub(super) fn required(self, fix: &str) -> Self {
        if self.value.is_none() && !self.silent {
            self.reader.missing(&[&self.key], Violation::new("is missing", fix));
        }
        self
    }

    /// Sets the fix for a value of the wrong type.
    pub(super) fn fix_of_type(self, fix: &'static str) -> Self {
        Self { fix_of_type: Some(fix), ..self }
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
        self.text(|text| {
            let path = PathBuf::from(text);
            check(&path).map(|()| path)
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
    pub(super) fn number(self, range: RangeInclusive<u64>) -> Option<u64> {
        self.read(|value| {
            let (least, most) = (range.start(), range.end());
            let wanted = format!("an integer from {least} to {most}");
            let fix = format!("write {wanted}, without quotes");
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
        })
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
        let Self { reader, key, value, silent, .. } = self;
        let Some(value) = value else {
            if !silent {
                reader.note(&key, None, None);
            }
            return None;
        };
        match convert(&value) {
            Ok((read, shown)) => {
                if !silent {
                    reader.note(&key, Some(shown), value.origin());
                }
                Some(read)
            }
            Err(Violations(violations)) => {
                for (place, violation) in violations.into_iter().filter(|_| !silent) {
                    match place {
                        Part::Whole => reader.push(violation.of(&*key, value::origin(&value))),
                        Part::Entry { name, origin } => {
                            reader.push(violation.of(unknown::path(&key, &name), origin));
                        }
                        Part::Item { index, origin } => {
                            reader.push(violation.of(format!("{key}[{index}]"), origin));
                        }
                    }
                }
                None
            }
        }
    }
}
