//! The soak: steady load while Juspay fails repeatedly and keys are rotated.
//!
//! Customers that were served before and continue to send requests must always be served. New
//! customers, which send one request each, get errors while Juspay fails; they exercise the retries
//! and the breaker. While only pooled connections fail, new customers must be served as well.

mod judgement;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::sleep};

use self::judgement::Evidence;
use super::{
    http::Pool,
    load::Load,
    phone::{Floors, Judged, Phone},
    process::Holding,
    tally::Tally,
    upsets::{self, BEARER_LIFE, Counted},
    verdict::{Report, grouped, ms, percent},
    world::{Design, World},
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
const STRANGER_EACH: Duration = Duration::from_millis(250);

/// Of this number of responses, one token is used at Juspay a second before its reported expiry.
const PROOF_EACH: u64 = 200;

const PROGRESS_EACH: Duration = Duration::from_secs(10);

/// Data that the tasks of a soak share.
#[derive(Debug, Default)]
struct Seen {
    /// Responses other than 200 to customers that were served before.
    let_down: Tally,
    /// Responses other than 200 to new customers while only pooled connections failed.
    let_down_strangers: Tally,
    /// Tokens used at Juspay shortly before their reported expiry, and those that it rejected.
    proofs: AtomicU64,
    refused_proofs: AtomicU64,
    answers: AtomicU64,
    /// Sampled every second. The clients' connections do not count as open files.
    holdings: Mutex<Vec<Holding>>,
    upsets: Arc<Counted>,
}

pub async fn run(plan: &Plan) -> Report {
    let design =
        Design { token_life: plan.token_life, apart: false, neighbours: 0, settings: SETTINGS };
    let world = Arc::new(World::start(&design).await);
    let phones = world.phones("soak", plan.customers, BEARER_LIFE).await;
    let pool = Arc::new(Pool::new(world.public, CONNECTIONS_AT_MOST));
    // A quarter of the life; `Date` may reduce it by up to two seconds.
    let normal = OUTAGE_FLOOR.max(u64::from(plan.token_life - 2) / 4).min(120);
    let floors = Floors { normal, outage: OUTAGE_FLOOR };
    let load = Load::new(pool, Arc::clone(&phones), floors);
    let strangers = load.counted_apart();
    let seen = Arc::new(Seen::default());

    load.pool.fill(CONNECTIONS).await;
    let start = Instant::now();
    let upsets = upsets::begin(&world, plan.time, &phones, &seen.upsets);
    let mut watchers = JoinSet::new();
    watchers.spawn(hold(Arc::clone(&world), Arc::clone(&load.pool), Arc::clone(&seen)));
    watchers.spawn(progress(Arc::clone(&world), load.clone(), Arc::clone(&seen)));
    let end = start + plan.time;
    let coming = come_once(Arc::clone(&world), strangers.clone(), Arc::clone(&seen), end);
    let coming = tokio::spawn(coming);
    let proofs = Arc::new(Mutex::new(JoinSet::new()));
    let see = {
        let (world, seen, proofs) = (Arc::clone(&world), Arc::clone(&seen), Arc::clone(&proofs));
        move |id: &str, served: bool, judged: &Judged| {
            seen.look_at(id, served, judged);
            seen.prove(&world, judged, end, &proofs);
        }
    };
    load.open_loop(plan.rate, plan.time, see).await;
    coming.await.unwrap();
    drop(upsets);
    drop(watchers);
    let proofs = std::mem::take(&mut *proofs.lock().unwrap());
    proofs.join_all().await;
    world.control.heal().await;
    let evidence = Evidence::gather(&world, &load, &strangers, &seen).await;
    judgement::report(plan, &evidence, &seen)
}

impl Seen {
    fn look_at(&self, id: &str, served: bool, judged: &Judged) {
        if served && judged.outcome.0 != 200 {
            self.let_down.breach(format!("{id}: {:?}", judged.outcome));
        }
    }

    /// For a few responses, lets Juspay check whether the token has its reported life.
    fn prove(
        self: &Arc<Self>,
        world: &Arc<World>,
        judged: &Judged,
        end: Instant,
        proofs: &Mutex<JoinSet<()>>,
    ) {
        let Some((token, left)) = &judged.token else { return };
        let wait = Duration::from_secs(left.saturating_sub(1));
        let is_chosen = self.answers.fetch_add(1, Ordering::Relaxed).is_multiple_of(PROOF_EACH);
        if !is_chosen || Instant::now() + wait > end {
            return;
        }
        let (seen, world, token) = (Arc::clone(self), Arc::clone(world), token.clone());
        let mut proofs = proofs.lock().unwrap();
        while proofs.try_join_next().is_some() {}
        proofs.spawn(async move {
            sleep(wait).await;
            seen.proofs.fetch_add(1, Ordering::Relaxed);
            if !world.control.uses(&token).await {
                seen.refused_proofs.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
}

/// New customers, each of which sends one request.
async fn come_once(world: Arc<World>, load: Load, seen: Arc<Seen>, end: Instant) {
    let mut under_way = JoinSet::new();
    for number in 0.. {
        if Instant::now() > end {
            break;
        }
        let (world, load, seen) = (Arc::clone(&world), load.clone(), Arc::clone(&seen));
        under_way.spawn(async move {
            let phone = Phone::new(format!("stranger{number}"), &world.control, 60).await;
            let only_pools_fail = seen.upsets.only_pools_fail.load(Ordering::Relaxed);
            if let Some(judged) = load.ask(&phone).await
                && only_pools_fail
                && judged.outcome.0 != 200
            {
                seen.let_down_strangers.breach(format!("{}: {:?}", phone.id, judged.outcome));
            }
        });
        sleep(STRANGER_EACH).await;
    }
    under_way.join_all().await;
}

/// Samples the service's resources.
async fn hold(world: Arc<World>, phones: Arc<Pool>, seen: Arc<Seen>) {
    loop {
        let mut held = world.service.holding();
        held.files = held.files.saturating_sub(u64::try_from(phones.open()).unwrap());
        seen.holdings.lock().unwrap().push(held);
        sleep(Duration::from_secs(1)).await;
    }
}

async fn progress(world: Arc<World>, load: Load, seen: Arc<Seen>) {
    let start = Instant::now();
    loop {
        sleep(PROGRESS_EACH).await;
        let (counts, held) = (load.tally.counts(), world.service.holding());
        let (all, failing) = (counts.all(), seen.upsets.failing.load(Ordering::Relaxed) > 0);
        println!(
            "{:>4} s  {} responses, {} not 200, {} failed for cached customers, {} hits, p99 {}, \
             max {}, {} MiB, {} files{}",
            start.elapsed().as_secs(),
            grouped(all.count()),
            counts.not_ok(),
            seen.let_down.counts().breaches,
            percent(counts.source("hit") + counts.source("outage"), all.count()),
            ms(all.p99()),
            ms(all.most()),
            held.rss / 1024,
            held.files,
            if failing { ", Juspay failing" } else { "" },
        );
    }
}
