//! Names of keys: an HMAC of the customer and of all that changes Juspay's response, so that a dump of
//! the server names no customer and replicas with other settings share nothing. The braces make a
//! cluster store all keys of a customer on one node.

use std::sync::Arc;

use aws_lc_rs::hmac;
use secrecy::ExposeSecret as _;

use super::{SetUpError, key_file};
use crate::{
    customer::{CustomerId, Field},
    settings::{self, Settings, SharedKey},
    watched_file::WatchedFile,
};

/// The key of names, reloaded from its file.
pub(super) type NameKey = WatchedFile<SharedKey, SetUpError>;

/// Names the keys.
#[derive(Debug)]
pub(super) struct Names {
    prefix: String,
    key: Arc<NameKey>,
    /// The settings that change Juspay's response, in an unambiguous form.
    scope: String,
}

/// The keys of one customer.
#[derive(Debug, Clone)]
pub(super) struct CustomerKeys {
    base: String,
}

impl Names {
    /// Reads the key. Blocks the thread for a bounded time.
    pub(super) fn open(settings: &Settings) -> Result<Self, SetUpError> {
        let juspay = &settings.juspay;
        let fields = Field::ALL.into_iter();
        let fields = fields.filter(|field| settings.response.fields.contains(*field));
        let fields: Vec<_> = fields.map(Field::name).collect();
        let form = format!("{:?}", juspay.customer_id_form);
        let scope = (&juspay.merchant_id, &juspay.base_url, form, &juspay.api_version, fields);
        Ok(Self {
            prefix: settings.shared.prefix.clone(),
            key: Arc::new(key_file(settings.shared.name_key_file.as_deref(), settings::name_key)?),
            scope: serde_json::to_string(&scope).map_err(|_| SetUpError::Names)?,
        })
    }

    /// The key's file.
    pub(super) fn key(&self) -> Arc<NameKey> {
        Arc::clone(&self.key)
    }

    /// The keys of a customer in this generation.
    pub(super) fn customer(&self, generation: u64, customer: &CustomerId) -> CustomerKeys {
        let name = self.hmac(&[&self.scope, customer.as_str()]);
        CustomerKeys { base: format!("{}:{generation}:{{{name:032x}}}", self.prefix) }
    }

    /// Keys that belong to no customer, for `doctor`.
    pub(super) fn reserved(&self, id: u128) -> CustomerKeys {
        let name = self.hmac(&["doctor", &id.to_string()]);
        CustomerKeys { base: format!("{}:doctor:{{{name:032x}}}", self.prefix) }
    }

    /// 128 bits of the HMAC of texts, of which only the last may contain a NUL.
    fn hmac(&self, texts: &[&str]) -> u128 {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.key.current().expose_secret());
        let tag = hmac::sign(&key, texts.join("\0").as_bytes());
        u128::from_be_bytes(tag.as_ref().first_chunk().copied().unwrap_or_default())
    }

    /// The stream of news.
    pub(super) fn stream(&self) -> String {
        format!("{}:{{news}}:stream", self.prefix)
    }

    /// The number of the last news.
    pub(super) fn counter(&self) -> String {
        format!("{}:{{news}}:last", self.prefix)
    }

    /// The generation, which a purge of all changes.
    pub(super) fn generation(&self) -> String {
        format!("{}:{{news}}:generation", self.prefix)
    }

    /// The sorted set of revocations by their expiry.
    pub(super) fn expiries(&self) -> String {
        format!("{}:{{news}}:expiries", self.prefix)
    }

    /// The encrypted revocations by their names.
    pub(super) fn revocations(&self) -> String {
        format!("{}:{{news}}:revocations", self.prefix)
    }

    /// The name of a revocation. Equal ones have the same, whichever replica adds them.
    pub(super) fn revocation(&self, entry: &str) -> String {
        format!("{:032x}", self.hmac(&["revocation", entry]))
    }

    /// The channel of hints that there are news.
    pub(super) fn channel(&self) -> String {
        format!("{}:news", self.prefix)
    }
}

impl CustomerKeys {
    /// A key with the same hash tag.
    pub(super) fn named(&self, kind: &str) -> String {
        format!("{}:{kind}", self.base)
    }

    pub(super) fn value(&self) -> String {
        self.named("value")
    }

    pub(super) fn lease(&self) -> String {
        self.named("lease")
    }

    pub(super) fn limit(&self) -> String {
        self.named("limit")
    }

    /// The counter of responses with a version of the token.
    pub(super) fn hand_outs(&self, version: u64) -> String {
        format!("{}:out:{version}", self.base)
    }
}

/// Names with a fixed key, for the customers of the settings of a merchant.
#[cfg(test)]
pub(super) fn names(key: u8, merchant: &str) -> Names {
    let key = secrecy::SecretBox::init_with_mut(|secret: &mut [u8; 32]| *secret = [key; 32]);
    Names {
        prefix: "bff".to_owned(),
        key: Arc::new(NameKey::fixed(key)),
        scope: merchant.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_depends_on_key_settings_generation_and_customer() {
        let alice = CustomerId::parse("alice@example.com").unwrap();
        let name = |key, merchant, generation, customer: &CustomerId| {
            names(key, merchant).customer(generation, customer).value()
        };
        let first = name(1, "m", 0, &alice);
        assert_eq!(first, name(1, "m", 0, &alice));
        let bob = CustomerId::parse("bob").unwrap();
        let others = [name(2, "m", 0, &alice), name(1, "n", 0, &alice), name(1, "m", 0, &bob)];
        for other in others {
            assert_ne!(first, other);
        }
        assert_eq!(first.replacen(":0:", ":1:", 1), name(1, "m", 1, &alice));
        assert!(!first.contains("alice"));
    }

    #[test]
    fn keys_of_a_customer_share_a_hash_tag() {
        let keys = names(1, "m").customer(7, &CustomerId::parse("alice").unwrap());
        let tag = |name: String| name.split_once('}').unwrap().0.to_owned();
        let value = tag(keys.value());
        assert!(value.starts_with("bff:7:{"), "{value}");
        assert_eq!([tag(keys.lease()), tag(keys.limit()), tag(keys.hand_outs(3))], [&*value; 3]);
    }
}
