//! One customer after the other has faulty data at Juspay and sends as many requests as its limit
//! allows, while each new customer sends one. No other customer may be affected, and Juspay must
//! get few calls for the faulty one. With the default settings.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{task::JoinSet, time::sleep};

use super::{
    client::{Client, Floors},
    http::Pool,
    load::Load,
    tally::Counts,
    verdict::{Report, grouped},
    world::{World, WorldOptions},
};

/// How long each fault lasts: longer than `juspay.breaker.window`.
const FAULT_TIME: Duration = Duration::from_secs(12);

/// The faulty customer's requests a second: slightly more than `limits.per_customer` allows over
/// time.
const FAULTY_RATE: u32 = 11;

/// Interval of new customers.
const NEW_CUSTOMER_INTERVAL: Duration = Duration::from_millis(100);

/// Maximum calls for a faulty customer: five fetches, with pauses of 1, 2, 4 and 8 s or half of
/// that between them; each may try both keys or a new connection; and two more tries of a fetch
/// every 10 s.
const MAX_CALLS: u64 = 14;

const CONNECTIONS: usize = 256;

/// Access log lines would measure the disk.
const SETTINGS: &str = "log.access = \"errors\"";

/// The default floors, seconds.
const FLOORS: Floors = Floors { normal: 120, outage: 30 };

/// The faults, as the simulator's JSON. Some contain the customer's id.
fn faults(id: &str) -> Vec<(&'static str, Value)> {
    let status = |status: u16, body: &str| json!({"status": {"status": status, "body": body}});
    let html = "<html><h1>Request blocked</h1></html>";
    let named = |first_name: &str| {
        let body = format!(
            r#"{{"object_reference_id":"{id}","first_name":{first_name},"juspay":{{"client_auth_token":"tkn_odd","client_auth_token_expiry":"2099-01-01T00:00:00Z"}}}}"#
        );
        status(200, &body)
    };
    let later = |status: u16| json!({"status": {"status": status, "headers": {"Retry-After": "7"}, "body": ""}});
    vec![
        ("403 of a firewall", status(403, html)),
        ("401 of a firewall", status(401, html)),
        ("Juspay's own 403", json!({"error": "bad_origin"})),
        ("Juspay's own 401", json!({"error": "access_denied"})),
        ("a lone surrogate", named(r#""\ud800""#)),
        ("a number out of range", named("1e999")),
        ("a raw control character", named("\"a\u{1}b\"")),
        ("an object over 64 KiB", json!({"huge": {"bytes": 65536}})),
        ("500", status(500, "{}")),
        ("503", status(503, "{}")),
        ("503 with Retry-After", later(503)),
        ("429 with Retry-After", later(429)),
        ("a redirect", json!({"redirect": {"location": "http://127.0.0.1:9/"}})),
        ("a cut body", json!({"cut_body": {}})),
        ("a reset", json!("reset")),
    ]
}

pub async fn run() -> Report {
    let options =
        WorldOptions { token_life: 900, own_cores: false, busy_processes: 0, settings: SETTINGS };
    let world = Arc::new(World::start(&options).await);
    let pool = Arc::new(Pool::new(world.public, CONNECTIONS));
    let mut report =
        Report::new("Faulty customers: one customer is faulty, the others must not notice");
    for number in 0..faults("").len() {
        let id = format!("odd{number}");
        let (name, fault) = faults(&id).swap_remove(number);
        world.control.fail_for(&id, &fault).await;
        let faulty: Arc<[_]> =
            [Arc::new(Client::new(id.clone(), &world.control, 3600).await)].into();
        let faulty = Load::new(Arc::clone(&pool), faulty, FLOORS);
        let others = faulty.with_own_counts();
        let new_customers_task =
            tokio::spawn(send_new_customers(Arc::clone(&world), others.clone(), number));
        faulty.open_loop(FAULTY_RATE, FAULT_TIME, |_, _, _| ()).await;
        new_customers_task.await.unwrap();
        let calls = world.control.calls_for(&id).await;
        check(&mut report, name, &faulty.tally.counts(), &others.tally.counts(), calls);
    }
    report
}

/// New customers, each of which sends one request.
async fn send_new_customers(world: Arc<World>, load: Load, number: usize) {
    let end = Instant::now() + FAULT_TIME;
    let mut under_way = JoinSet::new();
    for nth in 0.. {
        if Instant::now() > end {
            break;
        }
        let (world, load) = (Arc::clone(&world), load.clone());
        under_way.spawn(async move {
            let client = Client::new(format!("other{number}-{nth}"), &world.control, 60).await;
            load.ask(&client).await;
        });
        sleep(NEW_CUSTOMER_INTERVAL).await;
    }
    under_way.join_all().await;
}

fn check(report: &mut Report, name: &str, faulty: &Counts, others: &Counts, calls: u64) {
    report.measure(format!("{name}: responses to the faulty customer"), faulty.outcomes());
    let all = others.all().count();
    let bad = others.not_ok() + others.violations + others.broken + others.unsent;
    let observed = format!("{bad} of {} others: {}", grouped(all), others.outcomes());
    report.check(format!("{name}: other customers saw only 200s"), observed, bad == 0 && all > 0);
    let what = format!("{name}: calls to Juspay for the faulty customer, at most {MAX_CALLS}");
    report.check(what, calls, (1..=MAX_CALLS).contains(&calls));
}
