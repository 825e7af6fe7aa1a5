//! Tests of the simulator over sockets, with a raw TCP client.

mod control;
mod creation;
mod faults;
mod http;
mod introspection;
mod issuer;
mod juspay;
mod latches;
mod peer;
mod tls;

use std::sync::Arc;

use jiff::Timestamp;

use self::peer::Peer;
use super::{Config, Running, start};
use clock::manual::ManualClock;

/// When the manual clock starts.
const NOON: &str = "2026-11-23T12:00:00.9Z";

/// `Authorization` of the default key, `sim_key:`.
const AUTHORIZATION: &str = "Authorization: Basic c2ltX2tleTo=\r\n";

/// Both header fields that Juspay requires.
const CREDENTIALS: &str = "Authorization: Basic c2ltX2tleTo=\r\nx-merchantid: sim_merchant\r\n";

fn manual() -> (ManualClock, Config) {
    let clock = ManualClock::at(NOON);
    let config = Config { clock: Arc::new(clock.clone()), ..Config::on_free_ports() };
    (clock, config)
}

async fn running(config: Config) -> (Running, Peer) {
    let running = start(config).await.unwrap();
    let peer = Peer::of(running.simulator().base_url()).await;
    (running, peer)
}

/// A simulator on the machine's clock.
async fn simulator() -> (Running, Peer) {
    running(Config::on_free_ports()).await
}

/// A request for a customer with its token.
fn get(id: &str) -> String {
    format!("GET /customers/{id}?options.get_client_auth_token=true HTTP/1.1\r\n{CREDENTIALS}\r\n")
}

/// A request with a body.
fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\n{CREDENTIALS}Content-Length: {}\r\n\r\n{body}", body.len())
}
