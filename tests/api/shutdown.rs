//! Promise P8 in SECURITY.md: after SIGTERM, new connections are still served for
//! `server.shutdown_delay`, and every request whose head was read before the end of the drain
//! receives its response.

use std::{
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{io::AsyncWriteExt as _, net::TcpStream, sync::watch, task::JoinHandle};

use crate::support::{
    Client, Reply, World,
    keep_alive::{answer, rest},
    until, with_timeout,
};

const DELAY: Duration = Duration::from_secs(5);
const CLIENTS: usize = 64;

/// Clients that open a new connection for every request.
struct Clients {
    stop: Arc<AtomicBool>,
    /// Number of responses; closed when all clients have stopped.
    responses: watch::Receiver<u64>,
    tasks: Vec<JoinHandle<Vec<String>>>,
}

impl Clients {
    fn of(client: &Client) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let (count, responses) = watch::channel(0);
        let run = |client: Client| {
            let (stop, count) = (Arc::clone(&stop), count.clone());
            tokio::spawn(async move {
                let mut lost = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match get_customer(&client).await {
                        Ok(reply) if reply.status == 200 => {}
                        Ok(reply) => lost.push(format!("{} {}", reply.status, reply.text())),
                        Err(error) => lost.push(error.to_string()),
                    }
                    count.send_modify(|count| *count += 1);
                }
                lost
            })
        };
        let tasks = (0..CLIENTS).map(|_| run(client.clone())).collect();
        Self { stop, responses, tasks }
    }

    /// Waits for this many further responses.
    async fn wait_for_more(&mut self, number: u64) {
        let target = *self.responses.borrow() + number;
        let reached =
            with_timeout("responses", self.responses.wait_for(|count| *count >= target)).await;
        assert!(reached.is_ok(), "all clients have stopped");
    }

    /// Lets each client finish its request, and returns all failures.
    async fn finish(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        join_all(self.tasks).await.into_iter().flat_map(Result::unwrap).collect()
    }
}

/// `GET /me/customer` on a new connection.
async fn get_customer(client: &Client) -> std::io::Result<Reply> {
    client.try_raw(&request(client, CLOSE)).await
}

const CLOSE: &str = "Connection: close\r\n";

/// A request with further header lines, each with CR LF.
fn request(client: &Client, lines: &str) -> String {
    let token = client.token.as_deref().unwrap();
    format!(
        "GET /me/customer HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{lines}\r\n"
    )
}

async fn until_draining(world: &World) {
    until("the drain", async || world.admin().get("/readyz").await.status == 503).await;
}

async fn until_ended(world: &World) {
    until("the end of the service", async || world.service.has_ended()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_no_request_is_lost_during_the_delay() {
    for _ in 0..20 {
        let mut world = World::with(
            "server.shutdown_delay = \"5s\"
             limits.per_customer = \"off\"",
        )
        .await;
        let mut clients = Clients::of(&world.client("alice"));
        clients.wait_for_more(100).await;
        world.service.signal();
        until_draining(&world).await;
        clients.wait_for_more(200).await;
        world.clock.advance(DELAY - Duration::from_millis(1));
        clients.wait_for_more(100).await;
        assert_eq!(clients.finish().await, Vec::<String>::new());
        world.clock.advance(Duration::from_millis(1));
        until_ended(&world).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_no_connection_is_reset_when_the_listener_closes() {
    for _ in 0..5 {
        let mut world = World::with("server.shutdown_delay = \"5s\"").await;
        let clients: Vec<_> = (0..24).map(|n| world.client(&format!("c{n}"))).collect();
        // The clock will be advanced, so no request may wait for Juspay then.
        assert!(join_all(clients.iter().map(Client::me)).await.iter().all(|it| it.status == 200));
        let clients: Vec<_> = clients.into_iter().map(connect_until_refused).collect();
        world.service.signal();
        until_draining(&world).await;
        world.clock.advance(DELAY);
        for client in join_all(clients).await {
            assert_eq!(client.unwrap(), Vec::<String>::new());
        }
        until_ended(&world).await;
    }
}

/// Opens a connection for every request until one is refused. Returns the failures on established
/// connections.
fn connect_until_refused(client: Client) -> JoinHandle<Vec<String>> {
    tokio::spawn(async move {
        let mut lost = Vec::new();
        loop {
            match get_customer(&client).await {
                Ok(reply) if matches!(reply.status, 200 | 429) => {}
                Ok(reply) => lost.push(format!("{} {}", reply.status, reply.text())),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => return lost,
                Err(error) => lost.push(error.to_string()),
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_connections_in_the_backlog_are_served() {
    let mut world = World::with(
        "server.shutdown_delay = \"1s\"
         server.max_connections = 2",
    )
    .await;
    let latch = world.simulator().hold("alice");
    let client = world.client("alice");
    let (first, second) = (client.begin().await, client.begin().await);
    world.until_waiting(2).await;
    // The service accepts no more connections, so these wait in the kernel.
    let waiting = join_all((0..10).map(|_| client.begin())).await;
    world.service.signal();
    until_draining(&world).await;
    world.clock.advance(Duration::from_secs(1));
    latch.arrived(1).await;
    latch.release();
    for pending in [first, second].into_iter().chain(waiting) {
        assert_eq!(pending.reply().await.status, 200);
    }
    until_ended(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_connection_without_a_request_delays_the_exit_briefly() {
    let mut world = World::with("server.shutdown_delay = \"5s\"").await;
    let client = world.client("alice");
    let request = request(&client, "");
    let (mut late, silent) = (client.open("").await.unwrap(), client.open("").await.unwrap());
    world.until_count("juspay_bff_http_connections", 2).await;
    world.service.signal();
    until_draining(&world).await;
    world.clock.advance(DELAY);
    until_closed(&world).await;
    late.write_all(request.as_bytes()).await.unwrap();
    let reply = answer(&mut late).await;
    assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(rest(silent).await, b"");
    until_ended(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_request_read_before_the_end_of_the_drain_is_served() {
    // Shorter than Juspay's deadline, which uses the same clock.
    let mut world = World::with("server.shutdown_delay = \"1s\"").await;
    let latches: Vec<_> = (0..CLIENTS).map(|n| world.simulator().hold(&format!("c{n}"))).collect();
    let waiting: Vec<_> = (0..CLIENTS)
        .map(|n| {
            let client = world.client(&format!("c{n}"));
            tokio::spawn(async move { get_customer(&client).await })
        })
        .collect();
    join_all(latches.iter().map(|latch| latch.arrived(1))).await;
    world.service.signal();
    until_draining(&world).await;
    world.clock.advance(Duration::from_secs(1));
    until_closed(&world).await;
    latches.iter().for_each(simulator::Latch::release);
    for reply in join_all(waiting).await {
        assert_eq!(reply.unwrap().unwrap().status, 200);
    }
    until_ended(&world).await;
}

/// Waits until the public listener refuses connections.
async fn until_closed(world: &World) {
    let is_closed = async || TcpStream::connect(world.service.public).await.is_err();
    until("the public listener's end", is_closed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_draining_closes_connections_after_their_responses() {
    let mut world = World::with("server.shutdown_delay = \"5s\"").await;
    let client = world.client("alice");
    assert_eq!(client.me().await.status, 200);
    let request = request(&client, "");
    world.service.signal();
    until_draining(&world).await;
    // The client doesn't request it, but the connection is closed.
    let reply = client.raw(&request).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("connection"), Some("close"));
    assert_eq!(world.admin().get("/livez").await.status, 200);
    world.clock.advance(DELAY);
    until_ended(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_do_not_delay_the_exit() {
    let mut world = World::with("server.shutdown_delay = \"5s\"").await;
    let client = world.client("alice");
    let request = request(&client, "");
    let idle = client.open(&request).await.unwrap();
    idle.readable().await.unwrap();
    let scrape = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let scraper = world.admin().open(scrape).await.unwrap();
    scraper.readable().await.unwrap();
    world.service.signal();
    until_draining(&world).await;
    world.clock.advance(DELAY);
    // Otherwise the process would wait for the idle timeout of 75 s.
    tokio::time::timeout(Duration::from_secs(15), until_ended(&world)).await.expect("the end");
    drop((idle, scraper));
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_request_waiting_for_another_workers_fetch_is_served() {
    let mut world = World::with("server.shutdown_delay = \"1s\"").await;
    let latch = world.simulator().hold("alice");
    let client = world.client("alice");
    // Connections alternate between the two workers: the first one fetches, the second one waits.
    let first = client.open(&request(&client, CLOSE)).await.unwrap();
    latch.arrived(1).await;
    let second = tokio::spawn({
        let client = client.clone();
        async move { get_customer(&client).await }
    });
    world.until_count("juspay_bff_http_requests_waiting", 2).await;
    // The first worker has no other connection, so it stops during the fetch.
    drop(first);
    world.until_count("juspay_bff_http_requests_waiting", 1).await;
    world.service.signal();
    until_draining(&world).await;
    world.clock.advance(Duration::from_secs(1));
    latch.arrived(2).await;
    latch.release();
    assert_eq!(second.await.unwrap().unwrap().status, 200);
    until_ended(&world).await;
}
