//! The commands. Each takes its flags, calls the modules that do the work, and prints the results.

mod admin_client;
mod customers;
mod document;
mod explain_token;
mod healthcheck;
mod manifests;
mod signals;
#[cfg(feature = "simulator")]
mod simulation;

use std::{
    fmt::Display,
    io::{self, Write as _},
    net::SocketAddr,
    time::Duration,
};

use self::{
    admin_client::{AdminClient, GetError},
    customers::CustomerSources,
    signals::Signals,
};
use crate::{
    COMMIT, VERSION,
    app::Application,
    cli::{CheckConfig, Command, Doctor, Format, SettingsFiles},
    clock::SystemClock,
    operator::{capacity::Capacity, doctor},
    process,
    settings::{Fault, Faults, Loaded, Settings, Sources},
    telemetry,
};

/// Why a command failed.
#[derive(Debug)]
pub enum CommandError {
    /// The settings have faults.
    Settings(Faults),
    /// Another error, as a sentence.
    Failed(String),
    /// The failure is already on standard output. The exit code.
    Reported(u8),
}

/// Runs a command until it ends.
///
/// # Errors
/// With the message for the operator.
pub async fn run(command: Command) -> Result<(), CommandError> {
    match command {
        Command::Serve(files) => serve(files).await,
        Command::CheckConfig(flags) => {
            document::report_in_format(flags.format, check_config(flags))
        }
        Command::Doctor(flags) => document::report_in_format(flags.format, run_doctor(flags).await),
        Command::ExplainToken(flags) => {
            document::report_in_format(flags.format, explain_token::run(flags).await)
        }
        Command::Healthcheck(flags) => healthcheck::run(flags).await,
        #[cfg(feature = "simulator")]
        Command::Demo(flags) => simulation::run_demo(flags).await,
        #[cfg(feature = "simulator")]
        Command::Simulator(flags) => simulation::run_simulator(flags).await,
        #[cfg(feature = "simulator")]
        Command::Token(flags) => simulation::print_token(flags).await,
    }
}

/// Prefix of error messages.
const PROGRAM: &str = "juspay-bff: ";

fn failed(why: impl Display) -> CommandError {
    CommandError::Failed(format!("{PROGRAM}{why}"))
}

fn load(files: SettingsFiles) -> Result<Loaded, CommandError> {
    Sources::of_process(files.files).load().map_err(CommandError::Settings)
}

async fn serve(files: SettingsFiles) -> Result<(), CommandError> {
    // Must precede the first read of a secret.
    let memory = process::protect_memory();
    let loaded = load(files)?;
    let settings = loaded.settings.clone();
    telemetry::init(&settings.log).map_err(failed)?;
    if let Err(error) = memory {
        tracing::warn!("failed to disable core dumps, which would contain secrets: {error}");
    }
    raise_open_files_limit(settings.server.max_connections);
    for warning in &loaded.warnings {
        tracing::warn!("{}", warning.warning());
    }
    warn_of_proxies();
    let signals = Signals::of_service().map_err(failed)?;
    let application = Application::build(loaded, SystemClock::shared()).map_err(failed)?;
    log_start(&settings, &application);
    let stop = signals.stop(application.reload());
    application.run(stop).await.map_err(failed)
}

fn raise_open_files_limit(connections: usize) {
    if let Err(limit) = process::raise_open_files_limit(connections) {
        tracing::warn!(
            limit,
            connections,
            "open file limit is too low for server.max_connections; raise the limit (ulimit -n) or \
             lower the setting"
        );
    }
}

fn warn_of_proxies() {
    for name in process::proxy_variables() {
        tracing::warn!(
            "{name} is ignored; for calls to Juspay, set juspay.egress_proxy; other calls are direct"
        );
    }
}

/// Logs addresses, versions and the most important settings.
fn log_start(settings: &Settings, application: &Application) {
    let addresses =
        |list: &[SocketAddr]| list.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ");
    tracing::info!(
        version = VERSION,
        commit = COMMIT,
        public = addresses(application.public_addresses()),
        admin = addresses(application.admin_addresses()),
        tls = settings.server.tls.is_some(),
        juspay = settings.juspay.base_url,
        merchant = settings.juspay.merchant_id,
        issuers = settings.auth.issuers.keys().cloned().collect::<Vec<_>>().join(", "),
        "serving"
    );
}

fn check_config(flags: CheckConfig) -> Result<(), CommandError> {
    let CheckConfig { settings, manifests, format, replicas, juspay_quota: quota } = flags;
    // The object in the manifests, if any, and its settings.
    let all: Vec<(Option<String>, Loaded)> = match manifests {
        None => vec![(None, load(settings)?)],
        Some(path) => {
            let found = manifests::load(&path)?.into_iter();
            found.map(|(object, loaded)| (Some(object), loaded)).collect()
        }
    };
    let mut documents = Vec::new();
    for (object, Loaded { settings, effective, warnings }) in &all {
        let capacity = Capacity { settings, replicas, quota };
        let customers = CustomerSources::of(settings);
        if format == Format::Json {
            let customers = customers.sources();
            let document =
                document::CheckConfigDocument::new(warnings, effective, customers, &capacity);
            let Some(object) = object else { return document::print(&document) };
            documents.push(document::InManifest { object, document });
            continue;
        }
        for warning in warnings.iter().map(Fault::warning).chain(capacity.warning()) {
            writeln!(io::stderr(), "warning: {warning}").map_err(failed)?;
        }
        if let Some(object) = object {
            writeln!(io::stdout(), "# {object}\n").map_err(failed)?;
        }
        write!(io::stdout(), "{effective}\n{customers}\n{capacity}").map_err(failed)?;
    }
    if documents.is_empty() {
        Ok(())
    } else {
        document::print(&document::Manifests::new(documents))
    }
}

/// Must precede the first read of a secret. For commands without a log.
fn protect_memory() -> Result<(), CommandError> {
    let Err(error) = process::protect_memory() else { return Ok(()) };
    writeln!(
        io::stderr(),
        "warning: failed to disable core dumps, which would contain secrets: {error}"
    )
    .map_err(failed)
}

/// How long `doctor` waits for the running service's metrics.
const METRICS_TIMEOUT: Duration = Duration::from_secs(2);

/// The service on this machine, with its metrics.
async fn running_service(settings: &Settings) -> doctor::RunningService {
    const PATH: &str = "/metrics";
    let client = match AdminClient::new(settings.server.admin_listen.clone()) {
        Ok(client) => client,
        Err(why) => {
            let address = "server.admin_listen".to_owned();
            return doctor::RunningService { address, metrics: Err(why.to_owned()) };
        }
    };
    let metrics = match client.get(PATH, METRICS_TIMEOUT).await {
        Ok((200, body)) => Ok(body),
        Ok((status, _)) => Err(format!("it returned {status}")),
        Err(GetError::Timeout) => Err(format!("it did not respond within {METRICS_TIMEOUT:?}")),
        Err(GetError::Io(error)) => Err(error.to_string()),
    };
    doctor::RunningService { address: client.show(PATH), metrics }
}

/// Logs nothing, because each finding is a line of output.
async fn run_doctor(flags: Doctor) -> Result<(), CommandError> {
    protect_memory()?;
    let loaded = load(flags.settings)?;
    let clock = SystemClock::shared();
    let out = &mut io::stdout();
    let lines: Option<&mut dyn io::Write> = match flags.format {
        Format::Text => Some(out),
        Format::Json => None,
    };
    let customer = match flags.customer {
        Some(customer) => Some((customer, running_service(&loaded.settings).await)),
        None => None,
    };
    let results = doctor::check(&loaded, customer, clock, lines).await.map_err(failed)?;
    let failures = results.counts.failed;
    if flags.format == Format::Json {
        document::print(&document::DoctorDocument::from(&results))?;
        return if failures == 0 { Ok(()) } else { Err(CommandError::Reported(1)) };
    }
    match failures {
        0 => Ok(()),
        1 => Err(failed("1 check failed")),
        failures => Err(failed(format!("{failures} checks failed"))),
    }
}
