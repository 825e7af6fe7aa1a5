//! Whether the machine was ours: the time of its cores that was neither the server's nor ours.

use std::{
    fs,
    time::{Duration, Instant},
};

use super::process::Process;

/// Seconds in a tick of `/proc`'s.
const TICK: f64 = 0.01;

/// Counts from its start on.
#[derive(Debug)]
pub struct Others {
    start: Instant,
    busy: f64,
    ours: f64,
}

impl Others {
    pub fn watch(server: &Process) -> Self {
        Self { start: Instant::now(), busy: busy_time(), ours: our_time(server) }
    }

    /// What others had, as a part of one core.
    pub fn share(&self, server: &Process) -> f64 {
        let ours = our_time(server) - self.ours;
        let others = busy_time() - self.busy - ours;
        others.max(0.0) / self.start.elapsed().max(Duration::from_millis(1)).as_secs_f64()
    }
}

/// Seconds that children which have ended had of a core.
pub fn childrens_time() -> f64 {
    let [_, _, user, system] = own_times();
    user + system
}

fn our_time(server: &Process) -> f64 {
    own_times().iter().sum::<f64>() + server.cpu().as_secs_f64()
}

/// This process's time in user and kernel mode, and the same of children that have ended: the 14th
/// field of `proc_pid_stat(5)` and the three behind it, counted behind the name's parenthesis.
fn own_times() -> [f64; 4] {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let mut ticks = fields.split(' ').skip(11).map(|it| it.parse::<f64>().unwrap());
    [(); 4].map(|()| ticks.next().unwrap() * TICK)
}

/// Time that all cores together weren't idle, what the hypervisor took included (`proc_stat(5)`).
fn busy_time() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap();
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu ")).unwrap();
    let ticks: Vec<f64> = line.split_whitespace().map(|it| it.parse().unwrap()).collect();
    let [user, nice, system, _idle, _waiting, irq, softirq, steal, ..] = ticks[..] else {
        panic!("{line}")
    };
    (user + nice + system + irq + softirq + steal) * TICK
}
