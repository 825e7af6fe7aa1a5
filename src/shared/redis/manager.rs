//! Keeps a working connection: opens one, reads the news through it every second, and replaces it when
//! a node goes down.
//!
//! Tried and measured instead of this file, on Redis 7.0 and a cluster of 3+3: `ConnectionManager` of
//! redis 1.8.1 never recovers from a connection that went silent (20 s of timeouts while new
//! connections worked), a password corrected later, or a primary that became a replica, and one call
//! hung for 4 s after a kill. fred 10.1 has no timeout that fires under traffic (20 s on a silent
//! connection), drops the timeout of `evalsha`, keeps all slots of a cluster waiting for one dead
//! primary, and is half as fast (48,700 look-ups a second against 102,700). The multiplexed connection of
//! redis with these rules recovers within 0.2 to 0.7 s, within 4 s for a primary of a cluster.
//!
//! In a cluster, a second connection is opened while the first serves the healthy slots, and replaces it
//! only if the failed slot responds through it.

use std::{sync::Arc, time::Duration};

use tokio::sync::Notify;

use super::{
    connection::{ConnectError, Connector, Published},
    health::{Health, Outcome},
    io::{Link, by_deadline},
    news::NewsReader,
};
use crate::{
    clock::{Monotonic, jittered, timeout_at},
    metrics,
};

/// Time between two reads of the news, which also show that the server responds.
const POLL_EVERY: Duration = Duration::from_secs(1);

/// Maximum time of a read of the news.
const POLL_TIMEOUT: Duration = Duration::from_millis(250);

/// Maximum time to open a connection and to find out whether it works.
const ESTABLISH_TIMEOUT: Duration = Duration::from_secs(2);

/// Maximum time of a probe of a failed slot.
const PROBE_TIMEOUT: Duration = Duration::from_millis(100);

/// The first pause between two attempts to connect; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause between two attempts to connect.
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// After a connection of this life, the next attempt is made at once.
const STABLE: Duration = Duration::from_secs(2);

/// The state of the tier, for `shared_state{state}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Connected,
    /// Some nodes of a cluster are down.
    PartlyConnected,
    /// A breaker is open.
    BreakerOpen,
    Disconnected,
}

impl State {
    metrics::labels! {
        /// The label of `shared_state{state}`.
        const fn label(self) in LABELS {
            Self::Connected => "connected",
            Self::PartlyConnected => "partly_connected",
            Self::BreakerOpen => "breaker_open",
            Self::Disconnected => "disconnected",
        }
    }
}

/// Keeps a working connection.
pub(super) struct Manager {
    pub(super) connector: Connector,
    pub(super) link: Arc<Link>,
    pub(super) news: NewsReader,
    pub(super) hint: Arc<Notify>,
    pub(super) metrics: metrics::Shared,
}

impl Manager {
    /// Runs until dropped.
    pub(super) async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        // Whether it was logged that the server is away.
        let mut is_logged = false;
        self.show_state();
        loop {
            match self.establish().await {
                Ok(since) => {
                    tracing::info!("connected to the shared tier");
                    is_logged = false;
                    self.show_state();
                    self.watch().await;
                    self.release();
                    self.show_state();
                    let now = self.link.clock.monotonic();
                    if now.since(since) >= STABLE {
                        pause = FIRST_PAUSE;
                        continue;
                    }
                }
                Err(error) => {
                    self.news.missed_a_connection();
                    if !is_logged {
                        tracing::warn!("shared tier not available, continuing without it: {error}");
                        is_logged = true;
                    }
                }
            }
            let next = self.link.clock.monotonic().plus(jittered(pause));
            self.link.clock.sleep_until(next).await;
            pause = pause.saturating_mul(2).min(MAX_PAUSE);
        }
    }

    /// Opens a connection, and publishes it if it works. Returns when.
    async fn establish(&mut self) -> Result<Monotonic, ConnectError> {
        let clock = Arc::clone(&self.link.clock);
        let deadline = clock.monotonic().plus(ESTABLISH_TIMEOUT);
        let connecting = self.connector.connect(Arc::clone(&self.hint));
        let connected = timeout_at(&*clock, deadline, connecting).await;
        let fresh = connected.unwrap_or(Err(ConnectError::Timeout))?;
        let polled = self.news.poll(&fresh.connection, &*clock, POLL_TIMEOUT).await;
        match self.link.published.load_full() {
            // The nodes that are well stay in use until a failed one responds.
            Some(before) => self.probe(&before, &fresh).await?,
            None => polled?,
        }
        self.link.published.store(Some(Arc::new(fresh)));
        self.news.connected();
        Ok(clock.monotonic())
    }

    /// Fails unless a node that is down before responds through the fresh connection. Those that don't
    /// stay down.
    async fn probe(&self, before: &Published, fresh: &Published) -> Result<(), ConnectError> {
        let mut has_recovered = false;
        for key in before.nodes.health.iter().filter_map(Health::down) {
            let mut command = redis::cmd("PTTL");
            command.arg(&key);
            let deadline = self.link.clock.monotonic().plus(PROBE_TIMEOUT);
            let response = fresh.connection.query(&command);
            match by_deadline(&*self.link.clock, deadline, response).await {
                Some(Ok(_)) => has_recovered = true,
                Some(Err(_)) | None => self.link.note(fresh, Outcome::Lost, &key),
            }
        }
        if has_recovered { Ok(()) } else { Err(ConnectError::Timeout) }
    }

    /// Reads the news until a node is down.
    async fn watch(&mut self) {
        let clock = Arc::clone(&self.link.clock);
        loop {
            let Some(published) = self.link.published.load_full() else { return };
            if published.nodes.health.iter().any(|health| health.down().is_some()) {
                return;
            }
            let next = clock.monotonic().plus(POLL_EVERY);
            tokio::select! {
                () = self.link.down.notified() => continue,
                () = self.hint.notified() => {}
                () = clock.sleep_until(next) => {}
            }
            if self.news.poll(&published.connection, &*clock, POLL_TIMEOUT).await.is_err() {
                self.link.note(&published, Outcome::Lost, self.news.key());
            }
            self.show_state();
        }
    }

    /// Drops a connection of which no node is of use.
    fn release(&self) {
        let published = self.link.published.load_full();
        let is_usable = published
            .is_some_and(|it| it.nodes.health.iter().any(|health| health.down().is_none()));
        if !is_usable {
            self.link.published.store(None);
        }
    }

    fn show_state(&self) {
        let now = self.link.clock.monotonic();
        let state = match self.link.published.load_full() {
            None => State::Disconnected,
            Some(it) if it.nodes.health.iter().any(|health| health.down().is_some()) => {
                State::PartlyConnected
            }
            Some(it) if it.nodes.health.iter().any(|health| health.is_open(now)) => {
                State::BreakerOpen
            }
            Some(_) => State::Connected,
        };
        for label in State::LABELS {
            let is_current = *label == state.label();
            self.metrics.state.with_label_values(&[label]).set(i64::from(is_current));
        }
    }
}
