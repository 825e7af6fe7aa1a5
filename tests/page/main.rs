//! Tests of the admin page in a real browser, headless Chromium: `tests/page/run`.
//!
//! `browser` drives it, `opened` is the page in it beside a service that real time passes for.
//! `numbers` is about what the page shows, `trouble` about what it shows when something is wrong,
//! `attention` about each rule of that, `access` about who gets it, `looks` about how it looks, and
//! to whom.

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

mod access;
mod attention;
mod browser;
mod looks;
mod numbers;
mod opened;
#[expect(dead_code, reason = "the other tests need more of it")]
mod support;
mod trouble;
