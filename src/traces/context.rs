//! W3C Trace Context: parses the client's `traceparent` and creates the one for Juspay.

// Untrusted input is parsed here.
#![cfg_attr(
    not(test),
    deny(clippy::as_conversions, clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

use std::fmt;

/// A trace's id, never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(pub(super) u128);

/// The trace that a request belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: TraceId,
    /// The sender's span.
    parent: u64,
    flags: u8,
}

/// The flag that the sender records its part of the trace.
const SAMPLED: u8 = 1;

impl TraceContext {
    /// Parses a `traceparent` of version 00, or of a later version with the same beginning
    /// (§3.2.4).
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.splitn(5, '-');
        let mut part =
            |length| parts.next().filter(|part| part.len() == length && is_lower_hex(part));
        let version = part(2).filter(|version| *version != "ff")?;
        let trace_id = u128::from_str_radix(part(32)?, 16).ok().filter(|id| *id != 0)?;
        let parent = u64::from_str_radix(part(16)?, 16).ok().filter(|id| *id != 0)?;
        let flags = u8::from_str_radix(part(2)?, 16).ok()?;
        if version == "00" && parts.next().is_some() {
            return None;
        }
        Some(Self { trace_id: TraceId(trace_id), parent, flags })
    }

    /// The trace's id.
    #[must_use]
    pub const fn trace_id(&self) -> TraceId {
        self.trace_id
    }

    /// The id of the sender's span.
    pub(super) const fn parent(&self) -> u64 {
        self.parent
    }

    /// Whether the sender records its part of the trace.
    pub(super) const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The header for a call that this request causes: the same trace, another parent.
    #[must_use]
    pub fn child(&self) -> String {
        let parent = rand::random_range(1..=u64::MAX);
        format!("00-{}-{parent:016x}-{:02x}", self.trace_id, self.flags)
    }
}

impl TraceId {
    /// The id's bytes in OTLP.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn child_belongs_to_the_same_trace() {
        let header = format!("00-{TRACE_ID}-b7ad6b7169203331-a1");
        let context = TraceContext::parse(&header).unwrap();
        assert_eq!(context.trace_id().to_string(), TRACE_ID);
        assert_eq!(context.parent(), 0xb7ad_6b71_6920_3331);
        let child = context.child();
        assert!(child.starts_with(&format!("00-{TRACE_ID}-")) && child.ends_with("-a1"), "{child}");
        assert_ne!(TraceContext::parse(&child).unwrap().parent(), context.parent());
    }

    #[test]
    fn last_flag_means_that_the_sender_records() {
        for (flags, sampled) in [("00", false), ("01", true), ("02", false), ("ff", true)] {
            let header = format!("00-{TRACE_ID}-b7ad6b7169203331-{flags}");
            assert_eq!(TraceContext::parse(&header).unwrap().is_sampled(), sampled, "{flags}");
        }
    }

    #[test]
    fn later_versions_may_have_more_fields() {
        assert!(TraceContext::parse(&format!("cc-{TRACE_ID}-b7ad6b7169203331-01")).is_some());
        assert!(TraceContext::parse(&format!("cc-{TRACE_ID}-b7ad6b7169203331-01-more")).is_some());
    }

    #[test]
    fn invalid_traceparent_is_ignored() {
        for header in [
            String::new(),
            TRACE_ID.to_owned(),
            format!("00-{TRACE_ID}-b7ad6b7169203331"),
            format!("00-{TRACE_ID}-b7ad6b7169203331-01-more"),
            format!("ff-{TRACE_ID}-b7ad6b7169203331-01"),
            format!("00-{}-b7ad6b7169203331-01", TRACE_ID.to_uppercase()),
            format!("00-+{}-b7ad6b7169203331-01", "1".repeat(31)),
            format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
            format!("00-{TRACE_ID}-0000000000000000-01"),
            format!("00-{TRACE_ID}-b7ad6b7169203331-0"),
            format!("00-{TRACE_ID}-b7ad6b716920333-01"),
        ] {
            assert_eq!(TraceContext::parse(&header), None, "{header}");
        }
    }
}
