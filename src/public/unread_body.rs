//! Keeps the unread body of a request until the response is sent.
//!
//! No public route accepts a body. If the body were dropped before the response is sent, actix would read
//! a chunked one to its end, without a time limit. A body that is kept makes actix close the connection
//! after the response.

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

/// The body of a response, and the unread body of its request.
struct WithUnread {
    response: BoxBody,
    _unread: Payload,
}

/// The response to a request whose body is `unread`.
pub(super) fn keep(unread: Payload, response: HttpResponse) -> HttpResponse {
    if matches!(unread, Payload::None) {
        return response;
    }
    response.map_body(|_, response| BoxBody::new(WithUnread { response, _unread: unread }))
}

impl MessageBody for WithUnread {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.response.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.response).poll_next(context)
    }
}
