//! Debian's Prometheus with the configuration in `deploy`, and its HTTP API.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Stdio,
};

use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use crate::support::{Client, until, with_timeout};

/// The directory of the Prometheus configuration.
const CONFIGURATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/prometheus");

/// A Prometheus of the test, stopped when dropped.
pub struct Prometheus {
    api: Client,
    _child: Child,
    _directory: TempDir,
}

/// A series at one moment: its labels without the name, and the value.
pub type Sample = (BTreeMap<String, String>, f64);

impl Prometheus {
    /// Starts one that scrapes and evaluates `target` every `interval`.
    pub async fn of(target: SocketAddr, interval: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        configure(directory.path(), target, interval);
        let mut child = Command::new("prometheus")
            .args(["--config.file=prometheus-static.yml", "--storage.tsdb.path=data"])
            .arg("--web.listen-address=127.0.0.1:0")
            .current_dir(directory.path())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("Prometheus is there: tests/prometheus/run installs it");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut line_with = async |text: &str| {
            loop {
                let line = lines.next_line().await.unwrap().expect("it runs");
                if line.contains(text) {
                    return line;
                }
            }
        };
        let starting = async {
            let line = line_with("Listening on").await;
            line_with("Server is ready").await;
            line.rsplit_once(':').expect("an address").1.parse::<u16>().expect("a port")
        };
        let port = with_timeout("Prometheus", starting).await;
        // The process would block on a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let api = Client::new((Ipv4Addr::LOCALHOST, port).into(), None);
        let prometheus = Self { api, _child: child, _directory: directory };
        prometheus.until_scraped(Timestamp::MIN).await;
        prometheus
    }

    /// Waits until a scrape that began after `then` has succeeded.
    pub async fn until_scraped(&self, then: Timestamp) {
        let then = then.as_duration().as_secs_f64();
        until("a scrape", async || {
            let scraped = self.query("timestamp(up) and up == 1").await;
            !scraped.is_empty() && scraped.iter().all(|(_, began)| *began > then)
        })
        .await;
    }

    /// The samples of an instant vector.
    pub async fn query(&self, promql: &str) -> Vec<Sample> {
        let data = self.get(&format!("query?query={}", encoded(promql))).await;
        let series = data["result"].as_array().expect("a vector");
        series.iter().map(|series| (labels(&series["metric"]), value(&series["value"]))).collect()
    }

    /// The values of a query at every `step` seconds of a time range, by series.
    pub async fn query_range(
        &self,
        promql: &str,
        (from, to): (Timestamp, Timestamp),
        step: u32,
    ) -> Vec<(BTreeMap<String, String>, Vec<(f64, f64)>)> {
        let query = encoded(promql);
        let (from, to) = (from.as_duration().as_secs_f64(), to.as_duration().as_secs_f64());
        let data =
            self.get(&format!("query_range?query={query}&start={from}&end={to}&step={step}")).await;
        let values = |series: &Value| {
            let values = series["values"].as_array().expect("a matrix").iter();
            values.map(|pair| (pair[0].as_f64().unwrap(), value(pair))).collect()
        };
        let series = data["result"].as_array().expect("a matrix").iter();
        series.map(|series| (labels(&series["metric"]), values(series))).collect()
    }

    /// The rules of all groups, once each was evaluated after `then`.
    pub async fn rules(&self, then: Timestamp) -> Vec<Value> {
        let mut rules = Vec::new();
        until("the rules", async || {
            let data = self.get("rules").await;
            let groups = data["groups"].as_array().expect("groups").iter();
            rules = groups.flat_map(|group| group["rules"].as_array().unwrap().clone()).collect();
            !rules.is_empty() && rules.iter().all(|rule| evaluated(rule) > then)
        })
        .await;
        rules
    }

    async fn get(&self, what: &str) -> Value {
        // With HTTP/1.1 the response would be chunked.
        let request = format!("GET /api/v1/{what} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        let mut answer = self.api.raw(&request).await.json();
        assert_eq!(answer["status"], "success", "{what}: {answer}");
        answer["data"].take()
    }
}

/// The configuration files, with another target and other intervals.
fn configure(directory: &Path, target: SocketAddr, interval: &str) {
    let read = |name: &str| fs::read_to_string(Path::new(CONFIGURATION).join(name)).unwrap();
    for rules in ["recording-rules.yml", "alert-rules.yml"] {
        let text = read(rules).replace("interval: 1m\n", &format!("interval: {interval}\n"));
        fs::write(directory.join(rules), text).unwrap();
    }
    let text = read("prometheus-static.yml");
    for shipped in ["127.0.0.1:9464", "_interval: 15s\n"] {
        assert!(text.contains(shipped), "{shipped}");
    }
    let text = text
        .replace("127.0.0.1:9464", &target.to_string())
        .replace("_interval: 15s\n", &format!("_interval: {interval}\n"));
    fs::write(directory.join("prometheus-static.yml"), text).unwrap();
}

fn evaluated(rule: &Value) -> Timestamp {
    let when = rule["lastEvaluation"].as_str().unwrap_or_default();
    when.parse().unwrap_or(Timestamp::MIN)
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn labels(metric: &Value) -> BTreeMap<String, String> {
    let labels = metric.as_object().expect("labels").iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    labels
        .map(|(name, value)| (name.clone(), text(value)))
        .filter(|(n, _)| n != "__name__")
        .collect()
}

/// Of `[time, "value"]`.
fn value(pair: &Value) -> f64 {
    pair[1].as_str().and_then(|value| value.parse().ok()).expect("a number")
}
