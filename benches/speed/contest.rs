//! Loads the servers in turn, round by round, so that other load on the machine affects all
//! equally. The results are medians.

use super::{
    others::OtherLoad,
    progress,
    world::Server,
    wrk::{Load, Measurements},
};

/// The measurements of a server in one round.
#[derive(Debug)]
pub struct RoundResult {
    pub measured: Measurements,
    /// CPU time of a request, in microseconds.
    pub cpu: f64,
    /// CPU time of other processes during the round, in cores.
    pub others: f64,
}

/// All rounds of one server.
#[derive(Debug)]
pub struct ServerResults {
    pub name: &'static str,
    pub results: Vec<RoundResult>,
}

/// Loads each server in turn, for this number of rounds.
pub async fn compare(
    row: &str,
    rounds: usize,
    servers: &[&Server],
    load: &Load<'_>,
    before: impl AsyncFn(&Server),
) -> Vec<ServerResults> {
    let mut all: Vec<_> =
        servers.iter().map(|it| ServerResults { name: it.name, results: Vec::new() }).collect();
    for round in 1..=rounds {
        for (server, results) in servers.iter().zip(&mut all) {
            before(server).await;
            results.results.push(take(server, load));
        }
        let shown = all.iter().map(|it| {
            let RoundResult { measured, cpu, .. } = it.results.last().unwrap();
            format!("{} {:.0}/s {cpu:.1} µs", it.name, measured.a_second)
        });
        progress(&format!("{row} {round}/{rounds}: {}", shown.collect::<Vec<_>>().join(", ")));
    }
    all
}

fn take(server: &Server, load: &Load<'_>) -> RoundResult {
    let others = OtherLoad::watch(&server.process);
    let before = server.process.cpu();
    let measured = load.run(server.address);
    let used = server.process.cpu().saturating_sub(before);
    let cpu = used.as_secs_f64() * 1e6 / measured.requests;
    RoundResult { measured, cpu, others: others.share(&server.process) }
}

impl ServerResults {
    pub fn median(&self, of: impl Fn(&RoundResult) -> f64) -> f64 {
        median(self.results.iter().map(of))
    }

    /// The median of this server's value divided by the baseline's in the same round.
    pub fn ratio(&self, floor: &Self, of: impl Fn(&RoundResult) -> f64) -> f64 {
        median(self.results.iter().zip(&floor.results).map(|(ours, floor)| of(ours) / of(floor)))
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
