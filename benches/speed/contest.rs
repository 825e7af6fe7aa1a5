//! Servers driven in turn, again and again, so that what the machine does besides is the same for
//! all; and what that came to, as medians.

use super::{
    others::Others,
    progress,
    world::Server,
    wrk::{Load, Seen},
};

/// What a server showed in one turn.
#[derive(Debug)]
pub struct Turn {
    pub seen: Seen,
    /// Microseconds of a core for each request.
    pub cpu: f64,
    /// What others had of a core meanwhile.
    pub others: f64,
}

/// All turns of one server.
#[derive(Debug)]
pub struct Turns {
    pub name: &'static str,
    pub turns: Vec<Turn>,
}

/// Drives each server in turn, so many times.
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

    /// The median of what this server had to the floor's in the same round.
    pub fn ratio(&self, floor: &Self, of: impl Fn(&Turn) -> f64) -> f64 {
        median(self.turns.iter().zip(&floor.turns).map(|(ours, floor)| of(ours) / of(floor)))
    }
}

/// The middle one, or what lies between the two in the middle.
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
