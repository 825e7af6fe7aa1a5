//! Latches, counts, and stopping the simulator.

use super::*;

#[tokio::test]
async fn latch_holds_back_one_customers_responses() {
    let (running, mut one) = simulator().await;
    let simulator = running.simulator();
    let mut two = Peer::of(simulator.base_url()).await;
    let mut other = Peer::of(simulator.base_url()).await;
    let latch = simulator.hold("alice");
    one.send(&get("alice")).await;
    latch.arrived(1).await;
    two.send(&get("alice")).await;
    latch.arrived(2).await;
    assert_eq!(other.exchange(&get("bob")).await.status, 200);
    assert!(one.is_silent() && two.is_silent());
    simulator.set_key("sim_key", false);
    assert_eq!((latch.arrivals(), simulator.calls("alice"), simulator.calls("bob")), (2, 2, 1));
    latch.release();
    assert_eq!(one.read_response().await.status, 200, "created before the key was disabled");
    assert_eq!(two.read_response().await.status, 200);
    assert_eq!(
        one.exchange(&get("alice")).await.status,
        401,
        "a released latch holds nothing back"
    );
    assert_eq!(latch.arrivals(), 2);
}

#[tokio::test]
async fn dropped_latch_is_released() {
    let (running, mut peer) = simulator().await;
    let latch = running.simulator().hold("alice");
    peer.send(&get("alice")).await;
    latch.arrived(1).await;
    drop(latch);
    assert_eq!(peer.read_response().await.status, 200);
}

#[tokio::test]
async fn later_latch_applies_to_later_requests() {
    let (running, mut one) = simulator().await;
    let mut two = Peer::of(running.simulator().base_url()).await;
    let first = running.simulator().hold("alice");
    one.send(&get("alice")).await;
    first.arrived(1).await;
    let second = running.simulator().hold("alice");
    two.send(&get("alice")).await;
    second.arrived(1).await;
    first.release();
    assert_eq!(one.read_response().await.status, 200);
    assert!(two.is_silent());
    second.release();
    assert_eq!(two.read_response().await.status, 200);
}

#[tokio::test]
async fn drop_closes_connections_and_ports() {
    let (running, mut peer) = simulator().await;
    let address = running.simulator().base_url().strip_prefix("http://").unwrap().to_owned();
    peer.exchange(&get("alice")).await;
    let latch = running.simulator().hold("alice");
    peer.send(&get("alice")).await;
    latch.arrived(1).await;
    drop(running);
    assert_eq!(peer.rest().await, "");
    let config = Config { listen: address.parse().unwrap(), ..Config::on_free_ports() };
    assert!(start(config).await.is_ok(), "the port is free again");
}
