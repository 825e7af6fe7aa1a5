//! The customer's id, Juspay's customer object and its client auth token.
//!
//! No I/O, no HTTP, no time. `Debug` output never contains personal data or tokens.

// Untrusted input is parsed here.
#![cfg_attr(
    not(test),
    deny(clippy::as_conversions, clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

mod id;
mod object;
mod reference;

pub use id::{CustomerId, CustomerIdError, CustomerIdForm, CustomerKey};
pub use object::{
    ClientAuth, ClientAuthToken, Customer, CustomerJson, Field, FieldSet, date_json, whole_seconds,
};
pub use reference::{CustomerRef, CustomerRefKey};
