//! A day in seven minutes: the number of customers grows, Juspay is slow for a while, fails for two
//! minutes and recovers, and the day ends with a rush. The service is the real program; client auth
//! tokens have a life of four minutes.

use std::{net::SocketAddr, path::Path, process::Stdio, time::Duration};

use serde_json::Value;
use simulator::{ApiError, Fault, FaultRule, MintRequest, Running};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::{MissedTickBehavior, interval},
};

use crate::support::{Client, with_timeout};

/// Seconds.
const LENGTH: u32 = 420;
const SLOW: std::ops::Range<u32> = 150..180;
const DOWN: std::ops::Range<u32> = 180..300;
const RUSH: u32 = 370;
/// Number of additional customers at the start of the rush.
const CROWD: usize = 250;

/// The environment of the service.
pub struct Day {
    pub admin: SocketAddr,
    public: SocketAddr,
    simulator: Running,
    tokens: Vec<String>,
    _service: Child,
    _files: TempDir,
}

impl Day {
    pub async fn begin() -> Self {
        let token_life = Duration::from_mins(4);
        let config = simulator::Config { token_life, ..simulator::Config::on_free_ports() };
        let simulator = simulator::start(config).await.unwrap();
        let files = tempfile::tempdir().unwrap();
        let settings = files.path().join("settings.toml");
        let key = files.path().join("api-key");
        std::fs::write(&key, "sim_key").unwrap();
        std::fs::write(&settings, toml(&simulator, &key)).unwrap();
        let mut service = Command::new(env!("CARGO_BIN_EXE_juspay-bff"))
            .args(["serve", "--config"])
            .arg(settings)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(service.stdout.take().unwrap()).lines();
        let serving = async {
            loop {
                let line: Value =
                    serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
                if line["message"] == "serving" {
                    return ["public", "admin"]
                        .map(|name| line[name].as_str().unwrap().parse().unwrap());
                }
            }
        };
        let [public, admin] = with_timeout("the service", serving).await;
        // The process would block on a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let mint = |n| simulator.issuer().mint(&MintRequest::of(&format!("customer{n}"))).unwrap();
        let tokens = (0..600).map(mint).collect();
        Self { admin, public, simulator, tokens, _service: service, _files: files }
    }

    pub async fn pass(&self) {
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        for second in 0..LENGTH {
            ticks.tick().await;
            self.juspay(second);
            for n in 0..visits(second) {
                self.visit(second, n);
            }
            if second == RUSH {
                for n in 0..CROWD {
                    self.send(Some(self.mint(&format!("rush{n}"))));
                }
            }
        }
    }

    /// Juspay's faults in this second.
    fn juspay(&self, second: u32) {
        let juspay = self.simulator.simulator();
        juspay.clear_faults();
        let spread = u64::from(rand::random_range(0..40_u32));
        let failing = [Fault::Reset, status(503), status(500), Fault::Hang];
        let rule = |fault| juspay.inject(FaultRule::always(fault));
        if !DOWN.contains(&second) {
            juspay.inject(FaultRule::always(Fault::Error(ApiError::NotFound)).of("nobody"));
        }
        if DOWN.contains(&second) {
            rule(failing[usize::try_from(second).unwrap() % failing.len()].clone());
        } else if SLOW.contains(&second) {
            rule(Fault::Latency { ms: 400 + 10 * spread });
        } else {
            rule(Fault::Latency { ms: 60 + spread });
        }
    }

    /// The request of visitor `n` in this second.
    fn visit(&self, second: u32, n: u32) {
        let token = match (second * 7 + n * 13) % 100 {
            0 => Some("garbage".into()),
            1 => None,
            2 if second.is_multiple_of(4) => Some(self.mint("nobody")),
            3 if second.is_multiple_of(10) => Some(self.mint(&format!("cold{second}"))),
            _ => {
                let known = usize::try_from(60 + second * 5 / 4).unwrap().min(self.tokens.len());
                Some(self.tokens[rand::random_range(0..known)].clone())
            }
        };
        self.send(token);
    }

    fn mint(&self, customer: &str) -> String {
        self.simulator.issuer().mint(&MintRequest::of(customer)).unwrap()
    }

    /// Sends a request with this access token to one of the routes, and ignores the response.
    fn send(&self, token: Option<String>) {
        let client = Client::new(self.public, token);
        let (method, target, lines) = match rand::random_range(0..10_u32) {
            0 | 1 => ("POST", "/me/prepare", "Content-Length: 0\r\n"),
            2..=4 => ("GET", "/me/customer", ""),
            _ => ("GET", "/me/sdk-payload?action=process", ""),
        };
        tokio::spawn(async move { client.request(method, target, lines).await });
    }
}

/// Number of visitors in this second, which grows in waves.
fn visits(second: u32) -> u32 {
    const WAVE: [u32; 8] = [0, 4, 10, 14, 14, 10, 4, 0];
    let wave = WAVE[usize::try_from(second / 15).unwrap() % WAVE.len()];
    20 + second / 30 + wave
}

fn status(status: u16) -> Fault {
    Fault::Status { status, headers: <_>::default(), body: String::new() }
}

fn toml(simulator: &Running, key: &Path) -> String {
    format!(
        r#"
        server = {{ listen = "127.0.0.1:0", admin_listen = "127.0.0.1:0", max_waiting = 100 }}
        log.access = "off"
        sdk = {{ profile = "ec", environment = "sandbox" }}
        juspay = {{ base_url = "{juspay}", merchant_id = "sim_merchant", api_key_file = "{key}", max_in_flight = 16 }}
        [auth.issuers.main]
        issuer = "{issuer}"
        discovery = true
        audiences = ["juspay-bff-demo"]
        algorithms = ["ES256"]
        "#,
        juspay = simulator.simulator().base_url(),
        key = key.display(),
        issuer = simulator.issuer().issuer_url(),
    )
}
