//! The one definition of a public request: parse, authenticate, limit, look up, respond.
//!
//! A hit with a bearer token runs to its end without waiting; slow steps are boxed. The cached token
//! leads to the customer's cache entry ([`Memo`]), so a repeated request looks up only the token.

use std::{panic::AssertUnwindSafe, rc::Rc, sync::Arc, time::Duration};

use actix_http::{HttpMessage as _, Request};
use actix_web::{HttpResponse, web::Bytes};
use futures_util::FutureExt as _;
use tokio::task::spawn_local;

use super::{
    cors::Cors,
    request::{self, CustomerRequest, PublicRequest, ResponseKind},
    request_log::{InFlightRequest, RequestLog},
    response,
    sdk_payload::{SdkPayloads, SdkRequest},
};
use crate::{
    auth::{AuthError, Authenticator, Caller},
    cache::{CachedLink, CustomerCache, Found, Lookup},
    clock::Clock,
    customer::{CustomerId, CustomerIdForm, CustomerRef, CustomerRefKey},
    juspay::CustomerApi,
    problem::{Challenges, Problem},
    rate_limit::CustomerRateLimit,
    traces::Kind,
};

/// A worker's request handler.
#[derive(Debug)]
pub struct Handler {
    /// Verifies access tokens.
    pub authenticator: Arc<Authenticator>,
    /// The schemes in `WWW-Authenticate`.
    pub challenges: Challenges,
    /// Shared by all workers.
    pub cache: CustomerCache,
    /// This worker's client of Juspay.
    pub api: Rc<dyn CustomerApi>,
    /// `juspay.customer_id_form`
    pub id_form: CustomerIdForm,
    /// `cache.not_found_ttl`
    pub not_found_ttl: Duration,
    /// `sdk.*`; `None`: no payloads.
    pub sdk_payloads: Option<Arc<SdkPayloads>>,
    /// `cors.origins`; `None`: no other origins.
    pub cors: Option<Arc<Cors>>,
    /// The path of `server.public_url`, without a slash at its end.
    pub base_path: Arc<str>,
    /// `limits.per_customer`
    pub limit: Arc<CustomerRateLimit>,
    /// Counts, traces and logs requests.
    pub log: RequestLog,
    /// The service's clock.
    pub clock: Arc<dyn Clock>,
}

/// The result of a token's last request. The token cache keeps it with the token.
struct Memo {
    customer: CachedLink,
    /// The customer's pseudonym in the log, and the generation of its key.
    customer_ref: Option<(CustomerRef, u64)>,
}

impl Memo {
    /// The customer's pseudonym, unless its key has changed.
    fn customer_ref(&self, generation: u64) -> Option<CustomerRef> {
        let (customer_ref, used) = self.customer_ref?;
        (used == generation).then_some(customer_ref)
    }
}

impl Handler {
    /// Responds to any request of the public listener.
    pub async fn handle(&self, mut request: Request) -> HttpResponse {
        let body = request.take_payload();
        let in_flight = self.log.start(&request, request::route(&request, &self.base_path));
        let respond = self.respond(&request, &in_flight);
        let (problem, response) = match catch_panic(respond, &in_flight).await {
            Ok(response) => (None, response),
            Err(problem) => {
                let id = in_flight.request_id();
                let response = problem.response(id, request.headers(), self.challenges);
                (Some(problem), response)
            }
        };
        let mut response = self.log.finish(&in_flight, problem.as_ref(), response);
        if let Some(cors) = &self.cors {
            cors.allow(request.headers(), response.headers_mut());
        }
        response::keep_unread_body(body, response)
    }

    async fn respond(
        &self,
        request: &Request,
        in_flight: &InFlightRequest,
    ) -> Result<HttpResponse, Problem> {
        let profile = self.sdk_payloads.as_ref().map(|it| it.profile);
        let (route, has_cors) = (in_flight.route(), self.cors.is_some());
        let PublicRequest { customer: wanted, response } =
            PublicRequest::parse(request, route, profile, has_cors)?;
        if let (ResponseKind::Options, Some(cors)) = (response, &self.cors) {
            return Ok(cors.options(route, request.headers()));
        }
        let caller = self.authenticate(request, in_flight).await?;
        self.limit.spend(caller.customer()).map_err(Problem::RateLimited)?;
        if response == ResponseKind::Accepted {
            self.prepare(wanted, &caller, in_flight);
            return Ok(response::accepted(caller.next_nonce()));
        }
        let memo = caller.memo::<Memo>();
        let plain = memo.as_deref().filter(|_| wanted.is_plain());
        let mut found = match plain.and_then(|memo| self.linked(memo, in_flight)) {
            Some(found) => found,
            None => Box::pin(self.look_up(wanted, &caller, memo, in_flight)).await?,
        };
        if let ResponseKind::SdkPayload(request) = response {
            found.body = self.sdk_payload(request, &found, &caller, in_flight)?;
        }
        Ok(response::customer(found, caller.next_nonce()))
    }

    async fn authenticate(
        &self,
        request: &Request,
        in_flight: &InFlightRequest,
    ) -> Result<Caller, Problem> {
        let span = in_flight.trace().begin("verify token", Kind::Internal);
        let caller = self.authenticator.authenticate(request, in_flight.now(), &span).await;
        drop(span);
        let caller = caller.map_err(|error| rejected(&error, in_flight))?;
        in_flight.set_caller(&caller);
        if !self.id_form.accepts(caller.customer()) {
            return Err(rejected(&AuthError::NoCustomer, in_flight));
        }
        Ok(caller)
    }

    /// The linked customer, if its entry is still in the cache and its token fresh.
    fn linked(&self, memo: &Memo, in_flight: &InFlightRequest) -> Option<Found> {
        // A DPoP proof may have waited for its verification since the request was parsed.
        let now = self.clock.moment();
        let found = Ok(self.cache.get_linked(&memo.customer, now, &in_flight.trace())?);
        in_flight.looked_up(&found);
        let generation = self.log.refs().map(CustomerRefKey::generation);
        in_flight.set_customer_ref(generation.and_then(|it| memo.customer_ref(it)));
        found.ok()
    }

    /// Looks up the customer in the background, so that its token is there when the app needs it. The
    /// fetch logs a failure, and the app's next request gets the error.
    fn prepare(&self, wanted: CustomerRequest, caller: &Caller, in_flight: &InFlightRequest) {
        let lookup = self.lookup(wanted, caller, in_flight);
        let (cache, api) = (self.cache.clone(), Rc::clone(&self.api));
        spawn_local(async move { cache.get(&lookup, &api).await });
    }

    fn sdk_payload(
        &self,
        request: SdkRequest,
        found: &Found,
        caller: &Caller,
        in_flight: &InFlightRequest,
    ) -> Result<Bytes, Problem> {
        let payloads = self.sdk_payloads.as_ref().ok_or(Problem::NotFound)?;
        let audience = self.authenticator.audience(caller);
        let body = payloads.body(request, (found, caller.customer()), audience);
        body.ok_or_else(|| {
            in_flight.failed("no_reference");
            Problem::UpstreamInvalidResponse
        })
    }

    fn lookup(
        &self,
        wanted: CustomerRequest,
        caller: &Caller,
        in_flight: &InFlightRequest,
    ) -> Lookup {
        Lookup {
            customer: caller.customer().clone(),
            want_token: wanted.want_token,
            want_body: wanted.want_body,
            freshness: wanted.freshness,
            traceparent: in_flight.child_traceparent(),
            new_customer: caller.new_customer().cloned(),
            trace: in_flight.trace(),
            requester: self.log.requester(in_flight),
        }
    }

    /// Looks up the customer in the cache, which may wait for a fetch, and links it.
    async fn look_up(
        &self,
        wanted: CustomerRequest,
        caller: &Caller,
        memo: Option<Arc<Memo>>,
        in_flight: &InFlightRequest,
    ) -> Result<Found, Problem> {
        let customer = caller.customer();
        let lookup = self.lookup(wanted, caller, in_flight);
        let found = self.cache.get(&lookup, &self.api);
        let found = self.authenticator.unless_revoked(caller, found).await;
        let found = found.map_err(|error| rejected(&error, in_flight))?;
        in_flight.looked_up(&found);
        let mut found = found.map_err(|error| {
            let wait = self.cache.retry_after(&error, customer, &self.api);
            Problem::from_lookup(&error, self.not_found_ttl).retry_after(wait)
        })?;
        if let Some(link) = found.link.take().filter(|_| self.authenticator.caches_tokens()) {
            let customer_ref = self.customer_ref(memo.as_deref(), customer);
            in_flight.set_customer_ref(customer_ref.map(|(customer_ref, _)| customer_ref));
            caller.remember(Memo { customer: link, customer_ref });
        }
        Ok(found)
    }

    /// The customer's pseudonym, if requests are logged, and the generation of its key. The generation is
    /// read first, so that a key that changes at the same time makes the pseudonym outdated.
    fn customer_ref(
        &self,
        memo: Option<&Memo>,
        customer: &CustomerId,
    ) -> Option<(CustomerRef, u64)> {
        let refs = self.log.refs()?;
        let generation = refs.generation();
        let remembered = memo.and_then(|memo| memo.customer_ref(generation));
        Some((remembered.unwrap_or_else(|| refs.reference(customer)), generation))
    }
}

async fn catch_panic<R>(
    respond: impl Future<Output = Result<R, Problem>>,
    in_flight: &InFlightRequest,
) -> Result<R, Problem> {
    AssertUnwindSafe(respond).catch_unwind().await.unwrap_or_else(|_panic| {
        in_flight.panicked();
        Err(Problem::InternalError)
    })
}

fn rejected(error: &AuthError, in_flight: &InFlightRequest) -> Problem {
    in_flight.rejected(error);
    error.into()
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;
    use crate::{
        captured_log::CapturedLog, clock::manual::ManualClock, customer::CustomerRefKey,
        metrics::Metrics, server::Drain, settings::AccessLog, traces::Tracer,
    };

    #[test]
    fn panics_are_counted_and_logged_by_route() {
        let (log, _guard) = CapturedLog::on_this_thread();
        let metrics = Arc::new(Metrics::new("1", "1").unwrap());
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at("2026-01-01T00:00:00Z"));
        let request_log = RequestLog::new(
            (&Drain::default(), 10),
            AccessLog::All,
            CustomerRefKey::random(),
            Tracer::off(),
            (&metrics, &clock),
        );
        for (path, route) in [("/me/customer", "/me/customer"), ("/elsewhere", "unmatched")] {
            let request = TestRequest::get().uri(path).to_request();
            let in_flight = request_log.start(&request, request::route(&request, ""));
            let respond = async { panic!("on purpose") };
            let problem = catch_panic::<()>(respond, &in_flight).now_or_never().unwrap();
            let problem = problem.expect_err("a panic is a problem");
            let response = problem.response("1", request.headers(), Challenges::BEARER);
            let response = request_log.finish(&in_flight, Some(&problem), response);
            assert_eq!(response.status(), 500);
            let labels = [route, "500", "internal_error"];
            assert_eq!(metrics.http.requests.with_label_values(&labels).get(), 1, "{path}");
            let durations = metrics.http.duration.with_label_values(&[route]);
            assert_eq!(durations.get_sample_count(), 1, "{path}");
            let logged =
                format!("route=\"{route}\" status=500 code=\"internal_error\" cause=\"panic\"");
            assert!(log.text().contains(&logged), "{}", log.text());
        }
    }
}
