//! The simulator's API keys, and the check of a request's key.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{PoisonError, RwLock},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString};

/// Keys, each enabled or disabled.
pub(super) struct ApiKeys(RwLock<BTreeMap<String, bool>>);

impl ApiKeys {
    /// These keys, all enabled.
    pub(super) fn new(keys: &[SecretString]) -> Self {
        let enabled = |key: &SecretString| (key.expose_secret().to_owned(), true);
        Self(RwLock::new(keys.iter().map(enabled).collect()))
    }

    /// Enables or disables a key; adds it if unknown.
    pub(super) fn set(&self, key: &str, enabled: bool) {
        let mut keys = self.0.write().unwrap_or_else(PoisonError::into_inner);
        keys.insert(key.to_owned(), enabled);
    }

    /// Whether an `Authorization` has an enabled key: Basic (RFC 7617) with the key as user name
    /// and no password, with the colon or, as Juspay's npm client sends it, without.
    pub(super) fn admit(&self, authorization: Option<&str>) -> bool {
        let Some(credentials) = authorization.and_then(basic_credentials) else { return false };
        let key = credentials.strip_suffix(':').unwrap_or(&credentials);
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        keys.get(key).copied().unwrap_or(false)
    }
}

fn basic_credentials(authorization: &str) -> Option<String> {
    let (scheme, credentials) = authorization.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKeys(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(credentials: &str) -> String {
        format!("Basic {}", STANDARD.encode(credentials))
    }

    #[test]
    fn key_is_accepted_with_and_without_colon() {
        let keys = ApiKeys::new(&["one".into(), "two".into()]);
        for credentials in ["one:", "one", "two:"] {
            assert!(keys.admit(Some(&basic(credentials))), "{credentials}");
        }
        assert!(keys.admit(Some(&basic("one:").replace("Basic", "basic"))));
        for credentials in ["three:", "", ":", "one:password", "one::", "One:"] {
            assert!(!keys.admit(Some(&basic(credentials))), "{credentials}");
        }
        for header in ["", "one", "Basic one:", "Bearer one", "Basic"] {
            assert!(!keys.admit(Some(header)), "{header}");
        }
        assert!(!keys.admit(None));
    }

    #[test]
    fn keys_are_enabled_and_disabled_at_run_time() {
        let keys = ApiKeys::new(&["one".into()]);
        keys.set("one", false);
        assert!(!keys.admit(Some(&basic("one:"))));
        keys.set("one", true);
        keys.set("new", true);
        assert!(keys.admit(Some(&basic("one:"))) && keys.admit(Some(&basic("new:"))));
    }

    #[test]
    fn debug_hides_keys() {
        assert!(!format!("{:?}", ApiKeys::new(&["hush".into()])).contains("hush"));
    }
}
