//! Requests at a fixed rate, whatever the server does: due by the clock, latencies counted from
//! when they were due. wrk can't do that, as it sends when it has been answered.
//!
//! One thread spins on its own core, so that no timer is late. When it is held up itself, by the
//! machine or by what else runs there, nothing of that is counted.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read as _, Write as _},
    iter::Cycle,
    net::{SocketAddr, TcpStream},
    slice::Iter,
    time::{Duration, Instant},
};

use super::{contest::median, plain};

/// Most requests sent before answers are looked for, and most connections without one that are
/// looked at before requests are sent: whoever has been asked first mostly answers first.
const AT_ONCE: usize = 8;

/// Between two looks no more than this goes by, unless we are held up.
const HELD_UP: Duration = Duration::from_micros(500);

/// Latencies are told for each so long a time: what the machine does besides holds up a few of them.
const SLICE: Duration = Duration::from_millis(250);

/// A connection, and the answer that is on its way on it.
struct Line {
    stream: TcpStream,
    due: Instant,
    is_counted: bool,
    space: Vec<u8>,
    filled: usize,
}

/// Latencies of a slice, in microseconds.
#[derive(Debug, Clone, Copy)]
pub struct Paced {
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    /// What others had of a core meanwhile; for who knows it.
    pub others: f64,
}

/// Asks one server, again and again over the same connections.
pub struct Pacer<'r> {
    /// The one that has waited longest is first: none is left until its server closes it.
    idle: VecDeque<Line>,
    requests: Cycle<Iter<'r, Vec<u8>>>,
}

impl<'r> Pacer<'r> {
    /// Makes so many connections. The requests are sent in turn.
    pub fn new(server: SocketAddr, requests: &'r [Vec<u8>], connections: usize) -> Self {
        let idle = (0..connections).map(|_| Line::open(server)).collect();
        Self { idle, requests: requests.iter().cycle() }
    }

    /// Sends requests, evenly spaced, `rate` a second. Tells of each slice of that time.
    pub fn pace(&mut self, rate: f64, time: Duration) -> Vec<Paced> {
        // The one that was sent first is first.
        let mut busy: Vec<Line> = Vec::with_capacity(self.idle.len());
        let slice = |since: Duration| usize::try_from(since.as_nanos() / SLICE.as_nanos()).unwrap();
        let mut latencies = vec![Vec::new(); slice(time)];
        let start = Instant::now();
        let gap = Duration::from_secs_f64(1.0 / rate);
        let (mut due, mut looked) = (start, start);
        while due < start + time || !busy.is_empty() {
            let now = Instant::now();
            if now - looked > HELD_UP {
                due = due.max(now);
                for line in &mut busy {
                    line.is_counted = false;
                }
            }
            looked = now;
            for _ in 0..AT_ONCE {
                if due > now || due >= start + time {
                    break;
                }
                let Some(mut line) = self.idle.pop_front() else { break };
                line.send(self.requests.next().unwrap(), due);
                busy.push(line);
                due += gap;
            }
            let (mut at, mut unanswered) = (0, 0);
            while at < busy.len() && unanswered < AT_ONCE {
                if busy[at].is_answered() {
                    let line = busy.remove(at);
                    if line.is_counted
                        && let Some(all) = latencies.get_mut(slice(line.due - start))
                    {
                        all.push(line.due.elapsed());
                    }
                    self.idle.push_back(line);
                } else {
                    (at, unanswered) = (at + 1, unanswered + 1);
                }
            }
        }
        latencies.into_iter().filter(|all| !all.is_empty()).map(Paced::of).collect()
    }
}

impl Paced {
    fn of(mut latencies: Vec<Duration>) -> Self {
        latencies.sort_unstable();
        let permille = |permille: usize| {
            let latency = latencies[(latencies.len() * permille).div_ceil(1000) - 1];
            latency.as_secs_f64() * 1e6
        };
        Self { p50: permille(500), p99: permille(990), p999: permille(999), others: 0.0 }
    }

    /// What is in the middle of these.
    pub fn median(of: &[Self]) -> Self {
        let median = |value: fn(&Self) -> f64| median(of.iter().map(value));
        Self {
            p50: median(|it| it.p50),
            p99: median(|it| it.p99),
            p999: median(|it| it.p999),
            others: median(|it| it.others),
        }
    }
}

impl Line {
    fn open(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_nonblocking(true).unwrap();
        Self { stream, due: Instant::now(), is_counted: true, space: vec![0; 4096], filled: 0 }
    }

    /// A request is smaller than a socket's buffer, so it always goes.
    fn send(&mut self, request: &[u8], due: Instant) {
        (self.due, self.is_counted, self.filled) = (due, true, 0);
        self.stream.write_all(request).unwrap();
    }

    fn is_answered(&mut self) -> bool {
        match self.stream.read(&mut self.space[self.filled..]) {
            Ok(0) => panic!("the server has closed a connection"),
            Ok(length) => self.filled += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) => panic!("{error}"),
        }
        let answer = &self.space[..self.filled];
        let whole = plain::is_whole(answer);
        assert!(!whole || plain::is_ok(answer), "{}", String::from_utf8_lossy(answer));
        whole
    }
}
