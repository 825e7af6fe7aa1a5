//! The vocabulary: whose customer object it is, what it says, and the token in it.
//!
//! No I/O, no HTTP, no time. Everything personal here prints nothing in `Debug`.

mod id;
mod object;
mod reference;

pub use id::{CustomerId, CustomerIdError, CustomerIdForm, CustomerKey};
pub use object::{
    ClientAuth, ClientAuthToken, Customer, CustomerJson, Field, FieldSet, date_json, whole_seconds,
};
pub use reference::{CustomerRef, CustomerRefs};
