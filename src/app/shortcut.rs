//! The short way in front of the app: what it answers, the app doesn't see.

use std::rc::Rc;

use actix_http::{HttpMessage as _, Request, Response, body::BoxBody};
use actix_service::{Service, ServiceFactory, forward_ready};
use actix_web::{
    Error,
    body::MessageBody,
    dev::{AppConfig, ServiceResponse},
};
use futures_util::{
    TryFutureExt as _,
    future::{Either, LocalBoxFuture, MapOk, Ready, ready},
};

use crate::routes::ShortWay;

/// An app, or a worker's instance of it, with a short way.
pub(super) struct Shortcut<A> {
    app: A,
    short_way: Rc<ShortWay>,
}

impl<A> Shortcut<A> {
    pub(super) const fn new(app: A, short_way: Rc<ShortWay>) -> Self {
        Self { app, short_way }
    }
}

impl<A, B> ServiceFactory<Request> for Shortcut<A>
where
    A: ServiceFactory<
            Request,
            Config = AppConfig,
            Response = ServiceResponse<B>,
            Error = Error,
            InitError = (),
        >,
    A::Future: 'static,
    B: MessageBody + 'static,
{
    type Response = Response<BoxBody>;
    type Error = Error;
    type Config = AppConfig;
    type Service = Shortcut<A::Service>;
    type InitError = ();
    type Future = LocalBoxFuture<'static, Result<Self::Service, ()>>;

    fn new_service(&self, config: AppConfig) -> Self::Future {
        let (app, short_way) = (self.app.new_service(config), Rc::clone(&self.short_way));
        Box::pin(async move { Ok(Shortcut { app: app.await?, short_way }) })
    }
}

/// What becomes of an answer of the app's.
type Boxed<B> = fn(ServiceResponse<B>) -> Response<BoxBody>;

impl<S, B> Service<Request> for Shortcut<S>
where
    S: Service<Request, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody + 'static,
{
    type Response = Response<BoxBody>;
    type Error = Error;
    type Future = Either<Ready<Result<Response<BoxBody>, Error>>, MapOk<S::Future, Boxed<B>>>;

    forward_ready!(app);

    fn call(&self, request: Request) -> Self::Future {
        if let Some(trace) = self.short_way.draw(request.head()) {
            request.extensions_mut().insert(trace);
        } else if let Some(answer) = self.short_way.answer(request.head()) {
            return Either::Left(ready(Ok(answer.into())));
        }
        let boxed: Boxed<B> = |answer| answer.map_into_boxed_body().into();
        Either::Right(self.app.call(request).map_ok(boxed))
    }
}
