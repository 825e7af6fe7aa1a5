//! Tells the program its commit: `GIT_COMMIT` where there is no repository (container builds), else
//! what git says, else "unknown".

use std::{path::Path, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=GIT_COMMIT");
    // HEAD changes with a switch of branches; its log, and the branch's file, with a commit.
    let branch = git(&["rev-parse", "--symbolic-full-name", "HEAD"]);
    for name in ["HEAD", "logs/HEAD"].into_iter().chain(branch.as_deref()) {
        // A file that isn't there would make cargo run this each time.
        let path = git(&["rev-parse", "--git-path", name]).filter(|path| Path::new(path).exists());
        if let Some(path) = path {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let given = std::env::var("GIT_COMMIT").ok().and_then(|commit| word(&commit));
    let commit = given.or_else(|| git(&["rev-parse", "--short", "HEAD"]));
    // Cargo hands this variable on to `cargo run` too, so it mustn't begin like a setting.
    println!("cargo::rustc-env=BUILD_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
}

/// The one line that git answers, when it does.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    output.status.success().then(|| word(&String::from_utf8_lossy(&output.stdout))).flatten()
}

/// The first line, when there is something in it.
fn word(text: &str) -> Option<String> {
    text.lines().next().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned)
}
