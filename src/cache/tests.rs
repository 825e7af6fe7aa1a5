//! Tests of the cache as a whole, with a scripted Juspay and a manual clock.
