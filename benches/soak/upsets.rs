//! What goes wrong during a soak, on schedule: Juspay fails, pooled connections to it turn stale, its
//! API keys are rotated, and the issuer's signing keys.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use super::{
    phone::Phone,
    world::{FIRST_KEY, World},
};

/// In each period Juspay fails for a while, at its end.
const OUTAGE_EACH: Duration = Duration::from_secs(30);
const OUTAGE_BEGINS: Duration = Duration::from_secs(20);
const OUTAGE_LASTS: Duration = Duration::from_secs(5);

/// In each period of outages, connections to Juspay turn stale at these times, each time in another
/// way: before the outage, so that its failures aren't taken for theirs.
const STALE_AT: [Duration; 3] =
    [Duration::from_secs(5), Duration::from_secs(10), Duration::from_secs(15)];

/// From the first of them until then, nothing else fails: new customers must be served, too.
const STALE_UNTIL: Duration = Duration::from_millis(17_500);

/// Between two rotations of the API key, and how long both are good: several times `secrets.poll`.
const KEY_EACH: Duration = Duration::from_secs(45);
const KEY_OVERLAP: Duration = Duration::from_secs(5);

/// No key is switched off later than this before the end: the service notices by its next call, and
/// Juspay may be failing then.
const KEY_BEFORE_END: Duration = Duration::from_secs(25);

/// Between two rotations of signing keys; those of before stay published up to the next one.
const ISSUER_EACH: Duration = Duration::from_secs(60);

/// Between two phones that get a new bearer token after that.
const LOG_IN_GAP: Duration = Duration::from_millis(10);

/// Seconds that bearer tokens live: two rotations and the time that logging in takes.
pub const BEARER_LIFE: u64 = 150;

/// How often each has happened.
#[derive(Debug, Default)]
pub struct Counted {
    pub outages: AtomicU64,
    /// How often connections to Juspay turned stale.
    pub stale_pools: AtomicU64,
    /// Nothing but connections to Juspay fails now.
    pub only_pools_fail: AtomicBool,
    pub key_rotations: AtomicU64,
    pub issuer_rotations: AtomicU64,
    /// Juspay is failing now.
    pub failing: AtomicU64,
}

/// Begins; ends when the set is dropped, after `time`.
pub fn begin(
    world: &Arc<World>,
    time: Duration,
    phones: &Arc<[Arc<Phone>]>,
    counted: &Arc<Counted>,
) -> JoinSet<()> {
    let mut upsets = JoinSet::new();
    let start = Instant::now();
    upsets.spawn(outages(Arc::clone(world), Arc::clone(counted), start));
    upsets.spawn(stale_pools(Arc::clone(world), Arc::clone(counted), start));
    upsets.spawn(api_keys(Arc::clone(world), Arc::clone(counted), start, start + time));
    upsets.spawn(signing_keys(Arc::clone(world), Arc::clone(phones), Arc::clone(counted), start));
    upsets
}

/// How Juspay fails, in turn.
fn failures() -> [Value; 3] {
    [json!({"status": {"status": 503, "body": "no"}}), json!("hang"), json!("reset")]
}

async fn outages(world: Arc<World>, counted: Arc<Counted>, start: Instant) {
    let mut begins = start + OUTAGE_BEGINS;
    for failure in failures().iter().cycle() {
        sleep_until(begins).await;
        counted.outages.fetch_add(1, Ordering::Relaxed);
        counted.failing.store(1, Ordering::Relaxed);
        world.control.fail(failure).await;
        sleep_until(begins + OUTAGE_LASTS).await;
        world.control.heal().await;
        counted.failing.store(0, Ordering::Relaxed);
        begins += OUTAGE_EACH;
    }
}

/// How a stale connection fails on its next use, in turn: reset, closed, and silent.
fn stale_failures() -> [Value; 3] {
    [json!("reset"), json!("close"), json!("hang")]
}

/// All connections to Juspay that have been used fail on their next use.
async fn stale_pools(world: Arc<World>, counted: Arc<Counted>, start: Instant) {
    let mut period = start;
    loop {
        for (at, failure) in STALE_AT.iter().zip(stale_failures()) {
            sleep_until(period + *at).await;
            world.control.make_connections_stale(&failure).await;
            counted.stale_pools.fetch_add(1, Ordering::Relaxed);
            counted.only_pools_fail.store(true, Ordering::Relaxed);
        }
        sleep_until(period + STALE_UNTIL).await;
        counted.only_pools_fail.store(false, Ordering::Relaxed);
        period += OUTAGE_EACH;
    }
}

/// The new key goes into the file that isn't in use; then the old one is switched off.
async fn api_keys(world: Arc<World>, counted: Arc<Counted>, start: Instant, end: Instant) {
    let mut old = FIRST_KEY.to_owned();
    let mut at = start;
    for number in 1_u64.. {
        at += KEY_EACH;
        if at + KEY_OVERLAP + KEY_BEFORE_END > end {
            break;
        }
        sleep_until(at).await;
        let new = format!("soak_key_{number}");
        world.control.switch_key(&new, true).await;
        let slot = if number.is_multiple_of(2) { "api-key" } else { "api-key-next" };
        world.write_key(slot, &new);
        sleep(KEY_OVERLAP).await;
        world.control.switch_key(&old, false).await;
        counted.key_rotations.fetch_add(1, Ordering::Relaxed);
        old = new;
    }
}

async fn signing_keys(
    world: Arc<World>,
    phones: Arc<[Arc<Phone>]>,
    counted: Arc<Counted>,
    start: Instant,
) {
    let mut at = start;
    loop {
        at += ISSUER_EACH;
        sleep_until(at).await;
        world.control.rotate_issuer().await;
        counted.issuer_rotations.fetch_add(1, Ordering::Relaxed);
        for phone in &*phones {
            phone.log_in(&world.control, BEARER_LIFE).await;
            sleep(LOG_IN_GAP).await;
        }
    }
}
