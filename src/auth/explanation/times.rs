//! Explains the checks of a token's times.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::check::Check;
use crate::{
    auth::jwt::{CheckContext, Claims},
    clock::later,
};

/// Seconds since 1970, in the year 5138. A later time is probably in milliseconds.
const MILLISECONDS: f64 = 1e11;

const TIMES: [&str; 3] = ["exp", "nbf", "iat"];

impl Claims {
    pub(super) fn explain_times(&self, context: &CheckContext<'_>, made: Check) -> Check {
        let times = TIMES.map(|name| {
            let shown = match self.time(name) {
                Ok(Some(time)) => relative(time, context.now),
                Ok(None) => "none".to_owned(),
                Err(_) => format!("{}, not a number of seconds", self.shown(name)),
            };
            format!("{name} {shown}")
        });
        let leeway = leeway(context);
        let age = context.rules.settings.max_token_age.map(|age| {
            let age = span(age.try_into().unwrap_or_default());
            format!("; iat, as {}.max_token_age is {age}", context.rules.table)
        });
        let expected = format!(
            "exp{}; nbf and iat not in the future (auth.leeway {leeway})",
            age.unwrap_or_default()
        );
        made.finding(times.join(", ")).expecting(expected).hinting(self.times_hint(context))
    }

    pub(super) fn explain_expiry(&self, context: &CheckContext<'_>, made: Check) -> Check {
        let Ok(end) = self.end(context) else {
            return Check::not_made(made.name, "not checked, as the token's end is unknown");
        };
        let rejected = later(end, context.rules.leeway);
        let now = context.now;
        let exp = self.time("exp").ok().flatten();
        let age = context.rules.settings.max_token_age;
        let too_old = self.time("iat").ok().flatten().zip(age).map(|(iat, age)| later(iat, age));
        let clock = Timestamp::from_second(now.as_second()).unwrap_or(now);
        let hint = match (exp, too_old) {
            (Some(exp), None) => Some(expired(exp, now, clock)),
            (Some(exp), Some(too_old)) if exp <= too_old => Some(expired(exp, now, clock)),
            (_, Some(too_old)) => Some(format!(
                "older than {}.max_token_age since {}, though exp is later; get a new token",
                context.rules.table,
                ago(too_old, now)
            )),
            (None, None) => None,
        };
        made.finding(format!("accepted until {}", relative(rejected, now)))
            .expecting(format!("a token before its end (auth.leeway {})", leeway(context)))
            .hinting(hint)
    }

    fn times_hint(&self, context: &CheckContext<'_>) -> Option<String> {
        let is_bad = |name: &&&str| self.time(name).is_err();
        if let Some(name) = TIMES.iter().find(is_bad) {
            let value = self.members.get(name);
            if value.and_then(Value::as_f64).is_some_and(|number| number >= MILLISECONDS) {
                return Some(format!(
                    "{name} is in milliseconds; it must be in seconds since 1970"
                ));
            }
            let is_text = value.is_some_and(Value::is_string);
            return is_text.then(|| format!("{name} is a string; it must be a number"));
        }
        if !self.members.has("exp") {
            return Some("a token without exp never ends; the issuer has to add it".to_owned());
        }
        if context.rules.settings.max_token_age.is_some() && !self.members.has("iat") {
            return Some("iat is missing, which max_token_age needs".to_owned());
        }
        let begins = ["nbf", "iat"].into_iter();
        let begins = begins.filter_map(|name| Some((name, self.time(name).ok()??)));
        let (name, begin) = begins.max_by_key(|(_, time)| *time)?;
        let ahead = begin.duration_since(context.now);
        ahead.is_positive().then(|| {
            format!(
                "{name} is {} ahead of this machine's clock; compare the clocks of this machine and the \
                 issuer",
                span(ahead)
            )
        })
    }
}

fn leeway(context: &CheckContext<'_>) -> String {
    span(context.rules.leeway.try_into().unwrap_or_default())
}

fn expired(exp: Timestamp, now: Timestamp, clock: Timestamp) -> String {
    format!(
        "expired {}; get a new token, or check the clock of this machine, which shows {clock}",
        ago(exp, now)
    )
}

fn ago(time: Timestamp, now: Timestamp) -> String {
    format!("{} ago", span(now.duration_since(time)))
}

/// A time and its distance from now.
fn relative(time: Timestamp, now: Timestamp) -> String {
    let second = Timestamp::from_second(time.as_second()).unwrap_or(time);
    let distance = time.duration_since(now);
    if distance.is_negative() {
        format!("{second} ({} ago)", span(distance.abs()))
    } else {
        format!("{second} (in {})", span(distance))
    }
}

fn span(duration: SignedDuration) -> String {
    format!("{:#}", SignedDuration::from_secs(duration.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_with_their_distance_in_whole_seconds() {
        let at = |milliseconds| Timestamp::from_millisecond(milliseconds).unwrap();
        for (time, now, shown) in [
            (90_999, 0, "1970-01-01T00:01:30Z (in 1m 30s)"),
            (90_000, 90_000, "1970-01-01T00:01:30Z (in 0s)"),
            (0, 3_600_000, "1970-01-01T00:00:00Z (1h ago)"),
            (0, 1_500, "1970-01-01T00:00:00Z (1s ago)"),
        ] {
            assert_eq!(relative(at(time), at(now)), shown);
        }
    }
}
