//! The real Juspay, over awc. The only reader of the API key (promise P2).
//!
//! awc takes an unasked 1xx for the answer and keeps the connection, whose every later answer is
//! then one behind: somebody else's. So a 1xx, an answer without a clear end, or one about another
//! customer, makes this worker's client be thrown away with all its connections before anything
//! else can use them.
//!
//! An exchange that fails because its pooled connection was stale (see `pool`) is repeated once on a
//! new connection. The repeat is part of the same try, so the breaker and the retry budget count one
//! try. All connections that are older than the failure are discarded.

use std::{cell::RefCell, fmt, io, path::Path, rc::Rc, sync::Arc, time::Duration};

use awc::{
    ClientRequest, ClientResponse,
    error::{ConnectError, PayloadError, SendRequestError},
    http::{
        StatusCode,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
};
use futures_util::future::LocalBoxFuture;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use super::{
    Answer, ConnectionFailure, CustomerApi, GetCustomer, InvalidAnswer, JuspayError, RejectedBy,
    RetryAfter,
    connect::{self, Http, LastFamily, connecting_failed},
    inspection::Seen,
    keys::{ApiKeys, Slot},
    pool::Exchange,
    wire,
};
use crate::{
    clock::{self, Clock, Monotonic},
    credentials,
    customer::CustomerId,
    metrics::{Metrics, Raised, Series as _},
    settings,
    tls::{self, TlsError},
    traces::{Kind, Span},
};

/// Largest answer read, in bytes. A customer object has some 500.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Longest `Retry-After` that is taken for true. No wait of ours is longer, and phones that are told
/// more would stay away for longer than we do.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(1);

/// The key can't be sent, so Juspay can't have accepted it.
const UNUSABLE_KEY: JuspayError = JuspayError::RejectedCredentials(RejectedBy::Unknown);

/// The outcome of a call that has brought a token.
const SUCCESS: &str = "success";

/// The outcome of an exchange on a stale connection that is repeated on a new one.
const STALE_CONNECTION: &str = "stale_connection";

const MERCHANT_ID: HeaderName = HeaderName::from_static("x-merchantid");
const ROUTING_ID: HeaderName = HeaderName::from_static("x-routing-id");
const API_VERSION: HeaderName = HeaderName::from_static("version");
/// Whose key it was, in Juspay's answers.
const KEYS_MERCHANT: HeaderName = HeaderName::from_static("x-jp-merchant-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What all workers' clients share.
pub struct Juspay {
    settings: settings::Juspay,
    keys: ApiKeys,
    tls: Arc<rustls::ClientConfig>,
    /// Its host and port, as spans name it.
    server: Option<(String, u16)>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

impl Juspay {
    /// Makes ready to call Juspay; calls nobody yet.
    ///
    /// # Errors
    /// When `juspay.ca_file` holds no certificates.
    pub fn new(
        settings: settings::Juspay,
        keys: ApiKeys,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, TlsError> {
        let tls = tls::client_config(settings.ca_file.as_deref().map(Path::new))?;
        let server = connect::target(&settings.base_url).map(|(host, port, _)| (host, port));
        metrics.upstream.requests.initialize(call_outcomes());
        Ok(Self { settings, keys, tls, server, clock, metrics })
    }
}

impl fmt::Debug for Juspay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Juspay").field("base_url", &self.settings.base_url).finish_non_exhaustive()
    }
}

/// One worker's client.
#[derive(Debug, Clone)]
pub struct Client(Rc<Inner>);

struct Inner {
    juspay: Arc<Juspay>,
    http: RefCell<Http>,
    last_family: LastFamily,
    /// Of the last answer's head.
    date_and_merchant: RefCell<(Option<Timestamp>, Option<HeaderValue>)>,
}

/// A failure that says something about the exchange's connection rather than about Juspay.
struct StaleConnection(JuspayError);

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.juspay.fmt(f)
    }
}

impl Client {
    /// A client without connections.
    #[must_use]
    pub fn new(juspay: Arc<Juspay>) -> Self {
        let last_family = LastFamily::default();
        let http = RefCell::new(Http::new(&juspay.settings, &juspay.tls, &last_family));
        let date_and_merchant = RefCell::default();
        Self(Rc::new(Inner { juspay, http, last_family, date_and_merchant }))
    }

    /// What the head of the last answer told, whatever its status.
    pub(crate) fn seen(&self) -> Seen {
        let (date, merchant) = &*self.0.date_and_merchant.borrow();
        let merchant = merchant.as_ref().and_then(|value| value.to_str().ok());
        Seen { date: *date, merchant: merchant.map(str::to_owned) }
    }
}

impl CustomerApi for Client {
    fn get_customer(
        &self,
        request: GetCustomer,
    ) -> LocalBoxFuture<'static, Result<Answer, JuspayError>> {
        let inner = Rc::clone(&self.0);
        Box::pin(async move { inner.get_customer(request).await })
    }

    fn recoveries(&self) -> u64 {
        self.0.juspay.keys.changes()
    }
}

impl Inner {
    /// One try, within the request's deadline. On a 401, never on a 403, the other key is tried once. It
    /// stays if it works and the 401 was Juspay's own.
    async fn get_customer(&self, mut request: GetCustomer) -> Result<Answer, JuspayError> {
        let keys = &self.juspay.keys;
        let slot = keys.in_use();
        let answer = self.try_key(&mut request, slot).await;
        let Err(JuspayError::RejectedCredentials(by)) = answer else { return answer };
        let Some(other) = keys.other(slot) else { return answer };
        let answer = self.try_key(&mut request, other).await;
        // A firewall's 401 says nothing about the key.
        if by == RejectedBy::Juspay && matches!(answer, Ok(_) | Err(JuspayError::CustomerNotFound))
        {
            keys.switch_to(other);
        }
        answer
    }

    /// One exchange, repeated once if its connection was stale. The repeat has the time of a whole
    /// try, as a silent connection has used up the first one's.
    async fn try_key(&self, request: &mut GetCustomer, slot: Slot) -> Result<Answer, JuspayError> {
        let Juspay { clock, settings, .. } = &*self.juspay;
        match self.measured(request, slot).await {
            Ok(answer) => answer,
            Err(StaleConnection(why)) => {
                tracing::debug!("stale connection to Juspay; repeating the request: {why}");
                let end = clock.monotonic().plus(settings.try_timeout);
                request.deadline = end.min(request.call_deadline);
                // Every connection is gone and nothing was awaited since, so this one is new.
                self.measured(request, slot).await.unwrap_or_else(|StaleConnection(why)| Err(why))
            }
        }
    }

    /// One exchange with Juspay, counted and timed.
    async fn measured(
        &self,
        request: &GetCustomer,
        slot: Slot,
    ) -> Result<Result<Answer, JuspayError>, StaleConnection> {
        let Juspay { clock, metrics, .. } = &*self.juspay;
        let span = self.span(request, slot);
        let juspay = &self.juspay;
        let mut call = Call { juspay, deadline: request.deadline, outcome: None, span };
        let _in_flight = Raised::new(&metrics.upstream.in_flight);
        let _timer = metrics.upstream.duration.start_timer();
        let exchange = self.http.borrow().pool.start_exchange();
        let answering = self.exchange(request, slot, &call.span, &exchange);
        let answer = clock::before(&**clock, request.deadline, answering)
            .await
            .unwrap_or(Err(JuspayError::Timeout));
        let has_time = clock.monotonic() < request.call_deadline;
        let answer = match answer {
            Err(why) if self.discards_stale(&exchange, &why) && has_time => {
                Err(StaleConnection(why))
            }
            answer => Ok(answer),
        };
        call.outcome = Some(match &answer {
            Ok(Ok(Answer { auth: Ok(_), .. })) => SUCCESS,
            Ok(Ok(Answer { auth: Err(why), .. })) => JuspayError::from(*why).outcome(),
            Ok(Err(error)) => error.outcome(),
            Err(StaleConnection(_)) => STALE_CONNECTION,
        });
        answer
    }

    /// Whether an exchange failed because its connection, a pooled one, was stale. If it may have
    /// been, all connections up to now are discarded: they are as old.
    fn discards_stale(&self, exchange: &Exchange, why: &JuspayError) -> bool {
        let has_ended = *why == JuspayError::Connection(ConnectionFailure::Broken);
        let is_silent = *why == JuspayError::Timeout;
        if !(has_ended || is_silent) || !exchange.is_unanswered_on_reused_connection() {
            return false;
        }
        self.throw_connections_away();
        has_ended || !exchange.has_older_connection_received()
    }

    /// The span of an exchange. Not the address asked for: the customer's id is in it.
    fn span(&self, request: &GetCustomer, slot: Slot) -> Span {
        let span = request.trace.begin("GET /customers/{id}", Kind::Client);
        if span.place().is_some() {
            span.set("http.request.method", "GET");
            span.set("url.template", "/customers/{id}");
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
        slot: Slot,
        span: &Span,
        exchange: &Rc<Exchange>,
    ) -> Result<Answer, JuspayError> {
        let sending = self.request(request, slot)?.send();
        let response = exchange.send(sending).await.map_err(|error| {
            if matches!(error, SendRequestError::Connect(ConnectError::Disconnected)) {
                exchange.ended_before_response();
            }
            sending_failed(error)
        })?;
        span.set("http.response.status_code", response.status().as_u16());
        if !has_clear_end(response.status(), response.headers()) {
            // Nothing may be awaited between awc's answer and this.
            self.throw_connections_away();
        }
        if response.status().is_informational() {
            return Err(InvalidAnswer::Interim.into());
        }
        let answer = self.read(response, &request.customer).await;
        match &answer {
            Err(JuspayError::InvalidAnswer(InvalidAnswer::OtherCustomer)) => {
                self.throw_connections_away();
                self.juspay.metrics.upstream.identity_mismatches.inc();
            }
            Err(JuspayError::RejectedCredentials(_)) => {
                tracing::warn!(slot = slot.name(), "Juspay rejected the API key");
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
        answer
    }

    /// The awc client is taken at send time, never held across a wait: it may be replaced.
    fn request(&self, request: &GetCustomer, slot: Slot) -> Result<ClientRequest, JuspayError> {
        let Juspay { settings, keys, .. } = &*self.juspay;
        let segment = request.customer.path_segment().to_string();
        let url =
            format!("{}/customers/{segment}?options.get_client_auth_token=true", settings.base_url);
        // The id itself where that is unambiguous, else percent-encoded: a raw `%` would make the ids
        // `a b` and `a%20b` the same routing id.
        let id = request.customer.as_str();
        let is_plain = id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'%');
        let routing_id = if is_plain { id } else { &segment };
        // Without a copy for each request.
        let constant = HeaderValue::from_static;
        let key = keys.secret(slot).ok_or(UNUSABLE_KEY)?;
        let mut http = self
            .http
            .borrow()
            .client
            .get(url)
            .insert_header((header::AUTHORIZATION, authorization(&key)?))
            .insert_header((header::CONTENT_TYPE, constant("application/x-www-form-urlencoded")))
            .insert_header((header::ACCEPT, constant("application/json")))
            .insert_header((header::USER_AGENT, constant(crate::USER_AGENT)))
            .insert_header((MERCHANT_ID, settings.merchant_id.as_str()))
            .insert_header((ROUTING_ID, routing_id));
        if let Some(version) = &settings.api_version {
            http = http.insert_header((API_VERSION, version.as_str()));
        }
        if let Some(traceparent) = &request.traceparent {
            http = http.insert_header((TRACEPARENT, traceparent.as_str()));
        }
        Ok(http)
    }

    async fn read<S>(
        &self,
        mut response: ClientResponse<S>,
        asked: &CustomerId,
    ) -> Result<Answer, JuspayError>
    where
        S: futures_util::Stream<Item = Result<bytes::Bytes, PayloadError>> + Unpin,
    {
        let status = response.status();
        let date = date(response.headers());
        self.date_and_merchant.replace((date, response.headers().get(KEYS_MERCHANT).cloned()));
        let announced = content_length(response.headers());
        let retry_after = retry_after(response.headers());
        let read = response.body().limit(MAX_BODY_BYTES).await;
        let body = match read.map_err(|error| body_failed(&error)) {
            Ok(body) => body,
            Err(error) if matches!(status, StatusCode::OK | StatusCode::NOT_FOUND) => {
                return Err(error);
            }
            // What any other answer means, its status says.
            Err(_) => bytes::Bytes::new(),
        };
        match status {
            StatusCode::OK => {
                if announced.is_some_and(|length| length != body.len()) {
                    return Err(InvalidAnswer::Truncated.into());
                }
                let form = self.juspay.settings.customer_id_form;
                let (customer, auth) = wire::customer(&body, asked, form).map_err(|why| {
                    let is_cut = announced.is_none() && is_cut_off(&body);
                    if is_cut { InvalidAnswer::Truncated } else { why }
                })?;
                Ok(Answer { customer, auth, date })
            }
            StatusCode::UNAUTHORIZED => {
                Err(JuspayError::RejectedCredentials(RejectedBy::of_credentials(&body)))
            }
            StatusCode::FORBIDDEN => Err(JuspayError::RejectedOrigin(RejectedBy::of_origin(&body))),
            StatusCode::NOT_FOUND => Err(wire::not_found(&body)),
            StatusCode::TOO_MANY_REQUESTS => Err(JuspayError::TooManyRequests(retry_after)),
            status if status.is_redirection() => Err(InvalidAnswer::Redirect.into()),
            status if status.is_success() => Err(InvalidAnswer::Status.into()),
            status => Err(JuspayError::Status(status.as_u16(), retry_after)),
        }
    }

    fn throw_connections_away(&self) {
        let Juspay { settings, tls, .. } = &*self.juspay;
        self.http.replace(Http::new(settings, tls, &self.last_family));
    }
}

/// A call under way. It is counted when it ends, also where whoever asked gives up first: that one
/// has a timer of its own for the same deadline.
struct Call<'j> {
    juspay: &'j Juspay,
    deadline: Monotonic,
    outcome: Option<&'static str>,
    span: Span,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let Juspay { clock, metrics, .. } = self.juspay;
        let given_up = || {
            let has_time = clock.monotonic() < self.deadline;
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

/// Every outcome of a call that was made.
fn call_outcomes() -> impl Iterator<Item = &'static str> {
    let without_call =
        [JuspayError::BreakerOpen(Duration::ZERO), JuspayError::Saturated].map(|it| it.outcome());
    let failures = JuspayError::OUTCOMES.iter().copied();
    failures
        .filter(move |outcome| !without_call.contains(outcome))
        .chain([SUCCESS, STALE_CONNECTION])
}

/// `Basic base64("KEY:")` (RFC 7617 with an empty password), marked as not to be printed.
fn authorization(key: &SecretString) -> Result<HeaderValue, JuspayError> {
    let mut value = HeaderValue::from_maybe_shared(credentials::basic(key.expose_secret(), ""))
        .map_err(|_| UNUSABLE_KEY)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whether the answer ends where awc takes it to end. A 1xx is none; and a body without a length, or
/// on a connection that is to change its protocol, is taken for an empty one: it still comes, on a
/// connection that awc has put back.
fn has_clear_end(status: StatusCode, headers: &HeaderMap) -> bool {
    let is_chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    let has_length = headers.contains_key(header::CONTENT_LENGTH)
        || headers.get(header::TRANSFER_ENCODING).is_some_and(is_chunked);
    has_length && !headers.contains_key(header::UPGRADE) && !status.is_informational()
}

/// Juspay's clock, unless the answer has aged in a cache, or has more than one `Date`.
fn date(headers: &HeaderMap) -> Option<Timestamp> {
    if headers.contains_key(header::AGE) {
        return None;
    }
    let mut dates = headers.get_all(header::DATE);
    let (Some(date), None) = (dates.next(), dates.next()) else { return None };
    date.to_str().ok().and_then(clock::http_date)
}

fn content_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// `Retry-After` (RFC 9110 §10.2.3): seconds, or a date by the answer's own clock.
fn retry_after(headers: &HeaderMap) -> Option<RetryAfter> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => clock::until(clock::http_date(text)?, date(headers)?),
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// awc's error in our words; its own text may name addresses, and it isn't `Send`.
#[expect(clippy::wildcard_enum_match_arm, reason = "awc's enums may grow")]
fn sending_failed(error: SendRequestError) -> JuspayError {
    match error {
        SendRequestError::Connect(error) => JuspayError::Connection(connecting_failed(&error)),
        SendRequestError::Response(error) if !is_io(&error) => InvalidAnswer::Http.into(),
        _ => JuspayError::Connection(ConnectionFailure::Broken),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "awc's enums may grow")]
fn body_failed(error: &PayloadError) -> JuspayError {
    let why = match error {
        PayloadError::Overflow => InvalidAnswer::TooLarge,
        PayloadError::Incomplete(_) | PayloadError::Io(_) => InvalidAnswer::Truncated,
        _ => InvalidAnswer::Http,
    };
    why.into()
}

/// Whether JSON begins and ends too early. A chunked body without its last chunk looks whole to awc.
fn is_cut_off(json: &[u8]) -> bool {
    let parsed = serde_json::from_slice::<serde::de::IgnoredAny>(json);
    !json.is_empty() && parsed.is_err_and(|error| error.is_eof())
}

fn is_io(error: &dyn std::error::Error) -> bool {
    error.source().is_some_and(<dyn std::error::Error>::is::<io::Error>)
}

#[cfg(test)]
mod tests;
