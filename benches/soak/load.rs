//! Load: clients' requests in an open loop (at a fixed rate, independent of the responses) or in a
//! closed one (the next request follows the response).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{runtime::Builder, sync::oneshot, task::JoinSet};

use super::{
    client::{CheckedResponse, Client, Floors},
    http::Pool,
    process,
    tally::Tally,
};

/// Interval of sending the requests that are due.
const TICK: Duration = Duration::from_millis(1);

/// Runs `work` on a thread of its own that runs only if no other needs its core: the requests that
/// `work` sends must not delay the measurement of other latencies.
pub async fn on_its_own<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let (sender, receiver) = oneshot::channel();
    thread::spawn(move || {
        process::idle_thread();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        // The receiver is gone if the run has failed.
        drop(sender.send(runtime.block_on(work)));
    });
    receiver.await.unwrap()
}

/// Clients that send over a pool, and the counts of their responses.
#[derive(Debug, Clone)]
pub struct Load {
    pub pool: Arc<Pool>,
    pub clients: Arc<[Arc<Client>]>,
    pub floors: Floors,
    pub tally: Arc<Tally>,
    next: Arc<AtomicU64>,
}

impl Load {
    pub fn new(pool: Arc<Pool>, clients: Arc<[Arc<Client>]>, floors: Floors) -> Self {
        Self { pool, clients, floors, tally: Arc::default(), next: Arc::default() }
    }

    /// The same load with counts of its own.
    pub fn with_own_counts(&self) -> Self {
        Self { tally: Arc::default(), ..self.clone() }
    }

    /// The same load that counts in `tally`.
    pub fn counting_in(self, tally: &Arc<Tally>) -> Self {
        Self { tally: Arc::clone(tally), ..self }
    }

    /// The next client, in turn.
    fn next(&self) -> Arc<Client> {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        Arc::clone(&self.clients[usize::try_from(next).unwrap() % self.clients.len()])
    }

    /// Sends one request of a client. The latency starts when the request is really sent, because a
    /// late timer of this program is not the service's fault, and each request has a connection to
    /// itself.
    pub async fn ask(&self, client: &Client) -> Option<CheckedResponse> {
        self.send(client, &client.request()).await
    }

    /// Sends this request of a client.
    pub async fn send(&self, client: &Client, request: &[u8]) -> Option<CheckedResponse> {
        let sent = Instant::now();
        let check = |reply: &super::http::Reply<'_>| client.check(reply, self.floors);
        match self.pool.exchange(request, check).await {
            None => self.tally.unsent(),
            Some(Err(error)) => self.tally.broke(&error),
            Some(Ok(checked)) => {
                self.tally.answered(checked.outcome.clone(), checked.source, sent.elapsed());
                if let Some(what) = &checked.violation {
                    self.tally.violation(what.clone());
                }
                return Some(checked);
            }
        }
        None
    }

    /// Sends `rate` requests a second for `time`, from all clients in turn, and waits for the
    /// responses. Returns the duration of sending, which exceeds `time` if this program can't send
    /// that fast. `see` gets each response, with the customer's id and whether the customer had
    /// been served before.
    pub async fn open_loop(
        &self,
        rate: u32,
        time: Duration,
        see: impl Fn(&str, bool, &CheckedResponse) + Clone + Send + 'static,
    ) -> Duration {
        let start = Instant::now();
        let gap = Duration::from_secs(1) / rate;
        let mut under_way = JoinSet::new();
        let mut due = start;
        while due.duration_since(start) < time {
            let now = Instant::now();
            if due > now {
                tokio::time::sleep(TICK).await;
            } else if !self.pool.has_capacity() {
                self.tally.unsent();
                due += gap;
            } else {
                let (load, see, client) = (self.clone(), see.clone(), self.next());
                under_way.spawn(async move {
                    let served = client.was_served();
                    if let Some(checked) = load.ask(&client).await {
                        see(&client.id, served, &checked);
                    }
                });
                due += gap;
            }
            while let Some(ended) = under_way.try_join_next() {
                ended.unwrap();
            }
        }
        let took = start.elapsed();
        while let Some(ended) = under_way.join_next().await {
            ended.unwrap();
        }
        took
    }

    /// Sends the next request on each of `number` connections as soon as the previous response is
    /// complete. Returns the number of responses a second.
    pub async fn closed_loop(&self, number: usize, time: Duration) -> u64 {
        let (start, over) = (Instant::now(), Arc::<AtomicBool>::default());
        let mut loops = JoinSet::new();
        for _ in 0..number {
            let (load, over) = (self.clone(), Arc::clone(&over));
            loops.spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    load.ask(&load.next()).await;
                }
            });
        }
        let before = self.tally.counts().all().count();
        tokio::time::sleep(time).await;
        let answered = self.tally.counts().all().count() - before;
        let elapsed = start.elapsed();
        over.store(true, Ordering::Relaxed);
        while loops.join_next().await.is_some() {}
        answered * 1000 / u64::try_from(elapsed.as_millis()).unwrap()
    }
}
