//! Sends three times the service's capacity, in an open loop. Excess requests must be rejected
//! quickly, memory must stay bounded, and the service must recover at once.

use std::{sync::Arc, time::Duration};

use super::{
    http::Pool,
    load::{Load, on_its_own},
    process::Resources,
    storm::FLOORS,
    tally::Counts,
    verdict::{Report, grouped, ms, percent, spread},
    world::{World, WorldOptions},
};

/// The kind of requests.
#[derive(Debug)]
pub struct Flood {
    name: &'static str,
    settings: &'static str,
    /// Busy processes on the service's core.
    busy_processes: usize,
}

/// Requests with verified tokens. A thousand customers represent many more, so each sends more
/// requests than a real one. One core can't generate three times the load that another one serves,
/// so the service has a quarter of a core, like a sidecar.
pub const KNOWN_TOKENS: Flood = Flood {
    name: "known access tokens",
    settings: "log.access = \"off\"\nlimits.per_customer = \"off\"",
    busy_processes: 3,
};

/// Each request costs a signature check, like those of new callers.
pub const NEW_TOKENS: Flood = Flood {
    name: "only new access tokens",
    settings: r#"
        log.access = "off"
        limits.per_customer = "off"
        auth.verified_tokens = 0
    "#,
    busy_processes: 0,
};

const CUSTOMERS: u32 = 1000;

/// The connections and the duration with which the capacity is measured.
const CAPACITY_CONNECTIONS: usize = 64;
const CAPACITY_TIME: Duration = Duration::from_secs(5);

/// Load as a multiple of the capacity.
const TIMES: u32 = 3;
const FLOOD_TIME: Duration = Duration::from_secs(30);

/// Number of clients' connections. Each waits for its response before it sends again; requests that
/// are due while all connections wait are not sent.
const CONNECTIONS: usize = 4000;

/// Maximum p99 latency of rejected requests, including the time in the sockets' buffers and on the load's
/// own core, which is the busier one.
const MAX_REJECTION_LATENCY: Duration = Duration::from_millis(500);

/// Maximum p99 latency of all requests: clients give up after some seconds.
const MAX_LATENCY: Duration = Duration::from_secs(1);

/// Maximum growth of memory, KiB: 32 KiB of buffers per connection.
const MAX_GROWTH: u64 = 32 * 4000;

/// Hits are measured for this time after the flood's last response.
const RECOVERY: Duration = Duration::from_secs(3);

/// The rate of hits without load, per second.
const QUIET_RATE: u32 = 200;
const QUIET_TIME: Duration = Duration::from_secs(5);

/// The p99 after the flood may always reach this value, which a busy machine's scheduler causes.
const QUIET_AT_MOST: Duration = Duration::from_millis(5);

/// The measurements of a flood.
struct Measurements {
    quiet: Counts,
    capacity: u64,
    flood: Counts,
    /// The duration of sending.
    took: Duration,
    /// CPU time of the service during the flood.
    used: Duration,
    before: Resources,
    most: Resources,
    /// Hits directly after the flood.
    after: Counts,
}

pub async fn run(flood: &Flood) -> Report {
    let Flood { settings, busy_processes, .. } = *flood;
    let world =
        World::start(&WorldOptions { token_life: 900, own_cores: true, busy_processes, settings })
            .await;
    let clients = world.clients("warm", CUSTOMERS, 3600).await;
    let hits = Load::new(Arc::new(Pool::new(world.public, 256)), clients, FLOORS);
    hits.open_loop(500, Duration::from_secs(2), |_, _, _| ()).await;
    hits.tally.take();
    hits.open_loop(QUIET_RATE, QUIET_TIME, |_, _, _| ()).await;
    let quiet = hits.tally.take();
    let capacity = hits.closed_loop(CAPACITY_CONNECTIONS, CAPACITY_TIME).await;
    hits.tally.take();

    let clients = Arc::clone(&hits.clients);
    let crowd = Load::new(Arc::new(Pool::new(world.public, CONNECTIONS)), clients, FLOORS);
    let rate = u32::try_from(capacity).unwrap() * TIMES;
    let before = world.service.resources();
    let used = world.service.cpu();
    let flood_task = on_its_own({
        let crowd = crowd.clone();
        async move {
            crowd.pool.fill(CONNECTIONS).await;
            crowd.pool.warm_up().await;
            crowd.open_loop(rate, FLOOD_TIME, |_, _, _| ()).await
        }
    });
    let (took, most) = world.service.sample_during(flood_task).await;
    let used = world.service.cpu().saturating_sub(used);
    hits.open_loop(QUIET_RATE, RECOVERY, |_, _, _| ()).await;
    let after = hits.tally.take();

    let crowd = crowd.tally.counts();
    let measured = Measurements { quiet, capacity, flood: crowd, took, used, before, most, after };
    let mut report = Report::new(format!("{TIMES} times the capacity, {}", flood.name));
    report.measure("cores", &world.cores);
    report.report_flood(&measured);
    report.check_flood(&measured);
    report
}

impl Report {
    fn report_flood(&mut self, measured: &Measurements) {
        let Measurements { quiet, capacity, flood, before, most, .. } = measured;
        self.measure("hits before the flood", spread(&quiet.all()));
        self.measure("capacity, requests/s", grouped(*capacity));
        self.measure("target, requests/s", grouped(capacity * u64::from(TIMES)));
        let (sent, due) = measured.load();
        self.measure("scheduled, requests/s", grouped(due));
        let observed = format!("{}, {} of the capacity", grouped(sent), percent(sent, *capacity));
        self.measure("sent on free connections, requests/s", observed);
        let (used, whole) = (measured.used.as_millis(), measured.took.as_millis());
        self.measure(
            "share of its core that the service used",
            format!("{} %", used * 100 / whole),
        );
        self.measure("connections", CONNECTIONS);
        self.measure_answers("", flood);
        self.measure("broken connections", flood.broken);
        self.measure("memory, KiB", format!("{} → at most {}", before.rss, most.rss));
        self.measure("open files", format!("{} → at most {}", before.files, most.files));
        self.measure("hits right after the flood", spread(&measured.after.all()));
    }

    fn check_flood(&mut self, measured: &Measurements) {
        let Measurements { flood, before, most, .. } = measured;
        let shed = flood.of(503, "overloaded");
        let observed = format!("{} rejected, {}", grouped(shed.count()), spread(&shed));
        let what = format!("rejections sent within {MAX_REJECTION_LATENCY:?} (p99)");
        self.check(what, observed, shed.p99() <= MAX_REJECTION_LATENCY);
        let all = flood.all();
        let what = format!("all requests answered within {MAX_LATENCY:?} (p99)");
        self.check(what, spread(&all), all.p99() <= MAX_LATENCY);
        let observed = format!("{} KiB more", most.rss.saturating_sub(before.rss));
        let what = format!("memory grows by at most {} MiB", MAX_GROWTH / 1024);
        self.check(what, observed, most.rss <= before.rss + MAX_GROWTH);
        let other = flood.not_ok() - shed.count() + flood.broken + flood.violations;
        let observed = format!("{other} others {:?}", flood.first_violations());
        self.check("only 200 and 503 overloaded", observed, other == 0);
        let after = &measured.after;
        let lost = after.not_ok() + after.broken + after.unsent;
        let slow = after.all().p99() > (measured.quiet.all().p99() * 2).max(QUIET_AT_MOST);
        let observed = format!("{lost} rejected, p99 {}", ms(after.all().p99()));
        let what = "hits right after the flood are as before";
        self.check(what, observed, lost == 0 && !slow);
    }
}

impl Measurements {
    /// Rates of requests that were sent and that were due, per second.
    fn load(&self) -> (u64, u64) {
        let sent = self.flood.all().count() + self.flood.broken;
        let a_second = |number: u64| number * 1000 / u64::try_from(self.took.as_millis()).unwrap();
        (a_second(sent), a_second(sent + self.flood.unsent))
    }
}
