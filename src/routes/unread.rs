//! A request's body that nobody reads: no public route takes one.
//!
//! Dropped before its answer is sent, actix would read a chunked one to its end, for which it has
//! no timeout: a client that never comes to that end would keep its connection for ever. Kept until
//! the answer is sent, it makes actix close the connection behind it.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    HttpResponse,
    body::{BodySize, BoxBody, MessageBody},
    dev::Payload,
    web::Bytes,
};

/// An answer's body with the request's beside it.
struct Beside {
    answer: BoxBody,
    _unread: Payload,
}

/// The answer to a request whose body is `unread`.
pub(super) fn keep(unread: Payload, answer: HttpResponse) -> HttpResponse {
    if matches!(unread, Payload::None) {
        return answer;
    }
    answer.map_body(|_, answer| BoxBody::new(Beside { answer, _unread: unread }))
}

impl MessageBody for Beside {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.answer.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.answer).poll_next(context)
    }
}
