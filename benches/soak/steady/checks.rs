//! The checks after a soak.

use std::{
    collections::BTreeMap,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::{Load, Plan, Report, SoakData, World, grouped, percent};
use crate::{
    control::Metrics,
    process::Resources,
    tally::{Counts, Outcome},
    verdict::{log_messages, spread},
};

/// Maximum latency: `juspay.deadline`, and time for a busy machine to send the response.
const MAX_LATENCY: Duration = Duration::from_millis(5500);

/// Maximum growth of memory between the second and the last quarter, KiB. The allocator's arenas
/// vary by a few MiB; a leak of 1 KiB at each of 36 calls a second would be 10 MiB in ten minutes.
const MAX_GROWTH: u64 = 6 * 1024;

/// Maximum growth of the number of open files: `juspay.max_in_flight`, because connections to
/// Juspay stay open for the next burst of calls.
const MAX_MORE_FILES: u64 = 64;

/// Time until all requests and calls in progress have ended.
const SETTLE_TIME: Duration = Duration::from_secs(15);

/// The counts of the clients, the service and the simulator.
pub struct Evidence {
    clients: Counts,
    new_customers: Counts,
    metrics: Metrics,
    /// Calls counted by the simulator.
    calls: u64,
    log_messages: BTreeMap<String, u64>,
}

impl Evidence {
    /// Waits until no request or call is in progress, then reads all counters.
    pub async fn gather(world: &World, load: &Load, new_customers: &Load, _: &SoakData) -> Self {
        let start = Instant::now();
        loop {
            let metrics = world.control.metrics().await;
            let under_way =
                metrics.all("http_requests_in_flight") + metrics.all("upstream_in_flight");
            if under_way == 0 || start.elapsed() > SETTLE_TIME {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        Self {
            clients: load.tally.counts(),
            new_customers: new_customers.tally.counts(),
            metrics: world.control.metrics().await,
            calls: world.control.calls().await,
            log_messages: log_messages(&world.service.output()),
        }
    }

    fn complaint(&self, part: &str) -> u64 {
        self.log_messages
            .iter()
            .filter(|(message, _)| message.contains(part))
            .map(|(_, it)| it)
            .sum()
    }

    /// The responses to all customers, by status and code.
    fn answers(&self) -> BTreeMap<Outcome, u64> {
        let mut answers = BTreeMap::new();
        for (outcome, latencies) in self.clients.answers.iter().chain(&self.new_customers.answers) {
            *answers.entry(outcome.clone()).or_default() += latencies.count();
        }
        answers
    }

    fn source(&self, name: &str) -> u64 {
        self.clients.source(name) + self.new_customers.source(name)
    }
}

pub fn report(plan: &Plan, evidence: &Evidence, data: &SoakData) -> Report {
    let minutes = plan.time.as_secs() / 60;
    let mut report = Report::new(format!(
        "Soak: {minutes} min, {} customers, {}/s, tokens of {} s",
        plan.customers, plan.rate, plan.token_life
    ));
    report_measurements(&mut report, evidence, data);
    check_responses(&mut report, evidence, data);
    check_counters(&mut report, evidence);
    check_leaks(&mut report, &data.samples.lock().unwrap());
    let panics = evidence.complaint("ERROR");
    report.check("no error in the log", panics, panics == 0);
    report
}

fn report_measurements(report: &mut Report, evidence: &Evidence, data: &SoakData) {
    let Evidence { clients, new_customers, metrics, calls, .. } = evidence;
    let all = clients.all();
    report.measure("requests of cached customers", grouped(all.count()));
    report.measure("responses to them", clients.outcomes());
    report.measure("latency", spread(&all));
    let hits = clients.source("hit") + clients.source("outage");
    report.measure("hits", percent(hits, all.count()));
    report.measure("of these, below the normal floor", clients.source("outage"));
    report.measure("responses to new customers", new_customers.outcomes());
    report.measure("their latency", spread(&new_customers.all()));
    report.measure("calls to Juspay", grouped(*calls));
    for (labels, value) in metrics.each("upstream_requests_total") {
        report.measure(format!("- {}", labels.replace('"', "")), grouped(value));
    }
    report.measure("retries", metrics.all("upstream_retries_total"));
    report.measure("breaker openings", evidence.complaint("breaker open"));
    let disturbances = &data.disturbances;
    report.measure("outages of Juspay", disturbances.outages.load(Ordering::Relaxed));
    let stale_pools = disturbances.stale_pools.load(Ordering::Relaxed);
    report.measure("rounds of stale connections to Juspay", stale_pools);
    report.measure("API key rotations", disturbances.key_rotations.load(Ordering::Relaxed));
    report.measure("issuer key rotations", disturbances.issuer_rotations.load(Ordering::Relaxed));
    for (message, times) in &evidence.log_messages {
        report.measure(format!("log: {message}"), times);
    }
}

fn check_responses(report: &mut Report, evidence: &Evidence, data: &SoakData) {
    let Evidence { clients, new_customers, .. } = evidence;
    let errors_for_cached = data.errors_for_cached.counts();
    let observed = format!(
        "{} others {:?}",
        errors_for_cached.violations,
        errors_for_cached.first_violations()
    );
    report.check("cached customers saw only 200s", observed, errors_for_cached.violations == 0);
    let errors_for_cached = data.errors_for_new.counts();
    let observed = format!(
        "{} others {:?}",
        errors_for_cached.violations,
        errors_for_cached.first_violations()
    );
    let what = "new customers saw only 200s while only pooled connections failed";
    report.check(what, observed, errors_for_cached.violations == 0);
    let violations = clients.violations + new_customers.violations;
    let observed =
        [clients.first_violations(), new_customers.first_violations()].concat().join("; ");
    let observed = format!("{violations} others {observed}");
    report.check(
        "each 200 has the customer's own object and a token above its floor",
        observed,
        violations == 0,
    );
    let [proofs, refused] =
        [&data.proofs, &data.rejected_proofs].map(|it| it.load(Ordering::Relaxed));
    let observed = format!("{} of {proofs}", proofs - refused);
    let what = "tokens that Juspay accepts one second before their reported expiry";
    report.check(what, observed, refused == 0 && proofs > 0);
    let lost = clients.broken + clients.unsent + new_customers.broken + new_customers.unsent;
    report.check("every request is answered", lost, lost == 0);
    let longest = clients.all().most().max(new_customers.all().most());
    let what = format!("every answer within {MAX_LATENCY:?}");
    report.check(what, format!("{longest:.2?}"), longest < MAX_LATENCY);
    let rotations = data.disturbances.key_rotations.load(Ordering::Relaxed);
    let switches = evidence.complaint("switched API keys");
    report.same("each rotation led to the other key once", rotations, switches);
}

fn check_counters(report: &mut Report, evidence: &Evidence) {
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
    let observed = format!("{} and {all} {differ:?}", metrics.all("http_requests_total"));
    report.check("http_requests_total by status and code equals what clients saw", observed, same);
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
    let observed = metrics.all("upstream_requests_total");
    report.same("upstream_requests_total equals the calls that Juspay saw", observed, *calls);
}

/// Medians of the second quarter, after the warm-up, and of the last one.
fn check_leaks(report: &mut Report, samples: &[Resources]) {
    let quarter = |number: usize, of: fn(&Resources) -> u64| {
        let length = samples.len() / 4;
        let mut values: Vec<_> = samples[number * length..][..length].iter().map(of).collect();
        values.sort_unstable();
        values.get(length / 2).copied().unwrap_or_default()
    };
    let quarters = |of| [0, 1, 2, 3].map(|number| quarter(number, of));
    let [_, rss, _, rss_end] = quarters(|it| it.rss);
    let observed = format!("{:?}", quarters(|it| it.rss));
    let what = format!("memory grew by less than {} MiB (KiB by quarters)", MAX_GROWTH / 1024);
    report.check(what, observed, rss_end <= rss + MAX_GROWTH);
    let [_, files, _, files_end] = quarters(|it| it.files);
    let observed = format!("{:?}", quarters(|it| it.files));
    let what = format!("open files grew by less than {MAX_MORE_FILES} (by quarters)");
    report.check(what, observed, files_end <= files + MAX_MORE_FILES);
}
