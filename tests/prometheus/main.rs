//! Tests with a real Prometheus, which scrapes the service under load: `tests/prometheus/run`.
//!
//! `prometheus` is its process and its API, `scenario` the load with the client's own counts,
//! `scrape` compares the two, and `queries` checks that every rule and every panel of the dashboard
//! returns data. `picture` draws the dashboard's panels; it is not a test.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::string_slice,
    reason = "a test that panics fails, as it should"
)]
#![expect(unreachable_pub, reason = "`pub` marks what tests may use of their support files")]

mod picture;
mod prometheus;
mod queries;
mod scenario;
mod scrape;
#[expect(dead_code, reason = "the other tests need more of it")]
mod support;
mod tally;
