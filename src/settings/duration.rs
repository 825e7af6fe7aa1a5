//! Parses and formats durations: one integer and one unit. The command line uses it too.

use std::time::Duration;

/// Why a text is not a duration. Never contains the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// A number without a unit.
    #[error("expected a duration with a unit, such as \"60s\", \"500ms\", \"5m\" or \"1h\"")]
    NoUnit,
    /// Any other text.
    #[error("expected one integer and one unit, such as \"60s\", \"500ms\", \"5m\" or \"1h\"")]
    Malformed,
    /// More milliseconds than a `u64` holds.
    #[error("the duration is too large")]
    TooLarge,
}

/// Parses `"500ms"`, `"60s"`, `"5m"` or `"1h"`.
///
/// # Errors
/// If the text is anything else.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DurationError::Malformed);
    }
    let milliseconds = match text.strip_prefix(digits).unwrap_or_default() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "" => return Err(DurationError::NoUnit),
        _ => return Err(DurationError::Malformed),
    };
    let count: u64 = digits.parse().map_err(|_| DurationError::TooLarge)?;
    count.checked_mul(milliseconds).map(Duration::from_millis).ok_or(DurationError::TooLarge)
}

/// Formats a duration of whole milliseconds such that [`parse`] accepts it.
pub(super) fn write(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    [("h", 3_600_000), ("m", 60_000), ("s", 1_000)]
        .into_iter()
        .find(|(_, size)| milliseconds > 0 && milliseconds.is_multiple_of(*size))
        .and_then(|(unit, size)| Some(format!("{}{unit}", milliseconds.checked_div(size)?)))
        .unwrap_or_else(|| format!("{milliseconds}ms"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unit_is_parsed_and_formatted() {
        for (text, duration) in [
            ("500ms", Duration::from_millis(500)),
            ("90s", Duration::from_secs(90)),
            ("5m", Duration::from_mins(5)),
            ("24h", Duration::from_hours(24)),
            ("0ms", Duration::ZERO),
        ] {
            assert_eq!(parse(text), Ok(duration));
            assert_eq!(write(duration), text);
        }
    }

    #[test]
    fn other_texts_are_rejected() {
        for text in ["", "s", "1.5s", "-1s", "+1s", "1 s", " 1s", "1h30m", "1d", "1S", "٣s", "1sm"]
        {
            assert_eq!(parse(text), Err(DurationError::Malformed), "{text:?}");
        }
        assert_eq!(parse("60"), Err(DurationError::NoUnit));
        assert_eq!(parse("99999999999999999999s"), Err(DurationError::TooLarge));
        assert_eq!(parse("18446744073709551615h"), Err(DurationError::TooLarge));
    }
}
