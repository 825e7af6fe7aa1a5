//! `limits.*`: rate limits.

use std::{num::NonZeroU32, str::FromStr, time::Duration};

use super::{fault::Violation, reader::Reader};

/// A number of requests per time, which may also arrive in one burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Number of requests.
    pub count: NonZeroU32,
    /// The time in which they are allowed.
    pub per: Duration,
}

impl Rate {
    /// The time from one request to the next, once a burst is used up.
    #[must_use]
    pub fn interval(self) -> Duration {
        self.per.checked_div(self.count.get()).unwrap_or(self.per)
    }

    /// Requests per second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        f64::from(self.count.get()) / self.per.as_secs_f64()
    }
}

/// Parses a rate as in the settings, except for `"off"`.
impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read =
            rate(text).map_err(|violation| format!("{}; {}", violation.reason, violation.fix))?;
        read.ok_or_else(|| "expected a rate such as \"100/s\"".to_owned())
    }
}

/// `limits.*`; `None` is `"off"`.
#[derive(Debug, Clone)]
pub struct Limits {
    /// `limits.per_customer`
    pub per_customer: Option<Rate>,
    /// `limits.force_refresh_per_customer`
    pub force_refresh_per_customer: Option<Rate>,
    /// `limits.create_customers`: of all customers together.
    pub create_customers: Option<Rate>,
}

impl Limits {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            per_customer: reader.text("limits.per_customer", rate),
            force_refresh_per_customer: reader.text("limits.force_refresh_per_customer", rate),
            create_customers: reader.text("limits.create_customers", rate),
        }
    }
}

/// Parses `"60/min"`, `"10/s"`, `"100/h"` or `"off"`.
fn rate(text: &str) -> Result<Option<Rate>, Violation> {
    if text == "off" {
        return Ok(None);
    }
    let violation = || {
        let fix = "write a rate such as \"60/min\", \"10/s\" or \"100/h\", or \"off\"";
        Violation::new("expected a rate", fix)
    };
    let (count, unit) = text.split_once('/').ok_or_else(violation)?;
    let per = match unit {
        "s" => Duration::from_secs(1),
        "min" => Duration::from_mins(1),
        "h" => Duration::from_hours(1),
        _ => return Err(violation()),
    };
    let is_number = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
    let count = count.parse().ok().filter(|_| is_number).ok_or_else(violation)?;
    Ok(Some(Rate { count, per }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_a_count_and_a_unit() {
        for (text, count, secs) in [("60/min", 60, 60), ("10/s", 10, 1), ("1/h", 1, 3600)] {
            let read = rate(text).unwrap().unwrap();
            assert_eq!((read.count.get(), read.per.as_secs()), (count, secs), "{text}");
        }
        assert_eq!(rate("off"), Ok(None));
        assert!("off".parse::<Rate>().is_err() && "60".parse::<Rate>().is_err());
        assert!(("90/min".parse::<Rate>().unwrap().per_second() - 1.5).abs() < f64::EPSILON);
        for text in ["", "60", "60/m", "0/s", "-1/s", "+1/s", "1.5/s", "1/ s", "Off", "/s", "1/s/s"]
        {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
