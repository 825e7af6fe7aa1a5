//! The operations of the tier: each calls a script and reads its response.
//!
//! A look-up is never repeated when its response is lost, because it may have taken the lease.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use redis::Value;

use super::{
    connection::items,
    entry::{self, Arrival, Decoded, Encoded},
    io::{Call, CallError, Io},
    news::NewsContext,
    reply::{failure_code, is, lease_id, number, text_of_lease, text_of_millis, value_parts},
    script::{self, Script},
    sealing::Sealer,
};
use crate::{
    clock::{Clock, Moment},
    customer::CustomerId,
    metrics,
    settings::Rate,
    shared::{
        Content, Failure, Found, LEASE_TIME, Lease, LeaseId, LookUp, News, Request, SharedCustomer,
        Stored, Unreached, Version,
    },
};

/// How long a failed or passed-on lease stays, for those that wait for it.
const FAILURE_TIME: Duration = Duration::from_secs(2);

/// Least timeout of purges and announcements, which no phone waits for.
const ADMIN_TIMEOUT: Duration = Duration::from_millis(250);

/// What all clones of a tier share.
pub(super) struct Operations {
    pub(super) context: Arc<NewsContext>,
    pub(super) io: Io,
    pub(super) timeout: Duration,
    pub(super) max_life: Duration,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: metrics::Shared,
}

/// How an operation ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    Found,
    Fetch,
    Elsewhere,
    Failed,
    Limited,
    Unreadable,
    Stored,
    Refused,
    Away(CallError),
}

impl CallError {
    metrics::labels! {
        const fn label(self) in LABELS {
            Self::Disconnected => "disconnected",
            Self::BreakerOpen => "breaker_open",
            Self::Busy => "busy",
            Self::Timeout => "timeout",
            Self::OutOfMemory => "out_of_memory",
            Self::Failed => "error",
        }
    }
}

impl Outcome {
    metrics::labels! {
        /// The label of `shared_requests_total{outcome}`.
        pub(super) const fn label(self) in LABELS {
            Self::Found => "found",
            Self::Fetch => "fetch",
            Self::Elsewhere => "elsewhere",
            Self::Failed => "failed",
            Self::Limited => "limited",
            Self::Unreadable => "unreadable",
            Self::Stored => "stored",
            Self::Refused => "refused";
            Self::Away(error) => (error.label()) of CallError::LABELS,
        }
    }
}

impl Operations {
    async fn call(
        &self,
        script: &'static Script,
        keys: Vec<String>,
        arguments: Vec<Vec<u8>>,
    ) -> Result<Value, CallError> {
        self.io.call(Call { script, keys, arguments, timeout: self.timeout }).await
    }

    fn count(&self, outcome: Outcome) {
        self.metrics.requests.with_label_values(&[outcome.label()]).inc();
    }

    pub(super) async fn look_up(&self, mut request: Request) -> LookUp {
        let start = self.clock.monotonic();
        let mut result = self.look_up_once(&request, self.timeout).await;
        if let Err(unusable) = result {
            // The value is passed over from now on. This is another look-up, not a repeated one: the
            // first took no lease.
            request.need.newer_than = Some(unusable);
            let left = self.timeout.saturating_sub(self.clock.monotonic().since(start));
            result = if left.is_zero() {
                Ok(LookUp::Away(None))
            } else {
                self.look_up_once(&request, left).await
            };
        }
        self.metrics
            .duration
            .with_label_values::<&str>(&[])
            .observe(self.clock.monotonic().since(start).as_secs_f64());
        result.unwrap_or(LookUp::Away(None))
    }

    /// Returns the version of a value that can't be used as an error.
    async fn look_up_once(&self, request: &Request, timeout: Duration) -> Result<LookUp, Version> {
        let sent = self.clock.moment();
        let generation = self.context.generation.load(Ordering::Acquire);
        let customer = &request.customer;
        let lease = Lease {
            customer: customer.clone(),
            id: LeaseId::random(),
            generation,
            since: sent.monotonic,
        };
        let keys = self.context.names.customer(generation, customer);
        let value_key = keys.value();
        let names = vec![value_key.clone(), keys.lease(), keys.limit()];
        let arguments = look_up_arguments(request, lease.id);
        let call = Call { script: &script::LOOK_UP, keys: names, arguments, timeout };
        let response = match self.io.call(call).await {
            Ok(response) => response,
            Err(error) => {
                self.count(Outcome::Away(error));
                return Ok(LookUp::Away(error.may_have_run().then_some(lease)));
            }
        };
        let read = |value: &[Value]| self.read(customer, &value_key, value, sent);
        let (outcome, result) = result(&response, lease, read)?;
        self.count(outcome);
        Ok(result)
    }

    /// Reads `[value, time to live, age]`.
    fn read(&self, customer: &CustomerId, key: &str, value: &[Value], sent: Moment) -> Read {
        let [Value::BulkString(value), Value::Int(left), Value::Int(age)] = value else {
            return Read::None;
        };
        let [left, age] = [*left, *age].map(|it| Duration::from_millis(it.try_into().unwrap_or(0)));
        let Some((kind, version, sealed)) = value_parts(value) else {
            self.count(Outcome::Unreadable);
            return Read::None;
        };
        let arrival = Arrival { sent, left, age, max_life: self.max_life };
        let plain = self.context.keys.current().open(key, sealed);
        let decoded = plain.and_then(|plain| entry::decode(customer, &plain, &arrival));
        match (kind, decoded) {
            (b'c', Some(Decoded::Customer(json, life))) => {
                Read::Usable(Found::Customer(SharedCustomer { json, life, version }))
            }
            (b'n', Some(Decoded::NotFound)) => Read::Usable(Found::NotFound { remaining: left }),
            (_, Some(Decoded::Expired)) => Read::Unusable(version),
            _ => {
                self.count(Outcome::Unreadable);
                Read::Unusable(version)
            }
        }
    }

    pub(super) async fn store(&self, lease: Lease, content: Content) -> Stored {
        let keys = self.context.names.customer(lease.generation, &lease.customer);
        let name = keys.value();
        let now = self.clock.moment();
        let encoded = entry::encode(&lease.customer, &content, lease.since, now);
        let arguments = encoded.and_then(|entry| {
            store_arguments(lease.id, &name, entry, &self.context.keys.current())
        });
        let Some(arguments) = arguments else { return Stored::Refused };
        match self.call(&script::STORE, vec![name, keys.lease()], arguments).await {
            Ok(version) => {
                let version = number(&version);
                self.count(if version.is_some() { Outcome::Stored } else { Outcome::Refused });
                version.map_or(Stored::Refused, |version| Stored::Yes(Version(version)))
            }
            Err(error) => {
                self.count(Outcome::Away(error));
                Stored::Unreached
            }
        }
    }

    pub(super) async fn renew(&self, lease: Lease) {
        let keys = self.context.names.customer(lease.generation, &lease.customer);
        let arguments = vec![text_of_lease(lease.id), text_of_millis(LEASE_TIME)];
        self.call(&script::RENEW, vec![keys.lease()], arguments)
            .await
            .map(drop)
            .unwrap_or_default();
    }

    pub(super) async fn fail(&self, lease: Lease, failure: Failure, is_missing: bool) {
        let keys = self.context.names.customer(lease.generation, &lease.customer);
        let (mark, code) = match &failure {
            Failure::Juspay(code) => ("!", code.as_str()),
            Failure::Own(code) => ("?", code.as_str()),
            Failure::None => ("", ""),
        };
        let code = code.into();
        let time = text_of_millis(FAILURE_TIME);
        let removal = if is_missing { "1" } else { "" };
        let arguments = vec![text_of_lease(lease.id), mark.into(), code, time, removal.into()];
        let keys = vec![keys.lease(), keys.value()];
        self.call(&script::FAIL, keys, arguments).await.map(drop).unwrap_or_default();
    }

    pub(super) async fn add_hand_outs(
        &self,
        customer: CustomerId,
        version: Version,
        added: u32,
    ) -> Result<u64, Unreached> {
        let generation = self.context.generation.load(Ordering::Acquire);
        let keys = self.context.names.customer(generation, &customer);
        let arguments = vec![added.to_string().into_bytes(), text_of_millis(self.max_life)];
        let total = self.call(&script::HAND_OUTS, vec![keys.hand_outs(version.0)], arguments).await;
        total.ok().as_ref().and_then(number).ok_or(Unreached)
    }

    pub(super) async fn purge(&self, customer: CustomerId) -> Result<(), Unreached> {
        let generation = self.context.generation.load(Ordering::Acquire);
        let keys = self.context.names.customer(generation, &customer);
        let keys = vec![keys.value(), keys.lease()];
        let purge =
            Call { script: &script::PURGE, keys, arguments: Vec::new(), timeout: self.patience() };
        self.io.call(purge).await.map(drop).map_err(|_| Unreached)
    }

    pub(super) async fn purge_all(&self) -> Result<(), Unreached> {
        let NewsContext { names, generation, .. } = &*self.context;
        let arguments = vec![generation.load(Ordering::Acquire).to_string().into_bytes()];
        let keys = vec![names.generation()];
        let timeout = self.patience();
        let call = Call { script: &script::PURGE_ALL, keys, arguments, timeout };
        let begun = self.io.call(call).await.ok().as_ref().and_then(number).ok_or(Unreached)?;
        generation.fetch_max(begun, Ordering::AcqRel);
        Ok(())
    }

    pub(super) async fn announce(&self, news: News) -> Result<(), Unreached> {
        let call = self.context.announcement(&news, self.patience()).ok_or(Unreached)?;
        self.io.call(call).await.map(drop).map_err(|_| Unreached)
    }

    fn patience(&self) -> Duration {
        self.timeout.max(ADMIN_TIMEOUT)
    }
}

/// A value as it was read.
enum Read {
    Usable(Found),
    /// It has expired, or does not open.
    Unusable(Version),
    /// There is none, or not even its version is readable.
    None,
}

/// The result of a look-up, from the script's response. Returns the version of a value that can't be used
/// as an error.
fn result(
    response: &Value,
    lease: Lease,
    read: impl Fn(&[Value]) -> Read,
) -> Result<(Outcome, LookUp), Version> {
    let fallback = |value: &[Value]| match read(value) {
        Read::Usable(Found::Customer(customer)) => Some(customer),
        Read::Usable(Found::NotFound { .. }) | Read::Unusable(_) | Read::None => None,
    };
    let unreadable = (Outcome::Unreadable, LookUp::Away(None));
    Ok(match items(response) {
        [tag, value @ ..] if is(tag, b"found") => match read(value) {
            Read::Usable(found) => (Outcome::Found, LookUp::Found(found)),
            Read::Unusable(version) => return Err(version),
            Read::None => unreadable,
        },
        [tag, value @ ..] if is(tag, b"fetch") => {
            (Outcome::Fetch, LookUp::Fetch(lease, fallback(value)))
        }
        [tag, id, value @ ..] if is(tag, b"elsewhere") => match lease_id(id) {
            Some(id) => (Outcome::Elsewhere, LookUp::Elsewhere(id, fallback(value))),
            None => unreadable,
        },
        [tag, code] if is(tag, b"failed") => match failure_code(code) {
            Some(code) => (Outcome::Failed, LookUp::Failed(code)),
            None => unreadable,
        },
        [tag, value @ ..] if is(tag, b"limited") => {
            (Outcome::Limited, LookUp::Limited(fallback(value)))
        }
        _ => unreadable,
    })
}

/// The arguments of `store.lua`; `None` if the entry can't be encrypted.
pub(super) fn store_arguments(
    id: LeaseId,
    name: &str,
    entry: Encoded,
    keys: &Sealer,
) -> Option<Vec<Vec<u8>>> {
    let sealed = keys.seal(name, entry.plain)?;
    let [age, floor, ttl] = [entry.age, entry.normal_floor, entry.ttl].map(text_of_millis);
    Some(vec![text_of_lease(id), entry.kind.into(), age, floor, ttl, sealed])
}

/// The arguments of `look_up.lua`.
pub(super) fn look_up_arguments(request: &Request, id: LeaseId) -> Vec<Vec<u8>> {
    let Request { need, charge, waited_for, .. } = request;
    let newer_than = need.newer_than.map_or_else(|| "-1".to_owned(), |it| it.0.to_string());
    let interval = |rate: Rate| rate.per.checked_div(rate.count.get()).unwrap_or_default();
    let interval = charge.map(|rate| interval(rate).as_micros().to_string().into_bytes());
    let burst = charge.map(|rate| rate.count.to_string().into_bytes());
    vec![
        text_of_lease(id),
        text_of_millis(LEASE_TIME),
        newer_than.into_bytes(),
        text_of_millis(need.least_life),
        need.max_age.map(text_of_millis).unwrap_or_default(),
        waited_for.map(text_of_lease).unwrap_or_default(),
        interval.unwrap_or_default(),
        burst.unwrap_or_default(),
    ]
}
