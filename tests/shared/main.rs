//! Tests of the shared tier with real servers: `tests/shared/run` installs Redis and runs them.
//!
//! Each test starts servers of its own. Two tiers in one process stand for two replicas: they share
//! nothing but the server. `sharing` tests what replicas share, `news` what they announce, `failures`
//! servers that hang, end, or refuse, `cluster` the same for one primary of a cluster, `secrets` what the
//! server gets to see, and `doctor` what `juspay-bff doctor` reports.
//!
//! The servers' time is real, so the tests wait for effects, and never for a fixed time. `metrics` compares
//! the metrics with their documentation.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    reason = "a test that panics fails, as it should"
)]
#![expect(clippy::print_stdout, reason = "what was measured")]

mod cluster;
mod doctor;
mod failures;
mod load;
mod metrics;
mod news;
mod proxy;
#[path = "../../benches/common/redis_server.rs"]
mod redis_server;
mod replica;
mod secrets;
mod server;
mod sharing;
