//! The soak: steady load while Juspay fails repeatedly and keys are rotated.
//!
//! Customers that were served before and continue to send requests must always be served. New
//! customers, which send one request each, get errors while Juspay fails; they exercise the retries
//! and the breaker. While only pooled connections fail, new customers must be served as well.

mod checks;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::sleep};

use self::checks::Evidence;
use super::{
    client::{CheckedResponse, Client, Floors},
    disturbances::{self, BEARER_LIFE, DisturbanceCounts},
    http::Pool,
    load::Load,
    process::Resources,
    tally::Tally,
    verdict::{Report, grouped, ms, percent},
    world::{World, WorldOptions},
};

/// The parameters of a soak.
#[derive(Debug)]
pub struct Plan {
    pub time: Duration,
    pub customers: u32,
    /// Requests a second.
    pub rate: u32,
    /// Seconds that client auth tokens live.
    pub token_life: u32,
}

/// `cache.outage_min_remaining`, seconds. Less than the default of 30 s, because these tokens have
/// a short life, which must leave time for an outage after a breaker's pause and a backoff.
const OUTAGE_FLOOR: u64 = 10;

const SETTINGS: &str = r#"
    log.access = "errors"
    cache.outage_min_remaining = "10s"
    limits.per_customer = "6000/min"
"#;

/// The number of clients' connections, and the maximum on a slow machine. All are opened in the
/// first second, so that their memory does not look like a leak.
const CONNECTIONS: usize = 800;
const CONNECTIONS_AT_MOST: usize = 1600;

/// Interval of new customers.
const NEW_CUSTOMER_INTERVAL: Duration = Duration::from_millis(250);

/// Of this number of responses, one token is used at Juspay a second before its reported expiry.
const RESPONSES_PER_PROOF: u64 = 200;

const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// Data that the tasks of a soak share.
#[derive(Debug, Default)]
struct SoakData {
    /// Responses other than 200 to customers that were served before.
    errors_for_cached: Tally,
    /// Responses other than 200 to new customers while only pooled connections failed.
    errors_for_new: Tally,
    /// Tokens used at Juspay shortly before their reported expiry, and those that it rejected.
    proofs: AtomicU64,
    rejected_proofs: AtomicU64,
    answers: AtomicU64,
    /// Sampled every second. The clients' connections do not count as open files.
    samples: Mutex<Vec<Resources>>,
    disturbances: Arc<DisturbanceCounts>,
}

pub async fn run(plan: &Plan) -> Report {
    let options = WorldOptions {
        token_life: plan.token_life,
        own_cores: false,
        busy_processes: 0,
        settings: SETTINGS,
    };
    let world = Arc::new(World::start(&options).await);
    let clients = world.clients("soak", plan.customers, BEARER_LIFE).await;
    let pool = Arc::new(Pool::new(world.public, CONNECTIONS_AT_MOST));
    // A quarter of the life; `Date` may reduce it by up to two seconds.
    let normal = OUTAGE_FLOOR.max(u64::from(plan.token_life - 2) / 4).min(120);
    let floors = Floors { normal, outage: OUTAGE_FLOOR };
    let load = Load::new(pool, Arc::clone(&clients), floors);
    let new_customers = load.with_own_counts();
    let data = Arc::new(SoakData::default());

    load.pool.fill(CONNECTIONS).await;
    let start = Instant::now();
    let disturbances = disturbances::begin(&world, plan.time, &clients, &data.disturbances);
    let mut watchers = JoinSet::new();
    watchers.spawn(sample_resources(Arc::clone(&world), Arc::clone(&load.pool), Arc::clone(&data)));
    watchers.spawn(progress(Arc::clone(&world), load.clone(), Arc::clone(&data)));
    let end = start + plan.time;
    let new_customers_task =
        send_new_customers(Arc::clone(&world), new_customers.clone(), Arc::clone(&data), end);
    let new_customers_task = tokio::spawn(new_customers_task);
    let proofs = Arc::new(Mutex::new(JoinSet::new()));
    let see = {
        let (world, data, proofs) = (Arc::clone(&world), Arc::clone(&data), Arc::clone(&proofs));
        move |id: &str, served: bool, checked: &CheckedResponse| {
            data.check_response(id, served, checked);
            data.use_before_expiry(&world, checked, end, &proofs);
        }
    };
    load.open_loop(plan.rate, plan.time, see).await;
    new_customers_task.await.unwrap();
    drop(disturbances);
    drop(watchers);
    let proofs = std::mem::take(&mut *proofs.lock().unwrap());
    proofs.join_all().await;
    world.control.heal().await;
    let evidence = Evidence::gather(&world, &load, &new_customers, &data).await;
    checks::report(plan, &evidence, &data)
}

impl SoakData {
    fn check_response(&self, id: &str, served: bool, checked: &CheckedResponse) {
        if served && checked.outcome.0 != 200 {
            self.errors_for_cached.violation(format!("{id}: {:?}", checked.outcome));
        }
    }

    /// For a few responses, lets Juspay check whether the token has its reported life.
    fn use_before_expiry(
        self: &Arc<Self>,
        world: &Arc<World>,
        checked: &CheckedResponse,
        end: Instant,
        proofs: &Mutex<JoinSet<()>>,
    ) {
        let Some((token, left)) = &checked.token else { return };
        let wait = Duration::from_secs(left.saturating_sub(1));
        let is_chosen =
            self.answers.fetch_add(1, Ordering::Relaxed).is_multiple_of(RESPONSES_PER_PROOF);
        if !is_chosen || Instant::now() + wait > end {
            return;
        }
        let (data, world, token) = (Arc::clone(self), Arc::clone(world), token.clone());
        let mut proofs = proofs.lock().unwrap();
        while proofs.try_join_next().is_some() {}
        proofs.spawn(async move {
            sleep(wait).await;
            data.proofs.fetch_add(1, Ordering::Relaxed);
            if !world.control.uses(&token).await {
                data.rejected_proofs.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
}

/// New customers, each of which sends one request.
async fn send_new_customers(world: Arc<World>, load: Load, data: Arc<SoakData>, end: Instant) {
    let mut under_way = JoinSet::new();
    for number in 0.. {
        if Instant::now() > end {
            break;
        }
        let (world, load, data) = (Arc::clone(&world), load.clone(), Arc::clone(&data));
        under_way.spawn(async move {
            let client = Client::new(format!("new{number}"), &world.control, 60).await;
            let only_pools_fail = data.disturbances.only_pools_fail.load(Ordering::Relaxed);
            if let Some(checked) = load.ask(&client).await
                && only_pools_fail
                && checked.outcome.0 != 200
            {
                data.errors_for_new.violation(format!("{}: {:?}", client.id, checked.outcome));
            }
        });
        sleep(NEW_CUSTOMER_INTERVAL).await;
    }
    under_way.join_all().await;
}

/// Samples the service's resources.
async fn sample_resources(world: Arc<World>, clients: Arc<Pool>, data: Arc<SoakData>) {
    loop {
        let mut sample = world.service.resources();
        sample.files = sample.files.saturating_sub(u64::try_from(clients.open()).unwrap());
        data.samples.lock().unwrap().push(sample);
        sleep(Duration::from_secs(1)).await;
    }
}

async fn progress(world: Arc<World>, load: Load, data: Arc<SoakData>) {
    let start = Instant::now();
    loop {
        sleep(PROGRESS_INTERVAL).await;
        let (counts, sample) = (load.tally.counts(), world.service.resources());
        let (all, failing) = (counts.all(), data.disturbances.failing.load(Ordering::Relaxed) > 0);
        println!(
            "{:>4} s  {} responses, {} not 200, {} failed for cached customers, {} hits, p99 {}, \
             max {}, {} MiB, {} files{}",
            start.elapsed().as_secs(),
            grouped(all.count()),
            counts.not_ok(),
            data.errors_for_cached.counts().violations,
            percent(counts.source("hit") + counts.source("outage"), all.count()),
            ms(all.p99()),
            ms(all.most()),
            sample.rss / 1024,
            sample.files,
            if failing { ", Juspay failing" } else { "" },
        );
    }
}
