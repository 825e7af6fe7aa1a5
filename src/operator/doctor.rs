//! `juspay-bff doctor`: checks from this machine whether everything that the service needs is
//! available.
//!
//! Each check reports one line: the finding and, unless it passed, the fix and the setting. Checks
//! use the service's own code (`juspay`, `auth`, `settings`) and call each endpoint once. They
//! never listen on a port, write files or show a secret.
//!
//! `machine` checks this machine, `network` the connection to Juspay's host, with the egress proxy if one
//! is set, `keys` each API key, `token_life` the client auth token, `early_deaths` whether tokens die early,
//! `issuers` the issuers of access tokens, and `shared` the server of the shared tier. `report` collects and
//! prints the findings.

mod early_deaths;
mod issuers;
mod keys;
mod machine;
mod network;
mod report;
#[cfg(feature = "shared")]
mod shared;
mod token_life;

use std::{io, sync::Arc};

pub use self::early_deaths::RunningService;
use self::report::Report;
pub use self::report::{CheckResults, Counts, Finding, Status};
use crate::{
    auth::SetUpError,
    clock::Clock,
    customer::CustomerId,
    juspay::inspection::Proxy,
    secret_file::Secret,
    settings::{Loaded, Settings},
    tls::TlsError,
};

/// Why the checks could not be completed.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    /// The output can't be written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// `juspay.ca_file` became invalid after the settings were read.
    #[error("juspay.ca_file: {0}")]
    Tls(#[from] TlsError),
    /// The authenticator can't be created.
    #[error("auth: {0}")]
    Auth(#[from] SetUpError),
    /// The metrics can't be created, which is a bug.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// The input of all checks.
struct CheckContext<'s> {
    settings: &'s Settings,
    proxy: Option<Proxy>,
    clock: Arc<dyn Clock>,
}

/// Runs all checks, and writes a line for each to `lines`, if given. With an existing `customer`,
/// it also checks the life of a real token, and reports the early deaths of the running service's tokens.
/// Requires a runtime that can spawn local tasks.
///
/// # Errors
/// If the checks can't be completed. Failed checks are in the results.
pub async fn check(
    loaded: &Loaded,
    customer: Option<(CustomerId, RunningService)>,
    clock: Arc<dyn Clock>,
    lines: Option<&mut dyn io::Write>,
) -> Result<CheckResults, DoctorError> {
    let settings = &loaded.settings;
    // `machine` reports an unreadable file.
    let credentials = settings.juspay.egress_proxy_credentials.as_deref();
    let credentials = credentials.and_then(|path| Secret::open(path).ok()).map(Arc::new);
    let proxy = Proxy::of(&settings.juspay, credentials);
    let context = CheckContext { settings, proxy, clock };
    let mut report = Report::new(lines);
    report.ok("settings", "valid")?;
    for warning in &loaded.warnings {
        let found = format!("{} {}", warning.key, warning.reason);
        report.warning("settings", &found, &warning.fix)?;
    }
    machine::check(&context, &mut report)?;
    let families = network::check(&context, &mut report).await?;
    let (customer, running) = customer.unzip();
    keys::check(&context, &families, customer, &mut report).await?;
    if let Some(running) = running {
        early_deaths::check(settings, &running, &mut report)?;
    }
    issuers::check(&context, &mut report).await?;
    #[cfg(feature = "shared")]
    shared::check(&context, &mut report).await?;
    report.finish().map_err(DoctorError::Io)
}
