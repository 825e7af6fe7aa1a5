//! Tests of traces as a collector receives them: `cargo test --features traces --test traces`.
//!
//! `collector` is a fake collector, and `exported` reads its spans. `tree` tests the spans of
//! requests and their relations, `sampling` which requests are traced, `collector_failures` a
//! collector that is unreachable, slow or rejects spans, and `secrets` what no span may contain.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::string_slice,
    reason = "a test that panics fails, as it should"
)]
#![expect(unreachable_pub, reason = "`pub` marks what tests may use of their support files")]

mod collector;
mod collector_failures;
mod exported;
mod sampling;
mod secrets;
#[expect(dead_code, reason = "the other tests need more of it")]
mod support;
mod tree;
