//! Parses TOML into a tree of values with their line numbers.
//!
//! A syntax error reports its position and what the parser expected. It never quotes the line,
//! which may contain a secret.

use config::{Map, Value, ValueKind};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::fault::{Fault, Violation};

/// Reported syntax errors per file. Further errors are usually consequences of these.
const MAX_FAULTS: usize = 5;

/// Parses the text of a settings file; `name` appears in faults and origins.
pub(super) fn parse(name: &str, text: &str) -> Result<Map<String, Value>, Vec<Fault>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let document = Document { name, text };
    if errors.is_empty() {
        return Ok(document.table(table.get_ref()));
    }
    // `message()` does not quote the document; `Display` does.
    let mut causes: Vec<_> = errors
        .iter()
        .map(|error| {
            (document.position(error.span().map_or(0, |span| span.start)), error.message())
        })
        .collect();
    causes.sort_by_key(|(place, _)| *place);
    causes.dedup_by_key(|((line, _), _)| *line);
    Err(causes.into_iter().take(MAX_FAULTS).map(|cause| document.fault(cause)).collect())
}

struct Document<'t> {
    name: &'t str,
    text: &'t str,
}

impl Document<'_> {
    fn fault(&self, ((line, column), cause): ((usize, usize), &str)) -> Fault {
        Violation::new(
            format!("is not valid TOML at line {line}, column {column}: {cause}"),
            "correct that line; strings and durations need quotes, and a key may occur only once",
        )
        .of(self.name, Some(format!("{}, line {line}", self.name)))
    }

    /// Line and column of a byte offset, both counted from 1.
    fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.split('\n').count();
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
        (line, column.saturating_add(1))
    }

    fn table(&self, table: &DeTable<'_>) -> Map<String, Value> {
        table
            .iter()
            .map(|(key, value)| {
                let (line, _) = self.position(key.span().start);
                (key.get_ref().clone().into_owned(), self.value(value, line))
            })
            .collect()
    }

    fn value(&self, value: &Spanned<DeValue<'_>>, line: usize) -> Value {
        let origin = format!("{}, line {line}", self.name);
        let kind = match value.get_ref() {
            DeValue::String(text) => ValueKind::String(text.clone().into_owned()),
            // A number beyond 64 bits exceeds the range of every setting.
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or(ValueKind::I128(i128::MAX), ValueKind::I64),
            DeValue::Float(number) => {
                ValueKind::Float(number.as_str().parse().unwrap_or(f64::INFINITY))
            }
            DeValue::Boolean(value) => ValueKind::Boolean(*value),
            DeValue::Datetime(moment) => ValueKind::String(moment.to_string()),
            DeValue::Table(table) => ValueKind::Table(self.table(table)),
            DeValue::Array(items) => ValueKind::Array(
                items
                    .iter()
                    .map(|item| self.value(item, self.position(item.span().start).0))
                    .collect(),
            ),
        };
        Value::new(Some(&origin), kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_line_as_origin() {
        let table = parse("x.toml", "\na = [\n1,\n2]\n\n[b]\nc = 'd'\n").unwrap();
        assert_eq!(table["a"].origin(), Some("x.toml, line 2"));
        let items = table["a"].clone().into_array().unwrap();
        assert_eq!(items[1].origin(), Some("x.toml, line 4"));
        let inner = table["b"].clone().into_table().unwrap();
        assert_eq!(inner["c"].origin(), Some("x.toml, line 7"));
    }

    #[test]
    fn every_syntax_error_is_reported_without_quoting_the_line() {
        let text = "é = 1\na = hush\nb = 1\nb = 'hush'\nc = \"hush\n[d\nhush\n";
        let faults = parse("x.toml", text).unwrap_err();
        let shown = format!("{faults:?}");
        assert!(faults.len() > 1 && faults.len() <= MAX_FAULTS, "{shown}");
        assert!(!shown.contains("hush"), "{shown}");
        assert!(shown.contains("at line 2, column 5"), "{shown}");
    }

    #[test]
    fn numbers_beyond_64_bits_stay_numbers() {
        let table = parse("x", "a = 99999999999999999999\nb = 0x10\nc = -1").unwrap();
        assert_eq!(table["a"].kind, ValueKind::I128(i128::MAX));
        assert_eq!(table["b"].kind, ValueKind::I64(16));
        assert_eq!(table["c"].kind, ValueKind::I64(-1));
    }
}
