//! The caller of a request, and the span of the verification that it took.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_web::{FromRequest, HttpMessage as _, HttpRequest, dev::Payload};
use futures_util::future::Either;

use super::observe::Observation;
use crate::{
    auth::{AuthError, Caller},
    traces::{Kind, Span},
};

/// A caller who was verified just now, or was known.
#[derive(Debug)]
pub(super) struct Verified(pub(super) Caller);

/// A verification under way.
pub(super) struct Verifying {
    caller: <Caller as FromRequest>::Future,
    span: Span,
}

impl FromRequest for Verified {
    type Error = AuthError;
    type Future = Verifying;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Verifying {
        let observation = request.extensions().get::<Observation>().cloned();
        let trace = observation.map(|observation| observation.trace()).unwrap_or_default();
        let span = trace.begin("verify token", Kind::Internal);
        let caller = Caller::from_request(request, payload);
        // Neither a signature was checked nor an issuer asked.
        span.set("juspay_bff.auth.at_once", matches!(caller, Either::Left(_)));
        Verifying { caller, span }
    }
}

impl Future for Verifying {
    type Output = Result<Verified, AuthError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let caller = ready!(Pin::new(&mut self.caller).poll(context));
        let span = &self.span;
        match &caller {
            Ok(caller) => {
                span.set("juspay_bff.auth.outcome", "ok");
                span.name("juspay_bff.auth.issuer", caller.issuer());
            }
            Err(error) => span.set("juspay_bff.auth.outcome", error.reason()),
        }
        span.end();
        Poll::Ready(caller.map(Verified))
    }
}
