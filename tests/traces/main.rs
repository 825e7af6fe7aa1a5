//! Tests of traces, as a collector gets them: `cargo test --features traces --test traces`.
//!
//! `collector` is one, `told` what its spans are asked by. `tree` is about which spans there are and
//! how they hang together, `drawn` about which requests have any, `trouble` about a collector that is
//! away, slow or of another opinion, `secrets` about what must be in none.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    reason = "a test that panics fails, as it should"
)]
#![expect(unreachable_pub, reason = "`pub` tells what a test may use of what it stands on")]

mod collector;
mod drawn;
mod secrets;
#[expect(dead_code, reason = "the other tests need more of it")]
mod support;
mod told;
mod tree;
mod trouble;
