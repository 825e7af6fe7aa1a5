//! The cache as phones see it: one call to Juspay for all who ask (promise P4), tokens with enough
//! life (promise P3), and what is kept for how long.

mod not_found;
mod one_door;
mod purge;
mod short_way;
mod store;
mod token_life;

use crate::support::{Phone, Reply, World};

/// A customer's answer, which must be one.
async fn served(phone: &Phone) -> Reply {
    let reply = phone.me().await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply
}

/// `cache_entries`: the customers in memory.
async fn entries(world: &World) -> u64 {
    world.count("juspay_bff_cache_entries").await
}
