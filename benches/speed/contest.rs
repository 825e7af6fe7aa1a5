//! Loads the servers in turn, round by round, so that other load on the machine affects all
//! equally. The results are medians.

use super::{
    others::Others,
    progress,
    world::Server,
    wrk::{Load, Seen},
};

/// The measurements of a server in one round.
#[derive(Debug)]
pub struct Turn {
    pub seen: Seen,
    /// CPU time of a request, in microseconds.
    pub cpu: f64,
    /// CPU time of other processes during the round, in cores.
    pub others: f64,
}

/// All rounds of one server.
#[derive(Debug)]
pub struct Turns {
    pub name: &'static str,
    pub turns: Vec<Turn>,
}

/// Loads each server in turn, for this number of rounds.
pub async fn hold(
    row: &str,
    rounds: usize,
    servers: &[&Server],
    load: &Load<'_>,
    before: impl AsyncFn(&Server),
) -> Vec<Turns> {
    let mut all: Vec<_> =
        servers.iter().map(|it| Turns { name: it.name, turns: Vec::new() }).collect();
    for round in 1..=rounds {
        for (server, turns) in servers.iter().zip(&mut all) {
            before(server).await;
            turns.turns.push(take(server, load));
        }
        let told = all.iter().map(|it| {
            let Turn { seen, cpu, .. } = it.turns.last().unwrap();
            format!("{} {:.0}/s {cpu:.1} µs", it.name, seen.a_second)
        });
        progress(&format!("{row} {round}/{rounds}: {}", told.collect::<Vec<_>>().join(", ")));
    }
    all
}

fn take(server: &Server, load: &Load<'_>) -> Turn {
    let others = Others::watch(&server.process);
    let before = server.process.cpu();
    let seen = load.drive(server.address);
    let used = server.process.cpu().saturating_sub(before);
    let cpu = used.as_secs_f64() * 1e6 / seen.requests;
    Turn { seen, cpu, others: others.share(&server.process) }
}

impl Turns {
    pub fn median(&self, of: impl Fn(&Turn) -> f64) -> f64 {
        median(self.turns.iter().map(of))
    }

    /// The median of this server's value divided by the baseline's in the same round.
    pub fn ratio(&self, floor: &Self, of: impl Fn(&Turn) -> f64) -> f64 {
        median(self.turns.iter().zip(&floor.turns).map(|(ours, floor)| of(ours) / of(floor)))
    }
}

/// The middle value, or the mean of the two middle values.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len().is_multiple_of(2) {
        f64::midpoint(values[half - 1], values[half])
    } else {
        values[half]
    }
}
