//! The simulator's wall clock, which can be set wrong, and lengths of time as people write them.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer, de};

use crate::clock::Clock;

/// A wall clock that differs from the one it goes by.
#[derive(Debug)]
pub(super) struct OffsetClock {
    clock: Arc<dyn Clock>,
    offset_ms: AtomicI64,
}

impl OffsetClock {
    /// A clock that differs by nothing yet.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, offset_ms: AtomicI64::new(0) }
    }

    /// Sets the difference, to the millisecond. It takes the place of the earlier one.
    pub(super) fn set_offset(&self, offset: SignedDuration) {
        let end = if offset.is_negative() { i64::MIN } else { i64::MAX };
        let ms = i64::try_from(offset.as_millis()).unwrap_or(end);
        self.offset_ms.store(ms, Ordering::Relaxed);
    }

    /// What it shows.
    pub(super) fn now(&self) -> Timestamp {
        let offset = SignedDuration::from_millis(self.offset_ms.load(Ordering::Relaxed));
        shifted(self.clock.now(), offset)
    }
}

/// `moment` moved by `span`, stopping at the ends of time.
pub(super) fn shifted(moment: Timestamp, span: SignedDuration) -> Timestamp {
    let end = if span.is_negative() { Timestamp::MIN } else { Timestamp::MAX };
    moment.checked_add(span).unwrap_or(end)
}

/// Reads a JSON number of seconds, or a text such as `"15m"` or `"-1h"`.
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
    use crate::clock::manual::ManualClock;

    #[test]
    fn lengths_of_time_are_seconds_or_text() {
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
    fn the_clock_can_be_set_wrong_and_right_again() {
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
    fn time_has_ends() {
        assert_eq!(shifted(Timestamp::UNIX_EPOCH, SignedDuration::MAX), Timestamp::MAX);
        assert_eq!(shifted(Timestamp::UNIX_EPOCH, SignedDuration::MIN), Timestamp::MIN);
    }
}
