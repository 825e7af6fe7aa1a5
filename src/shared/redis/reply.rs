//! Texts of arguments and responses of scripts.

use std::time::Duration;

use redis::Value;

use super::entry::millis;
use crate::shared::{FailureCode, LeaseId, Version};

pub(super) fn text_of_millis(duration: Duration) -> Vec<u8> {
    millis(duration).to_string().into_bytes()
}

pub(super) fn text_of_lease(id: LeaseId) -> Vec<u8> {
    format!("{:032x}", id.0).into_bytes()
}

pub(super) fn lease_id(value: &Value) -> Option<LeaseId> {
    u128::from_str_radix(text(value)?, 16).ok().map(LeaseId)
}

pub(super) fn failure_code(value: &Value) -> Option<FailureCode> {
    FailureCode::new(text(value)?)
}

fn text(value: &Value) -> Option<&str> {
    if let Value::BulkString(bytes) = value { str::from_utf8(bytes).ok() } else { None }
}

pub(super) fn is(value: &Value, tag: &[u8]) -> bool {
    matches!(value, Value::BulkString(bytes) if bytes == tag)
}

/// The kind, the version and the encrypted entry of a value (`look_up.lua`).
pub(super) fn value_parts(value: &[u8]) -> Option<(u8, Version, &[u8])> {
    let (head, sealed) = value.split_at_checked(24)?;
    let version = str::from_utf8(head.get(1..14)?).ok()?.parse().ok()?;
    Some((*head.first()?, Version(version), sealed))
}

/// A number that a script returned, as such or as text.
pub(super) fn number(value: &Value) -> Option<u64> {
    if let Value::Int(number) = value {
        return u64::try_from(*number).ok();
    }
    text(value)?.parse().ok()
}
