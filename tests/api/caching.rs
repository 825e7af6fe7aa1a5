//! The cache as clients see it: one call to Juspay for concurrent requests (promise P4), tokens
//! with enough life (promise P3), and the lifetime of entries.

mod early_deaths;
mod not_found;
mod purge;
mod repeated_requests;
mod single_flight;
mod store;
mod token_life;

use crate::support::{Client, Reply, World};

/// A response with a customer.
async fn served(client: &Client) -> Reply {
    let reply = client.me().await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply
}

/// `cache_entries`: the customers in memory.
async fn entries(world: &World) -> u64 {
    world.count("juspay_bff_cache_entries").await
}
