//! One setting, read in the way of its type.
//!
//! What is wrong with it is noted with the reader, and the read gives `None`.

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
    fault::Wrong,
    reader::{BUILT_IN, Reader},
    unknown,
    value::{self, Items},
};

/// A setting that was looked up, and who wants to know.
pub(super) struct Setting<'r, 'v> {
    reader: &'r mut Reader<'v>,
    key: String,
    value: Option<Cow<'v, Value>>,
    silent: bool,
    /// What to do when the value is of another type.
    fix_of_type: Option<&'static str>,
}

/// A setting that is a switch or something more exact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Switch<T> {
    Off,
    On,
    At(T),
}

/// All that is wrong with one value.
pub(super) struct Wrongs(Vec<(Place, Wrong)>);

/// Which part of a value is wrong.
enum Place {
    Whole,
    Entry { name: String, origin: Option<String> },
    Item { index: usize, origin: Option<String> },
}

impl From<Wrong> for Wrongs {
    fn from(wrong: Wrong) -> Self {
        vec![wrong].into()
    }
}

impl From<Vec<Wrong>> for Wrongs {
    fn from(wrongs: Vec<Wrong>) -> Self {
        Self(wrongs.into_iter().map(|wrong| (Place::Whole, wrong)).collect())
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

    /// Reads, but notes nothing.
    pub(super) fn silently(self) -> Self {
        Self { silent: true, ..self }
    }

    /// A fault when it isn't set.
    pub(super) fn required(self, fix: &str) -> Self {
        if self.value.is_none() && !self.silent {
            self.reader.missing(&[&self.key], Wrong::new("is missing", fix));
        }
        self
    }

    /// What to do when the value isn't of the type that it must be.
    pub(super) fn fix_of_type(self, fix: &'static str) -> Self {
        Self { fix_of_type: Some(fix), ..self }
    }

    /// For settings below a name that the user gives, whose defaults no file can hold.
    pub(super) fn or(self, default: impl Into<ValueKind>) -> Self {
        let default = || Cow::Owned(Value::new(Some(&BUILT_IN.to_owned()), default));
        Self { value: self.value.or_else(|| Some(default())), ..self }
    }

    /// A text that `parse` takes.
    pub(super) fn text<T, E: Into<Wrongs>>(
        self,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        self.read(|value| {
            let text = value::text(value)?;
            Ok((parse(text).map_err(Into::into)?, text.into()))
        })
    }

    /// A text that stays secret.
    pub(super) fn secret<E: Into<Wrongs>>(
        self,
        check: impl FnOnce(&str) -> Result<(), E>,
    ) -> Option<SecretString> {
        self.read(|value| {
            let text = value::text(value)?;
            check(text).map_err(Into::into)?;
            Ok((text.into(), MASK.into()))
        })
    }

    /// The path of a file that passes `check` now.
    pub(super) fn file<E: Into<Wrongs>>(
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
            let wrong =
                || value::mismatch(value, "true or false", "write true or false without quotes");
            let boolean = value::boolean(value).ok_or_else(wrong)?;
            Ok((boolean, boolean.into()))
        })
    }

    /// `true`, `false` or a text that `parse` takes.
    pub(super) fn switch<T, E: Into<Wrongs>>(
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
                Wrong::new(reason, fix)
            })?;
            // Every range ends far below the largest number that TOML has.
            Ok((number, toml::Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))))
        })
    }

    /// A number from 0 to 1.
    pub(super) fn share(self) -> Option<f64> {
        self.read(|value| {
            let fix = "write a number without quotes, such as 0.5";
            let read = value::share(value, fix)?;
            let share = read.filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| {
                let short = read.filter(|read| read.abs() < 1e6);
                let found = short.map(|read| format!(", found {read}")).unwrap_or_default();
                Wrong::new(format!("expected a number from 0 to 1{found}"), fix)
            })?;
            Ok((share, share.into()))
        })
    }

    /// A duration within `range`.
    pub(super) fn duration(self, range: RangeInclusive<Duration>) -> Option<Duration> {
        self.read(|value| {
            let [least, most] = [range.start(), range.end()].map(|end| duration::write(*end));
            let wrong = |reason: String| {
                let fix = format!("write a duration from \"{least}\" to \"{most}\", in quotes");
                Wrong::new(reason, fix)
            };
            if value::is_number(value) {
                return Err(
                    wrong("expected a duration with a unit, found a number".to_owned()).into()
                );
            }
            let text = value::text(value)?;
            let read = duration::parse(text).map_err(|error| wrong(error.to_string()))?;
            if range.contains(&read) {
                Ok((read, text.into()))
            } else {
                // A text that was read as a duration is no secret.
                let (side, bound) = if read < *range.start() {
                    ("below the minimum", &least)
                } else {
                    ("above the maximum", &most)
                };
                Err(wrong(format!("\"{text}\" is {side} of {bound}")).into())
            }
        })
    }

    /// A list of texts, each of which `parse` takes. Every bad item is a fault of its own.
    pub(super) fn list<T>(
        self,
        items: Items,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<Vec<T>> {
        let fix = self.fix_of_type;
        self.read(|value| {
            let (mut read, mut shown, mut wrongs) = (Vec::new(), Vec::new(), Vec::new());
            let found = value::items(value, items, fix)?;
            for (index, (text, origin)) in found.into_iter().enumerate() {
                match text.and_then(|text| Ok((parse(&text)?, text))) {
                    Ok((item, text)) => {
                        read.push(item);
                        shown.push(toml::Value::String(text));
                    }
                    Err(wrong) => wrongs.push((Place::Item { index, origin }, wrong)),
                }
            }
            if wrongs.is_empty() { Ok((read, shown.into())) } else { Err(Wrongs(wrongs)) }
        })
    }

    /// A table with names of the operator's choice, each entry of which `parse` takes. It can be
    /// written in files only. Every bad entry is a fault of its own.
    pub(super) fn table<T>(
        self,
        parse: impl Fn(&str, &Value) -> Result<(T, toml::Value), Wrong>,
    ) -> Option<Vec<T>> {
        let fix = self.fix_of_type.unwrap_or("write a table");
        self.read(|value| {
            let (mut read, mut shown, mut wrongs) = (Vec::new(), toml::Table::new(), Vec::new());
            let table =
                value::table(value).ok_or_else(|| value::mismatch(value, "a table", fix))?;
            for (name, value) in table.iter().collect::<BTreeMap<_, _>>() {
                let origin = value::origin(value);
                let is_variable =
                    origin.as_ref().is_some_and(|it| it.starts_with(environment::ORIGIN));
                let parsed = if is_variable {
                    let reason = "an environment variable cannot set it, because names of \
                                  variables have no upper and lower case";
                    Err(Wrong::new(reason, fix))
                } else {
                    parse(name, value)
                };
                match parsed {
                    Ok((entry, as_shown)) => {
                        read.push(entry);
                        shown.insert(name.clone(), as_shown);
                    }
                    Err(wrong) => wrongs.push((Place::Entry { name: name.clone(), origin }, wrong)),
                }
            }
            if wrongs.is_empty() { Ok((read, shown.into())) } else { Err(Wrongs(wrongs)) }
        })
    }

    fn read<T>(
        self,
        convert: impl FnOnce(&Value) -> Result<(T, toml::Value), Wrongs>,
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
            Err(Wrongs(wrongs)) => {
                for (place, wrong) in wrongs.into_iter().filter(|_| !silent) {
                    match place {
                        Place::Whole => reader.push(wrong.of(&*key, value::origin(&value))),
                        Place::Entry { name, origin } => {
                            reader.push(wrong.of(unknown::path(&key, &name), origin));
                        }
                        Place::Item { index, origin } => {
                            reader.push(wrong.of(format!("{key}[{index}]"), origin));
                        }
                    }
                }
                None
            }
        }
    }
}
