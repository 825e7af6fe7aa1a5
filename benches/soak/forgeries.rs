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
    client::Client,
    forger::Forgery,
    http::Pool,
    load::{Load, on_its_own},
    process::Resources,
    storm::FLOORS,
    tally::Counts,
    verdict::{Report, grouped, log_messages, percent, spread},
    world::{World, WorldOptions},
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
const NEW_TOKEN_INTERVAL: Duration = Duration::from_millis(50);

/// `auth.jwks_cooldown`, the default.
const COOLDOWN: Duration = Duration::from_secs(10);

/// A new key must be accepted within this time: a fetch after a cool-down, and the next request
/// that uses the key.
const FETCH_TIME: Duration = Duration::from_secs(1);

/// Maximum growth of memory, KiB: 32 KiB of buffers per connection, and as much again for a
/// thousand tokens that wait for their check.
const MAX_GROWTH: u64 = 2 * 32 * 1000;

/// Access log lines would measure the disk.
const SETTINGS: &str = "log.access = \"off\"";

/// Allowed responses to a forged token: rejected as invalid, or without a check.
const ALLOWED_FOR_FORGED: [(u16, &str); 2] = [(401, "invalid_token"), (503, "overloaded")];

/// Allowed responses to a valid new token.
const ALLOWED_FOR_VALID: [(u16, &str); 4] =
    [(200, "ok"), (429, "rate_limited"), (503, "keys_unavailable"), (503, "overloaded")];

/// The measurements of an attack.
struct Measurements {
    quiet: Counts,
    hits: Counts,
    forged: Counts,
    new_tokens: NewTokens,
    /// The duration of sending, and until the last response.
    took: Duration,
    elapsed: Duration,
    /// CPU time of the service during the attack.
    used: Duration,
    before: Resources,
    most: Resources,
    /// Fetches of the key set: as counted by the issuer, and by the service.
    fetches: u64,
    counted_fetches: u64,
    errors: u64,
}

/// The responses to valid new tokens.
struct NewTokens {
    /// Signed before the rotation.
    old_key: Counts,
    new_key: Counts,
    /// Time from the rotation to the first success with a new key.
    accepted_after: Option<Duration>,
}

pub async fn run(attack: &Attack, time: Duration) -> Report {
    let options =
        WorldOptions { token_life: 900, own_cores: true, busy_processes: 0, settings: SETTINGS };
    let world = Arc::new(World::start(&options).await);
    let clients = world.clients("warm", CUSTOMERS, 3600).await;
    let hits = Load::new(Arc::new(Pool::new(world.public, 256)), clients, FLOORS);
    hits.open_loop(500, Duration::from_secs(u64::from(CUSTOMERS / 500)), |_, _, _| ()).await;
    hits.tally.take();
    hits.open_loop(HIT_RATE, QUIET_TIME, |_, _, _| ()).await;
    let quiet = hits.tally.take();

    let forger = Client::forging("warm0".to_owned(), &world.control, attack.forgery).await;
    let pool = Arc::new(Pool::new(world.public, CONNECTIONS));
    let crowd = Load::new(pool, [Arc::new(forger)].into(), FLOORS);
    let attack_task = on_its_own(attack_with(crowd.clone(), time));
    let rotation = attack.rotates.then_some(time / 2);
    let new_tokens_task =
        tokio::spawn(send_new_tokens(Arc::clone(&world), hits.clone(), time, rotation));
    let (before, used) = (world.service.resources(), world.service.cpu());
    let fetches = world.control.key_fetches().await;
    let counted_fetches = world.control.metrics().await.all("jwks_refreshes_total");
    let began = Instant::now();
    let hitting = hits.open_loop(HIT_RATE, time, |_, _, _| ());
    let all = async { tokio::join!(attack_task, new_tokens_task, hitting) };
    let ((took, new_tokens, _), most) = world.service.sample_during(all).await;
    let elapsed = began.elapsed();
    let metrics = world.control.metrics().await;
    let errors = log_messages(&world.service.output());
    let errors =
        errors.iter().filter(|(message, _)| message.starts_with("ERROR")).map(|(_, it)| it);

    let measured = Measurements {
        quiet,
        hits: hits.tally.take(),
        forged: crowd.tally.take(),
        new_tokens: new_tokens.unwrap(),
        took,
        elapsed,
        used: world.service.cpu().saturating_sub(used),
        before,
        most,
        fetches: world.control.key_fetches().await - fetches,
        counted_fetches: metrics.all("jwks_refreshes_total") - counted_fetches,
        errors: errors.sum(),
    };
    let mut report = Report::new(format!("{FORGED_RATE}/s for {time:?}, {}", attack.name));
    report.measure("cores", &world.cores);
    report.report_attack(&measured, attack);
    report.check_attack(&measured);
    report.check_callers(&measured, attack);
    report
}

/// The attack itself; returns the duration of sending.
async fn attack_with(crowd: Load, time: Duration) -> Duration {
    crowd.pool.fill(CONNECTIONS).await;
    crowd.pool.warm_up().await;
    crowd.open_loop(FORGED_RATE, time, |_, _, _| ()).await
}

/// Cached customers send requests with new tokens; the issuer's keys are rotated meanwhile.
async fn send_new_tokens(
    world: Arc<World>,
    load: Load,
    time: Duration,
    rotation: Option<Duration>,
) -> NewTokens {
    let (old_key, new_key) = (load.with_own_counts(), load.with_own_counts());
    let (start, mut rotated) = (Instant::now(), None::<Instant>);
    let mut requests = JoinSet::new();
    let mut each = interval(NEW_TOKEN_INTERVAL);
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
        let client = Client::new(format!("warm{customer}"), &world.control, 3600).await;
        requests.spawn(async move {
            let served = load.ask(&client).await.is_some_and(|checked| checked.outcome.0 == 200);
            rotated.filter(|_| served).map(|rotated| rotated.elapsed())
        });
    }
    let accepted_after = requests.join_all().await.into_iter().flatten().min();
    NewTokens { old_key: old_key.tally.take(), new_key: new_key.tally.take(), accepted_after }
}

impl Report {
    fn report_attack(&mut self, measured: &Measurements, attack: &Attack) {
        self.measure("forged tokens per second", grouped(measured.sent_a_second()));
        self.measure("connections", CONNECTIONS);
        self.measure_answers("forged: ", &measured.forged);
        self.measure("known tokens before the flood", spread(&measured.quiet.all()));
        self.measure("known tokens during the flood", spread(&measured.hits.all()));
        let NewTokens { old_key, new_key, accepted_after } = &measured.new_tokens;
        self.measure_answers("new tokens: ", old_key);
        self.measure("share of them served", percent(old_key.ok().count(), old_key.all().count()));
        if attack.rotates {
            self.measure_answers("new tokens of a new key: ", new_key);
            self.measure(
                "share of them served",
                percent(new_key.ok().count(), new_key.all().count()),
            );
            self.measure("time until the new key is accepted", after(*accepted_after));
        }
        self.measure("fetches of the key set", measured.fetches);
        let (used, whole) = (measured.used.as_millis(), measured.elapsed.as_millis());
        self.measure(
            "share of its core that the service used",
            format!("{} %", used * 100 / whole),
        );
        let (before, most) = (measured.before, measured.most);
        self.measure("memory, KiB", format!("{} → at most {}", before.rss, most.rss));
        self.measure("open files", format!("{} → at most {}", before.files, most.files));
    }

    fn check_attack(&mut self, measured: &Measurements) {
        let Measurements { forged, before, most, fetches, .. } = measured;
        let sent = measured.sent_a_second();
        let observed = format!("{}, {} not sent", grouped(sent), forged.unsent);
        let enough = u64::from(FORGED_RATE) * 99 / 100;
        self.check(format!("{FORGED_RATE} forged tokens per second"), observed, sent >= enough);
        let cooldowns = measured.elapsed.as_secs() / COOLDOWN.as_secs() + 1;
        let what = "at least one key fetch, and at most one per cool-down";
        let observed = format!("{fetches} in {:.1?}", measured.elapsed);
        self.check(what, observed, (1..=cooldowns).contains(fetches));
        self.same(
            "jwks_refreshes_total equals the fetches that the issuer saw",
            *fetches,
            measured.counted_fetches,
        );
        let other = others(forged, &ALLOWED_FOR_FORGED);
        let observed = format!("{other} others {:?}", forged.first_violations());
        self.check("each forged token gets 401 or 503 overloaded", observed, other == 0);
        let observed = format!("{} KiB more", most.rss.saturating_sub(before.rss));
        let what = format!("memory grows by at most {} MiB", MAX_GROWTH / 1024);
        self.check(what, observed, most.rss <= before.rss + MAX_GROWTH);
        self.check("no error in the log", measured.errors, measured.errors == 0);
    }

    fn check_callers(&mut self, measured: &Measurements, attack: &Attack) {
        let NewTokens { old_key, new_key, accepted_after } = &measured.new_tokens;
        let lost = others(&measured.hits, &ALLOWED_FOR_VALID[..1]) + measured.hits.unsent;
        let observed = format!("{lost} of {} not served", grouped(measured.hits.all().count()));
        self.check("all known tokens are served", observed, lost == 0);
        let lost = [old_key, new_key].map(|it| others(it, &ALLOWED_FOR_VALID) + it.unsent);
        let lost = lost.iter().sum::<u64>();
        self.check("new tokens get only 200, 429 or 503", lost, lost == 0);
        let all = old_key.all().count();
        let observed = format!("{} of {all}", old_key.ok().count());
        self.check(
            "all new tokens of a known key are served",
            observed,
            old_key.ok().count() == all,
        );
        if attack.rotates {
            let most = COOLDOWN + FETCH_TIME;
            let found = accepted_after.is_some_and(|after| after <= most);
            let what = format!("a new key is accepted within {most:?}");
            self.check(what, after(*accepted_after), found);
        }
    }
}

impl Measurements {
    fn sent_a_second(&self) -> u64 {
        let sent = self.forged.all().count() + self.forged.broken;
        sent * 1000 / u64::try_from(self.took.as_millis()).unwrap()
    }
}

fn after(time: Option<Duration>) -> String {
    time.map_or_else(|| "never".to_owned(), |time| format!("{time:.1?}"))
}

/// Requests without a response, with another response than `allowed`, or with a violation.
fn others(counts: &Counts, allowed: &[(u16, &str)]) -> u64 {
    let fine = allowed.iter().map(|(status, code)| counts.of(*status, code).count());
    counts.all().count() - fine.sum::<u64>() + counts.broken + counts.violations
}
