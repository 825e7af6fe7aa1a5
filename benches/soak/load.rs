//! Load: requests of phones, in an open loop (due by the clock, whatever the service does) or in a
//! closed one (as fast as answers come).

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
    http::Pool,
    phone::{Floors, Judged, Phone},
    process,
    tally::Tally,
};

/// Between two looks at which requests are due.
const TICK: Duration = Duration::from_millis(1);

/// Does `work` on a thread of its own, when nobody else wants its core: what measures latencies
/// there isn't late because a crowd is sent beside it.
pub async fn on_its_own<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let (tell, told) = oneshot::channel();
    thread::spawn(move || {
        process::idle_thread();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        // Nobody waits any more when the run has failed.
        drop(tell.send(runtime.block_on(work)));
    });
    told.await.unwrap()
}

/// Phones that send over a pool, and where their answers are counted.
#[derive(Debug, Clone)]
pub struct Load {
    pub pool: Arc<Pool>,
    pub phones: Arc<[Arc<Phone>]>,
    pub floors: Floors,
    pub tally: Arc<Tally>,
    next: Arc<AtomicU64>,
}

impl Load {
    pub fn new(pool: Arc<Pool>, phones: Arc<[Arc<Phone>]>, floors: Floors) -> Self {
        Self { pool, phones, floors, tally: Arc::default(), next: Arc::default() }
    }

    /// The same, counted elsewhere.
    pub fn counted_apart(&self) -> Self {
        Self { tally: Arc::default(), ..self.clone() }
    }

    /// The next phone, in turn.
    fn next(&self) -> Arc<Phone> {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        Arc::clone(&self.phones[usize::try_from(next).unwrap() % self.phones.len()])
    }

    /// One request of one phone. The latency counts from when it is really sent: that a timer here
    /// is late is no doing of the service's, and each request has a connection to itself.
    pub async fn ask(&self, phone: &Phone) -> Option<Judged> {
        let sent = Instant::now();
        let judge = |reply: &super::http::Reply<'_>| phone.judge(reply, self.floors);
        match self.pool.exchange(&phone.request(), judge).await {
            None => self.tally.unsent(),
            Some(Err(error)) => self.tally.broke(&error),
            Some(Ok(judged)) => {
                self.tally.answered(judged.outcome.clone(), judged.source, sent.elapsed());
                if let Some(what) = &judged.breach {
                    self.tally.breach(what.clone());
                }
                return Some(judged);
            }
        }
        None
    }

    /// Sends `rate` requests a second for `time`, phones in turn, and waits for their answers.
    /// Gives how long it took to send them: longer than `time` when that was more than we can do.
    /// `see` gets each answer, with the phone's id and whether it had been served when it asked.
    pub async fn open_loop(
        &self,
        rate: u32,
        time: Duration,
        see: impl Fn(&str, bool, &Judged) + Clone + Send + 'static,
    ) -> Duration {
        let start = Instant::now();
        let gap = Duration::from_secs(1) / rate;
        let mut under_way = JoinSet::new();
        let mut due = start;
        while due.duration_since(start) < time {
            let now = Instant::now();
            if due > now {
                tokio::time::sleep(TICK).await;
            } else if !self.pool.has_room() {
                self.tally.unsent();
                due += gap;
            } else {
                let (load, see, phone) = (self.clone(), see.clone(), self.next());
                under_way.spawn(async move {
                    let served = phone.has_been_served();
                    if let Some(judged) = load.ask(&phone).await {
                        see(&phone.id, served, &judged);
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

    /// Sends the next request on each of `number` connections as soon as the last is answered;
    /// gives the number of answers a second.
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
