//! Converts values of the merged tree to texts, booleans, numbers and lists, and returns their
//! origins.
//!
//! Environment variables contain only texts, so numbers, `true` and comma-separated lists are parsed
//! from them. A text in a file stays a text. Faults quote no values except numbers and durations.

use config::{Map, Value, ValueKind};

use super::{environment, fault::Violation};

/// How many items a list may have, and whether a text is accepted as a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Items {
    /// Any number, including none.
    Any,
    /// At least one.
    AtLeastOne,
    /// At least one; a single text is a list of one item.
    AtLeastOneOrText,
}

/// An item of a list: its text, or why it is invalid, and its origin.
pub(super) type Item = (Result<String, Violation>, Option<String>);

/// The origin of a value. A table has the origin of its first setting.
pub(super) fn origin(value: &Value) -> Option<String> {
    let first = || table(value).and_then(|table| table.get(table.keys().min()?));
    value.origin().map(str::to_owned).or_else(|| first().and_then(origin))
}

/// The entries of a table.
pub(super) const fn table(value: &Value) -> Option<&Map<String, Value>> {
    if let ValueKind::Table(table) = &value.kind { Some(table) } else { None }
}

/// A text.
pub(super) fn text(value: &Value) -> Result<&str, Violation> {
    let ValueKind::String(text) = &value.kind else {
        return Err(mismatch(value, "a string", "write a string in quotes"));
    };
    Ok(text)
}

/// The text of a setting that also accepts a boolean.
pub(super) fn switch_text(value: &Value) -> Result<&str, Violation> {
    let ValueKind::String(text) = &value.kind else {
        let fix = "write true or false without quotes, or a string in quotes";
        return Err(mismatch(value, "true, false or a string", fix));
    };
    if text.parse::<bool>().is_ok() {
        let reason = "expected true or false, found a string: the value is in quotes";
        return Err(Violation::new(reason, "write true or false without quotes"));
    }
    Ok(text)
}

/// The boolean; `None` for another type.
pub(super) fn boolean(value: &Value) -> Option<bool> {
    match (&value.kind, environment_text(value)) {
        (ValueKind::Boolean(boolean), _) => Some(*boolean),
        (_, text) => text?.parse().ok(),
    }
}

/// An integer; `None` when it has more than 64 bits.
pub(super) fn number(value: &Value, fix: &str) -> Result<Option<i64>, Violation> {
    match (&value.kind, environment_text(value)) {
        (ValueKind::I64(number), _) => Ok(Some(*number)),
        (ValueKind::I128(_), _) => Ok(None),
        (_, Some(text)) => Ok(text.parse().ok()),
        (_, None) => Err(mismatch(value, "an integer", fix)),
    }
}

/// A number, integer or not; `None` for a text that is none, and for integers beyond 32 bits.
pub(super) fn ratio(value: &Value, fix: &str) -> Result<Option<f64>, Violation> {
    match (&value.kind, environment_text(value)) {
        (ValueKind::Float(number), _) => Ok(Some(*number)),
        (ValueKind::I64(number), _) => Ok(i32::try_from(*number).ok().map(f64::from)),
        (ValueKind::I128(_), _) => Ok(None),
        (_, Some(text)) => Ok(text.parse().ok()),
        (_, None) => Err(mismatch(value, "a number", fix)),
    }
}

/// Whether it is a number, integer or not.
pub(super) const fn is_number(value: &Value) -> bool {
    matches!(value.kind, ValueKind::I64(_) | ValueKind::I128(_) | ValueKind::Float(_))
}

/// The items of a list of texts.
///
/// `fix` is the fix for a value of another type.
pub(super) fn items(
    value: &Value,
    items: Items,
    fix: Option<&str>,
) -> Result<Vec<Item>, Violation> {
    let list: Vec<Item> = match (&value.kind, environment_text(value)) {
        (ValueKind::Array(values), _) => {
            values.iter().map(|item| (text(item).map(str::to_owned), origin(item))).collect()
        }
        (_, Some(text)) if is_in_brackets(text) => {
            let reason = "is a JSON or TOML list, which an environment variable cannot contain";
            return Err(Violation::new(reason, "separate the items with commas, such as a,b"));
        }
        (_, Some(text)) => {
            text.split(',').map(|item| (Ok(item.trim().to_owned()), origin(value))).collect()
        }
        (ValueKind::String(text), None) if items == Items::AtLeastOneOrText => {
            vec![(Ok(text.clone()), origin(value))]
        }
        (_, None) => {
            let expected = match items {
                Items::AtLeastOneOrText => "a string or a list of strings",
                Items::Any | Items::AtLeastOne => "a list of strings",
            };
            let fix = fix.unwrap_or("write a list of strings, such as [\"a\", \"b\"]");
            return Err(mismatch(value, expected, fix));
        }
    };
    if list.is_empty() && items != Items::Any {
        return Err(Violation::new("the list is empty", fix.unwrap_or("add at least one item")));
    }
    Ok(list)
}

/// A violation because the value has the wrong type.
pub(super) fn mismatch(value: &Value, expected: &str, fix: &str) -> Violation {
    let found = match &value.kind {
        ValueKind::Nil => "nothing",
        ValueKind::Boolean(_) => "a boolean",
        ValueKind::I64(_) | ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_) => {
            "an integer"
        }
        ValueKind::Float(_) => "a float",
        ValueKind::String(_) => "a string",
        ValueKind::Table(_) => "a table",
        ValueKind::Array(_) => "a list",
    };
    Violation::new(format!("expected {expected}, found {found}"), fix)
}

/// Whether it looks like `["a","b"]`, which environment variables don't support. A bracketed IPv6
/// address is not affected: its port follows the bracket.
fn is_in_brackets(text: &str) -> bool {
    let text = text.trim();
    text.starts_with('[') && text.ends_with(']')
}

/// The text of a value from the environment; `None` for a value from a file.
fn environment_text(value: &Value) -> Option<&str> {
    let is_variable = value.origin().is_some_and(|origin| origin.starts_with(environment::ORIGIN));
    text(value).ok().filter(|_| is_variable)
}

/// One of a few names. A fault lists them; `what` describes them, if the list alone does not.
pub(super) fn one_of<T: Copy>(
    text: &str,
    what: Option<&str>,
    choices: &[(&str, T)],
) -> Result<T, Violation> {
    if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == text) {
        return Ok(*choice);
    }
    let names: Vec<_> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let names = match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    };
    let reason = format!("expected {}", what.unwrap_or(&names));
    Err(Violation::new(reason, format!("write {names}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_file(kind: impl Into<ValueKind>) -> Value {
        Value::new(Some(&"x.toml, line 1".to_owned()), kind)
    }

    fn from_environment(text: &str) -> Value {
        Value::new(Some(&format!("{}X", environment::ORIGIN)), text)
    }

    #[test]
    fn other_types_are_parsed_from_texts_of_variables_only() {
        assert_eq!(number(&from_environment("7"), ""), Ok(Some(7)));
        assert_eq!(number(&from_environment("x"), ""), Ok(None));
        assert!(number(&from_file("7"), "").is_err());
        assert_eq!(number(&from_file(7), ""), Ok(Some(7)));
        assert_eq!(number(&from_file(-7), ""), Ok(Some(-7)));
        assert_eq!(boolean(&from_environment("true")), Some(true));
        assert_eq!(boolean(&from_environment("yes")), None);
        assert_eq!(boolean(&from_file("true")), None);
        assert_eq!(boolean(&from_file(false)), Some(false));
    }

    #[test]
    fn ratios_may_be_integers() {
        assert_eq!(ratio(&from_file(0.5), ""), Ok(Some(0.5)));
        assert_eq!(ratio(&from_file(1), ""), Ok(Some(1.0)));
        assert_eq!(ratio(&from_file(0), ""), Ok(Some(0.0)));
        assert_eq!(ratio(&from_file(2), ""), Ok(Some(2.0)));
        assert_eq!(ratio(&from_file(i64::MAX), ""), Ok(None));
        assert_eq!(ratio(&from_environment("0.25"), ""), Ok(Some(0.25)));
        assert!(ratio(&from_file("0.5"), "").is_err());
    }

    #[test]
    fn lists_are_parsed_from_arrays_and_comma_separated_texts() {
        let texts = |value: &Value, kind| {
            let list = items(value, kind, None).ok()?;
            Some(list.into_iter().map(|(text, _)| text.unwrap()).collect::<Vec<_>>())
        };
        assert_eq!(texts(&from_environment("a, b,"), Items::AtLeastOne).unwrap(), ["a", "b", ""]);
        assert_eq!(texts(&from_file("a,b"), Items::AtLeastOneOrText).unwrap(), ["a,b"]);
        assert_eq!(texts(&from_file("a,b"), Items::AtLeastOne), None);
        assert_eq!(texts(&from_file(vec!["a"]), Items::AtLeastOneOrText).unwrap(), ["a"]);
        assert_eq!(texts(&from_file(Vec::<String>::new()), Items::AtLeastOneOrText), None);
        assert_eq!(texts(&from_file(Vec::<String>::new()), Items::AtLeastOne), None);
        assert_eq!(texts(&from_file(Vec::<String>::new()), Items::Any).unwrap(), [""; 0]);
        assert!(items(&from_file(vec![1]), Items::Any, None).unwrap()[0].0.is_err());
        for json in [r#"["a","b"]"#, " ['a'] ", "[]", "[a,b]"] {
            assert_eq!(texts(&from_environment(json), Items::Any), None, "{json}");
        }
        let addresses = from_environment("[::1]:80,[::]:81");
        assert_eq!(texts(&addresses, Items::AtLeastOneOrText).unwrap(), ["[::1]:80", "[::]:81"]);
    }
}
