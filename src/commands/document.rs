//! The output of `--format json`: one document on standard output, for failures too.
//!
//! docs/cli.md documents the members. Members may be added, but not changed or removed.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
};

use serde::Serialize;
use serde_json::Value;

use super::{CommandError, PROGRAM, customers::CustomerSource, failed};
use crate::{
    cli::Format,
    operator::{
        capacity::{self, Capacity},
        doctor::{CheckResults, Counts, Finding},
    },
    settings::{Effective, Fault},
};

/// The document of a command that failed.
#[derive(Serialize)]
struct Failure<'f> {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'f str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    faults: Vec<&'f Fault>,
    warnings: &'f [Fault],
}

/// `check-config` of valid settings.
#[derive(Serialize)]
pub(super) struct CheckConfigDocument<'c> {
    ok: bool,
    warnings: &'c [Fault],
    settings: Value,
    origins: BTreeMap<String, &'c str>,
    customers: Vec<CustomerSource>,
    capacity: capacity::Summary,
}

/// `check-config --manifests`
#[derive(Serialize)]
pub(super) struct Manifests<'c> {
    ok: bool,
    manifests: Vec<InManifest<'c>>,
}

/// The settings of a container in the manifests.
#[derive(Serialize)]
pub(super) struct InManifest<'c> {
    pub(super) object: &'c str,
    #[serde(flatten)]
    pub(super) document: CheckConfigDocument<'c>,
}

impl<'c> Manifests<'c> {
    pub(super) fn new(manifests: Vec<InManifest<'c>>) -> Self {
        Self { ok: true, manifests }
    }
}

/// `doctor`
#[derive(Serialize)]
pub(super) struct DoctorDocument<'c> {
    ok: bool,
    counts: Counts,
    checks: &'c [Finding],
}

impl<'c> CheckConfigDocument<'c> {
    pub(super) fn new(
        warnings: &'c [Fault],
        effective: &'c Effective,
        customers: Vec<CustomerSource>,
        capacity: &Capacity<'_>,
    ) -> Self {
        let (settings, origins) = (effective.to_json(), effective.origins());
        Self { ok: true, warnings, settings, origins, customers, capacity: capacity.summary() }
    }
}

impl<'c> From<&'c CheckResults> for DoctorDocument<'c> {
    fn from(results: &'c CheckResults) -> Self {
        let counts = results.counts;
        Self { ok: counts.failed == 0, counts, checks: &results.findings }
    }
}

/// Prints a document.
pub(super) fn print(document: &impl Serialize) -> Result<(), CommandError> {
    let text = serde_json::to_string_pretty(document).map_err(failed)?;
    writeln!(io::stdout(), "{text}").map_err(failed)
}

/// Prints a failure as a document if the format is JSON. The exit code stays the same.
pub(super) fn report_in_format(
    format: Format,
    result: Result<(), CommandError>,
) -> Result<(), CommandError> {
    let Err(error) = result else { return Ok(()) };
    match (format, error) {
        (Format::Json, CommandError::Settings(faults)) => {
            let (all, warnings) = (faults.iter().collect(), faults.warnings());
            print(&Failure { ok: false, error: None, faults: all, warnings })?;
            Err(CommandError::Reported(2))
        }
        (Format::Json, CommandError::Failed(why)) => {
            let error = Some(why.strip_prefix(PROGRAM).unwrap_or(&why));
            print(&Failure { ok: false, error, faults: Vec::new(), warnings: &[] })?;
            Err(CommandError::Reported(1))
        }
        (_, error) => Err(error),
    }
}
