//! The benchmark: measures what a request costs, relative to a bare actix-web server that returns
//! the same bytes on the same machine at the same time.
//!
//! `make bench` starts it. Without one of its flags it does nothing, so that `cargo bench` and
//! `cargo test --benches` skip it. [`rows`] defines the measurements, in a [`world`] of processes.
//! A [`contest`] loads the servers in turn with [`wrk`], or [`paced`] at a fixed rate. [`report`]
//! and [`plot`] write the results. The baseline server ([`bare`]) is this program with `--bare`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable,
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

use self::{bare::RecordedResponse, report::Report, rows::ROWS, world::Setup};

/// The flags.
#[derive(Debug, Parser)]
#[command(about = "Benchmark of juspay-bff, on loopback")]
struct Flags {
    /// Measure all rows and write docs/measurements/speed.md and speed.svg
    #[arg(long)]
    all: bool,
    /// Measure only these rows and print the results
    #[arg(long, value_delimiter = ',', value_parser = rows(), conflicts_with = "all")]
    rows: Vec<String>,
    /// Rounds; each server runs once per round
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=1000))]
    rounds: u64,
    /// Seconds per server and round
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Three rounds of 2 s, without the row of a million customers
    #[arg(long)]
    quick: bool,
    /// Run the baseline server, with the response in this file
    #[arg(long, hide = true)]
    bare: Option<PathBuf>,
    #[arg(long, hide = true, default_value_t = 1)]
    workers: usize,
    #[arg(long, hide = true, default_value_t = SocketAddr::from(([127, 0, 0, 1], 0)))]
    listen: SocketAddr,
    /// URL that the baseline server calls before each response
    #[arg(long, hide = true)]
    ask: Option<String>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// The duration of each row.
#[derive(Debug, Clone, Copy)]
struct Plan {
    rounds: usize,
    seconds: u64,
    /// Skips rows that take minutes.
    quick: bool,
}

/// Flags that start a run.
const RUN_FLAGS: [&str; 5] = ["--all", "--rows", "--quick", "--bare", "--help"];

/// Path of the results, without extension.
const RESULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/measurements/speed");

fn rows() -> PossibleValuesParser {
    PossibleValuesParser::from(ROWS.map(|(name, what)| PossibleValue::new(name).help(what)))
}

fn main() {
    // `cargo test --benches` may pass flags of libtest.
    let is_ours = |it: &String| RUN_FLAGS.iter().any(|flag| it.starts_with(flag));
    if !std::env::args().any(|it| is_ours(&it)) {
        println!("Does nothing without a flag; see `make bench`.");
        return;
    }
    let flags = Flags::parse();
    if let Some(answer) = &flags.bare {
        return run_baseline(answer, &flags);
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

/// Measures these rows, or all of them if the list is empty.
async fn run(rows: &[String], plan: Plan) -> Report {
    let setup = Setup::new().await;
    let mut report = Report::default();
    for (row, _) in ROWS {
        if rows.is_empty() || rows.iter().any(|it| it == row) {
            rows::measure(row, &setup, plan, &mut report).await;
        }
    }
    report
}

fn run_baseline(answer: &PathBuf, flags: &Flags) {
    let answer = RecordedResponse::read(&fs::read(answer).unwrap());
    actix_web::rt::System::new().block_on(async {
        let (server, address) = match &flags.ask {
            None => bare::serve(answer, flags.workers, flags.listen),
            Some(url) => {
                let question = world::question(url.clone());
                bare::serve_fetching(answer, question, flags.workers, flags.listen)
            }
        }
        .unwrap();
        println!("bare {address}");
        server.await.unwrap();
    });
}

/// Prints progress on standard error.
fn progress(text: &str) {
    eprintln!("{text}");
}
