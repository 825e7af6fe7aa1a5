//! A process whose log is a file that cannot grow.

use std::{fs, net::SocketAddr, path::Path};

use juspay_bff::clock::SystemClock;
use serde_json::Value;

use crate::{
    played::{Played, Scrape},
    support::{
        Client, Stage, World,
        process::{Process, bff_in_shell},
        until,
    },
};

/// Requests until the file is full and some lines are lost.
const REQUESTS: usize = 40;

pub async fn played() -> Played {
    let stage = Stage::set_with(|simulator| simulator.clock = SystemClock::shared()).await;
    let world = stage.open_ready("").await;
    let directory = tempfile::tempdir().unwrap();
    let [settings, log] = ["settings.toml", "log"].map(|name| directory.path().join(name));
    fs::write(&settings, text(&world)).unwrap();
    // At most 8 blocks of 512 bytes. Without its signal, the limit is an error of the write.
    let script = format!("trap '' XFSZ; ulimit -f 8; exec \"$@\" >> '{}'", log.display());
    let arguments = ["serve", "--config", settings.to_str().unwrap()];
    let mut process = Process::start(bff_in_shell(&script, &arguments));
    let mut addresses = None;
    until("the start", async || {
        addresses = lines(&log).iter().find_map(addresses_in);
        addresses.is_some()
    })
    .await;
    let [public, admin] = addresses.unwrap();
    let admin = Client::new(admin, None);
    until("readiness", async || admin.get("/readyz").await.status == 200).await;

    let before = scrape(&admin).await;
    requests(&world, public, REQUESTS).await;
    let lost = "\njuspay_bff_log_lines_lost_total 0\n";
    until("lost lines", async || !admin.get("/metrics").await.text().contains(lost)).await;
    let after = scrape(&admin).await;
    // The disk has room again.
    fs::File::options().write(true).open(&log).unwrap().set_len(0).unwrap();
    requests(&world, public, 1).await;
    until("the warning", async || fs::read_to_string(&log).unwrap().contains("log lines lost"))
        .await;
    let log = lines(&log);
    assert_eq!(process.terminate().await, Some(0));
    Played { healthy: None, before: Some(before), after: Some(after), log, stopped: None }
}

fn text(world: &World) -> String {
    format!(
        "server = {{ listen = \"127.0.0.1:0\", admin_listen = \"127.0.0.1:0\", shutdown_delay = \"0s\" }}
        juspay = {{ base_url = \"{}\", merchant_id = \"{}\", api_key = \"{}\" }}
        [auth.issuers.main]
        issuer = \"{}\"
        audiences = [\"juspay-bff-demo\"]
        algorithms = [\"ES256\"]
        discovery = true",
        world.simulator().base_url(),
        world.simulator().merchant(),
        world.api_key,
        world.issuer().issuer_url(),
    )
}

/// The complete lines of the log.
fn lines(log: &Path) -> Vec<Value> {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn addresses_in(line: &Value) -> Option<[SocketAddr; 2]> {
    let address = |name: &str| line[name].as_str()?.trim_start_matches("http://").parse().ok();
    Some([address("public")?, address("admin")?])
}

async fn requests(world: &World, public: SocketAddr, number: usize) {
    for customer in 0..number {
        let token = world.client(&format!("c{customer}")).token;
        assert_eq!(Client::new(public, token).me().await.status, 200);
    }
}

async fn scrape(admin: &Client) -> Scrape {
    let metrics = admin.get("/metrics").await.text();
    Scrape { metrics, readiness: "ready".to_owned(), at: SystemClock::shared().now() }
}
