//! Around every public request: its id and trace, its problem's answer, its metrics, its log line.
//!
//! The one place that turns errors into answers, as only here the request's id is known; and the
//! last one that a panic reaches.

use std::{
    cell::{Cell, OnceCell},
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
    dev::{Payload, ServiceRequest, ServiceResponse},
    error::InternalError,
    http::{ConnectionType, Method, StatusCode, header::HeaderMap},
    middleware::Next,
    web,
};
use futures_util::{
    FutureExt as _,
    future::{Ready, ready},
};

use super::{
    connections::Connections,
    request_id::{REQUEST_ID, RequestId},
    trace_context::TraceContext,
    unread,
    well_formed::MAX_METHOD,
};
use crate::{
    cache::{Detail, Forward, Found, LookupError, Source},
    clock::Clock,
    customer::{CustomerId, CustomerRefs},
    juspay::JuspayError,
    metrics::{Metrics, Raised},
    problem::{Challenges, Problem},
    settings::AccessLog,
};

const TRACEPARENT: &str = "traceparent";

/// The label of the one public route.
const ME_CUSTOMER: &str = "/me/customer";
/// The label of all other paths.
const UNMATCHED: &str = "unmatched";

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
#[derive(Debug)]
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
    pub refs: CustomerRefs,
    /// Where requests are counted.
    pub metrics: Arc<Metrics>,
    /// What times them.
    pub clock: Arc<dyn Clock>,
}

/// What is known of a request, filled in on its way.
#[derive(Debug, Clone)]
pub(super) struct Observation(Rc<Seen>);

#[derive(Debug)]
struct Seen {
    request_id: RequestId,
    trace: Option<TraceContext>,
    customer: OnceCell<CustomerId>,
    cache: Cell<&'static str>,
}

impl Observation {
    fn new(headers: &HeaderMap) -> Self {
        let trace = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok());
        Self(Rc::new(Seen {
            request_id: RequestId::of(headers),
            trace: trace.and_then(TraceContext::parse),
            customer: OnceCell::new(),
            cache: Cell::new("-"),
        }))
    }

    /// Notes who called.
    pub(super) fn caller(&self, customer: &CustomerId) {
        self.0.customer.get_or_init(|| customer.clone());
    }

    /// Notes what the cache said.
    pub(super) fn looked_up(&self, found: &Result<Found, LookupError>) {
        self.0.cache.set(match found {
            Ok(Found { detail: Some(Detail::Outage), .. }) => "outage",
            Ok(Found { source: Source::Hit, .. }) => "hit",
            Ok(Found { source: Source::Fetched { collapsed: true, .. }, .. }) => "joined",
            Ok(Found { source: Source::Fetched { forward, .. }, .. }) => match forward {
                Forward::Miss => "miss",
                Forward::Stale => "stale",
                Forward::Request => "bypass",
            },
            Err(LookupError::Juspay(JuspayError::CustomerNotFound)) => "not_found",
            Err(_) => "error",
        });
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

/// The middleware around every public request.
///
/// # Errors
/// When a handler panicked. The error's response is the problem's answer, like any other.
pub async fn observe(
    observer: web::Data<Observer>,
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let start = observer.clock.monotonic();
    let _in_flight = Raised::new(&observer.metrics.http.in_flight);
    let observation = Observation::new(request.headers());
    request.extensions_mut().insert(observation.clone());
    let method = request.method().clone();
    let body = request.take_payload();
    let challenges = observer.challenges;

    let routed = AssertUnwindSafe(next.call(request)).catch_unwind().await;

    let elapsed = observer.clock.monotonic().since(start);
    let Ok(Ok(routed)) = routed else {
        let response = Problem::InternalError.response(
            observation.0.request_id.as_str(),
            &HeaderMap::new(),
            challenges,
        );
        let done = Done { method, route: UNMATCHED, code: Problem::InternalError.code(), elapsed };
        let response = unread::keep(body, observer.finish(&done, &observation, response));
        return Err(InternalError::from_response("a handler panicked", response).into());
    };
    let (request, response) = routed.map_into_boxed_body().into_parts();
    let problem = response.error().map(Problem::behind);
    let code = problem.as_ref().map_or("ok", Problem::code);
    let response = problem.map_or(response, |problem| {
        problem.response(observation.0.request_id.as_str(), request.headers(), challenges)
    });
    let done = Done { method, route: route(&request), code, elapsed };
    let response = unread::keep(body, observer.finish(&done, &observation, response));
    Ok(ServiceResponse::new(request, response))
}

/// A request that has been answered.
struct Done {
    method: Method,
    route: &'static str,
    code: &'static str,
    elapsed: Duration,
}

/// The path that was routed by: a closed set, whatever clients ask for.
fn route(request: &HttpRequest) -> &'static str {
    if request.match_info().as_str() == ME_CUSTOMER { ME_CUSTOMER } else { UNMATCHED }
}

/// For the log: a method may be as long as a head, but no line is to be.
fn shown(method: &Method) -> &str {
    let name = method.as_str();
    if name.len() > MAX_METHOD { "(too long)" } else { name }
}

impl Observer {
    /// Counts and logs the request, and puts onto its answer what every answer has.
    fn finish(
        &self,
        done: &Done,
        observation: &Observation,
        mut response: HttpResponse,
    ) -> HttpResponse {
        let status = response.status();
        let metrics = &self.metrics.http;
        metrics.requests.with_label_values(&[done.route, status.as_str(), done.code]).inc();
        metrics.duration.with_label_values(&[done.route]).observe(done.elapsed.as_secs_f64());
        if self.is_logged(status) {
            self.log(done, status, observation);
        }
        response.headers_mut().insert(REQUEST_ID, observation.0.request_id.header());
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

    fn log(&self, done: &Done, status: StatusCode, observation: &Observation) {
        let seen = &*observation.0;
        let customer_ref = seen.customer.get().map(|customer| self.refs.reference(customer));
        tracing::info!(
            method = shown(&done.method),
            route = done.route,
            status = status.as_u16(),
            code = done.code,
            duration_us = u64::try_from(done.elapsed.as_micros()).unwrap_or(u64::MAX),
            cache = seen.cache.get(),
            request_id = seen.request_id.as_str(),
            customer_ref = customer_ref.map(tracing::field::display),
            trace_id = seen.trace.as_ref().map(TraceContext::trace_id),
            "request"
        );
    }
}
