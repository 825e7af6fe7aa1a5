//! Sends three times the service's capacity, in an open loop. Excess requests must be rejected
//! quickly, memory must stay bounded, and the service must recover at once.

use std::{sync::Arc, time::Duration};

use super::{
    http::Pool,
    load::{Load, on_its_own},
    process::Holding,
    storm::FLOORS,
    tally::Counts,
    verdict::{Report, grouped, ms, percent, spread},
    world::{Design, World},
};

/// The kind of requests.
#[derive(Debug)]
pub struct Flood {
    name: &'static str,
    settings: &'static str,
    /// Busy processes on the service's core.
    neighbours: usize,
}

/// Requests with verified tokens. A thousand customers represent many more, so each sends more
/// requests than a real one. One core can't generate three times the load that another one serves,
/// so the service has a quarter of a core, like a sidecar.
pub const KNOWN_TOKENS: Flood = Flood {
    name: "known access tokens",
    settings: "log.access = \"off\"\nlimits.per_customer = \"off\"",
    neighbours: 3,
};

/// Each request costs a signature check, like those of new callers.
pub const NEW_TOKENS: Flood = Flood {
    name: "only new access tokens",
    settings: r#"
        log.access = "off"
        limits.per_customer = "off"
        auth.verified_tokens = 0
    "#,
    neighbours: 0,
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

/// Maximum p99 latency of rejected requests, including the time in the sockets' buffers.
const SHED_WITHIN: Duration = Duration::from_millis(100);

/// Maximum p99 latency of all requests: clients give up after some seconds.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);

/// Maximum growth of memory, KiB: 32 KiB of buffers per connection.
const GROWTH: u64 = 32 * 4000;

/// Hits are measured for this time after the flood's last response.
const RECOVERY: Duration = Duration::from_secs(3);

/// The rate of hits without load, per second.
const QUIET_RATE: u32 = 200;
const QUIET_TIME: Duration = Duration::from_secs(5);

/// The p99 after the flood may always reach this value, which a busy machine's scheduler causes.
const QUIET_AT_MOST: Duration = Duration::from_millis(5);

/// The measurements of a flood.
struct Seen {
    quiet: Counts,
    capacity: u64,
    flood: Counts,
    /// The duration of sending.
    took: Duration,
    /// CPU time of the service during the flood.
    used: Duration,
    before: Holding,
    most: Holding,
    /// Hits directly after the flood.
    after: Counts,
}

pub async fn run(flood: &Flood) -> Report {
    let Flood { settings, neighbours, .. } = *flood;
    let world = World::start(&Design { token_life: 900, apart: true, neighbours, settings }).await;
    let phones = world.phones("warm", CUSTOMERS, 3600).await;
    let hits = Load::new(Arc::new(Pool::new(world.public, 256)), phones, FLOORS);
    hits.open_loop(500, Duration::from_secs(2), |_, _, _| ()).await;
    hits.tally.take();
    hits.open_loop(QUIET_RATE, QUIET_TIME, |_, _, _| ()).await;
    let quiet = hits.tally.take();
    let capacity = hits.closed_loop(CAPACITY_CONNECTIONS, CAPACITY_TIME).await;
    hits.tally.take();

    let phones = Arc::clone(&hits.phones);
    let crowd = Load::new(Arc::new(Pool::new(world.public, CONNECTIONS)), phones, FLOORS);
    let rate = u32::try_from(capacity).unwrap() * TIMES;
    let before = world.service.holding();
    let used = world.service.cpu();
    let flooding = on_its_own({
        let crowd = crowd.clone();
        async move {
            crowd.pool.fill(CONNECTIONS).await;
            crowd.pool.greet().await;
            crowd.open_loop(rate, FLOOD_TIME, |_, _, _| ()).await
        }
    });
    let (took, most) = world.service.watched(flooding).await;
    let used = world.service.cpu().saturating_sub(used);
    hits.open_loop(QUIET_RATE, RECOVERY, |_, _, _| ()).await;
    let after = hits.tally.take();

    let crowd = crowd.tally.counts();
    let seen = Seen { quiet, capacity, flood: crowd, took, used, before, most, after };
    let mut report = Report::new(format!("{TIMES} times the capacity, {}", flood.name));
    report.measure("cores", &world.cores);
    report.tell_flood(&seen);
    report.check_flood(&seen);
    report
}

impl Report {
    fn tell_flood(&mut self, seen: &Seen) {
        let Seen { quiet, capacity, flood, before, most, .. } = seen;
        self.measure("hits before the flood", spread(&quiet.all()));
        self.measure("capacity, requests/s", grouped(*capacity));
        self.measure("target, requests/s", grouped(capacity * u64::from(TIMES)));
        let (sent, due) = seen.load();
        self.measure("scheduled, requests/s", grouped(due));
        let told = format!("{}, {} of the capacity", grouped(sent), percent(sent, *capacity));
        self.measure("sent on free connections, requests/s", told);
        let (used, whole) = (seen.used.as_millis(), seen.took.as_millis());
        self.measure(
            "share of its core that the service used",
            format!("{} %", used * 100 / whole),
        );
        self.measure("connections", CONNECTIONS);
        self.measure_answers("", flood);
        self.measure("broken connections", flood.broken);
        self.measure("memory, KiB", format!("{} → at most {}", before.rss, most.rss));
        self.measure("open files", format!("{} → at most {}", before.files, most.files));
        self.measure("hits right after the flood", spread(&seen.after.all()));
    }

    fn check_flood(&mut self, seen: &Seen) {
        let Seen { flood, before, most, .. } = seen;
        let shed = flood.of(503, "overloaded");
        let told = format!("{} rejected, {}", grouped(shed.count()), spread(&shed));
        let what = format!("rejections sent within {SHED_WITHIN:?} (p99)");
        self.check(what, told, shed.p99() <= SHED_WITHIN);
        let all = flood.all();
        let what = format!("all requests answered within {ANSWERED_WITHIN:?} (p99)");
        self.check(what, spread(&all), all.p99() <= ANSWERED_WITHIN);
        let told = format!("{} KiB more", most.rss.saturating_sub(before.rss));
        let what = format!("memory grows by at most {} MiB", GROWTH / 1024);
        self.check(what, told, most.rss <= before.rss + GROWTH);
        let other = flood.not_ok() - shed.count() + flood.broken + flood.breaches;
        let told = format!("{other} others {:?}", flood.breaches_shown());
        self.check("only 200 and 503 overloaded", told, other == 0);
        let after = &seen.after;
        let lost = after.not_ok() + after.broken + after.unsent;
        let slow = after.all().p99() > (seen.quiet.all().p99() * 2).max(QUIET_AT_MOST);
        let told = format!("{lost} rejected, p99 {}", ms(after.all().p99()));
        let what = "hits right after the flood are as before";
        self.check(what, told, lost == 0 && !slow);
    }
}

impl Seen {
    /// Rates of requests that were sent and that were due, per second.
    fn load(&self) -> (u64, u64) {
        let sent = self.flood.all().count() + self.flood.broken;
        let a_second = |number: u64| number * 1000 / u64::try_from(self.took.as_millis()).unwrap();
        (a_second(sent), a_second(sent + self.flood.unsent))
    }
}
