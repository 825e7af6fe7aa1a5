//! The answer to a phone: body, headers, options, methods, paths (promises P1 and P7).

use serde_json::{Value, json};

use crate::support::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_gets_its_customer_with_a_token() {
    let world = World::new().await;
    let reply = world.phone("alice").me().await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}
