//! Sets the commit that the program reports: `GIT_COMMIT` if it is set (container builds have no
//! repository), otherwise git's, otherwise "unknown".

use std::{path::Path, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=GIT_COMMIT");
    // HEAD changes when a branch is checked out; its log and the branch's file change with a
    // commit.
    let branch = git(&["rev-parse", "--symbolic-full-name", "HEAD"]);
    for name in ["HEAD", "logs/HEAD"].into_iter().chain(branch.as_deref()) {
        // With a missing file, cargo would run this script in every build.
        let path = git(&["rev-parse", "--git-path", name]).filter(|path| Path::new(path).exists());
        if let Some(path) = path {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let given = std::env::var("GIT_COMMIT").ok().and_then(|commit| word(&commit));
    let commit = given.or_else(|| git(&["rev-parse", "--short", "HEAD"]));
    // Cargo passes this variable to `cargo run` too, so it must not begin with the prefix of
    // settings.
    println!("cargo::rustc-env=BUILD_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
}

/// The first line of git's output; `None` if git fails.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    output.status.success().then(|| word(&String::from_utf8_lossy(&output.stdout))).flatten()
}

/// The first line, unless it is empty.
fn word(text: &str) -> Option<String> {
    text.lines().next().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned)
}
