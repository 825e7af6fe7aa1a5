//! The rows of the table: which servers are measured with which load.

mod herd;
mod memory;
mod start;

use std::{fs, time::Duration};

use simulator::{Algorithm, Fault, FaultRule};
use tokio::time::{Instant, sleep_until};

use super::{
    Plan,
    contest::{self, ServerResults, median},
    others::OtherLoad,
    paced::{Pacer, SliceLatencies},
    plain, progress,
    report::{Figure, Goal, Report},
    world::{CONNECTIONS, Server, ServiceOptions, Setup, Tokens},
    wrk::Load,
};

/// The rows' names, in the table's order, and what they measure.
pub const ROWS: [(&str, &str); 11] = [
    ("rare", "hits, no customer twice within a second, as phones ask"),
    ("hot", "hits, one customer"),
    ("rs256", "hits, 10,000 customers with a token each, RS256"),
    ("es256", "hits, 10,000 customers with a token each, ES256"),
    ("first", "each token is verified, customers cached"),
    ("workers", "hits, one customer, two workers"),
    ("rate", "hits at half of peak load"),
    ("miss", "misses, Juspay takes 1 ms"),
    ("herd", "500 clients of one new customer, Juspay takes 200 ms"),
    ("memory", "memory by the number of cached customers"),
    ("start", "from exec to the first 200"),
];

const CUSTOMERS: usize = 10_000;

/// More than a core can serve in a second, so that no customer is served twice within a second.
const RARE_CUSTOMERS: usize = 120_000;

const LOG_OFF: &str = "log.access = \"off\"";

const RARE: &str = "log.access = \"off\"\ncache.capacity = 250000\nauth.verified_tokens = 250000";

/// No token is in the token cache.
const NONE_KNOWN: &str = "log.access = \"off\"\nauth.verified_tokens = 0";

/// Juspay's response time in the row of misses, in milliseconds.
const JUSPAY_TAKES: u64 = 1;

/// More than a core can fetch in a second, so that no customer is requested twice in a round.
const MISSES_A_SECOND: u64 = 25_000;

/// Purged customers have left memory after this time: the service removes 20,000 of them a second.
const PURGED: Duration = Duration::from_secs(8);

/// Measures a row.
pub async fn measure(row: &str, setup: &Setup, plan: Plan, report: &mut Report) {
    match row {
        "workers" => two_workers(row, setup, plan, report).await,
        "rate" => {
            at_half_of_peak("one customer", setup.one_token(), setup, plan, report).await;
            let tokens = setup.tokens(CUSTOMERS, Algorithm::RS256);
            at_half_of_peak("10,000 customers, RS256", tokens, setup, plan, report).await;
        }
        "miss" => misses(row, setup, plan, report).await,
        "herd" => herd::measure(setup, plan, report).await,
        "memory" => memory::measure(setup, plan, report).await,
        "start" => start::measure(setup, plan, report).await,
        _ => measure_hits(row, setup, plan, report).await,
    }
}

/// Measures a row about the CPU time of hits.
async fn measure_hits(row: &str, setup: &Setup, plan: Plan, report: &mut Report) {
    let off = |what| ServiceUnderTest { what, settings: LOG_OFF, goal: None };
    match row {
        "rare" => {
            let hits = ServiceUnderTest {
                what: "hit, no customer twice within a second, ES256, access log off: CPU",
                settings: RARE,
                goal: Some(Goal::AtMost(1.35)),
            };
            let tokens = setup.tokens(RARE_CUSTOMERS, Algorithm::ES256);
            hits_of(row, setup, plan, report, &tokens, &[hits]).await;
        }
        "hot" => {
            let hits = off("hit, one customer, access log off: CPU");
            hits_of(row, setup, plan, report, &setup.one_token(), &[hits]).await;
        }
        "rs256" => {
            let off = off("hit, 10,000 customers, RS256, access log off: CPU");
            let on = ServiceUnderTest {
                what: "hit, 10,000 customers, RS256, access log on: CPU",
                settings: "",
                goal: Some(Goal::AtMost(1.6)),
            };
            let tokens = setup.tokens(CUSTOMERS, Algorithm::RS256);
            let off = ServiceUnderTest { goal: Some(Goal::AtMost(1.35)), ..off };
            hits_of(row, setup, plan, report, &tokens, &[off, on]).await;
        }
        "es256" => {
            let hits = off("hit, 10,000 customers, ES256, access log off: CPU");
            let tokens = setup.tokens(CUSTOMERS, Algorithm::ES256);
            hits_of(row, setup, plan, report, &tokens, &[hits]).await;
        }
        "first" => {
            let hits = ServiceUnderTest {
                what: "token verified each time (RS256), customer cached: CPU",
                settings: NONE_KNOWN,
                goal: Some(Goal::AtMost(5.0)),
            };
            let tokens = setup.tokens(CUSTOMERS, Algorithm::RS256);
            hits_of(row, setup, plan, report, &tokens, &[hits]).await;
        }
        _ => unreachable!("flags are checked"),
    }
}

/// A service that is compared with the baseline.
#[derive(Debug, Clone, Copy)]
struct ServiceUnderTest {
    what: &'static str,
    settings: &'static str,
    goal: Option<Goal>,
}

/// CPU of hits, with one worker on a core of its own.
async fn hits_of(
    row: &str,
    setup: &Setup,
    plan: Plan,
    report: &mut Report,
    tokens: &Tokens,
    hits: &[ServiceUnderTest],
) {
    let cores = &setup.cores.server;
    let mut servers = Vec::new();
    for ServiceUnderTest { settings, .. } in hits {
        let name = if settings.is_empty() { "juspay-bff, log on" } else { "juspay-bff" };
        let server = setup.service(ServiceOptions { name, workers: 1, cores, settings }).await;
        server.fill(tokens).await;
        servers.push(server);
    }
    let bare = setup.bare(1, cores, &servers[0], &tokens.list[0]).await;
    let all: Vec<_> = std::iter::once(&bare).chain(&servers).collect();
    let load = load(setup, plan, tokens);
    let calls = setup.simulator().total_requests();
    let results = contest::compare(row, plan.rounds, &all, &load, async |_| ()).await;
    // One call for a token that was returned a million times.
    assert!(setup.simulator().total_requests() - calls < 3, "hits caused calls to Juspay");
    for (ours, hits) in results[1..].iter().zip(hits) {
        report.figure(cpu(hits.what, ours, &results[0], hits.goal));
    }
    report.results(row, &results);
}

fn load<'l>(setup: &'l Setup, plan: Plan, tokens: &'l Tokens) -> Load<'l> {
    Load {
        tokens: &tokens.file,
        connections: CONNECTIONS,
        threads: 1,
        cores: &setup.cores.load,
        seconds: plan.seconds,
    }
}

/// The service's CPU time divided by the baseline's.
fn cpu(what: &str, ours: &ServerResults, floor: &ServerResults, goal: Option<Goal>) -> Figure {
    let micros = |results: &ServerResults| format!("{:.1} µs", results.median(|it| it.cpu));
    let ratio = ours.ratio(floor, |it| it.cpu);
    Figure::new(what, micros(ours), micros(floor)).with_ratio(ratio, goal)
}

/// Two workers and wrk share two cores.
async fn two_workers(row: &str, setup: &Setup, plan: Plan, report: &mut Report) {
    let (tokens, cores) = (setup.one_token(), &setup.cores.shared);
    let options = ServiceOptions { name: "juspay-bff", workers: 2, cores, settings: LOG_OFF };
    let ours = setup.service(options).await;
    ours.fill(&tokens).await;
    let bare = setup.bare(2, cores, &ours, &tokens.list[0]).await;
    let load = Load { threads: 2, cores, ..load(setup, plan, &tokens) };
    let results = contest::compare(row, plan.rounds, &[&bare, &ours], &load, async |_| ()).await;
    let rate =
        |results: &ServerResults| format!("{:.0}/s", results.median(|it| it.measured.a_second));
    let ratio = results[1].ratio(&results[0], |it| it.measured.a_second);
    let what = "hit, one customer, two workers, access log off: requests";
    let figure = Figure::new(what, rate(&results[1]), rate(&results[0]));
    report.figure(figure.with_ratio(ratio, Some(Goal::AtLeast(0.8))));
    report.results(row, &results);
}

/// Latency at a rate that both servers can sustain.
async fn at_half_of_peak(
    name: &str,
    tokens: Tokens,
    setup: &Setup,
    plan: Plan,
    report: &mut Report,
) {
    let cores = &setup.cores.server;
    let options = ServiceOptions { name: "juspay-bff", workers: 1, cores, settings: LOG_OFF };
    let ours = setup.service(options).await;
    ours.fill(&tokens).await;
    let bare = setup.bare(1, cores, &ours, &tokens.list[0]).await;
    // The best of several rounds, because other load on the machine can only reduce it.
    let peaks = (0..plan.rounds).map(|_| load(setup, plan, &tokens).run(ours.address).a_second);
    let rate = peaks.fold(0.0, f64::max) / 2.0;
    let requests: Vec<_> = tokens.list.iter().map(|token| plain::request(token)).collect();
    let open = |server: &Server| Pacer::new(server.address, &requests, CONNECTIONS);
    let (mut to_bare, mut to_ours) = (open(&bare), open(&ours));
    // In short rounds, because other load on the machine comes and goes.
    let number = plan.rounds * usize::try_from(plan.seconds).unwrap();
    let mut rounds = Vec::new();
    for round in 1..=number {
        let pace = |pacer: &mut Pacer<'_>, server: &Server| {
            let others = OtherLoad::watch(&server.process);
            let paced = SliceLatencies::median(&pacer.pace(rate, Duration::from_secs(1)));
            SliceLatencies { others: others.share(&server.process), ..paced }
        };
        let (floor, ours) = (pace(&mut to_bare, &bare), pace(&mut to_ours, &ours));
        progress(&format!("rate, {name} {round}/{number}: {floor:.0?} {ours:.0?}"));
        rounds.push((floor, ours));
    }
    let ratio = median(rounds.iter().map(|(floor, ours)| ours.p99 / floor.p99));
    let (floor, ours): (Vec<_>, Vec<_>) = rounds.into_iter().unzip();
    let [floor, ours] = [floor, ours].map(|of| SliceLatencies::median(&of));
    report.paced(name, "bare", rate, floor);
    report.paced(name, "juspay-bff", rate, ours);
    let what = format!("hit, {name}, half of peak load ({rate:.0}/s), access log off: p99");
    let figure = Figure::new(what, format!("{:.0} µs", ours.p99), format!("{:.0} µs", floor.p99));
    report.figure(figure.with_ratio(ratio, Some(Goal::AtMost(1.3))));
}

/// Cached access tokens, but the customers must be fetched from Juspay.
async fn misses(row: &str, setup: &Setup, plan: Plan, report: &mut Report) {
    let number = usize::try_from(MISSES_A_SECOND * plan.seconds).unwrap();
    let (tokens, cores) = (setup.tokens(number, Algorithm::ES256), &setup.cores.server);
    let settings = format!("{LOG_OFF}\ncache.capacity = {}", number * 2);
    let options = ServiceOptions { name: "juspay-bff", workers: 1, cores, settings: &settings };
    let ours = setup.service(options).await;
    progress("sending each token once");
    ours.fill(&tokens).await;
    let bare = setup.bare_fetching(cores, &ours, &tokens.list[0]).await;
    setup.simulator().inject(FaultRule::always(Fault::Latency { ms: JUSPAY_TAKES }));
    let calls = setup.simulator().total_requests();
    let purge = async |server: &Server| {
        if server.admin.is_some() {
            let end = Instant::now() + PURGED;
            server.purge().await;
            sleep_until(end).await;
        }
    };
    let load = load(setup, plan, &tokens);
    let results = contest::compare(row, plan.rounds, &[&bare, &ours], &load, purge).await;
    setup.simulator().clear_faults();
    let calls = setup.simulator().total_requests() - calls;
    let requests: f64 =
        results.iter().flat_map(|it| &it.results).map(|it| it.measured.requests).sum();
    let share = f64::from(u32::try_from(calls).unwrap()) / requests;
    assert!(share > 0.99, "only {share:.2} of the requests were misses");
    let goal = Some(Goal::AtMost(1.7));
    report.figure(cpu("miss, Juspay takes 1 ms, known token: CPU", &results[1], &results[0], goal));
    report.results(row, &results);
    fs::remove_file(&tokens.file).unwrap();
}
