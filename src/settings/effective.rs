//! The settings in force, as TOML that can be read back. Secrets are masked before they get here.

use std::fmt;

/// What stands for a secret.
pub(super) const MASK: &str = "********";

/// Every setting in force, defaults included.
///
/// `Display` writes a settings file: what isn't a default has a comment that tells where it came
/// from, what isn't set is a comment altogether.
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
        // A file's name may hold anything; in a comment it must not end the line.
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
    fn it_is_toml_whatever_the_values_are() {
        let mut effective = Effective::default();
        let text = toml::Value::String("a\"b\\\n\u{7f}'''\u{1}#é".to_owned());
        effective.note("a.text", Some(text.clone()), Some("od\nd.toml".to_owned()));
        effective.note("b.c.number", Some(toml::Value::Integer(3)), None);
        effective.note("a.unset", None, None);
        let written = effective.to_string();
        assert!(written.contains(" # od?d.toml\n# unset is not set\n\n[b.c]\n"), "{written}");
        let read: toml::Table = toml::from_str(&written).unwrap();
        assert_eq!(read["a"]["text"], text);
        assert_eq!(read["b"]["c"]["number"], toml::Value::Integer(3));
    }
}
