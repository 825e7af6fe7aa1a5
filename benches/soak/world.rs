//! The processes of a run, on free loopback ports. Their files are in a directory that is deleted
//! with them.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use tempfile::TempDir;

use super::{
    client::Client,
    control::Control,
    process::{self, BusyProcesses, Process},
};

/// The configuration of a run.
#[derive(Debug)]
pub struct WorldOptions {
    /// Life of client auth tokens, in seconds.
    pub token_life: u32,
    /// Whether the service has a core of its own.
    pub own_cores: bool,
    /// Number of busy processes on this core. With them, the service has a part of a core, like a
    /// sidecar.
    pub busy_processes: usize,
    /// Additional settings (TOML).
    pub settings: &'static str,
}

/// The simulator and a service that uses it.
#[derive(Debug)]
pub struct World {
    pub control: Arc<Control>,
    pub service: Process,
    pub public: SocketAddr,
    /// The cores of each process.
    pub cores: String,
    _simulator: Process,
    _busy_processes: Option<BusyProcesses>,
    directory: TempDir,
}

/// The API key with which the simulator and the service start.
pub const FIRST_KEY: &str = "soak_key_0";

/// Number of tokens minted concurrently.
const MINTED_AT_ONCE: usize = 16;

impl World {
    pub async fn start(options: &WorldOptions) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let own_cores = options.own_cores.then(process::separate_cores).flatten();
        let (service_cores, other_cores) = own_cores.clone().unzip();
        if let Some(cores) = &other_cores {
            process::pin_self(cores);
        }
        let (simulator, juspay, issuer) =
            simulator(options.token_life, other_cores.as_deref(), directory.path()).await;

        for slot in ["api-key", "api-key-next"] {
            fs::write(directory.path().join(slot), FIRST_KEY).unwrap();
        }
        let settings = directory.path().join("settings.toml");
        fs::write(settings, common(&juspay, &issuer) + options.settings).unwrap();
        let arguments = ["serve", "--config", "settings.toml"];
        let mut service =
            Process::start("service", &arguments, service_cores.as_deref(), directory.path());
        let (public, admin) = service.addresses().await;
        let control = Arc::new(Control::new(socket(&juspay), socket(&issuer), admin));
        while !control.is_ready().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let busy_processes =
            service_cores.map(|core| BusyProcesses::start(options.busy_processes, &core));
        let cores = cores_in_use(own_cores, options.busy_processes);
        Self {
            control,
            service,
            public,
            cores,
            _simulator: simulator,
            _busy_processes: busy_processes,
            directory,
        }
    }

    /// Replaces an API key's file atomically.
    pub fn write_key(&self, slot: &str, key: &str) {
        let [new, file] = [format!("{slot}.new"), slot.to_owned()].map(|it| self.path(&it));
        fs::write(&new, key).unwrap();
        fs::rename(new, file).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Clients with access tokens of this life in seconds.
    pub async fn clients(&self, prefix: &str, number: u32, life: u64) -> Arc<[Arc<Client>]> {
        let clients = stream::iter(0..number).map(|it| {
            let control = Arc::clone(&self.control);
            async move { Arc::new(Client::new(format!("{prefix}{it}"), &control, life).await) }
        });
        clients.buffered(MINTED_AT_ONCE).collect::<Vec<_>>().await.into()
    }
}

/// Starts the simulator with this life of tokens, in seconds. Returns also the URLs of Juspay and of the
/// issuer.
pub async fn simulator(
    token_life: u32,
    cores: Option<&str>,
    directory: &Path,
) -> (Process, String, String) {
    let life = format!("{token_life}s");
    let arguments = [
        ["simulator", "--listen", "127.0.0.1:0", "--issuer-listen", "127.0.0.1:0"].as_slice(),
        &["--api-key", FIRST_KEY, "--token-life", &life, "--token-uses", "1000000"],
    ];
    let mut simulator = Process::start("simulator", &arguments.concat(), cores, directory);
    let urls = |text: &str| Some((url(text, "Simulated Juspay")?, url(text, "Simulated issuer")?));
    let (juspay, issuer) = simulator.wait_for_output(urls).await;
    (simulator, juspay, issuer)
}

/// The cores of each process, for the report.
fn cores_in_use(own_cores: Option<(String, String)>, busy_processes: usize) -> String {
    let Some((service, others)) = own_cores else { return "shared by all".to_owned() };
    format!(
        "service {service}, shared with {busy_processes} busy processes, load and simulator \
         {others}"
    )
}

/// The settings of every run.
pub fn common(juspay: &str, issuer: &str) -> String {
    format!(
        r#"
        server.listen = "127.0.0.1:0"
        server.admin_listen = "127.0.0.1:0"
        # A storm has more than the shipped 8192: each cold phone comes with one of its own.
        server.max_connections = 16384
        secrets.poll = "1s"
        juspay.base_url = "{juspay}"
        juspay.merchant_id = "sim_merchant"
        juspay.api_key_file = "api-key"
        juspay.api_key_next_file = "api-key-next"
        auth.issuers.main.issuer = "{issuer}"
        auth.issuers.main.audiences = ["juspay-bff-demo"]
        auth.issuers.main.algorithms = ["ES256"]
        auth.issuers.main.discovery = true
        "#
    )
}

/// The URL in the line of the simulator's banner that begins with `line`.
fn url(text: &str, line: &str) -> Option<String> {
    let line = text.lines().find(|it| it.starts_with(line) && it.contains("http://"))?;
    // Whole lines only: the banner may be incomplete.
    text.contains("Ctrl-C").then(|| line.split_whitespace().last().map(str::to_owned))?
}

/// The address in a URL.
pub fn socket(url: &str) -> SocketAddr {
    url.trim_start_matches("http://").parse().unwrap()
}
