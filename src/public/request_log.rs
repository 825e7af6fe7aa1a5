//! Counts, traces and logs each request that the handler gets, and adds the headers that its responses
//! have. Heads that can't be parsed are answered by the server and don't reach it.

mod counts;
mod server_span;

use std::{
    cell::{Cell, OnceCell},
    fmt,
    rc::Rc,
    sync::Arc,
};

use actix_http::{HttpMessage as _, Request};
use actix_web::{
    HttpResponse,
    http::{ConnectionType, Method, StatusCode, header::HeaderName},
};

pub(super) use self::counts::Route;
use self::counts::{Counts, OK};
use super::{
    request::MAX_METHOD,
    request_id::{REQUEST_ID, RequestId},
};
use crate::{
    auth::{AuthError, Caller},
    cache::{Found, LookupError, Requester, lookup_outcome},
    clock::{Clock, Moment},
    customer::{CustomerId, CustomerRef, CustomerRefKey},
    metrics::{GaugeGuard, Metrics},
    problem::Problem,
    server::{Connections, Drain},
    settings::AccessLog,
    traces::{Parent, Span, TraceContext, TraceId, Tracer},
};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The `cause` of a handler's panic.
const PANIC: &str = "panic";

/// The `cause` of a failure without an explanation, which is a bug.
const UNKNOWN: &str = "unknown";

/// The `cache` of a request without a cache lookup.
const NO_LOOKUP: &str = "-";

/// Counts, traces and logs requests.
#[derive(Debug, Clone)]
pub struct RequestLog {
    drain: Drain,
    connections: Connections,
    access: AccessLog,
    refs: CustomerRefKey,
    metrics: Arc<Metrics>,
    counts: Counts,
    tracer: Tracer,
    clock: Arc<dyn Clock>,
}

/// A request on its way, with what its log line and its span will contain.
pub(super) struct InFlightRequest {
    /// When the request arrived. A cached token is checked against it: each reading of the clocks takes time.
    now: Moment,
    route: Route,
    method: Method,
    request_id: RequestId,
    trace: Option<TraceContext>,
    span: Span,
    caller: OnceCell<Caller>,
    customer_ref: Cell<Option<CustomerRef>>,
    cache: Cell<&'static str>,
    /// Why the request was rejected, or failed.
    cause: Cell<Option<&'static str>>,
    /// The setting by which the access token was rejected.
    setting: Cell<Option<&'static str>>,
    _in_flight: GaugeGuard,
}

impl RequestLog {
    /// `max_connections` is `server.max_connections`.
    #[must_use]
    pub fn new(
        (drain, max_connections): (&Drain, usize),
        access: AccessLog,
        refs: CustomerRefKey,
        tracer: Tracer,
        (metrics, clock): (&Arc<Metrics>, &Arc<dyn Clock>),
    ) -> Self {
        Self {
            drain: drain.clone(),
            connections: Connections::new(metrics, max_connections),
            access,
            refs,
            counts: Counts::new(metrics),
            metrics: Arc::clone(metrics),
            tracer,
            clock: Arc::clone(clock),
        }
    }

    /// Starts the request's time and span.
    pub(super) fn start(&self, request: &Request, route: Route) -> InFlightRequest {
        let headers = request.headers();
        let traceparent = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok());
        let trace = traceparent.and_then(TraceContext::parse);
        InFlightRequest {
            now: self.clock.moment(),
            route,
            method: request.method().clone(),
            request_id: RequestId::of(headers),
            span: server_span::start(&self.tracer, request, route, trace.as_ref()),
            trace,
            caller: OnceCell::new(),
            customer_ref: Cell::new(None),
            cache: Cell::new(NO_LOOKUP),
            cause: Cell::new(None),
            setting: Cell::new(None),
            _in_flight: GaugeGuard::new(&self.metrics.http.in_flight),
        }
    }

    /// Counts and logs the request, and completes its response. `problem` is the reason if it failed.
    pub(super) fn finish(
        &self,
        request: &InFlightRequest,
        problem: Option<&Problem>,
        mut response: HttpResponse,
    ) -> HttpResponse {
        let (status, code) = (response.status(), problem.map_or(OK, Problem::code));
        let elapsed = self.clock.monotonic().since(request.now.monotonic);
        self.counts.count(&self.metrics.http, (request.route, status, code), elapsed);
        if self.is_logged(status) {
            let (reason, cause) = request.explanation(status);
            tracing::info!(
                method = request.short_method(),
                route = request.route.label(),
                status = status.as_u16(),
                code,
                reason,
                setting = request.setting.get(),
                cause,
                duration_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
                cache = request.cache.get(),
                request_id = request.request_id.as_str(),
                customer_ref = self.customer_ref(request).map(tracing::field::display),
                trace_id = request.trace_id().map(tracing::field::display),
                "request"
            );
        }
        request.end_span(status, code);
        response.headers_mut().insert(REQUEST_ID, request.request_id.header().clone());
        if self.drain.has_begun() || self.connections.are_many() {
            response.head_mut().set_connection_type(ConnectionType::Close);
        }
        response
    }

    fn is_logged(&self, status: StatusCode) -> bool {
        let is_error = status.is_client_error() || status.is_server_error();
        match self.access {
            AccessLog::All => true,
            AccessLog::Errors => is_error,
            AccessLog::Off => false,
            AccessLog::OneIn(number) => is_error || rand::random_ratio(1, number.get()),
        }
    }

    /// The key of the customers' pseudonyms, if requests are logged.
    pub(super) fn refs(&self) -> Option<&CustomerRefKey> {
        Some(&self.refs).filter(|_| self.access != AccessLog::Off)
    }

    fn customer_ref(&self, request: &InFlightRequest) -> Option<CustomerRef> {
        let caller = request.caller.get();
        request.customer_ref.get().or_else(|| Some(self.refs.reference(caller?.customer())))
    }

    /// The request, for log lines about a fetch that it causes.
    pub(super) fn requester(&self, request: &InFlightRequest) -> Option<Rc<dyn Requester>> {
        let customer = request.caller.get()?.customer().clone();
        let request_id = request.request_id.clone();
        Some(Rc::new(FetchRequester { request_id, customer, refs: self.refs.clone() }))
    }
}

impl InFlightRequest {
    pub(super) const fn now(&self) -> Moment {
        self.now
    }

    pub(super) const fn route(&self) -> Route {
        self.route
    }

    pub(super) fn request_id(&self) -> &str {
        self.request_id.as_str()
    }

    /// The parent of spans within this request.
    pub(super) fn trace(&self) -> Parent {
        self.span.parent()
    }

    /// The `traceparent` for a call to Juspay.
    pub(super) fn child_traceparent(&self) -> Option<String> {
        self.trace.as_ref().map(TraceContext::child)
    }

    pub(super) fn set_caller(&self, caller: &Caller) {
        self.caller.get_or_init(|| caller.clone());
    }

    pub(super) fn set_customer_ref(&self, customer_ref: Option<CustomerRef>) {
        self.customer_ref.set(customer_ref);
    }

    /// Records the outcome of the cache lookup.
    pub(super) fn looked_up(&self, found: &Result<Found, LookupError>) {
        self.cache.set(lookup_outcome(found));
        self.cause.set(found.as_ref().err().and_then(LookupError::cause));
    }

    /// Records why authentication failed.
    pub(super) fn rejected(&self, error: &AuthError) {
        self.cause.set(Some(error.reason()));
        self.setting.set(error.setting());
    }

    pub(super) fn panicked(&self) {
        self.failed(PANIC);
    }

    /// Records why the response can't be made.
    pub(super) fn failed(&self, cause: &'static str) {
        self.cause.set(Some(cause));
    }

    /// The client's trace, or the one that starts here.
    fn trace_id(&self) -> Option<TraceId> {
        let new_trace = || self.span.place().map(|place| place.trace_id);
        self.trace.as_ref().map(TraceContext::trace_id).or_else(new_trace)
    }

    /// The `reason` of a rejection, and the `cause` of a failure of this service or of Juspay.
    fn explanation(&self, status: StatusCode) -> (Option<&'static str>, Option<&'static str>) {
        if status.is_server_error() {
            (None, Some(self.cause.get().unwrap_or(UNKNOWN)))
        } else {
            (self.cause.get(), None)
        }
    }

    /// The method, unless it would make the log line long.
    fn short_method(&self) -> &str {
        let name = self.method.as_str();
        if name.len() > MAX_METHOD { "(too long)" } else { name }
    }

    fn end_span(&self, status: StatusCode, code: &'static str) {
        let attributes = server_span::Attributes {
            route: self.route.path(),
            status,
            code,
            cache: Some(self.cache.get()).filter(|cache| *cache != NO_LOOKUP),
            request_id: &self.request_id,
        };
        server_span::end(&self.span, &attributes);
    }
}

/// A request that caused a fetch. The fetch may outlive the request.
struct FetchRequester {
    request_id: RequestId,
    customer: CustomerId,
    refs: CustomerRefKey,
}

impl Requester for FetchRequester {
    fn request_id(&self) -> &str {
        self.request_id.as_str()
    }

    fn customer_ref(&self) -> Option<CustomerRef> {
        Some(self.refs.reference(&self.customer))
    }
}

impl fmt::Debug for FetchRequester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchRequester")
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}
