//! `juspay-bff demo`: shows what the service does, on this machine, without any set-up.
//!
//! Starts the simulator, its issuer and the service as `serve` would, then sends requests as a
//! client does. Each row of the output is a real request, and its result is checked.

use std::{env, io, net::SocketAddr, sync::Arc, time::Duration};

use actix_web::rt;
use futures_util::future::join_all;
use serde_json::Value;
use simulator::{
    Config, MintRequest, Running,
    client::{Reply, exchange},
};
use tokio::sync::oneshot;

use crate::{
    app::{Application, StartError},
    clock::{Clock, SystemClock},
    settings::{Faults, Loaded, Sources},
};

/// Concurrent requests of the same new customer.
const AT_ONCE: usize = 20;

/// Why the demo failed.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A port, a signal, or the output.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The service can't start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The demo's own settings are invalid: a bug.
    #[error(transparent)]
    Settings(#[from] Faults),
    /// A request had another result than the demo describes.
    #[error("{step}: expected {expected}, got {got}")]
    Tour {
        /// The row of the output.
        step: &'static str,
        /// The result that it describes.
        expected: String,
        /// The actual result.
        got: String,
    },
}

/// The settings for trying the service with its simulator, which also keep magic customers apart.
const DEMO_SETTINGS: &str = include_str!("../config/demo.toml");

/// The demo's settings: `config/demo.toml` on free ports. The access log is off, because its lines would
/// break up the table.
fn settings(listen: SocketAddr, running: &Running) -> Result<Loaded, Faults> {
    let text = format!(
        r#"
        server = {{ listen = "{listen}", admin_listen = "127.0.0.1:0", shutdown_delay = "0s" }}
        log = {{ level = "warn", access = "off" }}
        juspay.base_url = "{base_url}"
        auth.issuers.simulator.issuer = "{issuer}"
        "#,
        base_url = running.simulator().base_url(),
        issuer = running.issuer().issuer_url(),
    );
    Sources::default().text("config/demo.toml", DEMO_SETTINGS).text("the demo", text).load()
}

/// Runs the demo: the requests, then, unless `once`, the service until `stop`.
///
/// # Errors
/// If something can't be started, or a request has another result than the demo describes.
pub async fn run(
    listen: SocketAddr,
    once: bool,
    stop: impl Future<Output = ()>,
    out: &mut (dyn io::Write + Send),
) -> Result<(), DemoError> {
    let running = simulator::start(Config::on_free_ports()).await?;
    let clock = SystemClock::shared();
    let application = Application::build(settings(listen, &running)?, Arc::clone(&clock))?;
    let service = first(application.public_addresses())?;
    let admin = first(application.admin_addresses())?;
    let (end, ended) = oneshot::channel::<()>();
    let serving = rt::spawn(application.run(async { drop(ended.await) }));

    let mut tour = Tour { running: &running, service, clock: &*clock, out };
    tour.print_addresses(admin).await?;
    tour.run_steps().await?;
    if !once {
        tour.invite()?;
        stop.await;
    }
    drop(end);
    serving.await.map_err(io::Error::other)??;
    Ok(())
}

fn first(addresses: &[SocketAddr]) -> io::Result<SocketAddr> {
    addresses.first().copied().ok_or_else(|| io::Error::other("no address is listened on"))
}

/// The requests of the demo and their output.
struct Tour<'a> {
    running: &'a Running,
    service: SocketAddr,
    clock: &'a dyn Clock,
    out: &'a mut (dyn io::Write + Send),
}

impl Tour<'_> {
    async fn print_addresses(&mut self, admin: SocketAddr) -> Result<(), DemoError> {
        writeln!(self.out, "Simulated Juspay  {}", self.running.simulator().base_url())?;
        writeln!(self.out, "Simulated issuer  {}", self.running.issuer().issuer_url())?;
        writeln!(self.out, "Service           http://{}", self.service)?;
        writeln!(self.out, "Metrics           http://{admin}/metrics")?;
        writeln!(self.out, "Admin page        http://{admin}/\n")?;
        while exchange(&admin.to_string(), "GET", "/readyz", &[], "").await?.status != 200 {
            let soon = self.clock.monotonic().plus(Duration::from_millis(5));
            self.clock.sleep_until(soon).await;
        }
        Ok(())
    }

    async fn run_steps(&mut self) -> Result<(), DemoError> {
        writeln!(self.out, "Each row is a GET /me/customer with an access token:\n")?;
        let result = "Cache-Status or WWW-Authenticate";
        writeln!(
            self.out,
            "{:<15}{:<25}{:<8}{:<9}{result}",
            "request", "what it shows", "status", "time"
        )?;
        let alice = self.token("alice")?;
        let first = self.step("first", "one call to Juspay", &alice).await?;
        expect("first", "fwd=uri-miss; stored", &first)?;
        let second = self.step("second", "answered from memory", &alice).await?;
        expect("second", "; hit;", &second)?;

        let bob = self.token("bob")?;
        self.concurrent(&bob).await?;

        let forged = forge(&alice, &bob);
        let reply = self.step("forged token", "rejected", &forged).await?;
        if reply.status != 401 {
            return Err(unexpected("forged token", "401", reply.status.to_string()));
        }
        self.explain(&first)?;
        Ok(())
    }

    /// One request of one client.
    async fn step(
        &mut self,
        name: &'static str,
        what: &str,
        token: &str,
    ) -> Result<Reply, DemoError> {
        let start = self.clock.monotonic();
        let reply = self.get_customer(token).await?;
        let elapsed = self.clock.monotonic().since(start);
        self.row(name, what, &reply, elapsed)?;
        Ok(reply)
    }

    /// Concurrent requests of the same new customer.
    async fn concurrent(&mut self, token: &str) -> Result<(), DemoError> {
        const STEP: &str = "20 at once";
        let start = self.clock.monotonic();
        let replies = join_all((0..AT_ONCE).map(|_| self.get_customer(token))).await;
        let elapsed = self.clock.monotonic().since(start);
        let replies = replies.into_iter().collect::<io::Result<Vec<_>>>()?;
        if let Some(reply) = replies.iter().find(|reply| reply.status != 200) {
            return Err(unexpected(STEP, "200", reply.status.to_string()));
        }
        let is_collapsed = |reply: &&Reply| {
            reply.header("cache-status").is_some_and(|status| status.contains("collapsed"))
        };
        let shown = replies.iter().find(is_collapsed).or(replies.first());
        let calls = self.running.simulator().calls("bob");
        if let Some(reply) = shown {
            self.row(STEP, &format!("calls to Juspay: {calls}"), reply, elapsed)?;
        }
        if calls == 1 { Ok(()) } else { Err(unexpected(STEP, "1 call", calls.to_string())) }
    }

    async fn get_customer(&self, token: &str) -> io::Result<Reply> {
        let authorization = format!("Bearer {token}");
        let headers = [("Authorization", authorization.as_str())];
        exchange(&self.service.to_string(), "GET", "/me/customer", &headers, "").await
    }

    fn token(&self, subject: &str) -> io::Result<String> {
        self.running.issuer().mint(&MintRequest::of(subject)).map_err(io::Error::other)
    }

    fn row(&mut self, name: &str, what: &str, reply: &Reply, took: Duration) -> io::Result<()> {
        let result = reply.header("cache-status").or_else(|| reply.header("www-authenticate"));
        let (status, took) = (reply.status, format!("{took:.1?}"));
        let result = result.unwrap_or_default();
        writeln!(self.out, "{name:<15}{what:<25}{status:<8}{took:<9}{result}")
    }

    /// The first response's body, and the words of the table.
    fn explain(&mut self, first: &Reply) -> Result<(), DemoError> {
        writeln!(self.out, "\nuri-miss   the customer was not in memory, so Juspay was called")?;
        writeln!(self.out, "collapsed  the request shared a call to Juspay that was in flight")?;
        writeln!(
            self.out,
            "ttl        seconds for which the cached answer can still be returned\n"
        )?;
        let body: Value = serde_json::from_slice(&first.body).map_err(io::Error::other)?;
        let body = serde_json::to_string_pretty(&shortened(body)).map_err(io::Error::other)?;
        writeln!(self.out, "The first answer, with the client auth token shortened:\n\n{body}")?;
        self.out.flush()?;
        Ok(())
    }

    fn invite(&mut self) -> Result<(), DemoError> {
        let program = env::args_os().next().unwrap_or_else(|| "juspay-bff".into());
        let (program, issuer) = (program.to_string_lossy(), self.running.issuer().issuer_url());
        writeln!(
            self.out,
            "\nThe service keeps running until Ctrl-C. Try it from another terminal:\n"
        )?;
        writeln!(self.out, "  TOKEN=$({program} token --subject alice --issuer {issuer})")?;
        writeln!(
            self.out,
            "  curl -i -H \"Authorization: Bearer $TOKEN\" http://{}/me/customer\n",
            self.service
        )?;
        writeln!(
            self.out,
            "Next: open the admin page above, or read docs/api.md. Customers such as"
        )?;
        writeln!(
            self.out,
            "sim_not_found and sim_html show the error answers (docs/clients/magic-customers.md)."
        )?;
        writeln!(self.out, "Tokens of the simulator don't work in Juspay's real SDK.")?;
        self.out.flush()?;
        Ok(())
    }
}

/// The customer object with most of its client auth token omitted.
fn shortened(mut customer: Value) -> Value {
    if let Some(token) = customer.pointer_mut("/juspay/client_auth_token") {
        let start: String = token.as_str().unwrap_or_default().chars().take(8).collect();
        *token = Value::String(format!("{start}…"));
    }
    customer
}

/// The claims of `token` with the signature of `other`.
fn forge(token: &str, other: &str) -> String {
    let (claims, _) = token.rsplit_once('.').unwrap_or_default();
    let (_, signature) = other.rsplit_once('.').unwrap_or_default();
    format!("{claims}.{signature}")
}

fn expect(step: &'static str, expected: &str, reply: &Reply) -> Result<(), DemoError> {
    let got = reply.header("cache-status").unwrap_or_default();
    if reply.status == 200 && got.contains(expected) {
        return Ok(());
    }
    Err(unexpected(step, expected, format!("{} {got}", reply.status)))
}

fn unexpected(step: &'static str, expected: &str, got: String) -> DemoError {
    DemoError::Tour { step, expected: expected.to_owned(), got }
}
