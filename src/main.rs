//! Parses the command line, runs the command, and returns its exit code.
//!
//! 0: done, or stopped by a signal. 1: something failed at run time. 2: wrong usage or settings.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use actix_web::rt::System;
use clap::Parser as _;
use juspay_bff::{
    cli::CommandLine,
    commands::{self, CommandError},
    telemetry,
};

/// See Cargo.toml.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let command = CommandLine::parse().command;
    let ended = System::new().block_on(commands::run(command));
    telemetry::end();
    let (text, code) = match ended {
        Ok(()) => return ExitCode::SUCCESS,
        Err(CommandError::Settings(faults)) => (faults.to_string(), 2),
        Err(CommandError::Failed(why)) => (why, 1),
        Err(CommandError::Reported(code)) => return ExitCode::from(code),
    };
    // If standard error is closed, the message is lost.
    drop(writeln!(io::stderr(), "{}", text.trim_end()));
    ExitCode::from(code)
}
