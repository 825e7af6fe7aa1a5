//! Around every public request: its id and trace, its problem's answer, its metrics, its log line.
//!
//! The one place that turns errors into answers, as only here the request's id is known; and the
//! last one that a panic reaches.

use std::{
    cell::{Cell, OnceCell},
    future::Future,
    panic::AssertUnwindSafe,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix_web::{
    Error, FromRequest, HttpMessage as _, HttpRequest, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{Payload, Service, ServiceRequest, ServiceResponse},
    error::InternalError,
    http::{
        ConnectionType, Method, StatusCode,
        header::{HeaderMap, HeaderName, HeaderValue},
    },
};
use futures_util::{
    FutureExt as _,
    future::{Ready, ready},
};

use super::{
    ME_CUSTOMER,
    connections::Connections,
    counts::{Counts, OK, Route},
    request_id::{REQUEST_ID, RequestId},
    traced::{self, Answered},
    unread,
    well_formed::MAX_METHOD,
};
use crate::{
    auth::AuthError,
    cache::{Found, LookupError, Requester, lookup_outcome},
    clock::{Clock, Monotonic},
    customer::{CustomerId, CustomerRef, CustomerRefKey},
    metrics::{GaugeGuard, Metrics},
    problem::{Challenges, Problem},
    settings::AccessLog,
    traces::{Parent, Span, TraceContext, TraceId, Tracer},
};

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The cause of a handler's panic.
const PANIC: &str = "panic";

/// The cause of a failure that nothing explains: a bug.
const UNKNOWN: &str = "unknown";

/// What is told of a request that never came to the cache.
const NO_LOOKUP: &str = "-";

/// Whether the service is going away: its answers then close their connections.
#[derive(Debug, Clone, Default)]
pub struct Drain(Arc<AtomicBool>);

impl Drain {
    /// From now on, the service is going away.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it is.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What [`observe`] works with.
#[derive(Debug, Clone)]
pub struct Observer {
    /// Whether answers close their connections.
    pub drain: Drain,
    /// How many there are: when too many, answers close theirs too.
    pub connections: Connections,
    /// Which requests get a log line.
    pub access: AccessLog,
    /// By which schemes callers may show who they are.
    pub challenges: Challenges,
    /// What stands for customers in it.
    pub refs: CustomerRefKey,
    /// Where requests are counted.
    pub metrics: Arc<Metrics>,
    /// Those of its children that are counted most.
    pub counts: Counts,
    /// Which of them are traced.
    pub tracer: Tracer,
    /// What times them.
    pub clock: Arc<dyn Clock>,
}

/// What is known of a request, filled in on its way.
#[derive(Debug, Clone)]
pub(super) struct Observation(Rc<Seen>);

/// What the answer and the log line tell of it.
#[derive(Debug)]
pub(super) struct Seen {
    request_id: RequestId,
    trace: Option<TraceContext>,
    span: Span,
    customer: OnceCell<Who>,
    /// Makes the customer's reference, if it isn't known.
    refs: Option<CustomerRefKey>,
    cache: Cell<&'static str>,
    /// Why the request was refused, or failed.
    why: Cell<Option<&'static str>>,
    /// The setting by which the caller's token was rejected.
    setting: Cell<Option<&'static str>>,
}

/// A customer, or what stands for one.
#[derive(Debug)]
enum Who {
    Customer(CustomerId),
    Reference(CustomerRef),
}

impl Seen {
    fn new(request_id: RequestId, traceparent: Option<&HeaderValue>) -> Self {
        let trace = traceparent.and_then(|value| value.to_str().ok());
        Self {
            request_id,
            trace: trace.and_then(TraceContext::parse),
            span: Span::default(),
            customer: OnceCell::new(),
            refs: None,
            cache: Cell::new(NO_LOOKUP),
            why: Cell::new(None),
            setting: Cell::new(None),
        }
    }

    /// Of a request with these headers for a customer who was in memory.
    pub(super) fn of_hit(
        request_id: Option<&HeaderValue>,
        traceparent: Option<&HeaderValue>,
        customer: Option<CustomerRef>,
    ) -> Self {
        let customer =
            customer.map_or_else(OnceCell::new, |customer| Who::Reference(customer).into());
        let seen = Self::new(RequestId::sent(request_id), traceparent);
        Self { customer, cache: Cell::new("hit"), ..seen }
    }
}

impl Seen {
    /// The trace that the request belongs to: the phone's, or the one that begins here.
    fn trace_id(&self) -> Option<TraceId> {
        let own = || self.span.place().map(|place| place.trace_id);
        self.trace.as_ref().map(TraceContext::trace_id).or_else(own)
    }

    /// The `reason` of a refusal, and the `cause` of a failure of this service or of Juspay.
    fn explanation(&self, status: StatusCode) -> (Option<&'static str>, Option<&'static str>) {
        if status.is_server_error() {
            (None, Some(self.why.get().unwrap_or(UNKNOWN)))
        } else {
            (self.why.get(), None)
        }
    }

    fn end_span(&self, done: &Done, status: StatusCode) {
        let cache = Some(self.cache.get()).filter(|cache| *cache != NO_LOOKUP);
        traced::end(
            &self.span,
            &Answered {
                route: (done.route == Route::MeCustomer).then_some(ME_CUSTOMER),
                status,
                code: done.code,
                cache,
                request_id: &self.request_id,
            },
        );
    }
}

impl Requester for Seen {
    fn request_id(&self) -> &str {
        self.request_id.as_str()
    }

    fn customer_ref(&self) -> Option<CustomerRef> {
        match self.customer.get()? {
            Who::Customer(customer) => self.refs.as_ref().map(|refs| refs.reference(customer)),
            Who::Reference(reference) => Some(*reference),
        }
    }
}

impl Observation {
    fn new(headers: &HeaderMap, span: Span, refs: &CustomerRefKey) -> Self {
        let seen = Seen::new(RequestId::of(headers), headers.get(TRACEPARENT));
        Self(Rc::new(Seen { span, refs: Some(refs.clone()), ..seen }))
    }

    /// What spans of work for the request are begun under.
    pub(super) fn trace(&self) -> Parent {
        self.0.span.parent()
    }

    /// Notes who called.
    pub(super) fn caller(&self, customer: &CustomerId) {
        self.0.customer.get_or_init(|| Who::Customer(customer.clone()));
    }

    /// Notes what the cache said.
    pub(super) fn looked_up(&self, found: &Result<Found, LookupError>) {
        self.0.cache.set(lookup_outcome(found));
        self.0.why.set(found.as_ref().err().and_then(LookupError::cause));
    }

    /// Notes why the caller was refused.
    pub(super) fn refused(&self, error: &AuthError) {
        self.0.why.set(Some(error.reason()));
        self.0.setting.set(error.setting());
    }

    /// The request, for log lines about work that it causes.
    pub(super) fn requester(&self) -> Rc<dyn Requester> {
        Rc::<Seen>::clone(&self.0)
    }

    /// The `traceparent` for a call to Juspay that this request causes.
    pub(super) fn traceparent(&self) -> Option<String> {
        self.0.trace.as_ref().map(TraceContext::child)
    }
}

impl FromRequest for Observation {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let observation = request.extensions().get::<Self>().cloned();
        ready(observation.ok_or(Problem::InternalError))
    }
}

/// What is done around every public request.
///
/// # Errors
/// When a handler panicked. The error's response is the problem's answer, like any other.
pub fn observe<S, B>(
    observer: &Rc<Observer>,
    mut request: ServiceRequest,
    service: &S,
) -> impl Future<Output = Result<ServiceResponse<BoxBody>, Error>> + use<S, B>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody + 'static,
{
    let span = traced::begin(&observer.tracer, &request);
    let begun = Begun {
        start: observer.clock.monotonic(),
        route: Route::of(&request),
        observation: Observation::new(request.headers(), span, &observer.refs),
        method: request.method().clone(),
        body: request.take_payload(),
        observer: Rc::clone(observer),
        _in_flight: GaugeGuard::new(&observer.metrics.http.in_flight),
    };
    request.extensions_mut().insert(begun.observation.clone());
    let routed = AssertUnwindSafe(service.call(request)).catch_unwind();
    async move {
        let Ok(Ok(routed)) = routed.await else { return Err(begun.panicked()) };
        let (request, response) = routed.map_into_boxed_body().into_parts();
        let response = begun.answered(&request, response);
        Ok(ServiceResponse::new(request, response))
    }
}

/// A request on its way.
struct Begun {
    start: Monotonic,
    route: Route,
    observation: Observation,
    method: Method,
    body: Payload,
    observer: Rc<Observer>,
    _in_flight: GaugeGuard,
}

impl Begun {
    fn answered(self, request: &HttpRequest, response: HttpResponse) -> HttpResponse {
        let Some(error) = response.error() else { return self.finish(OK, response) };
        if let Some(refusal) = error.as_error::<AuthError>() {
            self.observation.refused(refusal);
        }
        let problem = Problem::from_error(error);
        let response = self.told(&problem, request.headers());
        self.finish(problem.code(), response)
    }

    fn panicked(self) -> Error {
        self.observation.0.why.set(Some(PANIC));
        let response = self.told(&Problem::InternalError, &HeaderMap::new());
        let response = self.finish(Problem::InternalError.code(), response);
        InternalError::from_response("a handler panicked", response).into()
    }

    fn told(&self, problem: &Problem, headers: &HeaderMap) -> HttpResponse {
        let challenges = self.observer.challenges;
        problem.response(self.observation.0.request_id.as_str(), headers, challenges)
    }

    fn finish(self, code: &'static str, response: HttpResponse) -> HttpResponse {
        let Self { start, route, observation, method, body, observer, _in_flight } = self;
        let elapsed = observer.clock.monotonic().since(start);
        let done = Done { method, route, code, elapsed };
        unread::keep(body, observer.finish(&done, &observation.0, response))
    }
}

/// A request that has been answered.
pub(super) struct Done {
    method: Method,
    route: Route,
    code: &'static str,
    elapsed: Duration,
}

impl Done {
    /// With the customer.
    pub(super) const fn customer(method: Method, elapsed: Duration) -> Self {
        Self { method, route: Route::MeCustomer, code: OK, elapsed }
    }
}

/// For the log: a method may be as long as a head, but no line is to be.
fn shown(method: &Method) -> &str {
    let name = method.as_str();
    if name.len() > MAX_METHOD { "(too long)" } else { name }
}

impl Observer {
    /// Counts and logs the request, and puts onto its answer what every answer has.
    pub(super) fn finish(
        &self,
        done: &Done,
        seen: &Seen,
        mut response: HttpResponse,
    ) -> HttpResponse {
        let status = response.status();
        self.counts.count(&self.metrics.http, (done.route, status, done.code), done.elapsed);
        if self.is_logged(status) {
            Self::log(done, status, seen);
        }
        seen.end_span(done, status);
        response.headers_mut().insert(REQUEST_ID, seen.request_id.header());
        if self.drain.has_begun() || self.connections.are_many() {
            response.head_mut().set_connection_type(ConnectionType::Close);
        }
        response
    }

    /// What stands for the customer in the log, when there is one.
    pub(super) fn customer_ref(&self, customer: &CustomerId) -> Option<CustomerRef> {
        (self.access != AccessLog::Off).then(|| self.refs.reference(customer))
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

    fn log(done: &Done, status: StatusCode, seen: &Seen) {
        let (reason, cause) = seen.explanation(status);
        tracing::info!(
            method = shown(&done.method),
            route = done.route.label(),
            status = status.as_u16(),
            code = done.code,
            reason,
            setting = seen.setting.get(),
            cause,
            duration_us = u64::try_from(done.elapsed.as_micros()).unwrap_or(u64::MAX),
            cache = seen.cache.get(),
            request_id = seen.request_id.as_str(),
            customer_ref = seen.customer_ref().map(tracing::field::display),
            trace_id = seen.trace_id().map(tracing::field::display),
            "request"
        );
    }
}

#[cfg(test)]
mod tests;
