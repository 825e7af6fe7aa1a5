//! The soak, overload and forgery runs: real processes of the service and its simulator on loopback,
//! load from here, failures on schedule, and a verdict with a table at the end.
//!
//! `make soak`, `make overload`, `make forgeries` and `make cluster` start it. These runs assert times, which no
//! test does: each bound is a constant with its reason. Without one of its flags it does nothing,
//! so that `cargo bench` and `cargo test --benches` skip it.
//!
//! [`world`] owns the processes, [`control`] controls the simulator, [`load`] sends requests over
//! [`http`], [`client`] checks responses (some requests are a [`forger`]'s), [`tally`] counts them,
//! [`verdict`] compares and prints. The runs are [`steady`] (with [`disturbances`]) and
//! [`faulty_customers`], [`storm`], [`flood`], [`forgeries`] and [`replicas`].

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a run that panics fails, as it should; and it measures the machine's own time"
)]

mod client;
mod control;
mod disturbances;
mod faulty_customers;
mod flood;
mod forger;
mod forgeries;
#[path = "../common/http.rs"]
mod http;
mod load;
#[path = "../common/process.rs"]
#[expect(dead_code, reason = "the speed runs use the rest")]
mod process;
#[path = "../common/redis_server.rs"]
mod redis_server;
mod replicas;
mod steady;
mod storm;
mod tally;
mod verdict;
mod world;

use std::{process::ExitCode, time::Duration};

use clap::Parser;

use self::replicas::Scale;

/// The flags.
#[derive(Debug, Parser)]
#[command(about = "Soak and overload runs of juspay-bff, on loopback")]
struct Flags {
    /// Soak for N minutes, then test one customer with faulty data after another
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=24 * 60))]
    minutes: Option<u64>,
    /// Customers that send requests repeatedly
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    customers: u32,
    /// Requests per second of all customers
    #[arg(long, default_value_t = 1500, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    rate: u32,
    /// Life of client auth tokens in the soak, in seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(45..=900))]
    token_life: u32,
    /// Overload: a burst of uncached customers with a slow and a dead Juspay, then excess load
    #[arg(long)]
    overload: bool,
    /// Forgeries: floods of forged tokens, each for this time; at least two cool-downs
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "30",
        value_parser = clap::value_parser!(u64).range(25..=3600))]
    forgeries: Option<u64>,
    /// Replicas: five processes that share a Redis server, then a cluster of six
    #[arg(long, value_name = "SCALE", num_args = 0..=1, default_missing_value = "full")]
    replicas: Option<Scale>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// Flags that start a run.
const RUN_FLAGS: [&str; 5] = ["--minutes", "--overload", "--forgeries", "--replicas", "--help"];

fn main() -> ExitCode {
    // `cargo test --benches` may pass flags of libtest.
    let is_ours = |it: &String| RUN_FLAGS.iter().any(|flag| it.starts_with(flag));
    if !std::env::args().any(|it| is_ours(&it)) {
        println!("Does nothing without a flag; see the Makefile.");
        return ExitCode::SUCCESS;
    }
    let flags = Flags::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let passed = runtime.block_on(run(&flags));
    println!("\n{}", if passed { "passed" } else { "FAILED" });
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn run(flags: &Flags) -> bool {
    let mut passed = true;
    if let Some(minutes) = flags.minutes {
        passed &= steady::run(&steady::Plan {
            time: Duration::from_secs(minutes * 60),
            customers: flags.customers,
            rate: flags.rate,
            token_life: flags.token_life,
        })
        .await
        .print();
        passed &= faulty_customers::run().await.print();
    }
    if flags.overload {
        passed &= storm::run(&storm::SLOW).await.print();
        passed &= storm::run(&storm::DEAD).await.print();
        passed &= flood::run(&flood::KNOWN_TOKENS).await.print();
        passed &= flood::run(&flood::NEW_TOKENS).await.print();
    }
    if let Some(seconds) = flags.forgeries {
        let time = Duration::from_secs(seconds);
        passed &= forgeries::run(&forgeries::RANDOM_KIDS, time).await.print();
        passed &= forgeries::run(&forgeries::FORGED_SIGNATURES, time).await.print();
    }
    if let Some(scale) = flags.replicas {
        passed &= replicas::run(scale).await;
    }
    passed
}
