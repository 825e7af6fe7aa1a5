//! What commands print with `--format json`: one document on standard output, whatever happened.
//!
//! docs/cli.md describes the documents. Members are only added to them.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
};

use serde::Serialize;
use serde_json::Value;

use super::{Ended, PROGRAM, customers::CustomerSource, failed};
use crate::{
    capacity::{self, Capacity},
    cli::Format,
    doctor::{Examined, Finding, Tally},
    settings::{Effective, Fault},
};

/// Why there is nothing else to print.
#[derive(Serialize)]
struct Failure<'f> {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'f str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    faults: Vec<&'f Fault>,
    warnings: &'f [Fault],
}

/// `check-config` of good settings.
#[derive(Serialize)]
pub(super) struct CheckedConfig<'c> {
    ok: bool,
    warnings: &'c [Fault],
    settings: Value,
    origins: BTreeMap<String, &'c str>,
    customers: Vec<CustomerSource>,
    capacity: capacity::Summary,
}

/// `doctor`
#[derive(Serialize)]
pub(super) struct Checkup<'c> {
    ok: bool,
    counts: Tally,
    checks: &'c [Finding],
}

impl<'c> CheckedConfig<'c> {
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

impl<'c> From<&'c Examined> for Checkup<'c> {
    fn from(examined: &'c Examined) -> Self {
        let counts = examined.tally;
        Self { ok: counts.failed == 0, counts, checks: &examined.findings }
    }
}

/// Prints a document.
pub(super) fn print(document: &impl Serialize) -> Result<(), Ended> {
    let text = serde_json::to_string_pretty(document).map_err(failed)?;
    writeln!(io::stdout(), "{text}").map_err(failed)
}

/// Prints a failure as a document where that is wanted. The exit code stays the same.
pub(super) fn in_format(format: Format, result: Result<(), Ended>) -> Result<(), Ended> {
    let Err(ended) = result else { return Ok(()) };
    match (format, ended) {
        (Format::Json, Ended::Settings(faults)) => {
            let (all, warnings) = (faults.iter().collect(), faults.warnings());
            print(&Failure { ok: false, error: None, faults: all, warnings })?;
            Err(Ended::Reported(2))
        }
        (Format::Json, Ended::Failed(why)) => {
            let error = Some(why.strip_prefix(PROGRAM).unwrap_or(&why));
            print(&Failure { ok: false, error, faults: Vec::new(), warnings: &[] })?;
            Err(Ended::Reported(1))
        }
        (_, ended) => Err(ended),
    }
}
