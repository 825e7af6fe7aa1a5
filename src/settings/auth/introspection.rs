//! `auth.issuers.NAME.introspection_*`: an issuer whose tokens are validated by introspection (RFC
//! 7662).
//!
//! `conflicts` checks that an issuer has either introspection or keys.

use std::path::PathBuf;

use super::issuer::{claim_text, fetched};
use crate::settings::{reader::Reader, server::is_readable};

/// The introspection endpoint of an issuer, and the credentials for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introspection {
    /// `introspection_url`
    pub url: String,
    /// `introspection_client_id`
    pub client_id: String,
    /// `introspection_client_secret_file`
    pub client_secret_file: PathBuf,
    /// `introspection_allow_no_audience`: a response without `aud` is accepted.
    pub allow_no_audience: bool,
}

impl Introspection {
    /// Whether the issuer at `at` uses introspection.
    pub(super) fn is_used(reader: &Reader<'_>, at: &str) -> bool {
        reader.is_set(&format!("{at}.introspection_url"))
    }

    /// Reads the table at `at`; `None` if the issuer doesn't use introspection, or has faults.
    pub(super) fn read(reader: &mut Reader<'_>, at: &str) -> Option<Self> {
        let is_used = Self::is_used(reader, at);
        let url = reader.at(format!("{at}.introspection_url")).text(fetched);
        let fix = "set it to this service's client id at the issuer";
        let setting = reader.at(format!("{at}.introspection_client_id"));
        let setting = if is_used { setting.required(fix) } else { setting };
        let client_id = setting.text(claim_text);
        let fix = "set it to the path of a file that contains that client's secret";
        let setting = reader.at(format!("{at}.introspection_client_secret_file"));
        let setting = if is_used { setting.required(fix) } else { setting };
        let client_secret_file = setting.file(is_readable);
        let setting = reader.at(format!("{at}.introspection_allow_no_audience"));
        let setting = if is_used { setting.or(false) } else { setting };
        let allow_no_audience = setting.boolean();
        Some(Self {
            url: url?,
            client_id: client_id?,
            client_secret_file: client_secret_file?,
            allow_no_audience: allow_no_audience?,
        })
    }
}
