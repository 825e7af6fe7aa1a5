//! The other replicas: opens the shared tier, announces this process's news, and acts on those of others.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::sync::Notify;

use super::{Settings, StartError};
use crate::{
    auth::{Authenticator, RevokeError},
    cache::CustomerCache,
    clock::{Clock, jittered, timeout_at, until},
    juspay::resilience::Resilience,
    metrics::Metrics,
    revocation::{Entry, Target},
    shared::{Event, Events, News, SharedTier},
    watched_file::Reloadable,
};

/// The longest pause before the cache is purged because news may have been missed. Random, so that not all
/// replicas have an empty cache at once.
const MAX_PURGE_PAUSE: Duration = Duration::from_secs(2);

/// Pause before news are repeated that the tier has not learned.
const REPEAT_EVERY: Duration = Duration::from_secs(1);

/// The clocks of replicas differ by less than this.
const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_mins(2);

/// The shared tier and what it announces.
pub(super) struct Replicas {
    tier: Arc<dyn SharedTier>,
    events: Events,
}

/// The files of keys, with their names in logs and metrics.
type Files = Vec<(&'static str, Arc<dyn Reloadable>)>;

/// Opens the shared tier, if the settings have one.
#[cfg(feature = "shared")]
pub(super) fn open(
    settings: &Settings,
    clock: &Arc<dyn Clock>,
    metrics: &Metrics,
) -> Result<Option<(Replicas, Files)>, StartError> {
    if settings.shared.url.is_none() {
        return Ok(None);
    }
    let (tier, events) = crate::shared::redis::RedisTier::open(settings, clock, &metrics.shared)?;
    let files = tier.key_files().into();
    Ok(Some((Replicas { tier: Arc::new(tier), events }, files)))
}

/// Without the cargo feature, the settings can't have one.
#[cfg(not(feature = "shared"))]
#[expect(clippy::unnecessary_wraps, reason = "as with the feature")]
pub(super) fn open(
    _: &Settings,
    _: &Arc<dyn Clock>,
    _: &Metrics,
) -> Result<Option<(Replicas, Files)>, StartError> {
    Ok(None)
}

impl Replicas {
    pub(super) fn tier(&self) -> Arc<dyn SharedTier> {
        Arc::clone(&self.tier)
    }

    /// Announces and acts on news until dropped.
    pub(super) async fn follow(
        self,
        authenticator: Arc<Authenticator>,
        cache: CustomerCache,
        resilience: Arc<Resilience>,
        clock: Arc<dyn Clock>,
    ) {
        let Self { tier, events } = self;
        let connected = Notify::new();
        tokio::join!(
            cache.report_hand_outs(),
            announce_rate_limits(&*tier, &resilience, &*clock),
            repeat_news(&authenticator, &cache, &*clock, &connected),
            act_on(events, &authenticator, &cache, &resilience, &*clock, &connected),
        );
    }
}

async fn announce_rate_limits(tier: &dyn SharedTier, resilience: &Resilience, clock: &dyn Clock) {
    let mut limits = resilience.rate_limits();
    while limits.changed().await.is_ok() {
        let until = *limits.borrow_and_update();
        if let Some(until) = until {
            let now = clock.moment();
            let news = News::Hold(now.wall, until.since(now.monotonic));
            // The others meet the limit themselves.
            tier.announce(news).await.unwrap_or_default();
        }
    }
}

/// Announces all revocations after each connection, and whatever the tier has not learned until it has.
async fn repeat_news(
    authenticator: &Authenticator,
    cache: &CustomerCache,
    clock: &dyn Clock,
    connected: &Notify,
) {
    loop {
        let mut is_due = tokio::select! {
            () = connected.notified() => true,
            () = cache.has_unshared() => false,
        };
        loop {
            is_due |= cache.take_unshared_revocation();
            let is_done = !is_due || announce_revocations(authenticator, cache).await;
            if cache.repeat_purges().await && is_done {
                break;
            }
            clock.sleep_until(clock.monotonic().plus(REPEAT_EVERY)).await;
        }
    }
}

/// Announces all revocations in memory. Returns whether the tier has them.
async fn announce_revocations(authenticator: &Authenticator, cache: &CustomerCache) -> bool {
    for entry in authenticator.revocations_in_memory() {
        if !cache.announce_revocation(&entry).await {
            return false;
        }
    }
    true
}

async fn act_on(
    mut events: Events,
    authenticator: &Authenticator,
    cache: &CustomerCache,
    resilience: &Resilience,
    clock: &dyn Clock,
    connected: &Notify,
) {
    // When to purge the cache because news may have been missed. Revocations don't wait for that.
    let mut purge_at = None;
    loop {
        let next = events.next();
        let event = if let Some(time) = purge_at {
            let Some(event) = timeout_at(clock, time, next).await else {
                purge_at = None;
                cache.purge_all();
                continue;
            };
            event
        } else {
            next.await
        };
        let Some(event) = event else { return };
        match event {
            Event::News(News::Purged(customer)) => {
                resilience.discard_rejections(Some(&customer));
                cache.purge(&customer);
            }
            Event::News(News::Revoked(entry, _)) => revoke(&entry, authenticator, cache).await,
            Event::News(News::Newer(customer, version)) => cache.forget_older(&customer, version),
            // Clocks may differ. Much older news are those of a time without a connection.
            Event::News(News::Hold(since, wait)) => {
                if until(clock.now(), since) < MAX_CLOCK_DIFFERENCE {
                    resilience.hold(wait);
                }
            }
            Event::PurgedAll => {
                resilience.discard_rejections(None);
                cache.purge_all();
            }
            Event::Missed => {
                tracing::warn!("news of other replicas were missed; purging the cache once");
                let pause = jittered(MAX_PURGE_PAUSE);
                purge_at = purge_at.or(Some(clock.monotonic().plus(pause)));
            }
            Event::Connected => connected.notify_one(),
        }
    }
}

/// Revokes what another replica has revoked.
async fn revoke(entry: &str, authenticator: &Authenticator, cache: &CustomerCache) {
    let entry = match Entry::parse(entry.as_bytes()) {
        Ok(entry) => entry,
        Err(error) => {
            tracing::warn!("a revocation of another replica can't be read: {error}");
            return;
        }
    };
    let is_subject = matches!(entry.target, Target::Subject { .. });
    match authenticator.revoke(entry) {
        // Who announced it has purged a subject's customer. That of a token or a session may be known only
        // here.
        Ok(customers) if is_subject => customers.iter().for_each(|customer| {
            cache.purge(customer);
        }),
        Ok(customers) => {
            join_all(customers.iter().map(|customer| cache.purge_everywhere(customer))).await;
        }
        Err(RevokeError::Past) => {}
        Err(error) => tracing::warn!("a revocation of another replica is not in force: {error}"),
    }
}
