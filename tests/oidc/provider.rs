//! The provider's process, which uses the test's clock, and commands for it: see `provider.mjs`.

use std::{net::SocketAddr, process::Stdio};

use juspay_bff::clock::Clock as _;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::Mutex,
};

use crate::support::{ManualClock, with_timeout};

/// The paths of its configuration, its keys, and introspection.
pub const DISCOVERY: &str = "/.well-known/openid-configuration";
pub const JWKS: &str = "/jwks";
pub const INTROSPECTION: &str = "/token/introspection";

/// A provider of the test, stopped when dropped.
pub struct Provider {
    pub issuer: String,
    clock: ManualClock,
    talk: Mutex<Talk>,
    _child: Child,
}

struct Talk {
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Provider {
    pub async fn start(clock: ManualClock) -> Self {
        let mut child = Command::new("node")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oidc/provider.mjs"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("Node.js is there: tests/oidc/run installs it");
        let orders = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut talk = Talk { orders, answers };
        let issuer = talk.answer().await;
        let provider = Self { issuer, clock, talk: Mutex::new(talk), _child: child };
        provider.order(json!({})).await;
        provider
    }

    pub fn address(&self) -> SocketAddr {
        self.issuer.strip_prefix("http://").unwrap().parse().unwrap()
    }

    /// Runs this command, and sets the provider's time. Returns the number of requests per path.
    pub async fn order(&self, mut order: Value) -> Value {
        order["now"] = self.clock.now().as_millisecond().into();
        let mut talk = self.talk.lock().await;
        talk.orders.write_all(format!("{order}\n").as_bytes()).await.expect("it listens");
        serde_json::from_str(&talk.answer().await).unwrap()
    }

    /// The number of requests to this path.
    pub async fn requests(&self, path: &str) -> u64 {
        self.order(json!({})).await[path].as_u64().unwrap_or(0)
    }

    /// Signs with new keys, and still publishes the old ones.
    pub async fn add_keys(&self) {
        self.order(json!({"keys": "add"})).await;
    }

    /// Signs with new keys, and publishes only these.
    pub async fn replace_keys(&self) {
        self.order(json!({"keys": "replace"})).await;
    }

    /// Makes the provider unreachable.
    pub async fn disconnect(&self) {
        self.order(json!({"down": true})).await;
    }

    pub async fn reconnect(&self) {
        self.order(json!({"down": false})).await;
    }
}

impl Talk {
    async fn answer(&mut self) -> String {
        let line = with_timeout("an answer of the provider", self.answers.next_line()).await;
        line.unwrap().expect("it runs: tests/oidc/run installs what it needs")
    }
}
