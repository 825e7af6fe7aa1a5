//! Its JSON.
