//! A simulator of Juspay and a development OIDC issuer, for the demo, for testers and for the
//! tests.
//!
//! [`start`] opens two listeners. One serves Juspay's Get, Create and Update Customer and a control
//! API under `/_simulator`, on request also over TLS; the other issues tokens and publishes its keys.
//! Both can inject faults of networks and providers. Other responses follow Juspay's documentation; comments
//! mark choices where it is silent.
//!
//! `serve` uses nothing from here. Keys, tokens and requests are readable by design.

mod bounded_map;
pub mod client;
pub mod command;
mod control;
mod customers;
mod errors;
mod fault;
mod http;
pub mod issuer;
mod journal;
mod juspay;
mod keys;
mod latch;
mod magic;
mod object;
mod page;
mod response;
mod rules;
mod stale_connections;
mod time;
mod tls;
mod tokens;

#[cfg(test)]
mod tests;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use clock::{Clock, SystemClock};
use secrecy::SecretString;
use tokio::net::TcpListener;

pub use self::{
    errors::ApiError,
    fault::{Fault, ObjectFault, TokenFault},
    issuer::{Algorithm, Issuer, MintRequest},
    journal::ReceivedRequest,
    juspay::Simulator,
    latch::Latch,
    magic::{Answer, MAGIC_CUSTOMERS, MagicCustomer},
    rules::FaultRule,
};
use self::{
    http::{Listener, Server, serve},
    tls::Encryption,
};

/// How to start a simulator.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address of the Juspay listener; port 0 selects a free one.
    pub listen: SocketAddr,
    /// Address of the issuer's listener; port 0 selects a free one.
    pub issuer_listen: SocketAddr,
    /// Also serve the simulated Juspay over TLS.
    pub tls: Option<Tls>,
    /// The valid API keys.
    pub api_keys: Vec<SecretString>,
    /// The only merchant, `x-merchantid`.
    pub merchant: String,
    /// Life of client auth tokens.
    pub token_life: Duration,
    /// How often a client auth token can be used.
    pub token_uses: u32,
    /// Whether a request for an unknown customer creates it.
    pub provision: bool,
    /// Whether calls without `x-merchantid` are accepted, which Juspay requires but some of its
    /// clients don't send.
    pub lenient: bool,
    /// Whether Create and Update reject ids and numbers that Juspay's documentation advises against.
    pub strict_fields: bool,
    /// The simulator's clock.
    pub clock: Arc<dyn Clock>,
}

/// The TLS listener of the simulated Juspay. Its certificates are generated at each start.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Its address; port 0 selects a free one.
    pub listen: SocketAddr,
    /// Host names and addresses of the certificate, in addition to `localhost`, `127.0.0.1` and `::1`.
    pub names: Vec<String>,
}

impl Config {
    /// The defaults on free loopback ports, for tests.
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
            tls: None,
            api_keys: vec!["sim_key".into()],
            merchant: "sim_merchant".to_owned(),
            token_life: Duration::from_mins(15),
            token_uses: 30,
            provision: true,
            lenient: false,
            strict_fields: false,
            clock: SystemClock::shared(),
        }
    }
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// A running simulator. Dropping it closes its listeners and connections.
#[derive(Debug)]
pub struct Running {
    simulator: Simulator,
    issuer: Issuer,
    tls: Option<TlsAccess>,
    _servers: Vec<Server>,
}

/// What clients of the TLS listener need.
#[derive(Debug, Clone)]
pub struct TlsAccess {
    /// Its address.
    pub address: SocketAddr,
    /// The certificate to trust, in PEM.
    pub ca: String,
}

impl Running {
    /// The Juspay listener.
    #[must_use]
    pub const fn simulator(&self) -> &Simulator {
        &self.simulator
    }

    /// The issuer.
    #[must_use]
    pub const fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// The TLS listener.
    #[must_use]
    pub const fn tls(&self) -> Option<&TlsAccess> {
        self.tls.as_ref()
    }
}

/// Starts the listeners on the current tokio runtime.
///
/// # Errors
/// If a port is unavailable, or the issuer's first key or a certificate can't be generated.
pub async fn start(config: Config) -> io::Result<Running> {
    let listener = Listener::plain(bind(config.listen).await?);
    let issuer_listener = bind(config.issuer_listen).await?;
    let tls_listener = match &config.tls {
        Some(tls) => Some((bind(tls.listen).await?, Encryption::generate(&tls.names)?)),
        None => None,
    };
    let clock = Arc::clone(&config.clock);
    let issuer_url = url_for(issuer_listener.local_addr()?);
    let issuer = Issuer::new(issuer_url, Arc::clone(&clock)).map_err(io::Error::other)?;
    let simulator = Simulator::new(config, url_for(listener.tcp.local_addr()?));
    let connections = Arc::clone(&listener.connections);
    let handler = Arc::new(simulator.clone());
    let mut servers = vec![
        serve(listener, Arc::clone(&handler), Arc::clone(&clock)),
        serve(Listener::plain(issuer_listener), Arc::new(issuer.clone()), Arc::clone(&clock)),
    ];
    let mut tls = None;
    if let Some((tcp, Encryption { acceptor, ca })) = tls_listener {
        tls = Some(TlsAccess { address: reachable(tcp.local_addr()?), ca });
        let listener = Listener { tcp, tls: Some(acceptor), connections };
        servers.push(serve(listener, handler, clock));
    }
    Ok(Running { simulator, issuer, tls, _servers: servers })
}

async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        io::Error::new(error.kind(), format!("can't listen on {address}: {error}"))
    })
}

/// The URL of a listener for clients on this machine.
fn url_for(address: SocketAddr) -> String {
    format!("http://{}", reachable(address))
}

/// The address of a listener for clients on this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let mut reachable = address;
    if address.ip().is_unspecified() {
        reachable.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    reachable
}
