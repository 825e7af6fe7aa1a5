//! The HTTP client for Juspay, built on awc. The only code that reads the API key (promise P2).
//!
//! awc considers an unsolicited 1xx the response and keeps the connection. Every later response on
//! that connection then belongs to the request before it, which may be another customer's.
//! Therefore a 1xx, a response without a clear end, or one about another customer makes this
//! worker's client drop all its connections before anything can reuse them.
//!
//! A request that fails because its pooled connection was stale (see `stale_connection`) is
//! repeated once on a new connection, unless it would create a customer. The repeat belongs to the same
//! attempt, so the breaker and the retry budget count one attempt. All connections older than the failure
//! are dropped.

use std::{cell::RefCell, fmt, io, path::Path, rc::Rc, sync::Arc, time::Duration};

use awc::{
    ClientRequest,
    error::{ConnectError, SendRequestError},
    http::{
        StatusCode,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
};
use futures_util::future::LocalBoxFuture;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use super::{
    ConnectionFailure, CustomerApi, CustomerResponse, GetCustomer, InvalidResponse, JuspayError,
    NotCreated, Operation, RejectedBy,
    api_keys::{ApiKeys, Slot},
    connect::{self, Http, LastFamily, from_connect_error},
    inspection::ResponseHead,
    proxy::Proxy,
    response,
    stale_connection::Exchange,
};
use crate::{
    basic_auth,
    clock::{self, Clock, Monotonic},
    metrics::{GaugeGuard, Metrics, Series as _},
    net::Origin,
    secret_file::Secret,
    settings,
    tls::{self, TlsError},
    traces::{Kind, Span},
};

/// The API key isn't a valid header value, so Juspay can't have accepted it.
const UNUSABLE_KEY: JuspayError = JuspayError::RejectedCredentials(RejectedBy::Unknown);

/// Outcome label of a successful call.
const SUCCESS: &str = "success";

/// Outcome label of a request on a stale connection that is repeated on a new one.
const STALE_CONNECTION: &str = "stale_connection";

const MERCHANT_ID: HeaderName = HeaderName::from_static("x-merchantid");
const ROUTING_ID: HeaderName = HeaderName::from_static("x-routing-id");
const API_VERSION: HeaderName = HeaderName::from_static("version");
/// In Juspay's responses: the merchant that the API key belongs to.
const KEY_MERCHANT: HeaderName = HeaderName::from_static("x-jp-merchant-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// State shared by the clients of all workers.
pub struct Juspay {
    settings: settings::Juspay,
    keys: ApiKeys,
    proxy: Option<Proxy>,
    tls: Arc<rustls::ClientConfig>,
    /// Host and port, for spans.
    server: Option<(String, u16)>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

impl Juspay {
    /// Prepares calls to Juspay without connecting.
    ///
    /// # Errors
    /// If `juspay.ca_file` contains no certificates.
    pub fn new(
        settings: settings::Juspay,
        keys: ApiKeys,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, TlsError> {
        let tls = tls::client_config(settings.ca_file.as_deref().map(Path::new))?;
        let server =
            Origin::parse(&settings.base_url).map(|it| (it.bare_host().to_owned(), it.port));
        metrics.upstream.requests.initialize(call_outcomes());
        let proxy = Proxy::of(&settings, None);
        Ok(Self { settings, keys, proxy, tls, server, clock, metrics })
    }

    /// Sets the credentials for `juspay.egress_proxy`.
    #[must_use]
    pub fn with_proxy_credentials(self, credentials: Option<Arc<Secret>>) -> Self {
        Self { proxy: Proxy::of(&self.settings, credentials), ..self }
    }

    fn http(&self, last_family: &LastFamily) -> Http {
        Http::new(&self.settings, self.proxy.as_ref(), &self.tls, last_family)
    }
}

impl fmt::Debug for Juspay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Juspay").field("base_url", &self.settings.base_url).finish_non_exhaustive()
    }
}

/// The client of one worker and listener socket.
#[derive(Debug, Clone)]
pub struct Client(Rc<Inner>);

struct Inner {
    juspay: Arc<Juspay>,
    http: RefCell<Http>,
    last_family: LastFamily,
    /// From the head of the last response.
    date_and_merchant: RefCell<(Option<Timestamp>, Option<HeaderValue>)>,
}

/// Logs that Juspay rejected a key and that there is no other key to try.
fn log_rejected_key(slot: Slot, by: RejectedBy) {
    let slot = slot.name();
    if by == RejectedBy::Juspay {
        tracing::warn!(
            slot,
            "Juspay rejected the API key; requests that need Juspay fail until a valid key is in \
             juspay.api_key_file"
        );
    } else {
        tracing::warn!(
            slot,
            "Juspay rejected the API key, or a firewall or gateway did: the 401 is not in Juspay's \
             format; if it repeats, check the key in juspay.api_key_file and the network to Juspay"
        );
    }
}

/// A failure that indicates a stale connection rather than a failing Juspay.
struct StaleConnection(JuspayError);

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.juspay.fmt(f)
    }
}

impl Client {
    /// A client without open connections.
    #[must_use]
    pub fn new(juspay: Arc<Juspay>) -> Self {
        let last_family = LastFamily::default();
        let http = RefCell::new(juspay.http(&last_family));
        let date_and_merchant = RefCell::default();
        Self(Rc::new(Inner { juspay, http, last_family, date_and_merchant }))
    }

    /// The head of the last response with any status.
    pub(crate) fn last_head(&self) -> ResponseHead {
        let (date, merchant) = &*self.0.date_and_merchant.borrow();
        let merchant = merchant.as_ref().and_then(|value| value.to_str().ok());
        ResponseHead { date: *date, merchant: merchant.map(str::to_owned) }
    }
}

impl CustomerApi for Client {
    fn get_customer(
        &self,
        request: GetCustomer,
    ) -> LocalBoxFuture<'static, Result<CustomerResponse, JuspayError>> {
        let inner = Rc::clone(&self.0);
        Box::pin(async move { inner.attempt(request, Operation::Get).await })
    }

    fn create_customer(
        &self,
        request: GetCustomer,
    ) -> LocalBoxFuture<'static, Result<CustomerResponse, JuspayError>> {
        let inner = Rc::clone(&self.0);
        Box::pin(async move { inner.attempt(request, Operation::Create).await })
    }

    fn recoveries(&self) -> u64 {
        let Juspay { keys, proxy, .. } = &*self.0.juspay;
        let credentials = proxy.as_ref().and_then(|proxy| proxy.credentials.as_ref());
        keys.changes().wrapping_add(credentials.map_or(0, |secret| secret.changes()))
    }
}

impl Inner {
    /// Makes one attempt within the request's deadline. After a 401 (never after a 403), it tries
    /// the other key once. If that key works and Juspay itself sent the 401, later calls use it.
    async fn attempt(
        &self,
        mut request: GetCustomer,
        operation: Operation,
    ) -> Result<CustomerResponse, JuspayError> {
        let keys = &self.juspay.keys;
        let slot = keys.in_use();
        let response = self.try_key(&mut request, operation, slot).await;
        let Err(JuspayError::RejectedCredentials(by)) = response else { return response };
        let Some(other) = keys.other(slot) else {
            log_rejected_key(slot, by);
            return response;
        };
        tracing::warn!(slot = slot.name(), "Juspay rejected the API key; trying the other key");
        let response = self.try_key(&mut request, operation, other).await;
        if let Err(JuspayError::RejectedCredentials(by)) = response {
            log_rejected_key(other, by);
        }
        // A firewall's 401 does not concern the key.
        if by == RejectedBy::Juspay && response.as_ref().err().is_none_or(JuspayError::proves_key) {
            keys.switch_to(other);
        }
        response
    }

    /// Sends the request, and repeats it once if its connection was stale. A silent connection may
    /// have used up the first deadline, so the repeat gets the time of a full attempt.
    async fn try_key(
        &self,
        request: &mut GetCustomer,
        operation: Operation,
        slot: Slot,
    ) -> Result<CustomerResponse, JuspayError> {
        let Juspay { clock, settings, .. } = &*self.juspay;
        match self.measured(request, operation, slot).await {
            Ok(response) => response,
            // Juspay may have created the customer.
            Err(StaleConnection(why)) if operation == Operation::Create => Err(why),
            Err(StaleConnection(why)) => {
                tracing::debug!(
                    "idle connection to Juspay was closed; repeating the request on a new one: {why}"
                );
                let end = clock.monotonic().plus(settings.try_timeout);
                request.deadline = end.min(request.call_deadline);
                // All connections were dropped and nothing was awaited since, so this connection is
                // new.
                self.measured(request, operation, slot)
                    .await
                    .unwrap_or_else(|StaleConnection(why)| Err(why))
            }
        }
    }

    /// Sends one request, with its metrics and span.
    async fn measured(
        &self,
        request: &GetCustomer,
        operation: Operation,
        slot: Slot,
    ) -> Result<Result<CustomerResponse, JuspayError>, StaleConnection> {
        let Juspay { clock, metrics, .. } = &*self.juspay;
        let span = self.span(request, operation, slot);
        let juspay = &self.juspay;
        let start = clock.monotonic();
        let mut call = Call { juspay, start, deadline: request.deadline, outcome: None, span };
        let _in_flight = GaugeGuard::new(&metrics.upstream.in_flight);
        let exchange = self.http.borrow().pool.start_exchange();
        let answering = self.exchange(request, operation, slot, (&call.span, &exchange));
        let response = clock::timeout_at(&**clock, request.deadline, answering)
            .await
            .unwrap_or(Err(JuspayError::Timeout));
        let has_time = clock.monotonic() < request.call_deadline;
        let response = match response {
            Err(why) if self.drop_if_stale(&exchange, &why) && has_time => {
                Err(StaleConnection(why))
            }
            response => Ok(response),
        };
        call.outcome = Some(match &response {
            Ok(Ok(CustomerResponse { auth: Ok(_), .. })) => SUCCESS,
            Ok(Ok(CustomerResponse { auth: Err(why), .. })) => JuspayError::from(*why).outcome(),
            Ok(Err(error)) => error.outcome(),
            Err(StaleConnection(_)) => STALE_CONNECTION,
        });
        response
    }

    /// Whether a request failed because its pooled connection was stale. If it may have been, all
    /// existing connections are dropped: they are at least as old.
    fn drop_if_stale(&self, exchange: &Exchange, why: &JuspayError) -> bool {
        let has_ended = *why == JuspayError::Connection(ConnectionFailure::Broken);
        let is_silent = *why == JuspayError::Timeout;
        if !(has_ended || is_silent) || !exchange.is_unanswered_on_reused_connection() {
            return false;
        }
        self.drop_connections();
        has_ended || !exchange.has_older_connection_received()
    }

    /// The span of a request. It omits the URL, which contains the customer id.
    fn span(&self, request: &GetCustomer, operation: Operation, slot: Slot) -> Span {
        let (name, method, template) = match operation {
            Operation::Get => ("GET /customers/{id}", "GET", "/customers/{id}"),
            Operation::Create => ("POST /customers", "POST", "/customers"),
        };
        let span = request.trace.begin(name, Kind::Client);
        if span.place().is_some() {
            span.set("http.request.method", method);
            span.set("url.template", template);
            if let Some((host, port)) = &self.juspay.server {
                span.name("server.address", host);
                span.set("server.port", *port);
            }
            span.set("juspay_bff.attempt", request.attempt);
            if let Some(resent) = request.attempt.checked_sub(1).filter(|resent| *resent > 0) {
                span.set("http.request.resend_count", resent);
            }
            span.set("juspay_bff.key_slot", slot.name());
        }
        span
    }

    async fn exchange(
        &self,
        request: &GetCustomer,
        operation: Operation,
        slot: Slot,
        (span, exchange): (&Span, &Rc<Exchange>),
    ) -> Result<CustomerResponse, JuspayError> {
        let http = self.request(request, operation, slot)?;
        let sending = match (operation, &request.new_customer) {
            (Operation::Create, Some(new)) => http.send_body(new.form(&request.customer)),
            (Operation::Create, None) => return Err(NotCreated::NoMobileNumber.into()),
            (Operation::Get, _) => http.send(),
        };
        let response = exchange.send(sending).await.map_err(|error| {
            if matches!(error, SendRequestError::Connect(ConnectError::Disconnected)) {
                exchange.ended_before_response();
            }
            from_send_error(error)
        })?;
        span.set("http.response.status_code", response.status().as_u16());
        if !has_clear_end(response.status(), response.headers()) {
            // No await between awc's response and this call: another request could reuse the
            // connection.
            self.drop_connections();
        }
        if response.status().is_informational() {
            return Err(InvalidResponse::Interim.into());
        }
        let date = response::date(response.headers());
        let merchant = response.headers().get(KEY_MERCHANT).cloned();
        self.date_and_merchant.replace((date, merchant));
        let form = self.juspay.settings.customer_id_form;
        let response = response::read(response, date, &request.customer, operation, form).await;
        match &response {
            Err(JuspayError::InvalidResponse(InvalidResponse::OtherCustomer)) => {
                self.drop_connections();
                self.juspay.metrics.upstream.identity_mismatches.inc();
            }
            Err(JuspayError::RejectedOrigin(_)) if self.juspay.proxy.is_some() => {
                tracing::warn!(
                    "Juspay rejected the address of the egress proxy; add the proxy's public address to \
                     the merchant's allow-list"
                );
            }
            Err(JuspayError::RejectedOrigin(_)) => {
                let family = self.last_family.get().map(connect::Family::name);
                tracing::warn!(
                    family,
                    "Juspay rejected this server's address; add the address to the merchant's \
                     allow-list"
                );
            }
            Ok(_) | Err(_) => {}
        }
        response
    }

    /// Builds the request at the time of sending. The awc client isn't held across an await,
    /// because it may be replaced.
    fn request(
        &self,
        request: &GetCustomer,
        operation: Operation,
        slot: Slot,
    ) -> Result<ClientRequest, JuspayError> {
        let Juspay { settings, keys, .. } = &*self.juspay;
        let segment = request.customer.path_segment().to_string();
        let base_url = &settings.base_url;
        let client = &self.http.borrow().client;
        let http = match operation {
            Operation::Get => client
                .get(format!("{base_url}/customers/{segment}?options.get_client_auth_token=true")),
            Operation::Create => client.post(format!("{base_url}/customers")),
        };
        // Avoids a copy per request.
        let constant = HeaderValue::from_static;
        let key = keys.secret(slot).ok_or(UNUSABLE_KEY)?;
        let mut http = http
            .insert_header((header::AUTHORIZATION, authorization(&key)?))
            .insert_header((header::CONTENT_TYPE, constant("application/x-www-form-urlencoded")))
            .insert_header((header::ACCEPT, constant("application/json")))
            .insert_header((header::USER_AGENT, constant(crate::USER_AGENT)))
            .insert_header((MERCHANT_ID, settings.merchant_id.as_str()))
            .insert_header((ROUTING_ID, &*request.customer.routing_id()));
        if let Some(version) = &settings.api_version {
            http = http.insert_header((API_VERSION, version.as_str()));
        }
        if let Some(traceparent) = &request.traceparent {
            http = http.insert_header((TRACEPARENT, traceparent.as_str()));
        }
        Ok(http)
    }

    fn drop_connections(&self) {
        self.http.replace(self.juspay.http(&self.last_family));
    }
}

/// A call in progress. It is counted when it ends, even if the caller's timer for the same deadline
/// fires first and drops it.
struct Call<'j> {
    juspay: &'j Juspay,
    start: Monotonic,
    deadline: Monotonic,
    outcome: Option<&'static str>,
    span: Span,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let Juspay { clock, metrics, .. } = self.juspay;
        let now = clock.monotonic();
        metrics.upstream.duration.observe(now.since(self.start).as_secs_f64());
        let given_up = || {
            let has_time = now < self.deadline;
            let error = if has_time { JuspayError::Aborted } else { JuspayError::Timeout };
            error.outcome()
        };
        let outcome = self.outcome.unwrap_or_else(given_up);
        metrics.upstream.requests.with_label_values(&[outcome]).inc();
        self.span.set("juspay_bff.juspay.outcome", outcome);
        if outcome != SUCCESS {
            self.span.fail(outcome);
        }
    }
}

/// Every outcome label of a call that was made.
fn call_outcomes() -> impl Iterator<Item = &'static str> {
    let without_call = [
        JuspayError::BreakerOpen(Duration::ZERO),
        JuspayError::Saturated,
        NotCreated::NoMobileNumber.into(),
        NotCreated::Limited(Duration::ZERO).into(),
    ]
    .map(|it| it.outcome());
    let failures = JuspayError::OUTCOMES.iter().copied();
    failures
        .filter(move |outcome| !without_call.contains(outcome))
        .chain([SUCCESS, STALE_CONNECTION])
}

/// `Basic base64("KEY:")` (RFC 7617 with an empty password), marked as sensitive.
fn authorization(key: &SecretString) -> Result<HeaderValue, JuspayError> {
    let mut value =
        HeaderValue::from_maybe_shared(basic_auth::credentials(key.expose_secret(), ""))
            .map_err(|_| UNUSABLE_KEY)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whether the response ends where awc assumes it ends. awc takes a body without a length, and a
/// response that switches protocols, for empty: the body arrives later on a connection that awc has
/// already reused. A 1xx isn't a final response.
fn has_clear_end(status: StatusCode, headers: &HeaderMap) -> bool {
    let is_chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    let has_length = headers.contains_key(header::CONTENT_LENGTH)
        || headers.get(header::TRANSFER_ENCODING).is_some_and(is_chunked);
    has_length && !headers.contains_key(header::UPGRADE) && !status.is_informational()
}

/// Converts awc's error, whose text may contain addresses and which isn't `Send`.
#[expect(clippy::wildcard_enum_match_arm, reason = "awc's enums may grow")]
fn from_send_error(error: SendRequestError) -> JuspayError {
    match error {
        SendRequestError::Connect(error) => JuspayError::Connection(from_connect_error(&error)),
        SendRequestError::Response(error) if !is_io(&error) => InvalidResponse::Http.into(),
        _ => JuspayError::Connection(ConnectionFailure::Broken),
    }
}

fn is_io(error: &dyn std::error::Error) -> bool {
    error.source().is_some_and(<dyn std::error::Error>::is::<io::Error>)
}

#[cfg(test)]
mod tests;
