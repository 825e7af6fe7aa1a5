//! A burst of uncached customers while Juspay is slow or unreachable. Customers with a cached token
//! must not be affected, and all must get a response in time.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::oneshot, task::JoinSet, time::sleep};

use super::{
    http::Pool,
    load::{Load, on_its_own},
    phone::Floors,
    tally::Counts,
    verdict::{Report, ms, spread},
    world::{Design, World},
};

/// How Juspay fails.
#[derive(Debug)]
pub struct Weather {
    name: &'static str,
    /// The simulator's fault, as JSON.
    fault: &'static str,
}

pub const SLOW: Weather =
    Weather { name: "that responds in 5 s", fault: r#"{"latency": {"ms": 5000}}"# };

pub const DEAD: Weather = Weather { name: "that never responds", fault: r#""hang""# };

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
const CALM_BEFORE: Duration = Duration::from_secs(1);

/// `juspay.deadline`, and time for a busy machine to send the response.
const LONGEST: Duration = Duration::from_millis(5500);

/// Maximum growth of the hits' p99, as a multiple of the p99 before.
const SLOWER: u32 = 2;

/// Access log lines would measure the disk.
const SETTINGS: &str = "log.access = \"off\"";

/// The default floors, seconds.
pub const FLOORS: Floors = Floors { normal: 120, outage: 30 };

pub async fn run(weather: &Weather) -> Report {
    let design = Design { token_life: 900, apart: true, neighbours: 0, settings: SETTINGS };
    let world = World::start(&design).await;
    let warm = world.phones("warm", WARM, 3600).await;
    let cold = world.phones("cold", COLD, 3600).await;
    let hits = Load::new(Arc::new(Pool::new(world.public, HIT_CONNECTIONS)), warm, FLOORS);
    let crowd_size = usize::try_from(COLD).unwrap();
    let crowd = Load::new(Arc::new(Pool::new(world.public, crowd_size)), cold, FLOORS);

    let warming = Duration::from_secs(u64::from(WARM / 500));
    hits.open_loop(500, warming, |_, _, _| ()).await;
    let warmed = hits.tally.take();
    hits.open_loop(HIT_RATE, QUIET, |_, _, _| ()).await;
    let quiet = hits.tally.take();
    let calls = world.control.calls().await;

    world.control.fail(&serde_json::from_str(weather.fault).unwrap()).await;
    let (tell_ready, ready) = oneshot::channel();
    let coming = tokio::spawn(on_its_own(come(crowd.clone(), crowd_size, tell_ready)));
    ready.await.unwrap();
    hits.open_loop(HIT_RATE, STORM, |_, _, _| ()).await;
    let took = coming.await.unwrap();

    let mut report =
        Report::new(format!("{COLD} uncached customers at once, a Juspay {}", weather.name));
    report.measure("cores", &world.cores);
    report.measure("calls to Juspay for the burst", world.control.calls().await - calls);
    tell_crowd(&mut report, &crowd.tally.counts(), took);
    tell_hits(&mut report, &warmed, &quiet, &hits.tally.counts());
    report
}

/// The burst: reports when its connections are open, then sends the requests. Returns the time
/// until all had a response.
async fn come(crowd: Load, size: usize, ready: oneshot::Sender<()>) -> Duration {
    // Not earlier: a connection without a request is closed after 5 s.
    crowd.pool.fill(size).await;
    crowd.pool.greet().await;
    ready.send(()).unwrap();
    sleep(CALM_BEFORE).await;
    let came = Instant::now();
    let mut asking = JoinSet::new();
    for phone in &*crowd.phones {
        let (crowd, phone) = (crowd.clone(), Arc::clone(phone));
        asking.spawn(async move { crowd.ask(&phone).await });
    }
    asking.join_all().await;
    came.elapsed()
}

fn tell_crowd(report: &mut Report, crowd: &Counts, took: Duration) {
    report.measure_answers("cold: ", crowd);
    let answered = crowd.all().count();
    let what = format!("every uncached request answered within {LONGEST:?}");
    let in_time = answered == u64::from(COLD) && took < LONGEST;
    report.check(what, format!("{answered} in {took:.2?}"), in_time);
    let overloaded = crowd.of(503, "overloaded");
    report.measure("rejected at once", spread(&overloaded));
}

fn tell_hits(report: &mut Report, warmed: &Counts, quiet: &Counts, storm: &Counts) {
    report.measure("hits before the burst", spread(&quiet.all()));
    report.measure("hits during the burst", spread(&storm.all()));
    report.measure("responses to hits", storm.outcomes());
    let (refused, lost) = (storm.not_ok(), storm.broken + storm.unsent);
    let told = format!("{refused} rejected, {lost} not sent or lost");
    report.check("no hit rejected", told, refused + lost == 0);
    let (before, with) = (quiet.all().p99(), storm.all().p99());
    let what = format!("p99 of hits at most {SLOWER}× that before the burst");
    report.check(what, format!("{} → {}", ms(before), ms(with)), with <= before * SLOWER);
    let other = quiet.not_ok() + warmed.not_ok() + quiet.breaches + storm.breaches;
    report.check("no error before the burst", other, other == 0);
}
