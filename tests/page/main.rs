//! Tests of the admin page in a real browser, headless Chromium: `tests/page/run`.
//!
//! `browser` controls Chromium, and `opened` is the page with a service that uses the real clock.
//! `numbers` tests the values on the page, `faults` and `attention` what it reports about faults,
//! `access` the admin token and other origins, `appearance` layout and accessibility, and `cors` the public
//! listener with pages of other origins.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::string_slice,
    reason = "a test that panics fails, as it should"
)]
#![expect(unreachable_pub, reason = "`pub` marks what tests may use of their support files")]

mod access;
mod appearance;
mod attention;
mod browser;
mod cors;
mod faults;
mod numbers;
mod opened;
#[expect(dead_code, reason = "the other tests need more of it")]
mod support;
