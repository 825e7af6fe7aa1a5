//! Five service processes that share a Redis server, under load, while processes and servers are killed,
//! stopped and restarted. Prints how many calls Juspay gets, where responses come from and how long they
//! take, and checks that customers notice nothing.

mod servers;

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use clap::ValueEnum;
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};

use self::servers::Servers;
use super::{
    client::{CheckedResponse, Client},
    control::Control,
    http::Pool,
    load::Load,
    process::Process,
    storm::FLOORS,
    tally::{Counts, Latencies, Tally},
    verdict::{Report, ms, spread},
    world::{FIRST_KEY, common, simulator, socket},
};

/// Number of processes.
const REPLICAS: usize = 5;

/// Requests of each customer in a herd, on all replicas together.
const REQUESTS: usize = 20;

/// Connections to each replica.
const CONNECTIONS: usize = 3000;

/// How long a call to Juspay takes in the herds.
const CALL: Duration = Duration::from_millis(100);

/// How long a lease lasts if it is not renewed.
const LEASE: Duration = Duration::from_millis(1500);

/// Time for processes that share two cores to answer.
const SLACK: Duration = Duration::from_secs(1);

/// The time in which all replicas must share again after a failure.
const RECOVERY: Duration = Duration::from_secs(5);

/// The time in which news reach all replicas.
const NEWS: Duration = Duration::from_secs(2);

/// Requests per second, on all replicas together, during failures.
const RATE: u32 = 500;

/// Settings of each replica: five are on two cores, and each customer comes 20 times at once.
const SETTINGS: &str = r#"
    server.workers = 1
    server.max_in_flight = 16384
    server.max_waiting = 8192
    juspay.max_in_flight = 2048
    log.access = "off"
    limits.per_customer = "off"
    cache.force_refresh_min_age = "1s"
    cache.max_hand_outs = 1000
    shared.key_file = "shared-key"
    shared.name_key_file = "shared-name-key"
"#;

/// The replicas and what they use.
struct World {
    replicas: Vec<Replica>,
    servers: Servers,
    juspay: String,
    issuer: String,
    tally: Arc<Tally>,
    directory: TempDir,
    _simulator: Process,
}

struct Replica {
    process: Process,
    control: Arc<Control>,
    load: Load,
    /// Limits requests to those that have a connection.
    permits: Arc<Semaphore>,
}

/// How much a run does.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Scale {
    /// 1,000 customers, and five herds of each kind.
    Full,
    /// 200 customers, and one herd of each kind.
    Quick,
}

struct Plan {
    customers: u32,
    herds: usize,
}

/// Runs everything on a single server, then the herds on a cluster.
pub async fn run(scale: Scale) -> bool {
    let plan = match scale {
        Scale::Full => Plan { customers: 1000, herds: 5 },
        Scale::Quick => Plan { customers: 200, herds: 1 },
    };
    let mut passed = true;
    let directory = tempfile::tempdir().unwrap();
    let servers = Servers::single(directory.path()).await;
    let mut world = World::start(servers, directory).await;
    passed &= world.herds("a single server", &plan).await.print();
    passed &= world.news().await.print();
    passed &= world.killed_replica(&plan).await.print();
    passed &= world.stopped_replica().await.print();
    passed &= world.failures(&plan).await.print();
    passed &= world.rolling_restart(&plan).await.print();
    drop(world);
    let directory = tempfile::tempdir().unwrap();
    let servers = Servers::cluster(directory.path()).await;
    let world = World::start(servers, directory).await;
    passed & world.herds("a cluster", &plan).await.print()
}

impl World {
    async fn start(servers: Servers, directory: TempDir) -> Self {
        let (simulator, juspay, issuer) = simulator(900, None, directory.path()).await;
        for (file, content) in [
            ("api-key", FIRST_KEY),
            ("api-key-next", FIRST_KEY),
            ("shared-key", &"a1".repeat(32)),
            ("shared-name-key", &"b2".repeat(32)),
        ] {
            fs::write(directory.path().join(file), content).unwrap();
        }
        let settings = common(&juspay, &issuer) + SETTINGS + &servers.settings();
        fs::write(directory.path().join("settings.toml"), settings).unwrap();
        let (replicas, tally) = (Vec::new(), Arc::default());
        let mut world =
            Self { replicas, servers, juspay, issuer, tally, directory, _simulator: simulator };
        for number in 0..REPLICAS {
            let replica = world.replica(number).await;
            world.replicas.push(replica);
        }
        world.shares().await;
        world
    }

    /// Starts a replica.
    async fn replica(&self, number: usize) -> Replica {
        let arguments = ["serve", "--config", "settings.toml"];
        let name = format!("replica-{number}");
        let mut process = Process::start(&name, &arguments, None, self.path());
        let (public, admin) = process.addresses().await;
        let control = Control::new(socket(&self.juspay), socket(&self.issuer), admin);
        while !control.is_ready().await {
            sleep(Duration::from_millis(10)).await;
        }
        let load = self.load(public);
        let permits = Arc::new(Semaphore::new(CONNECTIONS));
        Replica { process, control: Arc::new(control), load, permits }
    }

    fn load(&self, address: SocketAddr) -> Load {
        let pool = Arc::new(Pool::new(address, CONNECTIONS));
        Load::new(pool, Arc::new([]), FLOORS).counting_in(&self.tally)
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn control(&self) -> &Control {
        &self.replicas[0].control
    }

    /// Waits until all replicas are connected to the server. Returns how long it took.
    async fn shares(&self) -> Duration {
        let start = Instant::now();
        let shares = async {
            for replica in &self.replicas {
                while !replica.is_connected().await {
                    sleep(Duration::from_millis(20)).await;
                }
            }
        };
        timeout(Duration::from_secs(30), shares).await.expect("the replicas share again");
        start.elapsed()
    }

    /// Customers that no replica knows.
    async fn customers(&self, prefix: &str, number: u32) -> Vec<Arc<Client>> {
        let mut clients = Vec::new();
        for number in 0..number {
            let client = Client::new(format!("{prefix}{number}"), self.control(), 3600).await;
            clients.push(Arc::new(client));
        }
        clients
    }

    /// Sends requests of all customers on all replicas at once, and waits for the responses.
    async fn herd(&self, clients: &[Arc<Client>], requests: usize) -> Counts {
        let mut sending = JoinSet::new();
        for number in 0..requests {
            let replica = &self.replicas[number % self.replicas.len()];
            for client in clients {
                let (client, sender) = (Arc::clone(client), replica.sender());
                sending.spawn(async move { sender.ask(&client).await });
            }
        }
        sending.join_all().await;
        self.tally.take()
    }

    /// Look-ups that the server did not answer in time, or not at all.
    async fn away(&self) -> u64 {
        const AWAY: [&str; 6] =
            ["disconnected", "breaker_open", "busy", "timeout", "out_of_memory", "error"];
        let mut sum = 0;
        for replica in &self.replicas {
            let metrics = replica.control.metrics().await;
            let is_away =
                |labels: &str| AWAY.iter().any(|it| labels.contains(&format!("\"{it}\"")));
            sum += metrics.sum("shared_requests_total", is_away);
        }
        sum
    }

    /// A metric's series, summed over the replicas.
    async fn sums(&self, name: &str) -> String {
        let mut sums = BTreeMap::new();
        for replica in &self.replicas {
            for (labels, value) in replica.control.metrics().await.each(name) {
                *sums.entry(labels.to_owned()).or_insert(0) += value;
            }
        }
        let used = sums.iter().filter(|(_, value)| **value > 0);
        used.map(|(labels, value)| format!("{labels} {value}")).collect::<Vec<_>>().join(", ")
    }

    async fn herds(&self, what: &str, plan: &Plan) -> Report {
        let Plan { customers, herds } = *plan;
        let mut report = Report::new(format!(
            "{REPLICAS} replicas with {what}: {customers} cold customers, {REQUESTS} requests each at once"
        ));
        let latency = json!({"latency": {"ms": CALL.as_millis()}});
        self.control().fail(&latency).await;
        let mut calls = Vec::new();
        let mut all = Counts::default();
        for herd in 0..herds {
            let clients = self.customers(&format!("herd-{herd}-"), customers).await;
            let (before, away_before) = (self.control().calls().await, self.away().await);
            let counts = self.herd(&clients, REQUESTS).await;
            let (made, away) =
                (self.control().calls().await - before, self.away().await - away_before);
            let times = spread(&counts.all());
            report.measure(
                format!("herd {herd}: calls; look-ups without a response"),
                format!("{made}; {away}; {times}"),
            );
            let allowed = u64::from(customers) + away;
            report.check("at most one call more for each", made, made <= allowed);
            check_served(&mut report, &counts, customers as usize * REQUESTS);
            calls.push(made);
            all.merge(&counts);
        }
        self.control().heal().await;
        report.measure("look-ups and stores", self.sums("shared_requests_total").await);
        report.measure("calls to Juspay", self.sums("upstream_requests_total").await);
        calls.sort_unstable();
        if calls.len() > 1 {
            let median = calls[calls.len() / 2];
            let customers = u64::from(customers);
            report.check(format!("median of calls is {customers}"), median, median == customers);
            let most = calls[calls.len() - 1];
            let what = format!("at most {} calls", customers + customers / 200);
            report.check(what, most, most <= customers + customers / 200);
        }
        report_sources(&mut report, &all);
        report
    }

    /// A replica that is killed in mid-fetch.
    async fn killed_replica(&mut self, plan: &Plan) -> Report {
        let mut report = Report::new("a replica is killed while it calls Juspay (1 s)");
        self.control().fail(&json!({"latency": {"ms": 1000}})).await;
        let clients = self.customers("killed-", plan.customers).await;
        let before = self.control().calls().await;
        let leases_before = self.leases_of_the_first().await;
        let mut sending = JoinSet::new();
        for (number, client) in clients.iter().enumerate() {
            // Each customer sends a request on two replicas.
            for replica in [number, number + 1] {
                let replica = &self.replicas[replica % REPLICAS];
                let (client, sender) = (Arc::clone(client), replica.sender());
                let is_killed = std::ptr::eq(replica, &raw const self.replicas[0]);
                sending.spawn(async move {
                    let start = Instant::now();
                    let response = sender.ask(&client).await;
                    (is_killed, response.is_some_and(|it| it.outcome.0 == 200), start.elapsed())
                });
            }
        }
        // All leases are taken by then.
        sleep(Duration::from_millis(700)).await;
        let held = self.leases_of_the_first().await - leases_before;
        self.replicas[0].process.signal(Signal::KILL);
        let results = sending.join_all().await;
        let others = results.iter().filter(|(is_killed, ..)| !is_killed);
        let (failed, slowest) = others
            .fold((0, Duration::ZERO), |(failed, most), (_, ok, took)| {
                (failed + u32::from(!ok), most.max(*took))
            });
        let other = Arc::clone(&self.replicas[1].control);
        let calls = other.calls().await - before;
        let twice = other.calls_by_customer().await;
        let most = twice.iter().filter(|(id, _)| id.starts_with("killed-")).map(|it| it.1).max();
        report.measure("leases that it held at most", held);
        let allowed = u64::from(plan.customers) + held;
        report.check("at most one call more for each", calls, calls <= allowed);
        report.check("no customer is fetched three times", format!("{most:?}"), most <= Some(2));
        report.check("all requests on the others served", format!("{failed} not"), failed == 0);
        let limit = LEASE + Duration::from_secs(1) + SLACK;
        report.check(format!("within {limit:?}"), ms(slowest), slowest <= limit);
        other.heal().await;
        self.replicas[0] = self.replica(0).await;
        self.shares().await;
        self.tally.take();
        report
    }

    /// The leases that the first replica has taken.
    async fn leases_of_the_first(&self) -> u64 {
        let metrics = self.control().metrics().await;
        metrics.sum("shared_requests_total", |labels| labels.contains("\"fetch\""))
    }

    /// A replica that is stopped for longer than its lease.
    async fn stopped_replica(&self) -> Report {
        let mut report = Report::new("a replica is stopped for 3 s while it calls Juspay");
        let control = self.control();
        control.fail(&json!({"latency": {"ms": 500}})).await;
        let client = &self.customers("stopped-", 1).await[0];
        let [first, second, ..] = &self.replicas[..] else { panic!("{REPLICAS} replicas") };
        let late = tokio::spawn({
            let (client, sender) = (Arc::clone(client), first.sender());
            async move { sender.ask(&client).await }
        });
        sleep(Duration::from_millis(250)).await;
        first.process.signal(Signal::STOP);
        let stopped = Instant::now();
        let token = second.token(client).await;
        tokio::time::sleep_until((stopped + Duration::from_secs(3)).into()).await;
        first.process.signal(Signal::CONT);
        late.await.unwrap();
        let refused = async {
            loop {
                let metrics = control.metrics().await;
                let refused = |labels: &str| labels.contains("\"refused\"");
                if metrics.sum("shared_requests_total", refused) > 0 {
                    break;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        let is_refused = timeout(NEWS, refused).await.is_ok();
        report.check("its late store is refused", is_refused, is_refused);
        let same = first.token(client).await == token;
        report.check("then it returns the others' token", same, same);
        control.heal().await;
        self.tally.take();
        report
    }

    /// Purges, replaced tokens and revocations.
    async fn news(&self) -> Report {
        let mut report = Report::new("news reach all replicas");
        self.purge(&mut report).await;
        self.replace(&mut report).await;
        self.revoke(&mut report).await;
        self.tally.take();
        report
    }

    /// One replica purges a customer during another one's fetch.
    async fn purge(&self, report: &mut Report) {
        let control = self.control();
        let [a, b, ..] = &self.replicas[..] else { panic!("{REPLICAS} replicas") };
        let client = &self.customers("purged-", 1).await[0];
        control.fail(&json!({"latency": {"ms": 500}})).await;
        let fetch = tokio::spawn({
            let (client, sender) = (Arc::clone(client), b.sender());
            async move { sender.ask(&client).await }
        });
        sleep(Duration::from_millis(250)).await;
        let purged = a.control.administer("/cache/purge", &json!({"customer_id": client.id})).await;
        report.check("a purge reaches the tier", &purged, purged["shared_tier"] == "purged");
        let old = fetch.await.unwrap().and_then(|it| it.token).map(|it| it.0);
        control.heal().await;
        sleep(NEWS).await;
        for (name, replica) in [("the purging", a), ("the fetching", b)] {
            let new = replica.token(client).await;
            let what = format!("after a purge during a fetch, {name} replica has a new token");
            report.check(what, new != old, new.is_some() && new != old);
        }
    }

    /// A client demands a new token on one replica.
    async fn replace(&self, report: &mut Report) {
        let [a, b, ..] = &self.replicas[..] else { panic!("{REPLICAS} replicas") };
        let client = &self.customers("forced-", 1).await[0];
        let old = (a.token(client).await, b.token(client).await);
        report.check("replicas have the same token", old.0 == old.1, old.0 == old.1);
        sleep(Duration::from_millis(1100)).await;
        let new = a.load.send(client, &client.forced_request()).await.and_then(|it| it.token);
        let new = new.map(|it| it.0);
        report.check("no-cache brings a new token", new != old.0, new.is_some() && new != old.0);
        let start = Instant::now();
        while b.token(client).await != new && start.elapsed() < NEWS {
            sleep(Duration::from_millis(5)).await;
        }
        let took = start.elapsed();
        report.check("the other replica has it within a second", ms(took), took < NEWS / 2);
    }

    /// One replica revokes a customer's tokens while another one is stopped.
    async fn revoke(&self, report: &mut Report) {
        let [a, b, ..] = &self.replicas[..] else { panic!("{REPLICAS} replicas") };
        let client = &self.customers("revoked-", 1).await[0];
        let is_served = a.token(client).await.is_some() && b.token(client).await.is_some();
        report.check("a token is accepted before its revocation", is_served, is_served);
        b.process.signal(Signal::STOP);
        let expires = jiff::Timestamp::now().as_second() + 3600;
        let entry = json!({
            "issuer": "main",
            "sub": client.id,
            "issued_before": jiff::Timestamp::now().as_second() + 1,
            "expires": expires,
        });
        let revoked = a.control.administer("/revocations", &entry).await;
        report.check("the tier keeps the revocation", &revoked, revoked["kept"] == "shared_tier");
        sleep(NEWS).await;
        b.process.signal(Signal::CONT);
        let start = Instant::now();
        while b.status(client).await != Some(401) && start.elapsed() < NEWS * 2 {
            sleep(Duration::from_millis(5)).await;
        }
        let took = start.elapsed();
        report.check("a replica that was stopped rejects it within 2 s", ms(took), took < NEWS);
    }

    /// The server hangs, dies, pauses and is full, under load.
    async fn failures(&mut self, plan: &Plan) -> Report {
        let mut report = Report::new(format!("the server fails under load ({RATE} requests/s)"));
        let warm = self.customers("warm-", plan.customers).await;
        self.herd(&warm, REPLICAS).await;
        let (quiet, quiet_cpu) =
            self.load_for(Duration::from_secs(5), &warm, "quiet", async |_| ()).await;
        check_served(&mut report, &quiet, 0);
        report.measure("quiet, memory", spread(&quiet.from("hit")));
        report.measure("quiet, fetches", spread(&quiet.from("fetched")));
        self.report_cost_of_hits(&mut report, &warm).await;
        for (name, fail) in [
            ("hangs for 4 s", Failure::Stop),
            ("is killed, and starts again without data after 1 s", Failure::Restart),
            ("pauses all clients for 3 s", Failure::Pause),
            ("is full (noeviction)", Failure::Full),
        ] {
            let (counts, cpu) = self
                .load_for(Duration::from_secs(6), &warm, name, async |world: &mut Self| {
                    fail.run(world).await;
                })
                .await;
            check_served(&mut report, &counts, 0);
            let fetches = counts.from("fetched");
            report.measure(format!("{name}: memory"), spread(&counts.from("hit")));
            report.measure(format!("{name}: fetches"), spread(&fetches));
            let limit =
                quiet.from("fetched").p99() + Duration::from_millis(50) + Duration::from_millis(25);
            let what = format!("{name}: p99 of fetches at most shared.timeout more");
            report.check(what, ms(fetches.p99()), fetches.p99() <= limit);
            let ratio = cpu.as_secs_f64() / quiet_cpu.as_secs_f64();
            report.measure(format!("{name}: CPU per request ÷ quiet"), format!("{ratio:.2}"));
            if fail == Failure::Full {
                self.servers.run("CONFIG SET maxmemory 0");
            }
            let took = self.shares().await;
            report.check(format!("{name}: shared again within 5 s"), ms(took), took <= RECOVERY);
        }
        report
    }

    /// Compares the CPU time of hits in memory while the server hangs with that before.
    async fn report_cost_of_hits(&self, report: &mut Report, warm: &[Arc<Client>]) {
        let quiet = self.cost_of_hits(warm).await;
        self.servers.first().signal(Signal::STOP);
        sleep(Duration::from_secs(1)).await;
        let hanging = self.cost_of_hits(warm).await;
        self.servers.first().signal(Signal::CONT);
        self.shares().await;
        let ratio = hanging.as_secs_f64() / quiet.as_secs_f64();
        let what = "hits in memory, while the server hangs: at most 1.1 × the quiet CPU";
        report.check(what, format!("{ratio:.2}"), ratio <= 1.1);
    }

    async fn cost_of_hits(&self, warm: &[Arc<Client>]) -> Duration {
        let before = self.cpu();
        for _ in 0..3 {
            self.herd(warm, REQUESTS).await;
        }
        self.cpu().saturating_sub(before)
    }

    /// Sends requests on all replicas for this time, mostly of known customers, and fails meanwhile. Returns
    /// the responses, and the CPU time of a request.
    async fn load_for(
        &mut self,
        time: Duration,
        warm: &[Arc<Client>],
        prefix: &str,
        fail: impl AsyncFnOnce(&mut Self),
    ) -> (Counts, Duration) {
        // One request in ten is of a new customer.
        let number = u32::try_from(time.as_millis()).unwrap() / 1000 * RATE / 10;
        let prefix = prefix.split(' ').collect::<String>();
        let prefix = prefix.chars().filter(char::is_ascii_alphanumeric).collect::<String>();
        let cold = self.customers(&format!("cold-{prefix}-"), number).await;
        let cpu = self.cpu();
        let senders: Vec<_> = self.replicas.iter().map(Replica::sender).collect();
        let warm = warm.to_vec();
        let sending = tokio::spawn(async move {
            let (start, gap) = (Instant::now(), Duration::from_secs(1) / RATE);
            let mut requests = JoinSet::new();
            let (mut due, mut number) = (start, 0);
            while due.duration_since(start) < time {
                tokio::time::sleep_until(due.into()).await;
                let client = if number % 10 == 0 { cold.get(number / 10) } else { None };
                let client = Arc::clone(client.unwrap_or(&warm[number % warm.len()]));
                let sender = senders[number % senders.len()].clone();
                requests.spawn(async move { sender.ask(&client).await });
                due += gap;
                number += 1;
            }
            requests.join_all().await;
        });
        sleep(Duration::from_secs(1)).await;
        fail(self).await;
        sending.await.unwrap();
        let counts = self.tally.take();
        let requests = u32::try_from(counts.all().count()).unwrap();
        (counts, self.cpu().saturating_sub(cpu) / requests.max(1))
    }

    fn cpu(&self) -> Duration {
        self.replicas.iter().map(|it| it.process.cpu()).sum()
    }

    /// All replicas are restarted, one after the other.
    async fn rolling_restart(&mut self, plan: &Plan) -> Report {
        let mut report = Report::new("all replicas are restarted, one after the other");
        let clients = self.customers("rolling-", plan.customers).await;
        self.herd(&clients, REPLICAS).await;
        let before = self.control().calls().await;
        let running = self.replicas.iter().map(|it| Some(it.sender())).collect::<Vec<_>>();
        let running = Arc::new(Mutex::new(running));
        let load = tokio::spawn(send_until_empty(Arc::clone(&running), clients.clone()));
        for number in 0..REPLICAS {
            // As a Service does: no new requests for a replica that ends.
            running.lock().unwrap()[number] = None;
            let process = &mut self.replicas[number].process;
            process.signal(Signal::TERM);
            process.ended().await;
            self.replicas[number] = self.replica(number).await;
            self.shares().await;
            let replica = &self.replicas[number];
            let mut sending = JoinSet::new();
            for client in &clients {
                let (client, sender) = (Arc::clone(client), replica.sender());
                sending.spawn(async move { sender.ask(&client).await });
            }
            sending.join_all().await;
            running.lock().unwrap()[number] = Some(replica.sender());
        }
        running.lock().unwrap().clear();
        load.await.unwrap();
        let counts = self.tally.take();
        let calls = self.control().calls().await - before;
        report.check("no calls to Juspay", calls, calls == 0);
        check_served(&mut report, &counts, 0);
        report_sources(&mut report, &counts);
        report
    }
}

/// Sends requests to the running replicas in turn, until there are none.
async fn send_until_empty(running: Arc<Mutex<Vec<Option<Sender>>>>, clients: Vec<Arc<Client>>) {
    let mut requests = JoinSet::new();
    for (number, client) in clients.iter().cycle().enumerate() {
        let running: Vec<_> = running.lock().unwrap().iter().flatten().cloned().collect();
        let Some(sender) = running.get(number % running.len().max(1)).cloned() else { break };
        let client = Arc::clone(client);
        requests.spawn(async move { sender.ask(&client).await });
        sleep(Duration::from_secs(1) / RATE).await;
    }
    requests.join_all().await;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    Stop,
    Restart,
    Pause,
    Full,
}

impl Failure {
    async fn run(self, world: &mut World) {
        match self {
            Self::Stop => {
                world.servers.first().signal(Signal::STOP);
                sleep(Duration::from_secs(4)).await;
                world.servers.first().signal(Signal::CONT);
            }
            Self::Restart => {
                let path = world.path().to_owned();
                world.servers.restart(&path).await;
            }
            Self::Pause => {
                world.servers.run("CLIENT PAUSE 3000 ALL");
            }
            Self::Full => {
                world.servers.run("CONFIG SET maxmemory-policy noeviction");
                world.servers.run("CONFIG SET maxmemory 1mb");
            }
        }
    }
}

/// Sends requests to one replica.
#[derive(Clone)]
struct Sender {
    load: Load,
    permits: Arc<Semaphore>,
}

impl Sender {
    async fn ask(&self, client: &Client) -> Option<CheckedResponse> {
        let _permit = self.permits.acquire().await.unwrap();
        self.load.ask(client).await
    }
}

impl Replica {
    fn sender(&self) -> Sender {
        Sender { load: self.load.clone(), permits: Arc::clone(&self.permits) }
    }

    async fn is_connected(&self) -> bool {
        let metrics = self.control.metrics().await;
        metrics.sum("shared_state", |labels| labels.contains("\"connected\"")) == 1
    }

    /// The client auth token that a customer gets.
    async fn token(&self, client: &Client) -> Option<String> {
        self.load.ask(client).await?.token.map(|(token, _)| token)
    }

    async fn status(&self, client: &Client) -> Option<u16> {
        self.load.ask(client).await.map(|it| it.outcome.0)
    }
}

/// Checks that all requests were served, and how many if that is known.
fn check_served(report: &mut Report, counts: &Counts, number: usize) {
    let lost = counts.broken + counts.unsent + counts.violations;
    let served = usize::try_from(counts.ok().count()).unwrap();
    let observed =
        format!("{}; {lost} lost or faulty {:?}", counts.outcomes(), counts.first_violations());
    let is_complete = number == 0 || served == number;
    report.check("all requests served", observed, counts.not_ok() + lost == 0 && is_complete);
}

fn report_sources(report: &mut Report, counts: &Counts) {
    for (name, source) in [
        ("from memory", "hit"),
        ("from the tier", "shared"),
        ("by a call to Juspay", "fetched"),
        ("by another request's fetch", "joined"),
    ] {
        let latencies: Latencies = counts.from(source);
        report.measure(name, format!("{}, {}", latencies.count(), spread(&latencies)));
    }
}
