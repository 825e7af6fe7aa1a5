//! Controls the simulator and its issuer, and reads the service's admin listener, over HTTP.

use std::net::SocketAddr;

use serde_json::{Value, json};
use simulator::issuer::JWKS_PATH;

use super::http::{Connection, Pool};

/// The simulator, its issuer and the service's admin listener.
#[derive(Debug)]
pub struct Control {
    simulator: Pool,
    issuer: Pool,
    admin: SocketAddr,
}

/// Connections to each server. Requests here are short.
const CONNECTIONS: usize = 64;

impl Control {
    pub fn new(simulator: SocketAddr, issuer: SocketAddr, admin: SocketAddr) -> Self {
        Self {
            simulator: Pool::new(simulator, CONNECTIONS),
            issuer: Pool::new(issuer, CONNECTIONS),
            admin,
        }
    }

    /// Sets the fault of every response of Juspay, for `customer` or for all, until [`Self::heal`].
    pub async fn fail(&self, fault: &Value) {
        self.steer("POST", "/faults", &json!({"fault": fault})).await;
    }

    /// Sets the fault of the next request on each connection to Juspay that was used before.
    pub async fn make_connections_stale(&self, fault: &Value) {
        self.steer("POST", "/connections", &json!({"fault": fault})).await;
    }

    /// Sets the fault of every response for one customer, until [`Self::heal`].
    pub async fn fail_for(&self, customer: &str, fault: &Value) {
        self.steer("POST", "/faults", &json!({"customer": customer, "fault": fault})).await;
    }

    /// Ends all faults.
    pub async fn heal(&self) {
        self.steer("DELETE", "/faults", &Value::Null).await;
    }

    /// Switches an API key on or off.
    pub async fn switch_key(&self, key: &str, enabled: bool) {
        self.steer("POST", "/keys", &json!({"key": key, "enabled": enabled})).await;
    }

    /// Uses a client auth token as the SDK would. Returns whether Juspay accepts it.
    pub async fn uses(&self, token: &str) -> bool {
        let path = "/_simulator/tokens/use";
        ask(&self.simulator, "POST", path, &json!({"token": token})).await.0 == 200
    }

    /// The number of calls to Juspay for all customers.
    pub async fn calls(&self) -> u64 {
        let counts = self.steer("GET", "/counts", &Value::Null).await;
        counts.as_object().unwrap().values().filter_map(Value::as_u64).sum()
    }

    /// The number of calls to Juspay for one customer.
    pub async fn calls_for(&self, customer: &str) -> u64 {
        let counts = self.steer("GET", "/counts", &Value::Null).await;
        counts[customer].as_u64().unwrap_or_default()
    }

    async fn steer(&self, method: &str, path: &str, body: &Value) -> Value {
        let path = format!("/_simulator{path}");
        let (status, answer) = ask(&self.simulator, method, &path, body).await;
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer
    }

    /// Creates new signing keys; the previous ones stay published until the next rotation.
    pub async fn rotate_issuer(&self) {
        let (status, answer) =
            ask(&self.issuer, "POST", "/rotate", &json!({"overlap": true})).await;
        assert_eq!(status, 200, "{answer}");
    }

    /// An access token with this life in seconds.
    pub async fn mint(&self, subject: &str, life: u64) -> String {
        let wish = json!({"subject": subject, "life": life});
        let (status, answer) = ask(&self.issuer, "POST", "/token", &wish).await;
        assert_eq!(status, 200, "{answer}");
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// The number of fetches of the issuer's keys.
    pub async fn key_fetches(&self) -> u64 {
        let (status, counts) = ask(&self.issuer, "GET", "/counts", &Value::Null).await;
        assert_eq!(status, 200, "{counts}");
        counts[JWKS_PATH].as_u64().unwrap_or_default()
    }

    /// Sends JSON to the service's admin listener.
    pub async fn administer(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = ask(&Pool::new(self.admin, 1), "POST", path, body).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// The number of calls to Juspay for each customer.
    pub async fn calls_by_customer(&self) -> Vec<(String, u64)> {
        let counts = self.steer("GET", "/counts", &Value::Null).await;
        let counts = counts.as_object().unwrap().iter();
        counts.filter_map(|(id, count)| Some((id.clone(), count.as_u64()?))).collect()
    }

    /// The service's current metrics.
    pub async fn metrics(&self) -> Metrics {
        let mut connection = Connection::open(self.admin).await.unwrap();
        let reply = connection.exchange(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        let text = String::from_utf8_lossy(reply.unwrap().body).into_owned();
        let series = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.strip_prefix("juspay_bff_")?.to_owned(), value.parse().ok()?))
        });
        Metrics(series.collect())
    }

    /// Whether the service is ready.
    pub async fn is_ready(&self) -> bool {
        let mut connection = Connection::open(self.admin).await.unwrap();
        let reply = connection.exchange(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        reply.unwrap().status == 200
    }
}

/// The series of a scrape, without their prefix. Series of floats and of other processes are
/// omitted.
#[derive(Debug)]
pub struct Metrics(Vec<(String, u64)>);

impl Metrics {
    /// The sum of the series with this name whose labels satisfy `labels`.
    pub fn sum(&self, name: &str, labels: impl Fn(&str) -> bool) -> u64 {
        let fits = |series: &str| match series.strip_prefix(name) {
            Some(rest) => (rest.is_empty() || rest.starts_with('{')) && labels(rest),
            None => false,
        };
        self.0.iter().filter(|(series, _)| fits(series)).map(|(_, value)| value).sum()
    }

    /// The sum of all series with this name.
    pub fn all(&self, name: &str) -> u64 {
        self.sum(name, |_| true)
    }

    /// Each series with this name by its labels.
    pub fn each(&self, name: &str) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().filter_map(move |(series, value)| {
            Some((series.strip_prefix(name)?.strip_prefix('{')?.strip_suffix('}')?, *value))
        })
    }
}

async fn ask(pool: &Pool, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let read = |reply: &super::http::Reply<'_>| {
        (reply.status, serde_json::from_slice(reply.body).unwrap_or(Value::Null))
    };
    loop {
        if let Some(answer) = pool.exchange(request.as_bytes(), read).await {
            return answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        }
        tokio::task::yield_now().await;
    }
}
