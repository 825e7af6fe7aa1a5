//! The benchmark: what a request costs, side by side with actix-web alone that answers the same
//! bytes, on the same machine in the same minutes.
//!
//! `make bench` starts it; without a flag of its own nothing is run, so that `cargo bench` and
//! `cargo test --benches` pass it by. [`rows`] says what is measured, in a [`world`] of processes;
//! a [`contest`] drives servers in turn with [`wrk`], [`paced`] at a fixed rate; [`report`] and
//! [`plot`] tell. The floor ([`bare`]) is this program, started with `--bare`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a run that panics fails, as it should; and it measures the machine's own time"
)]

#[path = "../common/bare.rs"]
mod bare;
mod contest;
#[path = "../common/http.rs"]
#[expect(dead_code, reason = "the soak uses the rest")]
mod http;
mod others;
mod paced;
#[path = "../common/plain.rs"]
mod plain;
mod plot;
#[path = "../common/process.rs"]
#[expect(dead_code, reason = "the soak uses the rest")]
mod process;
mod report;
mod rows;
mod world;
mod wrk;

use std::{fs, net::SocketAddr, path::PathBuf};

use clap::{
    Parser,
    builder::{PossibleValue, PossibleValuesParser},
};
use tokio::runtime::Builder;

use self::{bare::Answer, report::Report, rows::ROWS, world::Stage};

/// The flags.
#[derive(Debug, Parser)]
#[command(about = "Benchmark of juspay-bff, on loopback")]
struct Flags {
    /// Measure all rows, and write benches/results.md and benches/results.svg
    #[arg(long)]
    all: bool,
    /// Measure these rows and print them
    #[arg(long, value_delimiter = ',', value_parser = rows(), conflicts_with = "all")]
    rows: Vec<String>,
    /// How often each server has its turn
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=1000))]
    rounds: u64,
    /// How long a turn is
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Three rounds of 2 s, and no million of customers
    #[arg(long)]
    quick: bool,
    /// Be the floor, with the answer in this file
    #[arg(long, hide = true)]
    bare: Option<PathBuf>,
    #[arg(long, hide = true, default_value_t = 1)]
    workers: usize,
    #[arg(long, hide = true, default_value_t = SocketAddr::from(([127, 0, 0, 1], 0)))]
    listen: SocketAddr,
    /// What the floor asks before each answer
    #[arg(long, hide = true)]
    ask: Option<String>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// How long each row is measured.
#[derive(Debug, Clone, Copy)]
struct Plan {
    rounds: usize,
    seconds: u64,
    /// Without what takes minutes.
    quick: bool,
}

/// The flags that make something run.
const OURS: [&str; 5] = ["--all", "--rows", "--quick", "--bare", "--help"];

/// Where results go.
const RESULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/results");

fn rows() -> PossibleValuesParser {
    PossibleValuesParser::from(ROWS.map(|(name, what)| PossibleValue::new(name).help(what)))
}

fn main() {
    // `cargo test --benches` may hand over flags of libtest's, which aren't ours to know.
    let is_ours = |it: &String| OURS.iter().any(|flag| it.starts_with(flag));
    if !std::env::args().any(|it| is_ours(&it)) {
        println!("Nothing is run without a flag: see `make bench`.");
        return;
    }
    let flags = Flags::parse();
    if let Some(answer) = &flags.bare {
        return be_bare(answer, &flags);
    }
    let (rounds, seconds) = if flags.quick { (3, 2) } else { (flags.rounds, flags.seconds) };
    let rounds = usize::try_from(rounds).unwrap();
    let plan = Plan { rounds, seconds, quick: flags.quick };
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    let report = runtime.block_on(run(&flags.rows, plan));
    let text = report.markdown(plan);
    println!("\n{text}");
    if flags.all {
        fs::write(format!("{RESULTS}.md"), text).unwrap();
        fs::write(format!("{RESULTS}.svg"), plot::svg(&report.figures)).unwrap();
    }
}

/// These rows; all of them when none is named.
async fn run(rows: &[String], plan: Plan) -> Report {
    let stage = Stage::set().await;
    let mut report = Report::default();
    for (row, _) in ROWS {
        if rows.is_empty() || rows.iter().any(|it| it == row) {
            rows::measure(row, &stage, plan, &mut report).await;
        }
    }
    report
}

fn be_bare(answer: &PathBuf, flags: &Flags) {
    let answer = Answer::read(&fs::read(answer).unwrap());
    actix_web::rt::System::new().block_on(async {
        let (server, address) = match &flags.ask {
            None => bare::serve(answer, flags.workers, flags.listen),
            Some(url) => {
                let question = world::question(url.clone());
                bare::serve_asking(answer, question, flags.workers, flags.listen)
            }
        }
        .unwrap();
        println!("bare {address}");
        server.await.unwrap();
    });
}

/// A line for who waits.
fn progress(text: &str) {
    eprintln!("{text}");
}
