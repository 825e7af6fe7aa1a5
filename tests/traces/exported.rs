//! Decoded spans, in a form that is easy to assert on.

use std::{collections::BTreeMap, fmt::Write as _};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1,
};

/// Spans in the order of their arrival.
#[derive(Debug, Clone)]
pub struct Exported {
    pub spans: Vec<Span>,
    /// Attributes of the resource.
    pub resource: BTreeMap<String, String>,
}

#[derive(Debug, Clone)]
pub struct Span {
    pub trace_id: String,
    pub id: String,
    /// Empty for a root span.
    pub parent: String,
    pub name: String,
    pub kind: v1::span::SpanKind,
    pub attributes: BTreeMap<String, String>,
    /// Ids of linked spans.
    pub links: Vec<String>,
    pub has_failed: bool,
    pub flags: u32,
    pub start: u64,
    pub end: u64,
}

impl Exported {
    pub fn of(messages: impl Iterator<Item = ExportTraceServiceRequest>) -> Self {
        let mut exported = Self { spans: Vec::new(), resource: BTreeMap::new() };
        for resource in messages.flat_map(|message| message.resource_spans) {
            exported.resource = attributes(&resource.resource.expect("a resource").attributes);
            for scope in resource.scope_spans {
                assert_eq!(scope.scope.expect("a scope").name, "juspay-bff");
                exported.spans.extend(scope.spans.into_iter().map(Span::of));
            }
        }
        exported
    }

    /// The spans with this name.
    pub fn named(&self, name: &str) -> Vec<&Span> {
        self.spans.iter().filter(|span| span.name == name).collect()
    }

    /// The only span with this name.
    #[track_caller]
    pub fn one(&self, name: &str) -> &Span {
        let [span] = self.named(name)[..] else { panic!("{name} in {self:#?}") };
        span
    }

    /// The span with this id.
    fn with(&self, id: &str) -> Option<&Span> {
        self.spans.iter().find(|span| span.id == id)
    }

    /// Each trace, ordered by start, as the names of its spans, each indented below its parent.
    pub fn trees(&self) -> String {
        let mut tree = String::new();
        for root in self.children(|span| self.with(&span.parent).is_none()) {
            self.draw(root, 0, &mut tree);
        }
        tree
    }

    fn draw(&self, span: &Span, depth: usize, tree: &mut String) {
        writeln!(tree, "{}{}", "  ".repeat(depth), span.name).unwrap();
        for child in self.children(|child| child.parent == span.id) {
            assert_eq!(child.trace_id, span.trace_id);
            assert!(child.start >= span.start && child.end >= child.start, "{child:?} in {span:?}");
            self.draw(child, depth + 1, tree);
        }
    }

    /// Ordered by start; with a manual clock that has not advanced, by end.
    fn children(&self, is_child: impl Fn(&Span) -> bool) -> Vec<&Span> {
        let mut children: Vec<_> = self.spans.iter().filter(|span| is_child(span)).collect();
        children.sort_by_key(|span| span.start);
        children
    }
}

impl Span {
    fn of(span: v1::Span) -> Self {
        assert_eq!((span.trace_id.len(), span.span_id.len()), (16, 8));
        assert!(span.events.is_empty() && span.trace_state.is_empty());
        let kind = span.kind();
        let status = span.status.as_ref();
        assert!(status.is_none_or(|status| status.message.is_empty()));
        Self {
            trace_id: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            name: span.name,
            kind,
            attributes: attributes(&span.attributes),
            links: span.links.iter().map(|link| hex(&link.span_id)).collect(),
            has_failed: status.is_some_and(|status| status.code() == v1::status::StatusCode::Error),
            flags: span.flags,
            start: span.start_time_unix_nano,
            end: span.end_time_unix_nano,
        }
    }

    /// The attribute's value as text; empty if it is absent.
    pub fn attribute(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }
}

fn attributes(list: &[KeyValue]) -> BTreeMap<String, String> {
    let read = |attribute: &KeyValue| {
        let value = attribute.value.as_ref().and_then(|value| value.value.as_ref());
        let value = value.expect("a value");
        let text = if let Value::StringValue(text) = value {
            text.clone()
        } else if let Value::IntValue(number) = value {
            number.to_string()
        } else if let Value::BoolValue(truth) = value {
            truth.to_string()
        } else {
            panic!("{value:?}")
        };
        (attribute.key.clone(), text)
    };
    let read: BTreeMap<_, _> = list.iter().map(read).collect();
    assert_eq!(read.len(), list.len(), "a key that is there twice: {list:?}");
    read
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
