//! `auth.revocations_file`: a list that can't be used is told before anything starts.

use std::{collections::BTreeMap, path::Path};

use super::{Issuer, position};
use crate::{
    revocation::file::{self, FileError},
    settings::fault::Wrong,
};

/// Checks the file. `most` and `issuers` are missing when they have faults of their own; then what
/// hangs on them isn't told.
pub(super) fn check(
    path: &Path,
    most: Option<usize>,
    issuers: Option<&BTreeMap<String, Issuer>>,
) -> Result<(), Wrong> {
    let Some(most) = most else { return Ok(()) };
    let is_known = |called: &str| issuers.is_none_or(|all| position(all, called).is_some());
    let checked = file::read(path, most).and_then(|bytes| file::parse(&bytes, most, is_known));
    checked.map(drop).map_err(|error| {
        if let FileError::Unreadable(error) = error {
            Wrong::unreadable(path, error)
        } else {
            Wrong::new(error.to_string(), fix(error))
        }
    })
}

const fn fix(error: FileError) -> &'static str {
    match error {
        FileError::Unreadable(error) => error.fix(),
        FileError::TooLarge(_) | FileError::TooMany(_) => {
            "remove expired entries, or raise auth.max_revocations"
        }
        FileError::Malformed { .. } | FileError::Entry { .. } => {
            "correct the file; config/default.toml shows the format of entries"
        }
        FileError::UnknownIssuer(_) => {
            "write a name below auth.issuers, or the iss claim of the issuer's tokens"
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::settings::Sources;

    fn faults(json: &str, settings: &str) -> Option<String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, json).unwrap();
        let good = "juspay = {base_url = 'https://a.example', merchant_id = 'm', api_key = 'k'}\n\
                    [auth.issuers.main]\nissuer = 'https://id.example'\naudiences = ['a']\n\
                    algorithms = ['RS256']\ndiscovery = true";
        let path = format!("auth.revocations_file = {:?}", file.path());
        let sources = Sources::default().text("good", good).text("path", path);
        let loaded = sources.text("x", settings).load();
        loaded.err().map(|faults| faults.to_string())
    }

    fn of(issuer: &str) -> String {
        format!(r#"{{"revocations": [{{"issuer": "{issuer}", "jti": "hush", "expires": 9}}]}}"#)
    }

    #[test]
    fn an_issuer_is_called_by_its_name_or_its_url() {
        for issuer in ["main", "https://id.example"] {
            assert_eq!(faults(&of(issuer), ""), None);
        }
        for issuer in ["", "Main", "https://id.example/"] {
            let told = faults(&of(issuer), "").unwrap();
            assert!(told.contains("auth.revocations_file"), "{told}");
            assert!(told.contains("entry 1 of the file names an issuer that is not"), "{told}");
            assert!(!told.contains("hush"), "{told}");
        }
    }

    #[test]
    fn a_fault_elsewhere_adds_none_here() {
        let told = faults(&of("other"), "auth.issuers.main.algorithms = []").unwrap();
        assert!(!told.contains("revocations_file"), "{told}");
        let told = faults(&of("main"), "auth.max_revocations = 0").unwrap();
        assert!(!told.contains("revocations_file"), "{told}");
    }

    #[test]
    fn more_entries_than_are_taken_are_a_fault() {
        let one = r#"{"issuer": "main", "jti": "a", "expires": 9}"#;
        let told =
            faults(&format!(r#"{{"revocations": [{one}, {one}]}}"#), "auth.max_revocations = 1");
        assert!(told.unwrap().contains("contains more than 1 entries"));
    }
}
