//! Formats values of a token for operators. Anyone may have written a token, so its values are
//! quoted, escaped and truncated. A value in a suggested setting is never truncated, but omitted if
//! it is long.

use std::fmt::Write as _;

use crate::json::UniqueMembers;

/// Maximum length of a shown value, in characters. Longer values are truncated.
const MAX_SHOWN: usize = 200;

/// Maximum length of a value in a suggested setting, in characters. Google's client ids have 72. A truncated
/// value would be wrong.
const MAX_SUGGESTED: usize = 120;

/// Quotes a text on one line.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", printable(text))
}

/// The member of an object as JSON, or `none`.
pub(super) fn member(object: &UniqueMembers, name: &str) -> String {
    object.get(name).map_or_else(|| "none".to_owned(), |value| printable(&value.to_string()))
}

/// Quotes texts and separates them by commas.
pub(super) fn listed<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> String {
    let quoted: Vec<_> = texts.into_iter().map(|text| quoted(text.as_ref())).collect();
    if quoted.is_empty() { "none".to_owned() } else { quoted.join(", ") }
}

/// Removes control characters, which a terminal would interpret, and truncates to [`MAX_SHOWN`].
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars().take(MAX_SHOWN) {
        match c {
            '"' | '\'' | '\\' => shown.push(c),
            _ => shown.extend(c.escape_debug()),
        }
    }
    if text.chars().nth(MAX_SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// A TOML basic string; `None` for a text that the settings would reject, or that is too long.
pub(super) fn toml_text(text: &str) -> Option<String> {
    let is_bad = text.contains(char::is_control) || text.trim() != text;
    if is_bad || text.chars().nth(MAX_SUGGESTED).is_some() {
        return None;
    }
    let mut toml = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => toml.extend(['\\', c]),
            ' '..='~' => toml.push(c),
            _ if c.is_alphanumeric() => toml.push(c),
            _ => write!(toml, "\\U{:08X}", u32::from(c)).ok()?,
        }
    }
    toml.push('"');
    Some(toml)
}

/// A TOML array of strings.
pub(super) fn toml_list<'t>(texts: impl IntoIterator<Item = &'t str>) -> Option<String> {
    let texts = texts.into_iter().map(toml_text).collect::<Option<Vec<_>>>()?;
    Some(format!("[{}]", texts.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggested_values_are_valid_toml_on_one_line() {
        for text in ["", "a", "a\"b", "a\\", "'", "\"\"\"", "# x", "é", "a\u{202e}b", "x\u{301}"] {
            let toml = toml_text(text).unwrap();
            let line = format!("key = {toml}");
            let table: toml::Table = line.parse().unwrap();
            assert_eq!(table["key"].as_str(), Some(text), "{line}");
            assert!(!line.contains(['\u{202e}', '\u{301}', '\n']), "{line}");
        }
        for invalid in ["a\nb", "\u{1b}[2J", " a", "a\u{9b}", &"x".repeat(121)] {
            assert_eq!(toml_text(invalid), None, "{invalid:?}");
        }
        assert_eq!(toml_list(["a", "b"]).as_deref(), Some("[\"a\", \"b\"]"));
        assert_eq!(toml_list(["a", "b\n"]), None);
    }
}
