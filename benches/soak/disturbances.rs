//! Disturbances of a soak, on schedule: Juspay fails, pooled connections to it become stale, its
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
    client::Client,
    world::{FIRST_KEY, World},
};

/// Each period ends with an outage of Juspay.
const OUTAGE_PERIOD: Duration = Duration::from_secs(30);
const OUTAGE_BEGINS: Duration = Duration::from_secs(20);
const OUTAGE_LASTS: Duration = Duration::from_secs(5);

/// Times in each period at which connections to Juspay become stale, each time in another way.
/// Before the outage, so that its failures are not counted for them.
const STALE_AT: [Duration; 3] =
    [Duration::from_secs(5), Duration::from_secs(10), Duration::from_secs(15)];

/// From the first of these times until this one, nothing else fails, so new customers must be
/// served as well.
const STALE_UNTIL: Duration = Duration::from_millis(17_500);

/// Interval of rotations of the API key, and how long both keys are valid: several times
/// `secrets.poll`.
const KEY_PERIOD: Duration = Duration::from_secs(45);
const KEY_OVERLAP: Duration = Duration::from_secs(5);

/// In this time before the end no key is revoked: the service notices it by its next call, and
/// Juspay may be failing then.
const KEY_BEFORE_END: Duration = Duration::from_secs(25);

/// Interval of rotations of signing keys. The previous keys stay published until the next rotation.
const ISSUER_PERIOD: Duration = Duration::from_secs(60);

/// Interval of clients that get a new access token after a rotation.
const LOG_IN_GAP: Duration = Duration::from_millis(10);

/// Life of access tokens, in seconds: two rotations and the time that the logins take.
pub const BEARER_LIFE: u64 = 150;

/// Number of disturbances.
#[derive(Debug, Default)]
pub struct DisturbanceCounts {
    pub outages: AtomicU64,
    /// How often connections to Juspay became stale.
    pub stale_pools: AtomicU64,
    /// Whether connections to Juspay are all that fails now.
    pub only_pools_fail: AtomicBool,
    pub key_rotations: AtomicU64,
    pub issuer_rotations: AtomicU64,
    /// Whether Juspay is failing now.
    pub failing: AtomicU64,
}

/// Starts the disturbances. They end after `time`, or when the set is dropped.
pub fn begin(
    world: &Arc<World>,
    time: Duration,
    clients: &Arc<[Arc<Client>]>,
    counted: &Arc<DisturbanceCounts>,
) -> JoinSet<()> {
    let mut disturbances = JoinSet::new();
    let start = Instant::now();
    disturbances.spawn(outages(Arc::clone(world), Arc::clone(counted), start));
    disturbances.spawn(stale_pools(Arc::clone(world), Arc::clone(counted), start));
    disturbances.spawn(api_keys(Arc::clone(world), Arc::clone(counted), start, start + time));
    disturbances.spawn(signing_keys(
        Arc::clone(world),
        Arc::clone(clients),
        Arc::clone(counted),
        start,
    ));
    disturbances
}

/// Failures of Juspay, in turn.
fn failures() -> [Value; 3] {
    [json!({"status": {"status": 503, "body": "no"}}), json!("hang"), json!("reset")]
}

async fn outages(world: Arc<World>, counted: Arc<DisturbanceCounts>, start: Instant) {
    let mut begins = start + OUTAGE_BEGINS;
    for failure in failures().iter().cycle() {
        sleep_until(begins).await;
        counted.outages.fetch_add(1, Ordering::Relaxed);
        counted.failing.store(1, Ordering::Relaxed);
        world.control.fail(failure).await;
        sleep_until(begins + OUTAGE_LASTS).await;
        world.control.heal().await;
        counted.failing.store(0, Ordering::Relaxed);
        begins += OUTAGE_PERIOD;
    }
}

/// Failures of a stale connection on its next use, in turn: reset, closed, and no response.
fn stale_failures() -> [Value; 3] {
    [json!("reset"), json!("close"), json!("hang")]
}

/// Makes all used connections to Juspay fail on their next use.
async fn stale_pools(world: Arc<World>, counted: Arc<DisturbanceCounts>, start: Instant) {
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
        period += OUTAGE_PERIOD;
    }
}

/// Writes the new key to the file that isn't in use; then revokes the old one.
async fn api_keys(
    world: Arc<World>,
    counted: Arc<DisturbanceCounts>,
    start: Instant,
    end: Instant,
) {
    let mut old = FIRST_KEY.to_owned();
    let mut at = start;
    for number in 1_u64.. {
        at += KEY_PERIOD;
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
    clients: Arc<[Arc<Client>]>,
    counted: Arc<DisturbanceCounts>,
    start: Instant,
) {
    let mut at = start;
    loop {
        at += ISSUER_PERIOD;
        sleep_until(at).await;
        world.control.rotate_issuer().await;
        counted.issuer_rotations.fetch_add(1, Ordering::Relaxed);
        for client in &*clients {
            client.log_in(&world.control, BEARER_LIFE).await;
            sleep(LOG_IN_GAP).await;
        }
    }
}
