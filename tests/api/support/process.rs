//! The real binary in a separate process with its own environment. No process outlives its test.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use super::with_timeout;

/// How a process ended, and its output.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A process that runs until it is stopped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// `None` after its standard output was closed.
    lines: Option<Lines<BufReader<ChildStdout>>>,
    /// Its output so far.
    pub stdout: String,
}

/// The same, started by a shell with `script`, which ends in `exec "$@"`.
pub fn bff_in_shell(script: &str, arguments: &[&str]) -> Command {
    let shell = [&["-c", script, "sh", env!("CARGO_BIN_EXE_juspay-bff")], arguments].concat();
    quiet(Command::new("sh"), &shell)
}

/// `juspay-bff` with these arguments and an environment that contains only `PATH`.
pub fn bff(arguments: &[&str]) -> Command {
    quiet(Command::new(env!("CARGO_BIN_EXE_juspay-bff")), arguments)
}

fn quiet(mut command: Command, arguments: &[&str]) -> Command {
    command.args(arguments).env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Waits for a command that ends by itself.
pub async fn run(mut command: Command) -> Ended {
    let output = with_timeout("the end of a command", command.output()).await.expect("it runs");
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}

impl Process {
    /// Starts a command that keeps running. `cargo test` shows its standard error.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::inherit()).spawn().expect("it starts");
        let stdout = child.stdout.take().expect("it is piped");
        Self { child, lines: Some(BufReader::new(stdout).lines()), stdout: String::new() }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs still")
    }

    /// The next line that contains `text`.
    pub async fn line_with(&mut self, text: &str) -> String {
        let reading = async {
            loop {
                let line = self.next_line().await;
                let line = line.unwrap_or_else(|| panic!("it ended without {text:?}"));
                if line.contains(text) {
                    return line;
                }
            }
        };
        with_timeout(text, reading).await
    }

    /// Closes the reading end of its standard output.
    pub fn close_stdout(&mut self) {
        self.lines = None;
    }

    /// Sends SIGTERM, and returns the exit code after reading all output.
    pub async fn terminate(&mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.end().await
    }

    pub fn signal(&self, signal: Signal) {
        let id = self.id().try_into().ok().and_then(Pid::from_raw);
        kill_process(id.expect("it runs still"), signal).expect("it can be told");
    }

    /// The exit code after reading all output; `None` if a signal ended the process.
    pub async fn end(&mut self) -> Option<i32> {
        let ending = async {
            while self.next_line().await.is_some() {}
            self.child.wait().await.expect("it ends").code()
        };
        with_timeout("the end of a process", ending).await
    }

    async fn next_line(&mut self) -> Option<String> {
        let line = self.lines.as_mut()?.next_line().await.expect("text")?;
        self.stdout.push_str(&line);
        self.stdout.push('\n');
        Some(line)
    }
}
