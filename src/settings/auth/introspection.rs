//! `auth.issuers.NAME.introspection_*`: an issuer that is asked about each token (RFC 7662).
//!
//! That an issuer has this or keys, and not both, is told by `contradictions`.

use std::path::PathBuf;

use super::issuer::{claim_text, fetched};
use crate::settings::{reader::Reader, server::is_readable};

/// How an issuer is asked about a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introspection {
    /// `introspection_url`
    pub url: String,
    /// `introspection_client_id`
    pub client_id: String,
    /// `introspection_client_secret_file`
    pub client_secret_file: PathBuf,
    /// `introspection_allow_no_audience`: an answer without `aud` is as good as one with ours.
    pub allow_no_audience: bool,
}

impl Introspection {
    /// Whether the issuer at `at` is asked about its tokens.
    pub(super) fn is_wanted(reader: &Reader<'_>, at: &str) -> bool {
        reader.is_set(&format!("{at}.introspection_url"))
    }

    /// Reads what stands in the table at `at`; `None` when it isn't wanted, or has faults.
    pub(super) fn read(reader: &mut Reader<'_>, at: &str) -> Option<Self> {
        let is_wanted = Self::is_wanted(reader, at);
        let url = reader.at(format!("{at}.introspection_url")).text(fetched);
        let fix = "set it to this service's client id at the issuer";
        let setting = reader.at(format!("{at}.introspection_client_id"));
        let setting = if is_wanted { setting.required(fix) } else { setting };
        let client_id = setting.text(claim_text);
        let fix = "set it to the path of a file that contains that client's secret";
        let setting = reader.at(format!("{at}.introspection_client_secret_file"));
        let setting = if is_wanted { setting.required(fix) } else { setting };
        let client_secret_file = setting.file(is_readable);
        let setting = reader.at(format!("{at}.introspection_allow_no_audience"));
        let setting = if is_wanted { setting.or(false) } else { setting };
        let allow_no_audience = setting.boolean();
        Some(Self {
            url: url?,
            client_id: client_id?,
            client_secret_file: client_secret_file?,
            allow_no_audience: allow_no_audience?,
        })
    }
}
