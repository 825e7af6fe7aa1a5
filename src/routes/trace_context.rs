//! W3C Trace Context: `traceparent` taken up from the phone, and passed on to Juspay.

/// The trace that a request belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TraceContext {
    trace_id: String,
    flags: String,
}

impl TraceContext {
    /// Reads a `traceparent`; `None` unless it is one of the known version or of a later one
    /// that begins like it (§3.2.4).
    pub(super) fn parse(header: &str) -> Option<Self> {
        let mut parts = header.splitn(5, '-');
        let mut part =
            |length| parts.next().filter(|part| part.len() == length && is_lower_hex(part));
        let version = part(2).filter(|version| *version != "ff")?;
        let trace_id = part(32).filter(|id| is_not_zero(id))?;
        part(16).filter(|id| is_not_zero(id))?;
        let flags = part(2)?;
        if version == "00" && parts.next().is_some() {
            return None;
        }
        Some(Self { trace_id: trace_id.to_owned(), flags: flags.to_owned() })
    }

    /// The trace's id, for the log.
    pub(super) fn trace_id(&self) -> &str {
        &self.trace_id
    }

    /// The header for a call that this request causes: the same trace, a parent of its own.
    pub(super) fn child(&self) -> String {
        let parent_id = rand::random_range(1..=u64::MAX);
        format!("00-{}-{parent_id:016x}-{}", self.trace_id, self.flags)
    }
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_not_zero(text: &str) -> bool {
    text.bytes().any(|byte| byte != b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn a_child_belongs_to_the_same_trace() {
        let header = format!("00-{TRACE_ID}-b7ad6b7169203331-01");
        let context = TraceContext::parse(&header).unwrap();
        assert_eq!(context.trace_id(), TRACE_ID);
        let child = context.child();
        assert_eq!(TraceContext::parse(&child), Some(context));
        assert_ne!(child, header);
    }

    #[test]
    fn later_versions_may_say_more() {
        assert!(TraceContext::parse(&format!("cc-{TRACE_ID}-b7ad6b7169203331-01")).is_some());
        assert!(TraceContext::parse(&format!("cc-{TRACE_ID}-b7ad6b7169203331-01-more")).is_some());
    }

    #[test]
    fn what_is_no_traceparent_is_ignored() {
        for header in [
            String::new(),
            TRACE_ID.to_owned(),
            format!("00-{TRACE_ID}-b7ad6b7169203331"),
            format!("00-{TRACE_ID}-b7ad6b7169203331-01-more"),
            format!("ff-{TRACE_ID}-b7ad6b7169203331-01"),
            format!("00-{}-b7ad6b7169203331-01", TRACE_ID.to_uppercase()),
            format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
            format!("00-{TRACE_ID}-0000000000000000-01"),
            format!("00-{TRACE_ID}-b7ad6b7169203331-0"),
            format!("00-{TRACE_ID}-b7ad6b716920333-01"),
        ] {
            assert_eq!(TraceContext::parse(&header), None, "{header}");
        }
    }
}
