//! `auth.revocations_file`: checks the list of revocations when the settings are loaded.

use std::{collections::BTreeMap, path::Path};

use super::{Issuer, issuer_index};
use crate::{
    revocation::file::{self, FileError},
    settings::fault::Violation,
};

/// Checks the file. `max_entries` and `issuers` are `None` if they have faults of their own; checks
/// that depend on them are skipped then.
pub(super) fn check(
    path: &Path,
    max_entries: Option<usize>,
    issuers: Option<&BTreeMap<String, Issuer>>,
) -> Result<(), Violation> {
    let Some(max_entries) = max_entries else { return Ok(()) };
    let is_known = |name: &str| issuers.is_none_or(|all| issuer_index(all, name).is_some());
    file::read(path, max_entries, is_known).map(drop).map_err(|error| {
        if let FileError::Unreadable(error) = error {
            Violation::unreadable(path, error)
        } else {
            Violation::new(error.to_string(), fix(error))
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
        let valid = "juspay = {base_url = 'https://a.example', merchant_id = 'm', api_key = 'k'}\n\
                    [auth.issuers.main]\nissuer = 'https://id.example'\naudiences = ['a']\n\
                    algorithms = ['RS256']\ndiscovery = true";
        let path = format!("auth.revocations_file = {:?}", file.path());
        let sources = Sources::default().text("good", valid).text("path", path);
        let loaded = sources.text("x", settings).load();
        loaded.err().map(|faults| faults.to_string())
    }

    fn of(issuer: &str) -> String {
        format!(r#"{{"revocations": [{{"issuer": "{issuer}", "jti": "hush", "expires": 9}}]}}"#)
    }

    #[test]
    fn issuer_is_found_by_name_or_iss() {
        for issuer in ["main", "https://id.example"] {
            assert_eq!(faults(&of(issuer), ""), None);
        }
        for issuer in ["", "Main", "https://id.example/"] {
            let fault = faults(&of(issuer), "").unwrap();
            assert!(fault.contains("auth.revocations_file"), "{fault}");
            assert!(fault.contains("entry 1 of the file names an issuer that is not"), "{fault}");
            assert!(!fault.contains("hush"), "{fault}");
        }
    }

    #[test]
    fn fault_of_a_related_key_adds_no_second_fault() {
        let fault = faults(&of("other"), "auth.issuers.main.algorithms = []").unwrap();
        assert!(!fault.contains("revocations_file"), "{fault}");
        let fault = faults(&of("main"), "auth.max_revocations = 0").unwrap();
        assert!(!fault.contains("revocations_file"), "{fault}");
    }

    #[test]
    fn too_many_entries_are_a_fault() {
        let one = r#"{"issuer": "main", "jti": "a", "expires": 9}"#;
        let fault =
            faults(&format!(r#"{{"revocations": [{one}, {one}]}}"#), "auth.max_revocations = 1");
        assert!(fault.unwrap().contains("contains more than 1 entries"));
    }
}
