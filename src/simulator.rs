//! A stand-in for Juspay and a dev OIDC issuer, for the demo, for testers and for the tests.
//!
//! [`start`] opens two listeners. One speaks Juspay's Get, Create and Update Customer and is
//! steered by a control API under `/_simulator`; the other mints and publishes. Both can be told to
//! answer wrongly in every way that a network and a provider know. What is answered when all is
//! well agrees with Juspay's documentation; where that is silent, the choice is said in the code.
//!
//! Nothing here is used by `serve`. Keys, tokens and requests can be read back by design.

mod answer;
mod bounded;
pub mod client;
pub mod command;
mod control;
mod customers;
mod errors;
mod fault;
mod gate;
mod http;
pub mod issuer;
mod journal;
mod juspay;
mod keys;
mod magic;
mod object;
mod page;
mod rules;
mod span;
mod stale;
mod tokens;

#[cfg(test)]
mod tests;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use secrecy::SecretString;
use tokio::net::TcpListener;

use self::http::{Server, serve};
pub use self::{
    errors::ApiError,
    fault::{Fault, ObjectFault, TokenFault},
    gate::Gate,
    issuer::{Issuer, MintRequest},
    journal::ReceivedRequest,
    juspay::Simulator,
    magic::{MAGIC_CUSTOMERS, MagicCustomer},
    rules::FaultRule,
};
use crate::clock::{Clock, SystemClock};

/// What a simulator is started with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the stand-in for Juspay listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the issuer listens; port 0 takes a free one.
    pub issuer_listen: SocketAddr,
    /// The API keys that are good.
    pub api_keys: Vec<SecretString>,
    /// The one merchant, `x-merchantid`.
    pub merchant: String,
    /// How long client auth tokens live.
    pub token_life: Duration,
    /// How often one of them can be used.
    pub token_uses: u32,
    /// Whether a customer that nobody has created is made up when it is asked for.
    pub provision: bool,
    /// What the time is.
    pub clock: Arc<dyn Clock>,
}

impl Config {
    /// The defaults on free ports of the loopback address, as tests want them.
    #[must_use]
    pub fn on_free_ports() -> Self {
        Self { listen: loopback(0), issuer_listen: loopback(0), ..Self::default() }
    }
}

impl Default for Config {
    /// `127.0.0.1:8081` and `:8082`, key `sim_key`, merchant `sim_merchant`, 15 minutes, 30 uses.
    fn default() -> Self {
        Self {
            listen: loopback(8081),
            issuer_listen: loopback(8082),
            api_keys: vec!["sim_key".into()],
            merchant: "sim_merchant".to_owned(),
            token_life: Duration::from_mins(15),
            token_uses: 30,
            provision: true,
            clock: SystemClock::shared(),
        }
    }
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// A running simulator. Dropping it closes its ports and connections.
#[derive(Debug)]
pub struct Running {
    simulator: Simulator,
    issuer: Issuer,
    _servers: [Server; 2],
}

impl Running {
    /// The stand-in for Juspay.
    #[must_use]
    pub const fn simulator(&self) -> &Simulator {
        &self.simulator
    }

    /// The issuer.
    #[must_use]
    pub const fn issuer(&self) -> &Issuer {
        &self.issuer
    }
}

/// Starts both on the current tokio runtime.
///
/// # Errors
/// When a port can't be had, or the issuer's first key can't be made.
pub async fn start(config: Config) -> io::Result<Running> {
    let listener = bind(config.listen).await?;
    let issuer_listener = bind(config.issuer_listen).await?;
    let clock = Arc::clone(&config.clock);
    let issuer_url = url_of(issuer_listener.local_addr()?);
    let issuer = Issuer::new(issuer_url, Arc::clone(&clock)).map_err(io::Error::other)?;
    let simulator = Simulator::new(config, url_of(listener.local_addr()?));
    let servers = [
        serve(listener, Arc::new(simulator.clone()), Arc::clone(&clock)),
        serve(issuer_listener, Arc::new(issuer.clone()), clock),
    ];
    Ok(Running { simulator, issuer, _servers: servers })
}

async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        io::Error::new(error.kind(), format!("can't listen on {address}: {error}"))
    })
}

/// The URL that reaches a listener from this machine.
fn url_of(address: SocketAddr) -> String {
    let mut reachable = address;
    if address.ip().is_unspecified() {
        reachable.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!("http://{reachable}")
}
