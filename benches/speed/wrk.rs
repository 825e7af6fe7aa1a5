//! wrk: loads a server as fast as it responds, and measures it.

use std::{net::SocketAddr, path::Path, process::Command};

use super::others::ended_children_time;

/// The options of wrk.
#[derive(Debug, Clone, Copy)]
pub struct Load<'l> {
    /// Bearer tokens, one a line.
    pub tokens: &'l Path,
    pub connections: usize,
    pub threads: usize,
    pub cores: &'l str,
    pub seconds: u64,
}

/// The measurements.
#[derive(Debug)]
pub struct Measurements {
    pub requests: f64,
    pub a_second: f64,
    /// Microseconds.
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    /// wrk's CPU time as a share of its cores.
    pub busy: f64,
}

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/speed/requests.lua");

impl Load<'_> {
    /// Loads the server. All responses must be valid.
    pub fn run(&self, server: SocketAddr) -> Measurements {
        let before = ended_children_time();
        let numbers = [self.connections, self.threads].map(|number| number.to_string());
        let output = Command::new("taskset")
            .args(["-c", self.cores, "wrk", "--latency", "--script", SCRIPT])
            .args(["--connections", &numbers[0], "--threads", &numbers[1]])
            .args(["--duration", &format!("{}s", self.seconds)])
            .arg(format!("http://{server}/me/customer"))
            .arg("--")
            .arg(self.tokens)
            .output()
            .expect("wrk and taskset are installed (benches/speed/run does it)");
        let used = ended_children_time() - before;
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find_map(|line| line.strip_prefix("seen "));
        let line = line.unwrap_or_else(|| panic!("{text}{:?}", output.stderr));
        let numbers: Vec<f64> = line.split(' ').map(|it| it.parse().unwrap()).collect();
        let [requests, time, not_ok, broken, p50, p99, p999] = numbers[..] else {
            panic!("{line}")
        };
        assert!(not_ok + broken == 0.0, "{not_ok} answers aren't 200, {broken} are missing");
        let time = time / 1e6;
        let busy = used / time / f64::from(u32::try_from(self.threads).unwrap());
        Measurements { requests, a_second: requests / time, p50, p99, p999, busy }
    }
}
