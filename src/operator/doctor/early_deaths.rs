//! Reports how many client auth tokens die early, from the metrics of the service that runs on this machine.

use std::io;

use super::report::{Report, format_duration};
use crate::settings::{MaxHandOuts, Settings};

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
                "unknown, because no service runs at {address} (server.admin_listen): {why}"
            );
            return report.ok(SUBJECT, &found);
        }
    };
    let tokens = value(text, "cache_tokens_total").unwrap_or_default();
    let deaths = value(text, "cache_token_early_death_hand_outs_count").unwrap_or_default();
    let limit = match value(text, "cache_max_hand_outs") {
        Some(number) if number > 0.0 => format!("are replaced after {number} responses"),
        _ => "are not replaced because of responses".to_owned(),
    };
    let share = if tokens > 0.0 { 100.0 * deaths / tokens } else { 0.0 };
    let found = format!(
        "{deaths} of {tokens} tokens ({share:.1} %) of the service at {address}; tokens {limit}"
    );
    if deaths < MIN_DEATHS || share <= 1.0 {
        return report.ok(SUBJECT, &found);
    }
    let fix = match settings.cache.max_hand_outs {
        MaxHandOuts::Number(_) => {
            "set cache.max_hand_outs to \"auto\" or to the number that the service's log recommends"
        }
        MaxHandOuts::Auto => {
            "wait until \"auto\" has lowered the number, and read the service's log"
        }
    };
    report.warning(SUBJECT, &format!("{found}{}", middle(text, deaths)), fix)
}

/// The responses and the age that half of the dead tokens had at most.
fn middle(text: &str, deaths: f64) -> String {
    let [hand_outs, age] = ["hand_outs", "age_seconds"].map(|name| {
        let prefix = format!("cache_token_early_death_{name}_bucket{{le=\"");
        let mut buckets = text.lines().filter_map(|line| {
            let (bound, count) = series(line, &prefix)?.split_once("\"}")?;
            Some((bound.to_owned(), count.trim().parse::<f64>().ok()?))
        });
        buckets.find(|(_, count)| count * 2.0 >= deaths).map(|(bound, _)| bound)
    });
    let age = age.and_then(|age| age.parse().ok()).map(std::time::Duration::from_secs);
    match (hand_outs, age) {
        (Some(hand_outs), Some(age)) => format!(
            "; half of the dead ones had at most {hand_outs} responses, and were at most {} old",
            format_duration(age)
        ),
        _ => String::new(),
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
    fn values_and_middles_are_read_from_the_text() {
        let text = "# HELP juspay_bff_cache_tokens_total x\njuspay_bff_cache_tokens_total 7\n\
                    juspay_bff_cache_token_early_death_hand_outs_bucket{le=\"4\"} 1\n\
                    juspay_bff_cache_token_early_death_hand_outs_bucket{le=\"5\"} 6\n\
                    juspay_bff_cache_token_early_death_age_seconds_bucket{le=\"60\"} 3\n\
                    juspay_bff_cache_token_early_death_age_seconds_bucket{le=\"+Inf\"} 6\n";
        assert_eq!(value(text, "cache_tokens_total"), Some(7.0));
        assert_eq!(value(text, "cache_tokens"), None);
        let expected = "; half of the dead ones had at most 5 responses, and were at most 1m old";
        assert_eq!(middle(text, 6.0), expected);
        assert_eq!(middle(text, 7.0), "", "beyond the last bucket");
    }
}
