//! From exec to the first 200: settings read, keys fetched, a token verified, the customer fetched
//! from Juspay.

use std::{
    net::{SocketAddr, TcpListener},
    thread,
    time::{Duration, Instant},
};

use simulator::Algorithm;

use crate::{
    Plan,
    contest::median,
    plain::{self, BlockingClient},
    process::{self, PROGRAM, Process},
    progress,
    report::{Figure, Report},
    world::{ANSWER, FREE_PORT, ServiceOptions, Setup, mint, this_program},
};

/// The goal, milliseconds.
const GOAL: f64 = 15.0;

/// Interval of attempts to connect.
const TRY: Duration = Duration::from_micros(100);

pub async fn measure(setup: &Setup, plan: Plan, report: &mut Report) {
    // Both cores for all processes, because deployments don't pin them.
    process::pin_self(&setup.cores.shared);
    let cores = &setup.cores.shared;
    let options = ServiceOptions { name: "starting", workers: 2, cores, settings: "" };
    let token = mint(setup.issuer(), "starter", Algorithm::RS256);
    let service = setup.service(ServiceOptions { name: "started", ..options }).await;
    // Stores its response for the baseline.
    drop(setup.bare(2, cores, &service, &token).await);
    let (mut times, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        let port = free_port();
        let arguments = ["--bare", ANSWER, "--workers", "2", "--listen", &port.to_string()];
        floors.push(time(setup, &this_program(), &arguments, port, &token));
        let port = free_port();
        let file = setup.settings(options, &port.to_string());
        times.push(time(setup, PROGRAM, &["serve", "--config", &file], port, &token));
    }
    process::pin_self(&setup.cores.load);
    progress(&format!("start: {times:.1?}, floor {floors:.1?} ms"));
    let [ours, floor] = [times, floors].map(|times| median(times.into_iter()));
    let [shown, told_floor] = [ours, floor].map(|time| format!("{time:.1} ms"));
    let figure = Figure::new("exec to first 200", shown, told_floor);
    report.figure(figure.with_goal(format!("≤ {GOAL} ms"), ours <= GOAL));
}

/// Milliseconds until a started program responds with 200.
fn time(setup: &Setup, program: &str, arguments: &[&str], address: SocketAddr, token: &str) -> f64 {
    let request = plain::request(token);
    let begun = Instant::now();
    let _process = Process::start_piped("starting", program, arguments, None, setup.directory());
    loop {
        if let Ok(mut connection) = BlockingClient::open(address)
            && connection.exchange(&request).is_ok_and(plain::is_ok)
        {
            return begun.elapsed().as_secs_f64() * 1e3;
        }
        thread::sleep(TRY);
    }
}

fn free_port() -> SocketAddr {
    TcpListener::bind(FREE_PORT).unwrap().local_addr().unwrap()
}
