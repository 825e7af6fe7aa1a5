//! The simulator's wall clock, which can be set wrong, and durations in JSON.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use clock::Clock;
use jiff::{SignedDuration, Timestamp, fmt::temporal::DateTimePrinter};
use serde::{Deserialize, Deserializer, de};

/// The date format of Juspay's tokens: RFC 3339 in UTC, without fractions of a second.
const DATES: DateTimePrinter = DateTimePrinter::new().precision(Some(0));

/// A wall clock with an offset from another clock.
#[derive(Debug)]
pub(super) struct OffsetClock {
    clock: Arc<dyn Clock>,
    offset_ms: AtomicI64,
}

impl OffsetClock {
    /// A clock without an offset.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, offset_ms: AtomicI64::new(0) }
    }

    /// Sets the offset, to the millisecond.
    pub(super) fn set_offset(&self, offset: SignedDuration) {
        let end = if offset.is_negative() { i64::MIN } else { i64::MAX };
        let ms = i64::try_from(offset.as_millis()).unwrap_or(end);
        self.offset_ms.store(ms, Ordering::Relaxed);
    }

    /// The current time.
    pub(super) fn now(&self) -> Timestamp {
        let offset = SignedDuration::from_millis(self.offset_ms.load(Ordering::Relaxed));
        shifted(self.clock.now(), offset)
    }
}

/// `moment` plus `span`, saturating at the ends of the calendar.
pub(super) fn shifted(moment: Timestamp, span: SignedDuration) -> Timestamp {
    let end = if span.is_negative() { Timestamp::MIN } else { Timestamp::MAX };
    moment.checked_add(span).unwrap_or(end)
}

/// `YYYY-MM-DDTHH:MM:SSZ`, rounded down.
pub(super) fn whole_seconds(moment: Timestamp) -> String {
    DATES.timestamp_to_string(&moment)
}

/// Deserializes a number of seconds, or a string such as `"15m"` or `"-1h"`.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SignedDuration, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected seconds, or a string such as \"15m\" or \"-1h\"")]
    enum Span {
        Seconds(i64),
        Text(String),
    }
    match Span::deserialize(from)? {
        Span::Seconds(seconds) => Ok(SignedDuration::from_secs(seconds)),
        Span::Text(text) => text.parse().map_err(|_| {
            de::Error::invalid_value(
                de::Unexpected::Str(&text),
                &"seconds, or a string such as \"15m\" or \"-1h\"",
            )
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use clock::manual::ManualClock;

    #[test]
    fn durations_are_seconds_or_strings() {
        for (json, seconds) in
            [(json!(90), 90), (json!(-5), -5), (json!("15m"), 900), (json!("-1h"), -3600)]
        {
            assert_eq!(deserialize(json).unwrap(), SignedDuration::from_secs(seconds));
        }
        for json in [json!("soon"), json!(null), json!(1.5), json!("")] {
            let error = deserialize(json).unwrap_err().to_string();
            assert!(error.contains("\"-1h\""), "{error}");
        }
    }

    #[test]
    fn clock_offset_is_set_and_reset() {
        let manual = ManualClock::at("1970-01-01T00:00:00Z");
        let clock = OffsetClock::new(Arc::new(manual));
        clock.set_offset(SignedDuration::from_hours(-1));
        assert_eq!(clock.now().as_second(), -3600);
        clock.set_offset(SignedDuration::MIN);
        assert_eq!(clock.now(), Timestamp::MIN);
        clock.set_offset(SignedDuration::MAX);
        assert_eq!(clock.now(), Timestamp::MAX);
        clock.set_offset(SignedDuration::ZERO);
        assert_eq!(clock.now(), Timestamp::UNIX_EPOCH);
    }

    #[test]
    fn seconds_are_rounded_down() {
        for (moment, expected) in [
            ("2026-01-02T03:04:05.999999999Z", "2026-01-02T03:04:05Z"),
            ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59Z"),
            ("9999-12-30T22:00:00Z", "9999-12-30T22:00:00Z"),
        ] {
            assert_eq!(whole_seconds(moment.parse().unwrap()), expected);
        }
    }

    #[test]
    fn shifted_time_saturates() {
        assert_eq!(shifted(Timestamp::UNIX_EPOCH, SignedDuration::MAX), Timestamp::MAX);
        assert_eq!(shifted(Timestamp::UNIX_EPOCH, SignedDuration::MIN), Timestamp::MIN);
    }
}
