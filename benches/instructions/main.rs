//! Counts the instructions and allocations of a request, from socket to socket, beside a bare
//! actix-web server that returns the same bytes. Counts are reproducible where times are not, so
//! they reveal what a change costs.
//!
//! `benches/instructions/run` starts it, also from `.ci/run`. Without a flag it does nothing.
//! [`subject`] is this program under valgrind: a server with one worker, and a client that costs
//! a few hundred instructions. Juspay's [`stand_in`] is a separate process. [`valgrind`] runs the
//! subject, and [`baseline`] compares the counts with the stored ones.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a run that panics fails, as it should"
)]

#[path = "../common/bare.rs"]
mod bare;
mod baseline;
mod fixed_clock;
#[path = "../common/plain.rs"]
mod plain;
#[path = "../common/redis_server.rs"]
#[expect(dead_code, reason = "this run has no cluster")]
mod redis_server;
mod stand_in;
mod subject;
mod valgrind;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;

use self::{baseline::Counts, subject::Subject};

/// The flags.
#[derive(Debug, Parser)]
#[command(about = "Instructions and allocations of a request")]
struct Flags {
    /// Compare with the baseline
    #[arg(long)]
    check: bool,
    /// Write the baseline
    #[arg(long)]
    renew: bool,
    /// Run the server and client that are counted
    #[arg(long, hide = true, requires = "answer")]
    subject: Option<Subject>,
    #[arg(long, hide = true, default_value_t = 0)]
    requests: u32,
    /// Run Juspay's stand-in, with this number of customers' tokens
    #[arg(long, hide = true)]
    stand_in: Option<u32>,
    /// File with the response that the bare actix-web server returns
    #[arg(long, hide = true)]
    answer: Option<PathBuf>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// Flags that start a run.
const RUN_FLAGS: [&str; 5] = ["--check", "--renew", "--subject", "--stand-in", "--help"];

fn main() -> ExitCode {
    // `cargo test --benches` may pass flags of libtest.
    let is_ours = |it: &String| RUN_FLAGS.iter().any(|flag| it.starts_with(flag));
    if !std::env::args().any(|it| is_ours(&it)) {
        println!("Does nothing without a flag; see benches/instructions/run.");
        return ExitCode::SUCCESS;
    }
    let flags = Flags::parse();
    if let (Some(subject), Some(answer)) = (flags.subject, &flags.answer) {
        subject::run(subject, flags.requests, answer);
        return ExitCode::SUCCESS;
    }
    if let Some(tokens) = flags.stand_in {
        stand_in::run(tokens);
        return ExitCode::SUCCESS;
    }
    let counts = Counts::take();
    if flags.renew {
        counts.write();
    }
    if counts.print(&Counts::read()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
