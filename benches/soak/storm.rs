//! A burst of uncached customers while Juspay is slow or unreachable. Customers with a cached token
//! must not be affected, and all must get a response in time.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::oneshot, task::JoinSet, time::sleep};

use super::{
    client::Floors,
    http::Pool,
    load::{Load, on_its_own},
    tally::Counts,
    verdict::{Report, ms, spread},
    world::{World, WorldOptions},
};

/// How Juspay fails.
#[derive(Debug)]
pub struct Failure {
    name: &'static str,
    /// The simulator's fault, as JSON.
    fault: &'static str,
}

pub const SLOW: Failure =
    Failure { name: "that responds in 5 s", fault: r#"{"latency": {"ms": 5000}}"# };

pub const DEAD: Failure = Failure { name: "that never responds", fault: r#""hang""# };

/// Customers with a cached token, and the rate of their requests, per second.
const WARM: u32 = 1000;
const HIT_RATE: u32 = 1000;

/// Maximum connections for hits: enough for seconds of them.
const HIT_CONNECTIONS: usize = 4096;

/// Number of uncached customers that send a request at the same time, each on an open connection.
const COLD: u32 = 5000;

/// Hits are measured for these times: without the burst, and with it, which includes the deadline
/// and a second before and after.
const QUIET: Duration = Duration::from_secs(7);
const STORM: Duration = Duration::from_secs(7);

/// The burst starts this long after the measurement of hits.
const BURST_DELAY: Duration = Duration::from_secs(1);

/// `juspay.deadline`, and time for a busy machine to send the response.
const MAX_LATENCY: Duration = Duration::from_millis(5500);

/// Maximum p99 of hits during the burst. The one core needs about 150 ms to read 5,000 requests and to
/// reject most of them, and the hits of that time wait in the same queue.
const MAX_HIT_LATENCY: Duration = Duration::from_millis(20);

/// Access log lines would measure the disk.
const SETTINGS: &str = "log.access = \"off\"";

/// The default floors, seconds.
pub const FLOORS: Floors = Floors { normal: 120, outage: 30 };

pub async fn run(failure: &Failure) -> Report {
    let options =
        WorldOptions { token_life: 900, own_cores: true, busy_processes: 0, settings: SETTINGS };
    let world = World::start(&options).await;
    let warm = world.clients("warm", WARM, 3600).await;
    let cold = world.clients("cold", COLD, 3600).await;
    let hits = Load::new(Arc::new(Pool::new(world.public, HIT_CONNECTIONS)), warm, FLOORS);
    let crowd_size = usize::try_from(COLD).unwrap();
    let crowd = Load::new(Arc::new(Pool::new(world.public, crowd_size)), cold, FLOORS);

    let warming = Duration::from_secs(u64::from(WARM / 500));
    hits.open_loop(500, warming, |_, _, _| ()).await;
    let warmed = hits.tally.take();
    hits.open_loop(HIT_RATE, QUIET, |_, _, _| ()).await;
    let quiet = hits.tally.take();
    let calls = world.control.calls().await;

    world.control.fail(&serde_json::from_str(failure.fault).unwrap()).await;
    let (signal_ready, ready) = oneshot::channel();
    let burst_task = tokio::spawn(on_its_own(burst(crowd.clone(), crowd_size, signal_ready)));
    ready.await.unwrap();
    let cpu = world.service.cpu();
    hits.open_loop(HIT_RATE, STORM, |_, _, _| ()).await;
    let took = burst_task.await.unwrap();
    let cpu = world.service.cpu().saturating_sub(cpu);

    let mut report =
        Report::new(format!("{COLD} uncached customers at once, a Juspay {}", failure.name));
    report.measure("cores", &world.cores);
    report.measure("CPU time of the service, hits included", ms(cpu));
    report.measure("calls to Juspay for the burst", world.control.calls().await - calls);
    report_burst(&mut report, &crowd.tally.counts(), took);
    report_hits(&mut report, &warmed, &quiet, &hits.tally.counts());
    report
}

/// The burst: reports when its connections are open, then sends the requests. Returns the time
/// until all had a response.
async fn burst(crowd: Load, size: usize, ready: oneshot::Sender<()>) -> Duration {
    // Not earlier: a connection without a request is closed after 5 s.
    crowd.pool.fill(size).await;
    crowd.pool.warm_up().await;
    ready.send(()).unwrap();
    sleep(BURST_DELAY).await;
    let start = Instant::now();
    let mut requests = JoinSet::new();
    for client in &*crowd.clients {
        let (crowd, client) = (crowd.clone(), Arc::clone(client));
        requests.spawn(async move { crowd.ask(&client).await });
    }
    requests.join_all().await;
    start.elapsed()
}

fn report_burst(report: &mut Report, crowd: &Counts, took: Duration) {
    report.measure_answers("cold: ", crowd);
    let answered = crowd.all().count();
    let what = format!("every uncached request answered within {MAX_LATENCY:?}");
    let in_time = answered == u64::from(COLD) && took < MAX_LATENCY;
    report.check(what, format!("{answered} in {took:.2?}"), in_time);
    let overloaded = crowd.of(503, "overloaded");
    report.measure("rejected at once", spread(&overloaded));
}

fn report_hits(report: &mut Report, warmed: &Counts, quiet: &Counts, storm: &Counts) {
    report.measure("hits before the burst", spread(&quiet.all()));
    report.measure("hits during the burst", spread(&storm.all()));
    report.measure("responses to hits", storm.outcomes());
    let (refused, lost) = (storm.not_ok(), storm.broken + storm.unsent);
    let observed = format!("{refused} rejected, {lost} not sent or lost");
    report.check("no hit rejected", observed, refused + lost == 0);
    let (before, with) = (quiet.all().p99(), storm.all().p99());
    let what = format!("p99 of hits at most {MAX_HIT_LATENCY:?} during the burst");
    report.check(what, format!("{} → {}", ms(before), ms(with)), with <= MAX_HIT_LATENCY);
    let other = quiet.not_ok() + warmed.not_ok() + quiet.violations + storm.violations;
    report.check("no error before the burst", other, other == 0);
}
