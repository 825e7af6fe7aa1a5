//! Floods of forged tokens: they must be rejected with a clear error, must not cause calls to the
//! issuer, and must not affect valid callers or the service's memory.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use super::{
    forger::Forgery,
    http::Pool,
    load::{Load, on_its_own},
    phone::Phone,
    process::Holding,
    storm::FLOORS,
    tally::Counts,
    verdict::{Report, complaints, grouped, percent, spread},
    world::{Design, World},
};

/// The kind of forged tokens.
#[derive(Debug)]
pub struct Attack {
    name: &'static str,
    forgery: Forgery,
    /// Whether the issuer rotates its keys during the attack.
    rotates: bool,
}

pub const RANDOM_KIDS: Attack = Attack {
    name: "random kids, with a rotation of the issuer's keys",
    forgery: Forgery::RandomKid,
    rotates: true,
};

pub const FORGED_SIGNATURES: Attack = Attack {
    name: "invalid signatures under a known kid",
    forgery: Forgery::Signature,
    rotates: false,
};

/// Forged tokens per second.
const FORGED_RATE: u32 = 5000;

/// Connections of the attack.
const CONNECTIONS: usize = 1000;

/// Number of customers with a cached token, and the rate of their requests, per second.
const CUSTOMERS: u32 = 1000;
const HIT_RATE: u32 = 500;
const QUIET_TIME: Duration = Duration::from_secs(5);

/// Interval of requests with valid but new tokens.
const NEWCOMER_EACH: Duration = Duration::from_millis(50);

/// `auth.jwks_cooldown`, the default.
const COOLDOWN: Duration = Duration::from_secs(10);

/// A new key must be accepted within this time: a fetch after a cool-down, and the next request
/// that uses the key.
const FETCHED_WITHIN: Duration = Duration::from_secs(1);

/// Maximum growth of memory, KiB: 32 KiB of buffers per connection, and as much again for a
/// thousand tokens that wait for their check.
const GROWTH: u64 = 2 * 32 * 1000;

/// Access log lines would measure the disk.
const SETTINGS: &str = "log.access = \"off\"";

/// Allowed responses to a forged token: rejected as invalid, or without a check.
const REFUSALS: [(u16, &str); 2] = [(401, "invalid_token"), (503, "overloaded")];

/// Allowed responses to a valid new token.
const ANSWERS: [(u16, &str); 4] =
    [(200, "ok"), (429, "rate_limited"), (503, "keys_unavailable"), (503, "overloaded")];

/// The measurements of an attack.
struct Seen {
    quiet: Counts,
    hits: Counts,
    forged: Counts,
    newcomers: Newcomers,
    /// The duration of sending, and until the last response.
    took: Duration,
    elapsed: Duration,
    /// CPU time of the service during the attack.
    used: Duration,
    before: Holding,
    most: Holding,
    /// Fetches of the key set: as counted by the issuer, and by the service.
    fetches: u64,
    told_fetches: u64,
    errors: u64,
}

/// The responses to valid new tokens.
struct Newcomers {
    /// Signed before the rotation.
    old_key: Counts,
    new_key: Counts,
    /// Time from the rotation to the first success with a new key.
    found_after: Option<Duration>,
}

pub async fn run(attack: &Attack, time: Duration) -> Report {
    let design = Design { token_life: 900, apart: true, neighbours: 0, settings: SETTINGS };
    let world = Arc::new(World::start(&design).await);
    let phones = world.phones("warm", CUSTOMERS, 3600).await;
    let hits = Load::new(Arc::new(Pool::new(world.public, 256)), phones, FLOORS);
    hits.open_loop(500, Duration::from_secs(u64::from(CUSTOMERS / 500)), |_, _, _| ()).await;
    hits.tally.take();
    hits.open_loop(HIT_RATE, QUIET_TIME, |_, _, _| ()).await;
    let quiet = hits.tally.take();

    let forger = Phone::forging("warm0".to_owned(), &world.control, attack.forgery).await;
    let pool = Arc::new(Pool::new(world.public, CONNECTIONS));
    let crowd = Load::new(pool, [Arc::new(forger)].into(), FLOORS);
    let flooding = on_its_own(rush(crowd.clone(), time));
    let rotation = attack.rotates.then_some(time / 2);
    let coming = tokio::spawn(come_anew(Arc::clone(&world), hits.clone(), time, rotation));
    let (before, used) = (world.service.holding(), world.service.cpu());
    let fetches = world.control.key_fetches().await;
    let told_fetches = world.control.metrics().await.all("jwks_refreshes_total");
    let began = Instant::now();
    let hitting = hits.open_loop(HIT_RATE, time, |_, _, _| ());
    let all = async { tokio::join!(flooding, coming, hitting) };
    let ((took, newcomers, _), most) = world.service.watched(all).await;
    let elapsed = began.elapsed();
    let metrics = world.control.metrics().await;
    let errors = complaints(&world.service.output());
    let errors = errors.iter().filter(|(told, _)| told.starts_with("ERROR")).map(|(_, it)| it);

    let seen = Seen {
        quiet,
        hits: hits.tally.take(),
        forged: crowd.tally.take(),
        newcomers: newcomers.unwrap(),
        took,
        elapsed,
        used: world.service.cpu().saturating_sub(used),
        before,
        most,
        fetches: world.control.key_fetches().await - fetches,
        told_fetches: metrics.all("jwks_refreshes_total") - told_fetches,
        errors: errors.sum(),
    };
    let mut report = Report::new(format!("{FORGED_RATE}/s for {time:?}, {}", attack.name));
    report.measure("cores", &world.cores);
    report.tell_attack(&seen, attack);
    report.check_attack(&seen);
    report.check_callers(&seen, attack);
    report
}

/// The attack itself; returns the duration of sending.
async fn rush(crowd: Load, time: Duration) -> Duration {
    crowd.pool.fill(CONNECTIONS).await;
    crowd.pool.greet().await;
    crowd.open_loop(FORGED_RATE, time, |_, _, _| ()).await
}

/// Cached customers send requests with new tokens; the issuer's keys are rotated meanwhile.
async fn come_anew(
    world: Arc<World>,
    load: Load,
    time: Duration,
    rotation: Option<Duration>,
) -> Newcomers {
    let (old_key, new_key) = (load.counted_apart(), load.counted_apart());
    let (start, mut rotated) = (Instant::now(), None::<Instant>);
    let mut asking = JoinSet::new();
    let mut each = interval(NEWCOMER_EACH);
    each.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for customer in (0..CUSTOMERS).cycle() {
        each.tick().await;
        if start.elapsed() > time {
            break;
        }
        if rotated.is_none() && rotation.is_some_and(|rotation| start.elapsed() > rotation) {
            world.control.rotate_issuer().await;
            rotated = Some(Instant::now());
        }
        let load = if rotated.is_some() { new_key.clone() } else { old_key.clone() };
        let phone = Phone::new(format!("warm{customer}"), &world.control, 3600).await;
        asking.spawn(async move {
            let served = load.ask(&phone).await.is_some_and(|judged| judged.outcome.0 == 200);
            rotated.filter(|_| served).map(|rotated| rotated.elapsed())
        });
    }
    let found_after = asking.join_all().await.into_iter().flatten().min();
    Newcomers { old_key: old_key.tally.take(), new_key: new_key.tally.take(), found_after }
}

impl Report {
    fn tell_attack(&mut self, seen: &Seen, attack: &Attack) {
        self.measure("forged tokens per second", grouped(seen.sent_a_second()));
        self.measure("connections", CONNECTIONS);
        self.measure_answers("forged: ", &seen.forged);
        self.measure("known tokens before the flood", spread(&seen.quiet.all()));
        self.measure("known tokens during the flood", spread(&seen.hits.all()));
        let Newcomers { old_key, new_key, found_after } = &seen.newcomers;
        self.measure_answers("new tokens: ", old_key);
        self.measure("share of them served", percent(old_key.ok().count(), old_key.all().count()));
        if attack.rotates {
            self.measure_answers("new tokens of a new key: ", new_key);
            self.measure(
                "share of them served",
                percent(new_key.ok().count(), new_key.all().count()),
            );
            self.measure("time until the new key is accepted", after(*found_after));
        }
        self.measure("fetches of the key set", seen.fetches);
        let (used, whole) = (seen.used.as_millis(), seen.elapsed.as_millis());
        self.measure(
            "share of its core that the service used",
            format!("{} %", used * 100 / whole),
        );
        let (before, most) = (seen.before, seen.most);
        self.measure("memory, KiB", format!("{} → at most {}", before.rss, most.rss));
        self.measure("open files", format!("{} → at most {}", before.files, most.files));
    }

    fn check_attack(&mut self, seen: &Seen) {
        let Seen { forged, before, most, fetches, .. } = seen;
        let sent = seen.sent_a_second();
        let told = format!("{}, {} not sent", grouped(sent), forged.unsent);
        let enough = u64::from(FORGED_RATE) * 99 / 100;
        self.check(format!("{FORGED_RATE} forged tokens per second"), told, sent >= enough);
        let cooldowns = seen.elapsed.as_secs() / COOLDOWN.as_secs() + 1;
        let what = "at least one key fetch, and at most one per cool-down";
        let told = format!("{fetches} in {:.1?}", seen.elapsed);
        self.check(what, told, (1..=cooldowns).contains(fetches));
        self.same(
            "jwks_refreshes_total equals the fetches that the issuer saw",
            *fetches,
            seen.told_fetches,
        );
        let other = others(forged, &REFUSALS);
        let told = format!("{other} others {:?}", forged.breaches_shown());
        self.check("each forged token gets 401 or 503 overloaded", told, other == 0);
        let told = format!("{} KiB more", most.rss.saturating_sub(before.rss));
        let what = format!("memory grows by at most {} MiB", GROWTH / 1024);
        self.check(what, told, most.rss <= before.rss + GROWTH);
        self.check("no error in the log", seen.errors, seen.errors == 0);
    }

    fn check_callers(&mut self, seen: &Seen, attack: &Attack) {
        let Newcomers { old_key, new_key, found_after } = &seen.newcomers;
        let lost = others(&seen.hits, &ANSWERS[..1]) + seen.hits.unsent;
        let told = format!("{lost} of {} not served", grouped(seen.hits.all().count()));
        self.check("all known tokens are served", told, lost == 0);
        let lost = [old_key, new_key].map(|it| others(it, &ANSWERS) + it.unsent);
        let lost = lost.iter().sum::<u64>();
        self.check("new tokens get only 200, 429 or 503", lost, lost == 0);
        let all = old_key.all().count();
        let told = format!("{} of {all}", old_key.ok().count());
        self.check("all new tokens of a known key are served", told, old_key.ok().count() == all);
        if attack.rotates {
            let most = COOLDOWN + FETCHED_WITHIN;
            let found = found_after.is_some_and(|after| after <= most);
            let what = format!("a new key is accepted within {most:?}");
            self.check(what, after(*found_after), found);
        }
    }
}

impl Seen {
    fn sent_a_second(&self) -> u64 {
        let sent = self.forged.all().count() + self.forged.broken;
        sent * 1000 / u64::try_from(self.took.as_millis()).unwrap()
    }
}

fn after(time: Option<Duration>) -> String {
    time.map_or_else(|| "never".to_owned(), |time| format!("{time:.1?}"))
}

/// Requests that weren't answered, or otherwise than `allowed`, or wrongly.
fn others(counts: &Counts, allowed: &[(u16, &str)]) -> u64 {
    let fine = allowed.iter().map(|(status, code)| counts.of(*status, code).count());
    counts.all().count() - fine.sum::<u64>() + counts.broken + counts.breaches
}
