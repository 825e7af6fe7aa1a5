//! The simulator's customers, by both of their ids.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use aws_lc_rs::digest;
use jiff::Timestamp;

use super::bounded_map::BoundedMap;

/// Maximum number of customers. A new one replaces the oldest.
const CAPACITY: usize = 1_000_000;

/// Prefix of Juspay's ids.
const JUSPAY_PREFIX: &str = "cst_";

/// First names of generated customers.
const FIRST_NAMES: [&str; 8] =
    ["Aarav", "Diya", "Ishaan", "Kavya", "Meera", "Rohan", "Saanvi", "Vivaan"];

/// A customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CustomerRecord {
    /// Juspay's id, `cst_…`.
    pub(super) id: String,
    /// The merchant's id.
    pub(super) reference: String,
    pub(super) contact: Contact,
    pub(super) created: Timestamp,
    pub(super) updated: Timestamp,
}

/// The fields that Update can change; `None` leaves a field unchanged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Contact {
    pub(super) mobile_number: Option<String>,
    pub(super) mobile_country_code: Option<String>,
    pub(super) email_address: Option<String>,
    pub(super) first_name: Option<String>,
    pub(super) last_name: Option<String>,
}

impl Contact {
    /// Takes missing fields from `earlier`.
    fn over(self, earlier: Self) -> Self {
        Self {
            mobile_number: self.mobile_number.or(earlier.mobile_number),
            mobile_country_code: self.mobile_country_code.or(earlier.mobile_country_code),
            email_address: self.email_address.or(earlier.email_address),
            first_name: self.first_name.or(earlier.first_name),
            last_name: self.last_name.or(earlier.last_name),
        }
    }

    /// Plausible fields, derived from the id.
    fn generated(reference: &str) -> Self {
        let digest = digest::digest(&digest::SHA256, reference.as_bytes());
        let number =
            digest.as_ref().iter().take(8).fold(0_u64, |number, byte| {
                number.wrapping_mul(256).wrapping_add(u64::from(*byte))
            });
        let first_name = usize::try_from(number % 8).ok().and_then(|at| FIRST_NAMES.get(at));
        let email = if reference.contains('@') {
            reference.to_owned()
        } else {
            format!("{reference}@example.com")
        };
        Self {
            mobile_number: Some(format!("9{:09}", number % 1_000_000_000)),
            mobile_country_code: Some("91".to_owned()),
            email_address: Some(email),
            first_name: first_name.map(|name| (*name).to_owned()),
            last_name: Some("Sharma".to_owned()),
        }
    }
}

/// 20 lower-case hex digits derived from `text`.
fn fingerprint(text: &str) -> String {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    let hex = |text, byte: &u8| format!("{text}{byte:02x}");
    digest.as_ref().iter().take(10).fold(String::new(), hex)
}

/// Juspay's id of a customer, derived from the merchant's id: `cst_` and 20 hex digits.
pub(super) fn juspay_id(reference: &str) -> String {
    format!("{JUSPAY_PREFIX}{}", fingerprint(reference))
}

/// Every customer.
#[derive(Debug)]
pub(super) struct Customers(Mutex<Tables>);

#[derive(Debug)]
struct Tables {
    by_reference: BoundedMap<String, CustomerRecord>,
    references: HashMap<String, String>,
}

impl Tables {
    /// The merchant's id of the customer with the id `requested`, in either form.
    fn reference<'a>(&'a self, requested: &'a str) -> &'a str {
        self.references.get(requested).map_or(requested, String::as_str)
    }

    /// Adds and returns a customer, or returns the existing one with the same reference.
    fn insert(&mut self, record: CustomerRecord) -> CustomerRecord {
        self.references.insert(record.id.clone(), record.reference.clone());
        let reference = record.reference.clone();
        let (kept, forgotten) = self.by_reference.get_or_insert_with(&reference, || record);
        let kept = kept.clone();
        if let Some(forgotten) = forgotten {
            self.references.remove(&forgotten.id);
        }
        kept
    }
}

impl Customers {
    /// No customers.
    pub(super) fn new() -> Self {
        Self::bounded(CAPACITY)
    }

    fn bounded(capacity: usize) -> Self {
        let by_reference = BoundedMap::new(capacity);
        Self(Mutex::new(Tables { by_reference, references: HashMap::new() }))
    }

    /// The customer with this id, in either form.
    pub(super) fn find(&self, requested: &str) -> Option<CustomerRecord> {
        let tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tables.by_reference.get(tables.reference(requested)).cloned()
    }

    /// The customer with this id, created if missing.
    pub(super) fn find_or_create(&self, requested: &str, now: Timestamp) -> CustomerRecord {
        if let Some(known) = self.find(requested) {
            return known;
        }
        let (id, reference) = if requested.starts_with(JUSPAY_PREFIX) {
            (requested.to_owned(), format!("ref_{}", fingerprint(requested)))
        } else {
            (juspay_id(requested), requested.to_owned())
        };
        let contact = Contact::generated(&reference);
        let record = CustomerRecord { id, reference, contact, created: now, updated: now };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(record)
    }

    /// Creates a customer; `None` if the id exists.
    pub(super) fn create(
        &self,
        reference: &str,
        contact: Contact,
        now: Timestamp,
    ) -> Option<CustomerRecord> {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tables.by_reference.get(reference).is_some() {
            return None;
        }
        let (id, reference) = (juspay_id(reference), reference.to_owned());
        let record = CustomerRecord { id, reference, contact, created: now, updated: now };
        Some(tables.insert(record))
    }

    /// Updates the customer with the fields of `contact`; `None` if the id doesn't exist.
    pub(super) fn update(
        &self,
        requested: &str,
        contact: Contact,
        now: Timestamp,
    ) -> Option<CustomerRecord> {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let reference = tables.reference(requested).to_owned();
        let record = tables.by_reference.get_mut(&reference)?;
        record.contact = contact.over(std::mem::take(&mut record.contact));
        record.updated = now;
        Some(record.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn both_ids_find_the_same_customer() {
        let customers = Customers::new();
        let alice = customers.find_or_create("alice", NOW);
        assert_eq!(alice.id, juspay_id("alice"));
        assert_eq!(customers.find_or_create(&alice.id, NOW), alice);
        assert_eq!(customers.find("bob"), None);
    }

    #[test]
    fn unknown_juspay_id_gets_a_reference() {
        let customers = Customers::new();
        let generated = customers.find_or_create("cst_nobody", NOW);
        assert_eq!(generated.id, "cst_nobody");
        assert!(generated.reference.starts_with("ref_"));
        assert_eq!(customers.find(&generated.reference), Some(generated));
    }

    #[test]
    fn generated_fields_are_plausible_and_stable() {
        let contact = Contact::generated("alice");
        assert_eq!(contact, Contact::generated("alice"));
        assert_ne!(contact, Contact::generated("bob"));
        assert_eq!(contact.email_address.as_deref(), Some("alice@example.com"));
        let number = contact.mobile_number.unwrap();
        assert!(number.len() == 10 && number.starts_with('9'), "{number}");
        assert!(contact.first_name.is_some());
        let mail = Contact::generated("a@b.example").email_address;
        assert_eq!(mail.as_deref(), Some("a@b.example"));
    }

    #[test]
    fn update_changes_only_given_fields() {
        let customers = Customers::new();
        let before = customers.find_or_create("alice", NOW);
        let later = clock::later(NOW, std::time::Duration::from_secs(5));
        let change = Contact { first_name: Some("Alia".to_owned()), ..Contact::default() };
        let after = customers.update(&before.id, change.clone(), later).unwrap();
        assert_eq!(after.contact.first_name.as_deref(), Some("Alia"));
        assert_eq!(after.contact.mobile_number, before.contact.mobile_number);
        assert_eq!((after.created, after.updated), (NOW, later));
        assert_eq!(customers.update("bob", change, later), None);
    }

    #[test]
    fn customer_is_created_once() {
        let customers = Customers::new();
        assert!(customers.create("alice", Contact::default(), NOW).is_some());
        assert!(customers.create("alice", Contact::default(), NOW).is_none());
    }

    #[test]
    fn oldest_customer_is_dropped_under_both_ids() {
        let customers = Customers::bounded(1);
        let alice = customers.find_or_create("alice", NOW);
        customers.find_or_create("bob", NOW);
        assert_eq!((customers.find("alice"), customers.find(&alice.id)), (None, None));
        assert!(customers.find("bob").is_some());
        assert_eq!(customers.0.lock().unwrap().references.len(), 1);
    }
}
