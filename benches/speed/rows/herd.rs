//! Many simultaneous requests for one customer that is not cached.

use std::{sync::Arc, time::Duration};

use simulator::{Algorithm, Fault, FaultRule};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    Plan,
    contest::median,
    http::Pool,
    progress,
    report::{Figure, Report},
    world::{ServiceOptions, Setup, fetch, mint},
};

const PHONES: usize = 500;

const JUSPAY_TAKES: u64 = 200;

/// The goal for the last response.
const LAST: Duration = Duration::from_millis(230);

pub async fn measure(setup: &Setup, plan: Plan, report: &mut Report) {
    let (cores, settings) = (&setup.cores.shared, "");
    let options = ServiceOptions { name: "juspay-bff", workers: 2, cores, settings };
    let service = setup.service(options).await;
    let pool = Arc::new(Pool::new(service.address, PHONES));
    pool.fill(PHONES).await;
    pool.warm_up().await;
    setup.simulator().inject(FaultRule::always(Fault::Latency { ms: JUSPAY_TAKES }));
    let (mut calls, mut lasts) = (0, Vec::new());
    for round in 1..=plan.rounds {
        let customer = format!("herd_{round}");
        let token: Arc<str> = mint(setup.issuer(), &customer, Algorithm::RS256).into();
        let begun = Instant::now();
        let mut herd = JoinSet::new();
        for _ in 0..PHONES {
            let (pool, token) = (Arc::clone(&pool), Arc::clone(&token));
            herd.spawn(async move { fetch(&pool, &token).await });
        }
        herd.join_all().await;
        let last = begun.elapsed();
        calls = calls.max(setup.simulator().calls(&customer));
        progress(&format!(
            "herd {round}/{}: last response after {last:.1?}, calls: {calls}",
            plan.rounds
        ));
        lasts.push(last.as_secs_f64());
    }
    setup.simulator().clear_faults();
    let last = Duration::from_secs_f64(median(lasts.into_iter()));
    let what =
        format!("{PHONES} requests for one uncached customer, Juspay takes {JUSPAY_TAKES} ms");
    let ours = format!("{calls} call, last response after {:.0} ms", last.as_secs_f64() * 1e3);
    let goal = format!("1 call, ≤ {} ms", LAST.as_millis());
    let figure = Figure::new(what, ours, "–");
    report.figure(figure.with_goal(goal, calls == 1 && last <= LAST));
}
