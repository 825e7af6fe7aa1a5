//! How a response is sent under a fault: bytes, pauses, end of the connection.

use std::time::Duration;

use bytes::Bytes;

use super::Fault;
use crate::{
    http::{AfterResponse, Script, Step},
    response::{Framing, Response},
};

/// Maximum amount of white space of [`Fault::Huge`], in bytes.
const MAX_PADDING: usize = 64 * 1024 * 1024;

/// Replaces Juspay's JSON.
const ERROR_PAGE: &str = "<!DOCTYPE html>\n<html><head><title>Sorry</title></head>\
    <body><h1>We'll be back soon</h1></body></html>\n";

impl Fault {
    /// How `response` is sent under this fault.
    pub(crate) fn script(&self, response: Response) -> Script {
        match self {
            Self::Error(_)
            | Self::NotCreated
            | Self::RejectedField { .. }
            | Self::Object(_)
            | Self::Token(_) => response.script(),
            Self::Latency { ms } => {
                followed_by([Step::Pause(Duration::from_millis(*ms))], &response)
            }
            Self::Hang => end([Step::Hang]),
            Self::Reset => end([Step::Reset]),
            Self::Close => end([]),
            Self::UnfinishedHead => end([Step::Write(unfinished_head(&response)), Step::Hang]),
            Self::StalledBody => end([Step::Write(half_of(&response)), Step::Hang]),
            Self::ByteByByte => byte_by_byte(&response),
            Self::CutBody { whole_json } => end([Step::Write(cut(&response, *whole_json))]),
            Self::CutChunked { whole_json } => {
                end([Step::Write(cut_chunked(&response, *whole_json))])
            }
            Self::NoLength => {
                let head = response.head(Framing::None);
                end([Step::Write([head.as_slice(), &response.body].concat().into())])
            }
            Self::Empty => response.with_body(Bytes::new()).script(),
            Self::Html => Response::html(200, ERROR_PAGE).script(),
            Self::Huge { bytes } => padded(response, *bytes).script(),
            Self::Redirect { location } => {
                Response::text(302, "").with("Location", location).script()
            }
            Self::Interim { status, gap_ms } => interim(*status, *gap_ms, &response),
            Self::Surplus { gap_ms } => {
                let pause = Step::Pause(Duration::from_millis(*gap_ms));
                followed_by([Step::Write(response.to_bytes()), pause], &response)
            }
            Self::Age { seconds } => response.with("Age", &seconds.to_string()).script(),
            Self::NoDate => response.without("Date").script(),
            Self::Status { status, headers, body } => {
                let own = response
                    .with_status(*status)
                    .with_body(Bytes::copy_from_slice(body.as_bytes()));
                headers.iter().fold(own, |own, (name, value)| own.with(name, value)).script()
            }
        }
    }
}

/// `steps`, then the end of the connection.
fn end<const N: usize>(steps: [Step; N]) -> Script {
    Script { steps: steps.into(), then: AfterResponse::Close }
}

/// `steps`, then the whole response.
fn followed_by<const N: usize>(steps: [Step; N], response: &Response) -> Script {
    let mut script = response.script();
    script.steps.splice(0..0, steps);
    script
}

fn interim(status: u16, gap_ms: u64, response: &Response) -> Script {
    let head = format!("HTTP/1.1 {status} Unasked\r\nLink: </style.css>; rel=preload\r\n\r\n");
    followed_by([Step::Write(head.into()), Step::Pause(Duration::from_millis(gap_ms))], response)
}

fn byte_by_byte(response: &Response) -> Script {
    let bytes = response.to_bytes();
    let single = |at: usize| Step::Write(bytes.slice(at..=at));
    Script { steps: (0..bytes.len()).map(single).collect(), then: AfterResponse::KeepAlive }
}

/// The head up to the middle of a field.
fn unfinished_head(response: &Response) -> Bytes {
    let head = response.head(Framing::None);
    let end = head.len() - b"\r\n\r\n".len() - 1;
    Bytes::from(head).slice(..end)
}

/// The first half of the body, or all of it.
fn part(body: &Bytes, whole: bool) -> Bytes {
    body.slice(..if whole { body.len() } else { body.len() / 2 })
}

/// The whole head and half of the body.
fn half_of(response: &Response) -> Bytes {
    let head = response.head(Framing::Length(response.body.len()));
    [head.as_slice(), &part(&response.body, false)].concat().into()
}

/// A body shorter than its Content-Length.
fn cut(response: &Response, whole_json: bool) -> Bytes {
    let part = part(&response.body, whole_json);
    let lie = if whole_json { 10 } else { 0 };
    let head = response.head(Framing::Length(response.body.len() + lie));
    [head.as_slice(), &part].concat().into()
}

/// One chunk without the final one.
fn cut_chunked(response: &Response, whole_json: bool) -> Bytes {
    let part = part(&response.body, whole_json);
    let size = format!("{:x}\r\n", part.len());
    let head = response.head(Framing::Chunked);
    [head.as_slice(), size.as_bytes(), &part, b"\r\n"].concat().into()
}

/// White space before JSON keeps it valid.
fn padded(response: Response, padding: usize) -> Response {
    let mut body = vec![b' '; padding.min(MAX_PADDING)];
    body.extend_from_slice(&response.body);
    response.with_body(body.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_by_byte_writes_single_bytes() {
        let response = Response::text(200, "hello");
        let script = Fault::ByteByByte.script(response.clone());
        let mut written = Vec::new();
        for step in script.steps {
            let Step::Write(bytes) = step else { panic!("{step:?}") };
            written.push(bytes);
        }
        assert!(written.iter().all(|bytes| bytes.len() == 1));
        assert_eq!(written.concat(), response.to_bytes());
    }

    #[test]
    fn padding_is_limited() {
        let padded = padded(Response::text(200, "{}"), usize::MAX);
        assert_eq!(padded.body.len(), MAX_PADDING + 2);
    }
}
