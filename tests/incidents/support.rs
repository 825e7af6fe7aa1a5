//! The support files of the page's tests, and the one for TLS.

#[path = "../api/support/authority.rs"]
pub mod authority;
#[path = "../page/support.rs"]
mod page;

pub use self::page::*;
