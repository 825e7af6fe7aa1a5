//! How many instructions and allocations a request takes, from the socket to the socket, beside
//! actix-web alone that answers the same bytes. They repeat where times don't, so a change that
//! costs something is seen with it.
//!
//! `benches/instructions/run` starts it, `.ci/run` among others; without a flag nothing is run.
//! [`subject`] is this program under valgrind: a server with one worker, and a client that costs
//! next to nothing; Juspay's [`stand_in`] is a process of its own. [`valgrind`] runs it; [`baseline`] says what it came to before.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a run that panics fails, as it should"
)]

#[path = "../common/bare.rs"]
mod bare;
mod baseline;
#[path = "../common/plain.rs"]
mod plain;
mod stand_in;
mod standing;
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
    /// Be what is counted
    #[arg(long, hide = true, requires = "answer")]
    subject: Option<Subject>,
    #[arg(long, hide = true, default_value_t = 0)]
    requests: u32,
    /// Be Juspay's stand-in, with so many customers' tokens
    #[arg(long, hide = true)]
    stand_in: Option<u32>,
    /// Where the service leaves its answer to actix-web alone
    #[arg(long, hide = true)]
    answer: Option<PathBuf>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// The flags that make something run.
const OURS: [&str; 5] = ["--check", "--renew", "--subject", "--stand-in", "--help"];

fn main() -> ExitCode {
    // `cargo test --benches` may hand over flags of libtest's, which aren't ours to know.
    let is_ours = |it: &String| OURS.iter().any(|flag| it.starts_with(flag));
    if !std::env::args().any(|it| is_ours(&it)) {
        println!("Nothing is run without a flag: see benches/instructions/run.");
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
    if counts.tell(&Counts::read()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
