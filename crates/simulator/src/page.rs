//! The help page of the simulator: magic customers and the control API.

use std::fmt::Write as _;

use super::{MAGIC_CUSTOMERS, Simulator};

/// The control API: method, path and purpose.
const CONTROL_API: &[(&str, &str, &str)] = &[
    ("GET", "/_simulator", "this page"),
    ("GET", "/_simulator/requests", "the last 10,000 requests, and the total number"),
    ("DELETE", "/_simulator/requests", "deletes them and the counts"),
    ("GET", "/_simulator/counts", "calls per customer"),
    ("GET", "/_simulator/faults", "the pending faults"),
    ("POST", "/_simulator/faults", r#"{"customer": "alice", "times": 2, "fault": "reset"}"#),
    ("DELETE", "/_simulator/faults", "deletes them"),
    (
        "POST",
        "/_simulator/connections",
        r#"{"fault": "reset"} for the next request on each connection used so far"#,
    ),
    ("POST", "/_simulator/keys", r#"{"key": "sim_key", "enabled": false}"#),
    ("POST", "/_simulator/clock", r#"{"offset": "-1h"}, or seconds"#),
    ("POST", "/_simulator/tokens/use", r#"{"token": "tkn_…"} uses a client auth token once"#),
];

/// Every fault, as JSON.
const FAULTS: &str = r#"  "hang"  "reset"  "close"  "unfinished_head"  "stalled_body"  "byte_by_byte"  "no_length"
  "empty"  "html"  "no_date"
  {"latency": {"ms": 200}}  {"huge": {"bytes": 8388608}}  {"age": {"seconds": 60}}
  {"cut_body": {"whole_json": false}}  {"cut_chunked": {"whole_json": false}}
  {"redirect": {"location": "http://127.0.0.1:1/"}}
  {"interim": {"status": 103, "gap_ms": 20}}  {"surplus": {"gap_ms": 20}}
  {"status": {"status": 503, "headers": {"Retry-After": "7"}, "body": "no"}}
  {"error": E} with E one of "mandatory_fields_missing" "empty_value" "duplicate" "access_denied"
    "bad_origin" "not_found"
  "not_created"  {"rejected_field": {"field": "mobile_number"}}
  {"object": O} with O one of "other_customer" "customer_id_too" "customer_id_only" "sparse"
    "unknown_fields"
  {"token": T} with T one of "missing" "null" "null_token" "empty_token" "no_expiry"
    "null_expiry" "unreadable_expiry" "offset_expiry" "fractional_expiry" "used_up"
    {"life": {"seconds": 20}} {"reported_late": {"seconds": 300}}
"#;

/// The page at `/_simulator`.
pub(super) fn text(simulator: &Simulator) -> String {
    format!(
        "Simulated Juspay at {base}, merchant {merchant}.\n\
         \n\
         GET {base}/customers/ID, POST {base}/customers, POST {base}/customers/ID\n\
         Basic authorization with an API key as user name; x-merchantid: {merchant}.\n\
         {unknown}\n\
         Tokens don't work in the real SDK.\n\
         \n\
         {magic}\n\
         {magic_faults}\n\
         Control API:\n{control}\n\
         Faults. The first matching rule applies; without \"customer\" it matches every customer,\n\
         without \"times\" it applies forever:\n{FAULTS}",
        base = simulator.base_url(),
        merchant = simulator.merchant(),
        unknown = unknown_customers(simulator.provisions_customers()),
        magic = magic_customers(),
        magic_faults = magic_faults(),
        control = control_api(),
    )
}

/// What happens to requests for unknown customers.
pub(super) const fn unknown_customers(are_made_up: bool) -> &'static str {
    if are_made_up {
        "An unknown customer is created when it is requested, always with the same fields and\nthe \
         same cst_ id (unless started with --strict)."
    } else {
        "Strict: an unknown customer gets 404 object_not_found until it is created."
    }
}

/// The magic customers with what the app sees, one per line.
pub(super) fn magic_customers() -> String {
    let mut text = String::from(
        "Magic customers, like test cards: the subject of the access token, the service's answer \
         to the app,\nand what that simulates:\n",
    );
    for magic in MAGIC_CUSTOMERS {
        // Writing to a String can't fail.
        writeln!(text, "  {:<22} {:<34} {}", magic.id, magic.answer, magic.scenario)
            .unwrap_or_default();
    }
    text
}

/// What the simulated Juspay does for each magic customer, one per line.
fn magic_faults() -> String {
    let mut text = String::from("What this Juspay does for them:\n");
    for magic in MAGIC_CUSTOMERS {
        writeln!(text, "  {:<22} {}", magic.id, magic.description).unwrap_or_default();
    }
    text
}

fn control_api() -> String {
    let mut text = String::new();
    for (method, path, what) in CONTROL_API {
        writeln!(text, "  {method:<6} {path:<24} {what}").unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fault;

    #[test]
    fn every_fault_on_the_page_is_valid_json() {
        let mut read = 0;
        for piece in FAULTS
            .lines()
            .filter(|line| !line.contains(" with "))
            .flat_map(|line| line.split("  ").map(str::trim).filter(|piece| !piece.is_empty()))
        {
            if piece.starts_with('{') && !piece.contains("life") {
                serde_json::from_str::<Fault>(piece).unwrap_or_else(|why| panic!("{piece}: {why}"));
                read += 1;
            }
        }
        assert!(read >= 9, "{read}");
    }
}
