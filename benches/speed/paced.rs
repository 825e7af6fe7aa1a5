//! Sends requests at a fixed rate, independent of the responses. Latencies are measured from the
//! time at which a request was due. wrk can't do that, because it waits for a response before it
//! sends again.
//!
//! One thread spins on its own core, so no timer is late. Requests are not counted if this thread
//! was interrupted while they were due.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read as _, Write as _},
    iter::Cycle,
    net::{SocketAddr, TcpStream},
    slice::Iter,
    time::{Duration, Instant},
};

use super::{contest::median, plain};

/// Maximum number of requests sent before responses are read, and of waiting connections polled
/// before requests are sent. Servers mostly respond in order.
const AT_ONCE: usize = 8;

/// The maximum time between two polls, unless this thread was interrupted.
const MAX_GAP: Duration = Duration::from_micros(500);

/// Latencies are reported for slices of this length, because other load on the machine spoils some
/// slices.
const SLICE: Duration = Duration::from_millis(250);

/// A connection and the response that it is receiving.
struct PacedConnection {
    stream: TcpStream,
    due: Instant,
    is_counted: bool,
    space: Vec<u8>,
    filled: usize,
}

/// Latencies of a slice, in microseconds.
#[derive(Debug, Clone, Copy)]
pub struct SliceLatencies {
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    /// CPU time of other processes meanwhile, in cores; set by callers that measure it.
    pub others: f64,
}

/// Sends requests to one server over a fixed set of connections.
pub struct Pacer<'r> {
    /// The connection that was idle longest is first, so that the server's idle timeout closes
    /// none.
    idle: VecDeque<PacedConnection>,
    requests: Cycle<Iter<'r, Vec<u8>>>,
}

impl<'r> Pacer<'r> {
    /// Opens this number of connections. The requests are sent in turn.
    pub fn new(server: SocketAddr, requests: &'r [Vec<u8>], connections: usize) -> Self {
        let idle = (0..connections).map(|_| PacedConnection::open(server)).collect();
        Self { idle, requests: requests.iter().cycle() }
    }

    /// Sends `rate` evenly spaced requests per second. Returns the latencies of each slice.
    pub fn pace(&mut self, rate: f64, time: Duration) -> Vec<SliceLatencies> {
        // The oldest request is first.
        let mut busy: Vec<PacedConnection> = Vec::with_capacity(self.idle.len());
        let slice = |since: Duration| usize::try_from(since.as_nanos() / SLICE.as_nanos()).unwrap();
        let mut latencies = vec![Vec::new(); slice(time)];
        let start = Instant::now();
        let gap = Duration::from_secs_f64(1.0 / rate);
        let (mut due, mut looked) = (start, start);
        while due < start + time || !busy.is_empty() {
            let now = Instant::now();
            if now - looked > MAX_GAP {
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
        latencies.into_iter().filter(|all| !all.is_empty()).map(SliceLatencies::of).collect()
    }
}

impl SliceLatencies {
    fn of(mut latencies: Vec<Duration>) -> Self {
        latencies.sort_unstable();
        let permille = |permille: usize| {
            let latency = latencies[(latencies.len() * permille).div_ceil(1000) - 1];
            latency.as_secs_f64() * 1e6
        };
        Self { p50: permille(500), p99: permille(990), p999: permille(999), others: 0.0 }
    }

    /// The median of each value.
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

impl PacedConnection {
    fn open(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_nonblocking(true).unwrap();
        Self { stream, due: Instant::now(), is_counted: true, space: vec![0; 4096], filled: 0 }
    }

    /// A request is smaller than a socket's buffer, so the write never blocks.
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
