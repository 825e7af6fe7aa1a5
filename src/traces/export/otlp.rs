//! OTLP messages (opentelemetry-proto 1, binary protobuf): requests with spans, and the collector's
//! response. The types are those of the OpenTelemetry project.

use bytes::Bytes;
use jiff::Timestamp;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    resource::v1,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span, status::StatusCode},
};
use prost::Message as _;

use crate::traces::{Kind, Place, Record, Value};

/// W3C's flags: every exported span belongs to a sampled trace.
const SAMPLED: u32 = 0x01;
/// OTLP's flags: whether the parent is remote is known, and it is remote.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// The resource of all spans: this process.
pub(super) struct Resource(v1::Resource);

impl Resource {
    /// A process with this `service.name`.
    pub(super) fn new(service_name: &str) -> Self {
        let instance = format!("{:032x}", rand::random::<u128>());
        let attributes = [
            ("service.name", service_name),
            ("service.version", crate::VERSION),
            ("service.instance.id", &instance),
        ];
        let attributes = attributes
            .map(|(key, text)| attribute(key, any_value::Value::StringValue(text.into())));
        Self(v1::Resource { attributes: attributes.into(), ..v1::Resource::default() })
    }
}

/// The body of a request to a collector.
pub(super) fn request(resource: &Resource, batch: &[Record]) -> Bytes {
    let scope = InstrumentationScope {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: crate::VERSION.to_owned(),
        ..InstrumentationScope::default()
    };
    let spans = batch.iter().map(span).collect();
    let scope_spans = ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() };
    let resource_spans = ResourceSpans {
        resource: Some(resource.0.clone()),
        scope_spans: vec![scope_spans],
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest { resource_spans: vec![resource_spans] }.encode_to_vec().into()
}

/// The number of spans that the collector rejected although it accepted the message.
pub(super) fn refused(body: &[u8]) -> u64 {
    let response = ExportTraceServiceResponse::decode(body).ok();
    let partial = response.and_then(|response| response.partial_success);
    partial.and_then(|partial| u64::try_from(partial.rejected_spans).ok()).unwrap_or(0)
}

fn span(record: &Record) -> Span {
    let Place { trace_id, span_id } = record.place;
    let remote = if record.parent_is_remote { IS_REMOTE } else { 0 };
    Span {
        trace_id: trace_id.to_bytes().into(),
        span_id: span_id.to_be_bytes().into(),
        parent_span_id: record.parent.map(|id| id.to_be_bytes().into()).unwrap_or_default(),
        flags: SAMPLED | HAS_IS_REMOTE | remote,
        name: record.name.to_owned(),
        kind: kind(record.kind).into(),
        start_time_unix_nano: nanoseconds(record.start),
        end_time_unix_nano: nanoseconds(record.end),
        attributes: record
            .attributes
            .iter()
            .map(|(key, value)| attribute(key, any_value(value)))
            .collect(),
        links: record.links.iter().map(link).collect(),
        status: record
            .failed
            .then(|| Status { message: String::new(), code: StatusCode::Error.into() }),
        ..Span::default()
    }
}

const fn kind(kind: Kind) -> span::SpanKind {
    match kind {
        Kind::Server => span::SpanKind::Server,
        Kind::Client => span::SpanKind::Client,
        Kind::Internal => span::SpanKind::Internal,
    }
}

fn link(place: &Place) -> span::Link {
    span::Link {
        trace_id: place.trace_id.to_bytes().into(),
        span_id: place.span_id.to_be_bytes().into(),
        flags: SAMPLED | HAS_IS_REMOTE,
        ..span::Link::default()
    }
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn any_value(value: &Value) -> any_value::Value {
    match value {
        Value::Text(text) => any_value::Value::StringValue(text.to_string()),
        Value::Number(number) => any_value::Value::IntValue(*number),
        Value::Truth(truth) => any_value::Value::BoolValue(*truth),
    }
}

/// Since 1970; 0 for earlier times.
fn nanoseconds(moment: Timestamp) -> u64 {
    u64::try_from(moment.as_nanosecond()).unwrap_or(0)
}
