//! Memory by the number of cached customers, each with a verified access token.

use std::{ops::Range, sync::Arc, time::Duration};

use simulator::{Algorithm, Issuer};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    Plan,
    http::Pool,
    progress,
    report::{Figure, Report},
    world::{Server, ServiceOptions, Setup, customer, fetch, mint},
};

const SETTINGS: &str =
    "log.access = \"off\"\ncache.capacity = 2000000\nauth.verified_tokens = 2000000";

const CUSTOMERS: [usize; 3] = [10_000, 100_000, 1_000_000];

const CONNECTIONS: usize = 32;

/// Progress is printed after this number of customers.
const STEP: usize = 100_000;

/// After this time, the service has no work pending.
const REST: Duration = Duration::from_secs(6);

/// The goals, KiB.
const IDLE: u64 = 10 * 1024;
const A_CUSTOMER: f64 = 2.0;

pub async fn measure(setup: &Setup, plan: Plan, report: &mut Report) {
    let cores = &setup.cores.server;
    let options = ServiceOptions { name: "juspay-bff", workers: 1, cores, settings: SETTINGS };
    let service = setup.service(options).await;
    let idle = service.process.memory();
    let figure = Figure::new("memory, no customer", format!("{:.1} MB", mb(idle)), "–");
    report.figure(figure.with_goal("≤ 10 MB".to_owned(), idle <= IDLE));
    let mut cached = 0;
    for number in CUSTOMERS.into_iter().take(if plan.quick { 2 } else { 3 }) {
        while cached < number {
            let end = number.min(cached + STEP);
            fill(&service, setup.issuer(), cached..end).await;
            cached = end;
            progress(&format!(
                "memory: {cached} customers, {:.0} MB",
                mb(service.process.memory())
            ));
        }
        sleep(REST).await;
        let memory = service.process.memory();
        let each = kib(memory - idle) / f64::from(u32::try_from(number).unwrap());
        let ours = format!("{:.1} MB, {each:.2} KiB each", mb(memory));
        let figure = Figure::new(format!("memory, {number} customers"), ours, "–");
        report.figure(figure.with_goal(format!("≤ {A_CUSTOMER} KiB each"), each <= A_CUSTOMER));
    }
}

/// Sends one request for each of these customers.
async fn fill(service: &Server, issuer: &Issuer, numbers: Range<usize>) {
    let pool = Arc::new(Pool::new(service.address, CONNECTIONS));
    let mut filling = JoinSet::new();
    for start in 0..CONNECTIONS {
        let (pool, issuer, numbers) = (Arc::clone(&pool), issuer.clone(), numbers.clone());
        filling.spawn(async move {
            for number in numbers.skip(start).step_by(CONNECTIONS) {
                fetch(&pool, &mint(&issuer, &customer(number), Algorithm::ES256)).await;
            }
        });
    }
    filling.join_all().await;
}

fn kib(memory: u64) -> f64 {
    f64::from(u32::try_from(memory).unwrap())
}

fn mb(memory: u64) -> f64 {
    kib(memory) * 1024.0 / 1e6
}
