//! Expired, future and malformed times: `exp`, `nbf` and `iat`, exact to the second at the limits
//! of the leeway.

use serde_json::json;

use super::{Row, forge::Forge};

/// The default of `auth.leeway`.
pub const LEEWAY: i64 = 30;

/// Values that are not a `NumericDate` (RFC 7519 §2), or outside the supported calendar.
const NO_TIMES: [&str; 22] = [
    "null",
    "true",
    "\"\"",
    "\"4102444800\"",
    "\"2100-01-01T00:00:00Z\"",
    "\"never\"",
    "[]",
    "[4102444800]",
    "{}",
    "{\"$numberLong\":\"4102444800\"}",
    "-1",
    "-0.5",
    "-4102444800",
    "-1e300",
    "253402300800",
    "4102444800000",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "-9223372036854775808",
    "1e300",
    "100000000000000000000000000000",
];

/// A time in a row's name, the same in each run.
pub fn named(value: &str, now: i64) -> String {
    let offsets = [-3600, -LEEWAY - 1, -LEEWAY, 1 - LEEWAY, LEEWAY - 1, LEEWAY, LEEWAY + 1];
    offsets.into_iter().fold(value.to_owned(), |value, offset| {
        value.replace(&(now + offset).to_string(), &format!("now{offset:+}"))
    })
}

pub fn ends_and_beginnings(forge: &Forge<'_>) -> Vec<Row> {
    let now = forge.world.clock_seconds();
    let mut rows = Vec::new();
    for claim in ["exp", "nbf", "iat"] {
        for value in NO_TIMES {
            let token = forge.with_text_for(claim, value);
            rows.push(Row::invalid("claims", format!("{claim} {value}"), token));
        }
        for value in ["NaN", "Infinity", "1e999", "-1e999", "04102444800", "4102444800.", "1_000"] {
            let token = forge.with_text_for(claim, value);
            rows.push(Row::invalid("not_jws", format!("{claim} {value}"), token));
        }
    }
    rows.push(Row::invalid("claims", "no exp", forge.with_claims(&json!({"exp": null}))));
    for value in [
        (now - LEEWAY).to_string(),
        format!("{}.0", now - LEEWAY),
        format!("{}.999999999", now - LEEWAY - 1),
        (now - 3600).to_string(),
        "0".to_owned(),
        "-0.0".to_owned(),
        "0.5".to_owned(),
        "1e9".to_owned(),
        "1e-300".to_owned(),
    ] {
        let what = format!("exp {}", named(&value, now));
        rows.push(Row::expired(what, forge.with_text_for("exp", &value)));
    }
    for claim in ["nbf", "iat"] {
        for value in [
            (now + LEEWAY + 1).to_string(),
            format!("{}.001", now + LEEWAY),
            "4102444800".to_owned(),
            "2.5e11".to_owned(),
        ] {
            let token = forge.with_text_for(claim, &value);
            let what = format!("{claim} {}", named(&value, now));
            rows.push(Row::invalid("not_yet_valid", what, token));
        }
    }
    let over = json!({"exp": now - 3600, "nbf": now + 3600});
    rows.push(Row::invalid("not_yet_valid", "over and not yet", forge.with_claims(&over)));
    rows
}
