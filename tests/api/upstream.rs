//! Malicious or missing responses from Juspay, and the requests that it gets (promises P1, P2 and
//! P6, and traps in awc).

mod clock;
mod deadline;
mod egress_proxy;
mod framing;
mod identity;
mod interim;
mod invalid_responses;
mod key_file;
mod malformed_data;

mod request;
mod stale_pool;
mod surplus;
mod tls;
mod tokens;
mod unreachable;

use std::time::Duration;

use futures_util::future::join_all;

use crate::support::{Pending, Reply, World};

/// The customer that a response identifies.
fn owner(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["object_reference_id"].as_str().expect("an owner").to_owned()
}

async fn identity_mismatches(world: &World) -> u64 {
    world.count("juspay_bff_upstream_identity_mismatches_total").await
}

/// The connections on which Juspay got requests for a customer, in order.
fn connections(world: &World, customer: &str) -> Vec<u64> {
    let path = format!("/customers/{customer}");
    let about = world.simulator().requests();
    about.iter().filter(|it| it.path == path).map(|it| it.connection).collect()
}

/// The responses, while the clock advances by `gap` repeatedly: some requests wait for a
/// response that the simulator delays.
async fn replies(gap: Duration, world: &World, waiting: Vec<Pending>) -> Vec<Reply> {
    let all_answered = async || {
        world.settle().await;
        waiting.iter().all(Pending::is_answered)
    };
    world.advance_until("all responses", gap, all_answered).await;
    join_all(waiting.into_iter().map(Pending::reply)).await
}
