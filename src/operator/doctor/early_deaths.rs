//! Reports how many client auth tokens die early, from the metrics of the service that runs on this machine.

use std::{fmt, io, time::Duration};

use super::report::{Report, format_duration};
use crate::{
    cache::{CauseKind, FIRST_MAX_HAND_OUTS, LOWEST_MAX_HAND_OUTS},
    settings::{MaxHandOuts, Settings},
};

const SUBJECT: &str = "early deaths of tokens";

/// Fewer deaths are no warning.
const MIN_DEATHS: f64 = 5.0;

/// The running service, as far as it can be reached.
#[derive(Debug)]
pub struct RunningService {
    /// Its admin listener.
    pub address: String,
    /// Its `/metrics`, or why it did not return them.
    pub metrics: Result<String, String>,
}

pub(super) fn check(
    settings: &Settings,
    running: &RunningService,
    report: &mut Report<'_>,
) -> io::Result<()> {
    let address = &running.address;
    let text = match &running.metrics {
        Ok(text) => text,
        Err(why) => {
            let found = format!(
                "unknown, because the service's metrics could not be read from {address} \
                 (server.admin_listen): {why}"
            );
            return report.ok(SUBJECT, &found);
        }
    };
    let tokens = value(text, "cache_tokens_total").unwrap_or_default();
    let deaths = value(text, "cache_token_early_death_hand_outs_count").unwrap_or_default();
    let limit = Limit::of(settings.cache.max_hand_outs, value(text, "cache_max_hand_outs"));
    let share = if tokens > 0.0 { 100.0 * deaths / tokens } else { 0.0 };
    let found = format!(
        "{deaths} of {tokens} tokens ({share:.1} %) since the start of the service at {address}; tokens {limit}"
    );
    if deaths < MIN_DEATHS || share <= 1.0 {
        return report.ok(SUBJECT, &found);
    }
    let dead = DeadTokens::of(text, deaths);
    let found = format!("{found}{}", dead.as_ref().map(ToString::to_string).unwrap_or_default());
    match fix(limit, dead.map_or(CauseKind::Uses, |dead| dead.cause())) {
        Some(fix) => report.warning(SUBJECT, &found, fix),
        None => report.ok(SUBJECT, &found),
    }
}

/// What the operator can do about many early deaths. `None` if the service has done it.
const fn fix(limit: Limit, cause: CauseKind) -> Option<&'static str> {
    match (cause, limit) {
        (CauseKind::Age, _) => Some(
            "set cache.max_token_life to the age that the service's log recommends: the tokens live for less \
             time than Juspay reports",
        ),
        (CauseKind::Requests, _) | (CauseKind::Uses, Limit::Lowest(_)) => Some(
            "check whether apps send no-cache only after session_expired: a lower cache.max_hand_outs would \
             not help",
        ),
        (CauseKind::Uses, Limit::Set(_)) => Some(
            "set cache.max_hand_outs to \"auto\" or to the number that the service's log recommends",
        ),
        (CauseKind::Uses, Limit::Initial(_)) => {
            Some("wait until \"auto\" has lowered the number, and read the service's log")
        }
        (CauseKind::Uses, Limit::Lowered(_)) => None,
    }
}

/// The responses after which tokens are replaced.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Limit {
    /// `cache.max_hand_outs` is a number.
    Set(f64),
    /// "auto" has not changed it.
    Initial(f64),
    /// "auto" has lowered it.
    Lowered(f64),
    /// "auto" has lowered it as far as it can.
    Lowest(f64),
}

impl Limit {
    fn of(setting: MaxHandOuts, number: Option<f64>) -> Self {
        let number = number.unwrap_or_default();
        match setting {
            MaxHandOuts::Number(_) => Self::Set(number),
            MaxHandOuts::Auto if number <= f64::from(LOWEST_MAX_HAND_OUTS) => Self::Lowest(number),
            MaxHandOuts::Auto if number < f64::from(FIRST_MAX_HAND_OUTS) => Self::Lowered(number),
            MaxHandOuts::Auto => Self::Initial(number),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Set(number)
        | Self::Initial(number)
        | Self::Lowered(number)
        | Self::Lowest(number)) = self;
        if *number <= 0.0 {
            return f.write_str("are not replaced because of responses");
        }
        write!(f, "are replaced after {number} responses")?;
        match self {
            Self::Set(_) | Self::Initial(_) => Ok(()),
            Self::Lowered(_) => f.write_str(", a number that \"auto\" has lowered"),
            Self::Lowest(_) => f.write_str(", the lowest number of \"auto\""),
        }
    }
}

/// The responses and the age that a tenth and half of the dead tokens had at most.
struct DeadTokens {
    hand_outs: [f64; 2],
    age: [f64; 2],
}

impl DeadTokens {
    fn of(text: &str, deaths: f64) -> Option<Self> {
        let bounds = |name: &str| {
            let prefix = format!("cache_token_early_death_{name}_bucket{{le=\"");
            let bound = |share: f64| {
                let mut buckets = text.lines().filter_map(|line| {
                    let (bound, count) = series(line, &prefix)?.split_once("\"}")?;
                    Some((bound.to_owned(), count.trim().parse::<f64>().ok()?))
                });
                let (bound, _) = buckets.find(|(_, count)| *count >= deaths * share)?;
                bound.parse().ok().filter(|bound: &f64| bound.is_finite())
            };
            Some([bound(0.1)?, bound(0.5)?])
        };
        Some(Self { hand_outs: bounds("hand_outs")?, age: bounds("age_seconds")? })
    }

    /// By the rule of the service's log.
    fn cause(&self) -> CauseKind {
        CauseKind::of(self.hand_outs, self.age)
    }
}

impl fmt::Display for DeadTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ([_, hand_outs], [_, age]) = (self.hand_outs, self.age);
        let age = Duration::try_from_secs_f64(age).map(format_duration).unwrap_or_default();
        write!(f, "; half of those had at most {hand_outs} responses and an age of at most {age}")
    }
}

/// The value of a metric without labels.
fn value(text: &str, name: &str) -> Option<f64> {
    let prefix = format!("{name} ");
    text.lines().find_map(|line| series(line, &prefix)?.trim().parse().ok())
}

/// What follows in a line of this metric.
fn series<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    line.strip_prefix("juspay_bff_")?.strip_prefix(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_bounds_are_read_from_the_text() {
        let text = "# HELP juspay_bff_cache_tokens_total x\njuspay_bff_cache_tokens_total 7\n\
                    juspay_bff_cache_token_early_death_hand_outs_bucket{le=\"4\"} 1\n\
                    juspay_bff_cache_token_early_death_hand_outs_bucket{le=\"5\"} 6\n\
                    juspay_bff_cache_token_early_death_age_seconds_bucket{le=\"60\"} 3\n\
                    juspay_bff_cache_token_early_death_age_seconds_bucket{le=\"+Inf\"} 6\n";
        assert_eq!(value(text, "cache_tokens_total"), Some(7.0));
        assert_eq!(value(text, "cache_tokens"), None);
        let expected = "; half of those had at most 5 responses and an age of at most 1m";
        let dead = DeadTokens::of(text, 6.0).unwrap();
        assert_eq!((dead.hand_outs, dead.age), ([4.0, 5.0], [60.0, 60.0]));
        assert_eq!(dead.to_string(), expected);
        assert!(DeadTokens::of(text, 7.0).is_none(), "beyond the last bucket");
    }

    #[test]
    fn cause_is_what_varies_less() {
        let cause = |hand_outs, age| DeadTokens { hand_outs, age }.cause();
        assert_eq!(cause([5.0, 5.0], [60.0, 300.0]), CauseKind::Uses);
        assert_eq!(cause([2.0, 6.0], [300.0, 300.0]), CauseKind::Age);
        assert_eq!(cause([1.0, 1.0], [30.0, 300.0]), CauseKind::Requests);
        assert_eq!(cause([1.0, 1.0], [300.0, 300.0]), CauseKind::Age);
    }

    #[test]
    fn fix_depends_on_the_number_and_on_the_cause() {
        const NUMBER: MaxHandOuts = MaxHandOuts::Number(10);
        for (setting, number, cause, expected) in [
            (NUMBER, 10.0, CauseKind::Uses, Some("set cache.max_hand_outs")),
            (MaxHandOuts::Auto, 10.0, CauseKind::Uses, Some("wait until")),
            (MaxHandOuts::Auto, 5.0, CauseKind::Uses, None),
            (MaxHandOuts::Auto, 2.0, CauseKind::Uses, Some("check whether apps")),
            (MaxHandOuts::Auto, 10.0, CauseKind::Requests, Some("check whether apps")),
            (NUMBER, 10.0, CauseKind::Age, Some("set cache.max_token_life")),
            (MaxHandOuts::Auto, 5.0, CauseKind::Age, Some("set cache.max_token_life")),
        ] {
            let fix = fix(Limit::of(setting, Some(number)), cause);
            assert_eq!(fix.is_some(), expected.is_some(), "{number} {cause:?}");
            let is_expected = fix.unwrap_or_default().starts_with(expected.unwrap_or_default());
            assert!(is_expected, "{number} {cause:?}: {fix:?}");
        }
    }
}
