//! Settings as a whole.
