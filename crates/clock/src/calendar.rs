//! Parses timestamps from other systems, up to the end of the year 9999 (UTC).
//!
//! A [`Timestamp`] ends at 9999-12-30T22:00:00Z, so that every time zone can represent it. Times
//! between that and the year 10000 commonly mean "as late as possible"; they become the latest
//! timestamp. Later times are rejected.

use jiff::{
    SignedDuration, Timestamp,
    civil::{DateTime, date},
    fmt::temporal::Pieces,
    tz::Offset,
};

/// Parses a date and time such as `2020-03-17T14:45:26Z` or `2016-08-02T08:07:52+0000` and converts
/// it to UTC.
#[must_use]
pub fn utc(text: &str) -> Option<DateTime> {
    let pieces = Pieces::parse(text).ok()?;
    let local = pieces.date().to_datetime(pieces.time()?);
    let offset = SignedDuration::from_secs(pieces.to_numeric_offset()?.seconds().into());
    local.checked_sub(offset).ok()
}

/// Converts a date and time in UTC to a timestamp.
#[must_use]
pub fn timestamp(utc: DateTime) -> Option<Timestamp> {
    let latest = || (utc.year() == DateTime::MAX.year()).then_some(Timestamp::MAX);
    Offset::UTC.to_timestamp(utc).ok().or_else(latest)
}

/// Converts a time since 1970 to a timestamp.
#[must_use]
pub fn since_1970(time: SignedDuration) -> Option<Timestamp> {
    let epoch = date(1970, 1, 1).at(0, 0, 0, 0);
    epoch.checked_add(time).ok().and_then(timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Timestamp> {
        utc(text).and_then(timestamp)
    }

    #[test]
    fn all_date_formats_are_parsed() {
        let moment = "2020-03-17T14:45:26Z".parse().unwrap();
        for text in [
            "2020-03-17T14:45:26Z",
            "2020-03-17T14:45:26+0000",
            "2020-03-17T20:15:26+05:30",
            "2020-03-17T09:45:26-05:00",
        ] {
            assert_eq!(read(text), Some(moment), "{text}");
        }
        for text in ["", "soon", "2020-03-17", "2020-03-17T14:45:26", "2020-03-17Z", "7"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn times_up_to_the_end_of_the_year_9999_are_valid() {
        let last = Timestamp::MAX.as_second();
        for text in [
            "9999-12-31T23:59:59Z",
            "9999-12-31T23:59:59.999999999Z",
            "9999-12-31T23:59:59+0000",
            "9999-12-31T23:59:59+14:00",
            "9999-12-31T13:59:59-10:00",
            "9999-12-30T22:00:01Z",
        ] {
            assert_eq!(read(text), Some(Timestamp::MAX), "{text}");
        }
        assert_eq!(read("9999-12-30T22:00:00Z").map(Timestamp::as_second), Some(last));
        assert_eq!(read("9999-12-30T21:59:59Z").map(Timestamp::as_second), Some(last - 1));
        for text in
            ["9999-12-31T23:59:59-00:01", "+010000-01-01T00:00:00Z", "-009999-01-01T00:00:00Z"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn seconds_since_1970_have_the_same_bounds() {
        let read = |seconds| since_1970(SignedDuration::from_secs(seconds));
        let last = Timestamp::MAX.as_second();
        assert_eq!(read(0), Some(Timestamp::UNIX_EPOCH));
        assert_eq!(read(-1).map(Timestamp::as_second), Some(-1));
        assert_eq!(read(last - 1).map(Timestamp::as_second), Some(last - 1));
        for late in [last + 1, 253_402_300_799] {
            assert_eq!(read(late), Some(Timestamp::MAX), "{late}");
        }
        for beyond in [253_402_300_800, i64::MAX, i64::MIN, Timestamp::MIN.as_second() - 1] {
            assert_eq!(read(beyond), None, "{beyond}");
        }
    }
}
