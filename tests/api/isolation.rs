//! One customer's failures and data do not affect other customers, over sockets and with the
//! default settings (promise P4).

mod faulty_customers;
mod hold;
mod remembered_failures;
mod scripted_juspay;

use std::time::Duration;

use self::scripted_juspay::ScriptedJuspay;
use crate::support::{Reply, Stage, World, shipped};

/// Pause between two requests of a customer that sends eleven per second, the maximum of the
/// shipped rate limit.
const STEP: Duration = Duration::from_millis(90);

/// The default settings, and a scripted Juspay.
async fn scripted() -> (World, ScriptedJuspay) {
    let stage = Stage::set().await;
    let juspay = ScriptedJuspay::start(stage.clock.clone()).await;
    let settings = format!("{}juspay.base_url = \"{}\"\n", shipped(), juspay.base_url());
    (stage.open_ready(&settings).await, juspay)
}

/// Lets the service do everything that is due, including calls to Juspay. Otherwise the clock runs
/// ahead of a busy machine, and calls time out.
async fn catch_up(world: &World) {
    world.settle().await;
    world.until_count("juspay_bff_upstream_in_flight", 0).await;
}

/// A customer without a cached token gets one.
async fn first_request(world: &World, customer: &str) {
    let reply = world.client(customer).me().await;
    assert_eq!(reply.status, 200, "{customer}: {}", reply.text());
    assert_eq!(reply.json()["object_reference_id"], *customer);
}

/// `Retry-After`, in seconds.
fn retry_after(reply: &Reply) -> u64 {
    assert_eq!(reply.json()["retryable"], true, "{}", reply.text());
    let expected = reply.header("retry-after").expect("Retry-After").parse().expect("seconds");
    assert_eq!(reply.json()["retry_after"], expected);
    expected
}
