//! `juspay-bff demo`: the whole main job on this machine, without any set-up.
//!
//! Starts the simulator, its issuer and the service as `serve` would, then is a phone: each step
//! of the tour is a real request, told in a line and checked against what it should show.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use actix_web::rt;
use futures_util::future::join_all;
use tokio::sync::oneshot;

use crate::{
    application::{Application, StartError},
    clock::{Clock, SystemClock},
    settings::{Faults, Loaded, Sources},
    simulator::{
        self, Config, Running,
        client::{Reply, exchange},
        issuer::MintRequest,
    },
};

/// How many phones ask for the same new customer at once.
const AT_ONCE: usize = 20;

/// How the demo ends when it doesn't end well.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A port, a signal, or the output.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The service can't start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The demo's own settings: a bug of ours.
    #[error(transparent)]
    Settings(#[from] Faults),
    /// A step of the tour didn't show what it should.
    #[error("{step}: expected {expected}, got {got}")]
    Tour {
        /// The step.
        step: &'static str,
        /// What it should show.
        expected: String,
        /// What it showed.
        got: String,
    },
}

/// The demo's settings. Access lines would be all over the tour.
fn settings(listen: SocketAddr, running: &Running) -> Result<Loaded, Faults> {
    let text = format!(
        r#"
        server = {{ listen = "{listen}", admin_listen = "127.0.0.1:0", shutdown_delay = "0s" }}
        log = {{ level = "warn", format = "text", access = "off" }}
        juspay = {{ base_url = "{base_url}", merchant_id = "sim_merchant", api_key = "sim_key" }}
        [auth.issuers.demo]
        issuer = "{issuer}"
        discovery = true
        audiences = ["juspay-bff-demo"]
        algorithms = ["ES256"]
        "#,
        base_url = running.simulator().base_url(),
        issuer = running.issuer().issuer_url(),
    );
    Sources::default().text("the demo", text).load()
}

/// Runs the demo: the tour, then, unless `once`, the service until `stop`.
///
/// # Errors
/// When something can't be started, or the tour doesn't show what it should.
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
    tour.begin(admin).await?;
    tour.go().await?;
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

/// A walk through what the service does.
struct Tour<'a> {
    running: &'a Running,
    service: SocketAddr,
    clock: &'a dyn Clock,
    out: &'a mut (dyn io::Write + Send),
}

impl Tour<'_> {
    async fn begin(&mut self, admin: SocketAddr) -> Result<(), DemoError> {
        writeln!(self.out, "Stand-in for Juspay  {}", self.running.simulator().base_url())?;
        writeln!(self.out, "Dev issuer           {}", self.running.issuer().issuer_url())?;
        writeln!(self.out, "Service              http://{}", self.service)?;
        writeln!(self.out, "Metrics              http://{admin}/metrics")?;
        writeln!(self.out, "Page for operators   http://{admin}/\n")?;
        while exchange(&admin.to_string(), "GET", "/readyz", &[], "").await?.status != 200 {
            let soon = self.clock.monotonic().plus(Duration::from_millis(5));
            self.clock.sleep_until(soon).await;
        }
        Ok(())
    }

    async fn go(&mut self) -> Result<(), DemoError> {
        let alice = self.token("alice")?;
        let reply = self.step("first call", "Juspay is asked", &alice).await?;
        expect("first call", "fwd=uri-miss; stored", &reply)?;
        let reply = self.step("second call", "from memory", &alice).await?;
        expect("second call", "; hit;", &reply)?;

        let bob = self.token("bob")?;
        self.at_once(&bob).await?;

        let forged = forge(&alice, &bob);
        let reply = self.step("forged token", "turned away", &forged).await?;
        if reply.status != 401 {
            return Err(unexpected("forged token", "401", reply.status.to_string()));
        }
        Ok(())
    }

    /// One request of one phone.
    async fn step(
        &mut self,
        name: &'static str,
        what: &str,
        token: &str,
    ) -> Result<Reply, DemoError> {
        let start = self.clock.monotonic();
        let reply = self.ask(token).await?;
        let elapsed = self.clock.monotonic().since(start);
        self.tell(name, what, &reply, elapsed)?;
        Ok(reply)
    }

    /// Many phones that want the same new customer at the same time.
    async fn at_once(&mut self, token: &str) -> Result<(), DemoError> {
        const STEP: &str = "20 at once";
        let start = self.clock.monotonic();
        let replies = join_all((0..AT_ONCE).map(|_| self.ask(token))).await;
        let elapsed = self.clock.monotonic().since(start);
        let mut last = None;
        for reply in replies {
            let reply = reply?;
            if reply.status != 200 {
                return Err(unexpected(STEP, "200", reply.status.to_string()));
            }
            last = Some(reply);
        }
        let calls = self.running.simulator().calls("bob");
        if let Some(reply) = last {
            self.tell(STEP, &format!("calls to Juspay: {calls}"), &reply, elapsed)?;
        }
        if calls == 1 { Ok(()) } else { Err(unexpected(STEP, "1 call", calls.to_string())) }
    }

    async fn ask(&self, token: &str) -> io::Result<Reply> {
        let authorization = format!("Bearer {token}");
        let headers = [("Authorization", authorization.as_str())];
        exchange(&self.service.to_string(), "GET", "/me/customer", &headers, "").await
    }

    fn token(&self, subject: &str) -> io::Result<String> {
        self.running.issuer().mint(&MintRequest::of(subject)).map_err(io::Error::other)
    }

    fn tell(&mut self, name: &str, what: &str, reply: &Reply, took: Duration) -> io::Result<()> {
        let told = reply.header("cache-status").or_else(|| reply.header("www-authenticate"));
        writeln!(
            self.out,
            "{name:<13}{what:<20}{status}  {took:>9.1?}  {told}",
            status = reply.status,
            told = told.unwrap_or_default(),
        )
    }

    fn invite(&mut self) -> Result<(), DemoError> {
        let token = self.token("alice")?;
        writeln!(self.out, "\nStill serving; Ctrl-C ends it. Try it yourself:\n")?;
        writeln!(self.out, "  curl -i -H 'Authorization: Bearer {token}' \\")?;
        writeln!(self.out, "    http://{}/me/customer\n", self.service)?;
        writeln!(self.out, "Tokens of the simulator don't work in Juspay's real SDK.")?;
        self.out.flush()?;
        Ok(())
    }
}

/// What `token` claims, under the signature of `other`.
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
