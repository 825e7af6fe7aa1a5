//! `juspay-bff doctor`: checks, from where it runs, what the service needs there.
//!
//! One line a check: what was found and, unless all is well, what to do and which setting it is about.
//! Everything is asked in the service's own ways (`juspay`, `auth`, `settings`), once. Refuses to
//! listen, to write anything but its lines, and to show a secret.
//!
//! `machine` looks at what is on this machine, `network` at the way to Juspay's host, `keys` at what
//! Juspay makes of each API key and `life` at the token that it gives, `issuers` at those of the
//! phones' tokens. `report` writes the lines.

mod issuers;
mod keys;
mod life;
mod machine;
mod network;
mod report;

use std::{io, sync::Arc};

use self::report::Report;
pub use self::report::{Examined, Finding, Status, Tally};
use crate::{
    auth::SetUpError,
    clock::Clock,
    customer::CustomerId,
    settings::{Loaded, Settings},
    tls::TlsError,
};

/// Why the checks came to no end.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    /// The lines can't be written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// `juspay.ca_file` changed for the worse since the settings were read.
    #[error("juspay.ca_file: {0}")]
    Tls(#[from] TlsError),
    /// The issuers.
    #[error("auth: {0}")]
    Auth(#[from] SetUpError),
    /// A bug of ours.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// What all checks stand on.
struct Patient<'s> {
    settings: &'s Settings,
    clock: Arc<dyn Clock>,
}

/// Makes every check, and writes a line for each to `lines`, where there is that. With `customer`,
/// who must exist, the life of a real token is looked at, too. To be called where local tasks can be
/// spawned.
///
/// # Errors
/// When the checks can't be made; what they find is in the lines, and counted.
pub async fn examine(
    loaded: &Loaded,
    customer: Option<CustomerId>,
    clock: Arc<dyn Clock>,
    lines: Option<&mut dyn io::Write>,
) -> Result<Examined, DoctorError> {
    let patient = Patient { settings: &loaded.settings, clock };
    let mut report = Report::new(lines);
    report.ok("settings", "valid")?;
    for warning in &loaded.warnings {
        let found = format!("{} {}", warning.key, warning.reason);
        report.warning("settings", &found, &warning.fix)?;
    }
    machine::examine(&patient, &mut report)?;
    let families = network::examine(&patient, &mut report).await?;
    keys::examine(&patient, &families, customer, &mut report).await?;
    issuers::examine(&patient, &mut report).await?;
    report.finish().map_err(DoctorError::Io)
}
