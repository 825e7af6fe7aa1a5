//! Reports for operators: what the commands `doctor`, `check-config` and `explain-token` print about
//! this machine, the settings and a token. The commands themselves are in `commands`.

pub mod capacity;
pub mod doctor;
pub(crate) mod explain_token;
