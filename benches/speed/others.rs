//! How busy other processes kept the machine: CPU time used neither by the server nor by this
//! program.

use std::{
    fs,
    time::{Duration, Instant},
};

use super::process::Process;

/// The length of a tick in `/proc`, in seconds.
const TICK: f64 = 0.01;

/// Counts from its creation.
#[derive(Debug)]
pub struct OtherLoad {
    start: Instant,
    busy: f64,
    ours: f64,
}

impl OtherLoad {
    pub fn watch(server: &Process) -> Self {
        Self { start: Instant::now(), busy: busy_time(), ours: our_time(server) }
    }

    /// CPU time of other processes, in cores.
    pub fn share(&self, server: &Process) -> f64 {
        let ours = our_time(server) - self.ours;
        let others = busy_time() - self.busy - ours;
        others.max(0.0) / self.start.elapsed().max(Duration::from_millis(1)).as_secs_f64()
    }
}

/// CPU time of children that have ended.
pub fn ended_children_time() -> f64 {
    let [_, _, user, system] = own_times();
    user + system
}

fn our_time(server: &Process) -> f64 {
    own_times().iter().sum::<f64>() + server.cpu().as_secs_f64()
}

/// User and kernel time of this process and of its ended children: the 14th to 17th field of
/// `proc_pid_stat(5)`, counted after the closing parenthesis of the name.
fn own_times() -> [f64; 4] {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let mut ticks = fields.split(' ').skip(11).map(|it| it.parse::<f64>().unwrap());
    [(); 4].map(|()| ticks.next().unwrap() * TICK)
}

/// Time during which the cores were not idle, including time stolen by the hypervisor
/// (`proc_stat(5)`).
fn busy_time() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap();
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu ")).unwrap();
    let ticks: Vec<f64> = line.split_whitespace().map(|it| it.parse().unwrap()).collect();
    let [user, nice, system, _idle, _waiting, irq, softirq, steal, ..] = ticks[..] else {
        panic!("{line}")
    };
    (user + nice + system + irq + softirq + steal) * TICK
}
