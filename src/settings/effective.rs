//! The effective settings, as TOML that can be loaded again, or as JSON. Callers mask secrets
//! before they add values.

use std::{collections::BTreeMap, fmt};

use serde_json::{Map, Value};

/// Shown in place of a secret.
pub(super) const MASK: &str = "********";

/// All effective settings, including defaults.
///
/// `Display` writes a settings file: values that aren't defaults have a comment with their origin,
/// and unset keys are comments.
#[derive(Debug, Clone, Default)]
pub struct Effective(Vec<Entry>);

#[derive(Debug, Clone)]
struct Entry {
    section: String,
    name: String,
    value: Option<toml::Value>,
    /// `None` for defaults.
    origin: Option<String>,
}

impl Effective {
    pub(super) fn note(&mut self, key: &str, value: Option<toml::Value>, origin: Option<String>) {
        let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
        let (section, name) = (section.to_owned(), name.to_owned());
        self.0.push(Entry { section, name, value, origin });
    }

    /// The settings as JSON, one object per table. Unset keys are null.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut root = Map::new();
        for Entry { section, name, value, .. } in &self.0 {
            // Every value of a setting can be represented in JSON.
            let value = value.as_ref().and_then(|value| serde_json::to_value(value).ok());
            insert(&mut root, section, name, value.unwrap_or_default());
        }
        root.into()
    }

    /// The origin of each setting that isn't a default, by key.
    #[must_use]
    pub fn origins(&self) -> BTreeMap<String, &str> {
        let set = self.0.iter().filter_map(|entry| Some((entry, entry.origin.as_deref()?)));
        set.map(|(entry, origin)| (entry.key(), origin)).collect()
    }
}

/// Inserts a value into the table at path `section` below `root`.
fn insert(root: &mut Map<String, Value>, section: &str, name: &str, value: Value) {
    if section.is_empty() {
        root.insert(name.to_owned(), value);
        return;
    }
    let (first, rest) = section.split_once('.').unwrap_or((section, ""));
    let inner = root.entry(first).or_insert_with(|| Map::new().into());
    // No key is both a setting and a table, so `inner` is always an object.
    if let Value::Object(inner) = inner {
        insert(inner, rest, name, value);
    }
}

impl Entry {
    fn key(&self) -> String {
        let Self { section, name, .. } = self;
        if section.is_empty() { name.clone() } else { format!("{section}.{name}") }
    }
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sections: Vec<&str> = Vec::new();
        for entry in &self.0 {
            if !sections.contains(&entry.section.as_str()) {
                sections.push(&entry.section);
            }
        }
        for (index, section) in sections.into_iter().enumerate() {
            let gap = if index == 0 { "" } else { "\n" };
            writeln!(f, "{gap}[{section}]")?;
            self.0.iter().filter(|entry| entry.section == section).try_for_each(|e| e.fmt(f))?;
        }
        Ok(())
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(value) = &self.value else { return writeln!(f, "# {} is not set", self.name) };
        write!(f, "{} = {value}", self.name)?;
        // A file name may contain a line break, which would end the comment.
        let plain = |origin: &String| origin.replace(char::is_control, "?");
        match self.origin.as_ref().map(plain) {
            Some(origin) => writeln!(f, " # {origin}"),
            None => writeln!(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_valid_toml_for_any_value() {
        let mut effective = Effective::default();
        let text = toml::Value::String("a\"b\\\n\u{7f}'''\u{1}#é".to_owned());
        effective.note("a.text", Some(text.clone()), Some("od\nd.toml".to_owned()));
        effective.note("b.c.number", Some(toml::Value::Integer(3)), None);
        effective.note("a.unset", None, None);
        let written = effective.to_string();
        assert!(written.contains(" # od?d.toml\n# unset is not set\n\n[b.c]\n"), "{written}");
        let json = effective.to_json();
        assert_eq!(json["a"], serde_json::json!({"text": text, "unset": null}));
        assert_eq!(json["b"]["c"]["number"], 3);
        assert_eq!(
            effective.origins().into_iter().collect::<Vec<_>>(),
            [("a.text".to_owned(), "od\nd.toml")]
        );
        let read: toml::Table = toml::from_str(&written).unwrap();
        assert_eq!(read["a"]["text"], text);
        assert_eq!(read["b"]["c"]["number"], toml::Value::Integer(3));
    }
}
