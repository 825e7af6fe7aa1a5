//! What clients get while Juspay is down, slow, overloaded or has disabled the API key, over
//! sockets (promises P4, P5 and P6).

mod addresses;
mod bulkheads;
mod codes;
mod faults;
mod keys;
mod slow_clients;

use futures_util::future::join_all;
use juspay_bff::clock::SystemClock;

use crate::support::{Client, Reply, Stage, World, proxy::Proxy, with_timeout};

/// The responses to one request from each client, all sent at once.
async fn all_at_once(clients: impl IntoIterator<Item = Client>) -> Vec<Reply> {
    let requests = clients.into_iter().map(|client| tokio::spawn(async move { client.me().await }));
    with_timeout("all responses", join_all(requests))
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect()
}

/// Clients for customers that aren't cached.
fn cold(world: &World, prefix: &str, number: usize) -> Vec<Client> {
    (0..number).map(|n| world.client(&format!("{prefix}{n}"))).collect()
}

/// A world in real time with a proxy in front of Juspay.
async fn through(proxy: impl AsyncFnOnce(&str) -> Proxy, settings: &str) -> (World, Proxy) {
    let stage = Stage::set_with(|config| config.clock = SystemClock::shared()).await;
    let proxy = proxy(stage.simulator().base_url()).await;
    let settings = format!("juspay.base_url = \"{}\"\n{settings}", proxy.base_url());
    (stage.open_ready(&settings).await, proxy)
}

/// Checks `Retry-After`: `least` seconds, plus up to half as much jitter.
fn retry_after(reply: &Reply, least: u64) {
    let expected: u64 = reply.header("retry-after").expect("Retry-After").parse().expect("seconds");
    assert!((least..=least + least.div_ceil(2)).contains(&expected), "{expected} for {least}");
}

async fn is_ready(world: &World) -> bool {
    world.admin().get("/readyz").await.status == 200
}

/// The breaker's state; exactly one is set.
async fn breaker(world: &World) -> &'static str {
    let mut states = Vec::new();
    for state in ["closed", "open", "half_open"] {
        let series = format!("juspay_bff_upstream_breaker_state{{state=\"{state}\"}}");
        if world.count(&series).await > 0 {
            states.push(state);
        }
    }
    assert_eq!(states.len(), 1, "{states:?}");
    states[0]
}
