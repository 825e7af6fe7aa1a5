//! Random operations get the recorded responses: a change of the code must not change a status, a
//! header, a body, or the number of calls to Juspay.
//!
//! `recorded/` has one recording for each seed. Jitter, ids and tokens are left out, so each run
//! writes the same lines.

mod operations;
mod recorder;

use std::{fmt::Write as _, fs, path::Path};

use self::{operations::operations, recorder::record};
use crate::support::World;

/// Number of operations in a recording.
const OPERATIONS: usize = 480;

/// Number of differing lines to print.
const MAX_DIFFERENCES: usize = 8;

/// Settings of all recordings: one worker, no scheduled fetch of the key set, and lives at whose ages
/// jitter does not decide (see [`operations`]).
const SETTINGS: &str = "
    server.workers = 1
    auth.jwks_refresh = \"23h\"
    cache.refresh_ahead = \"400s\"
    cache.not_found_ttl = \"50s\"
    auth.issuers.main.required_scopes = [\"pay\"]";

/// Compares the responses of `seed` with its recording. `burst` concurrent requests should exceed a
/// limit of these settings.
async fn responses_match(seed: u64, burst: usize, settings: &str) {
    let world = World::with(&format!("{SETTINGS}\n{settings}")).await;
    let current = record(world, &operations(seed, OPERATIONS, burst)).await;
    let name = format!("tests/api/recorded/{seed}.txt");
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join(&name);
    let recorded = fs::read_to_string(recording).unwrap_or_default();
    if current != recorded {
        let new = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("recorded-{seed}.txt"));
        fs::write(&new, &current).expect("a directory");
        panic!(
            "responses differ from {name}:\n{}If all are intended: cp {} {name}",
            differences(&recorded, &current),
            new.display(),
        );
    }
}

fn differences(recorded: &str, current: &str) -> String {
    let (mut recorded, mut current) = (recorded.lines(), current.lines());
    let mut text = String::new();
    let mut number = 0;
    loop {
        match (recorded.next(), current.next()) {
            (None, None) => return text,
            (old, new) if old != new => {
                number += 1;
                if number <= MAX_DIFFERENCES {
                    writeln!(text, "- {}\n+ {}", old.unwrap_or(""), new.unwrap_or("")).unwrap();
                }
            }
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_match_recording_1_without_a_rate_limit() {
    responses_match(1, 3, "limits.per_customer = \"off\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_match_recording_2_with_a_rate_limit() {
    responses_match(2, 13, "limits.per_customer = \"12/min\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_match_recording_3_with_early_replacement() {
    let settings = "cache.max_hand_outs = 4\ncache.force_refresh_min_age = \"0s\"";
    responses_match(3, 6, settings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_match_recording_4_with_a_narrow_rate_limit() {
    responses_match(
        4,
        5,
        "limits.per_customer = \"4/min\"\nlimits.force_refresh_per_customer = \"1/min\"",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_match_recording_5_without_verified_tokens() {
    responses_match(5, 3, "auth.verified_tokens = 0").await;
}
