//! The environment of a run: the simulator with its issuer in this process, access tokens, and
//! services and baseline servers in processes of their own.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use jiff::SignedDuration;
use simulator::{Algorithm, Issuer, MintRequest, Simulator};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::{
    bare::JuspayCall,
    http::{Connection, Pool},
    plain::{self, BlockingClient},
    process::{self, PROGRAM, Process},
    progress,
};

/// Connections of the load, except in the row `herd`.
pub const CONNECTIONS: usize = 64;

/// The address of servers, with any free port.
pub const FREE_PORT: &str = "127.0.0.1:0";

/// Connections that fill caches.
const FILLING: usize = 32;

/// Tokens of both kinds outlive every run, so that nothing is fetched or verified twice.
const LIFE_HOURS: u32 = 12;

/// The API key of the simulator.
const API_KEY: &str = "sim_key";

/// The file with the response that baseline servers return.
pub const ANSWER: &str = "answer";

/// The cores of servers and load, in `taskset`'s format.
#[derive(Debug)]
pub struct Cores {
    pub server: String,
    pub load: String,
    /// Two cores, for both.
    pub shared: String,
}

/// The environment of all rows.
#[derive(Debug)]
pub struct Setup {
    juspay: simulator::Running,
    directory: TempDir,
    pub cores: Cores,
}

/// A running service or baseline server.
#[derive(Debug)]
pub struct Server {
    pub name: &'static str,
    pub process: Process,
    pub address: SocketAddr,
    /// The service's admin listener.
    pub admin: Option<SocketAddr>,
}

/// The configuration of a service.
#[derive(Debug, Clone, Copy)]
pub struct ServiceOptions<'d> {
    pub name: &'static str,
    pub workers: usize,
    pub cores: &'d str,
    /// Additional settings (TOML).
    pub settings: &'d str,
}

/// Access tokens, also as a file.
#[derive(Debug)]
pub struct Tokens {
    pub list: Arc<[String]>,
    pub file: PathBuf,
}

impl Setup {
    pub async fn new() -> Self {
        let (server, load) = process::separate_cores().expect("two cores and taskset are needed");
        process::pin_self(&load);
        let mut config = simulator::Config::on_free_ports();
        config.token_life = std::time::Duration::from_hours(u64::from(LIFE_HOURS));
        let juspay = simulator::start(config).await.unwrap();
        // Must be started before a service fetches the keys.
        juspay.issuer().kid(Algorithm::RS256).unwrap();
        let cores = Cores { server, load, shared: "0,1".to_owned() };
        Self { juspay, directory: tempfile::tempdir().unwrap(), cores }
    }

    pub fn simulator(&self) -> &Simulator {
        self.juspay.simulator()
    }

    /// Tokens of this number of customers, minted on all cores of the load.
    pub fn tokens(&self, number: usize, algorithm: Algorithm) -> Tokens {
        progress(&format!("minting {number} tokens, {}", algorithm.name()));
        let threads = thread::available_parallelism().unwrap().get();
        let numbers: Vec<_> = (0..number).collect();
        let minted: Vec<String> = thread::scope(|scope| {
            let parts = numbers.chunks(number.div_ceil(threads)).map(|part| {
                let mint = |number: &usize| mint(self.issuer(), &customer(*number), algorithm);
                scope.spawn(move || part.iter().map(mint).collect::<Vec<_>>())
            });
            let parts: Vec<_> = parts.collect();
            parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
        });
        let file = self.path(&format!("{}_{number}", algorithm.name()));
        fs::write(&file, minted.join("\n")).unwrap();
        Tokens { list: minted.into(), file }
    }

    /// The token of a single customer.
    pub fn one_token(&self) -> Tokens {
        self.tokens(1, Algorithm::RS256)
    }

    /// Starts a service and waits until it is ready.
    pub async fn service(&self, options: ServiceOptions<'_>) -> Server {
        let file = self.settings(options, FREE_PORT);
        let arguments = ["serve", "--config", &file];
        let (directory, cores) = (self.directory.path(), Some(options.cores));
        let mut process = Process::start_piped(options.name, PROGRAM, &arguments, cores, directory);
        let (address, admin) = process.addresses().await;
        let mut connection = Connection::open(admin).await.unwrap();
        while !is_ready(&mut connection).await {}
        Server { name: options.name, process, address, admin: Some(admin) }
    }

    /// Writes a service's settings; returns the file's name.
    pub fn settings(&self, options: ServiceOptions<'_>, listen: &str) -> String {
        let ServiceOptions { name, workers, settings, .. } = options;
        let file = format!("{name}.toml");
        let (juspay, issuer) = (self.juspay.simulator(), self.juspay.issuer());
        let text = format!(
            r#"
            server.listen = "{listen}"
            server.admin_listen = "{FREE_PORT}"
            server.workers = {workers}
            juspay.base_url = "{base_url}"
            juspay.merchant_id = "{merchant}"
            juspay.api_key = "{API_KEY}"
            auth.issuers.main.issuer = "{issuer}"
            auth.issuers.main.audiences = ["juspay-bff-demo"]
            auth.issuers.main.algorithms = ["RS256", "ES256"]
            auth.issuers.main.discovery = true
            cache.max_token_life = "{LIFE_HOURS}h"
            # In the path, but too high to refuse.
            cache.max_hand_outs = 1000000
            limits.per_customer = "100000000/h"
            {settings}
            "#,
            base_url = juspay.base_url(),
            merchant = juspay.merchant(),
            issuer = issuer.issuer_url(),
        );
        fs::write(self.path(&file), text).unwrap();
        file
    }

    /// The baseline: a bare server that returns what `service` responds to `token`.
    pub async fn bare(&self, workers: usize, cores: &str, service: &Server, token: &str) -> Server {
        let bare = self.floor("bare", &workers.to_string(), cores, service, token, &[]).await;
        assert_eq!(bare.answer(token).len(), service.answer(token).len(), "the same bytes");
        bare
    }

    /// The baseline of misses, which calls Juspay before each response.
    pub async fn bare_fetching(&self, cores: &str, service: &Server, token: &str) -> Server {
        let url = format!(
            "{}/customers/bench_0?options.get_client_auth_token=true",
            self.simulator().base_url()
        );
        self.floor("bare with awc", "1", cores, service, token, &["--ask", &url]).await
    }

    async fn floor(
        &self,
        name: &'static str,
        workers: &str,
        cores: &str,
        service: &Server,
        token: &str,
        more: &[&str],
    ) -> Server {
        fs::write(self.path(ANSWER), service.answer(token)).unwrap();
        let arguments = ["--bare", ANSWER, "--workers", workers];
        let arguments = [arguments.as_slice(), more].concat();
        let (program, directory) = (this_program(), self.directory.path());
        let mut process =
            Process::start_piped("bare", &program, &arguments, Some(cores), directory);
        let address =
            process.wait_for_output(|text| text.strip_prefix("bare ")?.trim().parse().ok()).await;
        Server { name, process, address, admin: None }
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn issuer(&self) -> &Issuer {
        self.juspay.issuer()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// This program, which is also the baseline server.
pub fn this_program() -> String {
    std::env::current_exe().unwrap().to_str().unwrap().to_owned()
}

/// The baseline's call to Juspay.
pub fn question(url: String) -> JuspayCall {
    // `sim_key:` in base64 (RFC 7617).
    let key = "Basic c2ltX2tleTo=".to_owned();
    JuspayCall { url, key, merchant: "sim_merchant".to_owned() }
}

/// The id of a customer.
pub fn customer(number: usize) -> String {
    format!("bench_{number}")
}

/// An access token of this customer.
pub fn mint(issuer: &Issuer, customer: &str, algorithm: Algorithm) -> String {
    let life = SignedDuration::from_hours(i64::from(LIFE_HOURS));
    issuer.mint(&MintRequest { algorithm, life, ..MintRequest::of(customer) }).unwrap()
}

async fn is_ready(admin: &mut Connection) -> bool {
    let asked = admin.exchange(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    asked.unwrap().status == 200
}

impl Server {
    /// The whole response to this token, a hit.
    pub fn answer(&self, token: &str) -> Vec<u8> {
        let mut connection = BlockingClient::open(self.address).unwrap();
        let request = plain::request(token);
        connection.exchange(&request).unwrap();
        let answer = connection.exchange(&request).unwrap();
        assert!(plain::is_ok(answer), "{}", String::from_utf8_lossy(answer));
        answer.to_vec()
    }

    /// Sends each token once, so that all are verified and their customers cached.
    pub async fn fill(&self, tokens: &Tokens) {
        let pool = Arc::new(Pool::new(self.address, FILLING));
        let mut filling = JoinSet::new();
        for start in 0..FILLING {
            let (pool, tokens) = (Arc::clone(&pool), Arc::clone(&tokens.list));
            filling.spawn(async move {
                for token in tokens.iter().skip(start).step_by(FILLING) {
                    fetch(&pool, token).await;
                }
            });
        }
        filling.join_all().await;
    }

    /// Purges all customers.
    pub async fn purge(&self) {
        let mut connection = Connection::open(self.admin.unwrap()).await.unwrap();
        let request = b"POST /cache/purge HTTP/1.1\r\nHost: localhost\r\n\
            Content-Type: application/json\r\nContent-Length: 12\r\n\r\n{\"all\":true}";
        assert_eq!(connection.exchange(request).await.unwrap().status, 200);
    }
}

/// Sends one request, which must return 200.
pub async fn fetch(pool: &Pool, token: &str) {
    let request = plain::request(token);
    let status = pool.exchange(&request, |reply| reply.status).await;
    assert_eq!(status.expect("a free connection").unwrap(), 200);
}
