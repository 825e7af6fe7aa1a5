//! The checks after a soak.

use std::{
    collections::BTreeMap,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::{Load, Plan, Report, Seen, World, grouped, percent};
use crate::{
    control::Metrics,
    process::Holding,
    tally::{Counts, Outcome},
    verdict::{complaints, spread},
};

/// Maximum latency: `juspay.deadline`, and time for a busy machine to send the response.
const LONGEST: Duration = Duration::from_millis(5500);

/// Maximum growth of memory between the second and the last quarter, KiB. The allocator's arenas
/// vary by a few MiB; a leak of 1 KiB at each of 36 calls a second would be 10 MiB in ten minutes.
const BREATHING: u64 = 6 * 1024;

/// Maximum growth of the number of open files: `juspay.max_in_flight`, because connections to
/// Juspay stay open for the next burst of calls.
const FILES_MORE: u64 = 64;

/// Time until all requests and calls in progress have ended.
const SETTLED: Duration = Duration::from_secs(15);

/// The counts of the clients, the service and the simulator.
pub struct Evidence {
    phones: Counts,
    strangers: Counts,
    metrics: Metrics,
    /// Calls counted by the simulator.
    calls: u64,
    complaints: BTreeMap<String, u64>,
}

impl Evidence {
    /// Waits until no request or call is in progress, then reads all counters.
    pub async fn gather(world: &World, load: &Load, strangers: &Load, _: &Seen) -> Self {
        let start = Instant::now();
        loop {
            let metrics = world.control.metrics().await;
            let under_way =
                metrics.all("http_requests_in_flight") + metrics.all("upstream_in_flight");
            if under_way == 0 || start.elapsed() > SETTLED {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        Self {
            phones: load.tally.counts(),
            strangers: strangers.tally.counts(),
            metrics: world.control.metrics().await,
            calls: world.control.calls().await,
            complaints: complaints(&world.service.output()),
        }
    }

    fn complaint(&self, part: &str) -> u64 {
        self.complaints.iter().filter(|(told, _)| told.contains(part)).map(|(_, it)| it).sum()
    }

    /// The responses to all customers, by status and code.
    fn answers(&self) -> BTreeMap<Outcome, u64> {
        let mut answers = BTreeMap::new();
        for (outcome, latencies) in self.phones.answers.iter().chain(&self.strangers.answers) {
            *answers.entry(outcome.clone()).or_default() += latencies.count();
        }
        answers
    }

    fn source(&self, name: &str) -> u64 {
        self.phones.source(name) + self.strangers.source(name)
    }
}

pub fn report(plan: &Plan, evidence: &Evidence, seen: &Seen) -> Report {
    let minutes = plan.time.as_secs() / 60;
    let mut report = Report::new(format!(
        "Soak: {minutes} min, {} customers, {}/s, tokens of {} s",
        plan.customers, plan.rate, plan.token_life
    ));
    measures(&mut report, evidence, seen);
    served(&mut report, evidence, seen);
    counters(&mut report, evidence);
    flat(&mut report, &seen.holdings.lock().unwrap());
    let panics = evidence.complaint("ERROR");
    report.check("no error in the log", panics, panics == 0);
    report
}

fn measures(report: &mut Report, evidence: &Evidence, seen: &Seen) {
    let Evidence { phones, strangers, metrics, calls, .. } = evidence;
    let all = phones.all();
    report.measure("requests of cached customers", grouped(all.count()));
    report.measure("responses to them", phones.outcomes());
    report.measure("latency", spread(&all));
    let hits = phones.source("hit") + phones.source("outage");
    report.measure("hits", percent(hits, all.count()));
    report.measure("of these, below the normal floor", phones.source("outage"));
    report.measure("responses to new customers", strangers.outcomes());
    report.measure("their latency", spread(&strangers.all()));
    report.measure("calls to Juspay", grouped(*calls));
    for (labels, value) in metrics.each("upstream_requests_total") {
        report.measure(format!("- {}", labels.replace('"', "")), grouped(value));
    }
    report.measure("retries", metrics.all("upstream_retries_total"));
    report.measure("breaker openings", evidence.complaint("breaker open"));
    let upsets = &seen.upsets;
    report.measure("outages of Juspay", upsets.outages.load(Ordering::Relaxed));
    let stale_pools = upsets.stale_pools.load(Ordering::Relaxed);
    report.measure("rounds of stale connections to Juspay", stale_pools);
    report.measure("API key rotations", upsets.key_rotations.load(Ordering::Relaxed));
    report.measure("issuer key rotations", upsets.issuer_rotations.load(Ordering::Relaxed));
    for (message, times) in &evidence.complaints {
        report.measure(format!("log: {message}"), times);
    }
}

fn served(report: &mut Report, evidence: &Evidence, seen: &Seen) {
    let Evidence { phones, strangers, .. } = evidence;
    let let_down = seen.let_down.counts();
    let told = format!("{} others {:?}", let_down.breaches, let_down.breaches_shown());
    report.check("cached customers saw only 200s", told, let_down.breaches == 0);
    let let_down = seen.let_down_strangers.counts();
    let told = format!("{} others {:?}", let_down.breaches, let_down.breaches_shown());
    let what = "new customers saw only 200s while only pooled connections failed";
    report.check(what, told, let_down.breaches == 0);
    let breaches = phones.breaches + strangers.breaches;
    let told = [phones.breaches_shown(), strangers.breaches_shown()].concat().join("; ");
    let told = format!("{breaches} others {told}");
    report.check(
        "each 200 has the customer's own object and a token above its floor",
        told,
        breaches == 0,
    );
    let [proofs, refused] =
        [&seen.proofs, &seen.refused_proofs].map(|it| it.load(Ordering::Relaxed));
    let told = format!("{} of {proofs}", proofs - refused);
    let what = "tokens that Juspay accepts one second before their reported expiry";
    report.check(what, told, refused == 0 && proofs > 0);
    let lost = phones.broken + phones.unsent + strangers.broken + strangers.unsent;
    report.check("every request is answered", lost, lost == 0);
    let longest = phones.all().most().max(strangers.all().most());
    let what = format!("every answer within {LONGEST:?}");
    report.check(what, format!("{longest:.2?}"), longest < LONGEST);
    let rotations = seen.upsets.key_rotations.load(Ordering::Relaxed);
    let switches = evidence.complaint("switched API keys");
    report.same("each rotation led to the other key once", rotations, switches);
}

fn counters(report: &mut Report, evidence: &Evidence) {
    let Evidence { metrics, calls, .. } = evidence;
    let answers = evidence.answers();
    let counted = |outcome: &Outcome| {
        let (status, code) = outcome;
        let labels = [format!("status=\"{status}\""), format!("code=\"{code}\"")];
        metrics.sum("http_requests_total", |all| labels.iter().all(|label| all.contains(label)))
    };
    let differ: Vec<_> =
        answers.iter().filter(|(outcome, count)| counted(outcome) != **count).collect();
    let all = answers.values().sum::<u64>();
    let same = differ.is_empty() && metrics.all("http_requests_total") == all;
    let told = format!("{} and {all} {differ:?}", metrics.all("http_requests_total"));
    report.check("http_requests_total by status and code equals what clients saw", told, same);
    let of_cache = |outcome: &str| {
        metrics.sum("cache_requests_total", |labels| labels.contains(&format!("\"{outcome}\"")))
    };
    report.same("cache_requests_total hit", of_cache("hit"), evidence.source("hit"));
    report.same("cache_requests_total outage", of_cache("outage"), evidence.source("outage"));
    let handed_out = metrics.all("token_remaining_seconds_count");
    let ok = answers.get(&(200, "ok".to_owned())).copied().unwrap_or_default();
    report.same("token_remaining_seconds counts each 200", handed_out, ok);
    let stale = metrics.sum("upstream_requests_total", |it| it.contains("stale_connection"));
    report.check("requests on stale connections were repeated on new ones", stale, stale > 0);
    let told = metrics.all("upstream_requests_total");
    report.same("upstream_requests_total equals the calls that Juspay saw", told, *calls);
}

/// Medians of the second quarter, after the warm-up, and of the last one.
fn flat(report: &mut Report, holdings: &[Holding]) {
    let quarter = |number: usize, of: fn(&Holding) -> u64| {
        let length = holdings.len() / 4;
        let mut values: Vec<_> = holdings[number * length..][..length].iter().map(of).collect();
        values.sort_unstable();
        values.get(length / 2).copied().unwrap_or_default()
    };
    let quarters = |of| [0, 1, 2, 3].map(|number| quarter(number, of));
    let [_, rss, _, rss_end] = quarters(|it| it.rss);
    let told = format!("{:?}", quarters(|it| it.rss));
    let what = format!("memory grew by less than {} MiB (KiB by quarters)", BREATHING / 1024);
    report.check(what, told, rss_end <= rss + BREATHING);
    let [_, files, _, files_end] = quarters(|it| it.files);
    let told = format!("{:?}", quarters(|it| it.files));
    let what = format!("open files grew by less than {FILES_MORE} (by quarters)");
    report.check(what, told, files_end <= files + FILES_MORE);
}
