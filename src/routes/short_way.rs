//! The short way of most requests: a known caller's plain `GET /me/customer`, answered from memory
//! before the app is gone through.
//!
//! It only takes what the long way would answer alike with nothing else to do; all else it leaves
//! alone, and has counted nothing of it. A worker finds by itself whom it has answered a moment ago:
//! the shared caches cost a walk through cold memory for each look. What it finds is asked each time
//! whether it still counts, so that revocation, rotation, purge, expiry and limits hold at once.

mod remembered;

use std::{
    cell::RefCell,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::Arc,
};

use actix_web::{
    HttpResponse,
    dev::RequestHead,
    http::{
        Method,
        header::{
            AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, HOST, HeaderMap, HeaderValue,
            TRANSFER_ENCODING,
        },
    },
};

use self::remembered::Remembered;
use super::{
    Customers, Observer,
    observe::{Done, Seen, TRACEPARENT},
    request_id::REQUEST_ID,
    well_formed::is_host,
};
use crate::{
    auth::{Authenticator, Known, TokenDigest},
    cache::{AtHand, CustomerCache, Ready},
    clock::Moment,
    customer::{CustomerIdForm, CustomerRef},
    rate_limit::{Allowance, CustomerRateLimit},
    response,
    traces::Parent,
};

/// The query that says what is meant anyway.
const WANTS_TOKEN: &str = "options.get_client_auth_token=true";

/// A worker's short way.
pub struct ShortWay {
    authenticator: Arc<Authenticator>,
    cache: CustomerCache,
    id_form: CustomerIdForm,
    limit: Arc<CustomerRateLimit>,
    observer: Rc<Observer>,
    remembered: RefCell<Remembered<TokenDigest, Lately>>,
}

/// Somebody who was answered lately: all that the next answer takes, side by side.
struct Lately {
    known: Known,
    at_hand: AtHand,
    allowance: Allowance,
    customer_ref: Option<CustomerRef>,
}

impl ShortWay {
    /// The short way to these customers.
    #[must_use]
    pub fn new(customers: &Customers, observer: Rc<Observer>) -> Self {
        Self {
            authenticator: Arc::clone(&customers.authenticator),
            cache: customers.cache.clone(),
            id_form: customers.id_form,
            limit: Arc::clone(&customers.limit),
            observer,
            remembered: RefCell::default(),
        }
    }

    /// What the request's spans belong to, if it is one that is traced. It has to go the long way
    /// then, where they are made.
    pub fn draw(&self, request: &RequestHead) -> Option<Parent> {
        self.observer.tracer.draw(|| request.headers.get(TRACEPARENT)?.to_str().ok())
    }

    /// The answer, if it can be given here.
    pub fn answer(&self, request: &RequestHead) -> Option<HttpResponse> {
        let plain = Plain::of(request)?;
        // The long way tells of bugs.
        catch_unwind(AssertUnwindSafe(|| self.answer_plain(&plain))).ok().flatten()
    }

    fn answer_plain(&self, request: &Plain<'_>) -> Option<HttpResponse> {
        let now = self.observer.clock.moment();
        let digest = self.authenticator.bearer_digest(request.authorization.as_bytes())?;
        let remembered = self.remembered.borrow();
        if let Some(lately) = remembered.get(&digest, now.monotonic)
            && let Some(customer) = self.still_good(lately, now)
        {
            return self.answer_with(&customer, lately, request, now);
        }
        drop(remembered);
        let (lately, customer) = self.look_up(&digest, now)?;
        let answer = self.answer_with(&customer, &lately, request, now);
        self.remembered.borrow_mut().put(digest, lately, now.monotonic);
        answer
    }

    fn answer_with(
        &self,
        customer: &Ready,
        lately: &Lately,
        request: &Plain<'_>,
        now: Moment,
    ) -> Option<HttpResponse> {
        // The last thing that could be in the way: from here on it is a hit.
        self.limit.spend_from(&lately.allowance).ok()?;
        let response = response::customer(self.cache.hand_out(customer));
        let seen = Seen::of_hit(request.id, request.traceparent, lately.customer_ref);
        let done =
            Done::customer(Method::GET, self.observer.clock.monotonic().since(now.monotonic));
        Some(self.observer.finish(&done, &seen, response))
    }

    fn still_good(&self, lately: &Lately, now: Moment) -> Option<Ready> {
        let counts = self.authenticator.counts(&lately.known, now);
        counts.then(|| self.cache.ready(&lately.at_hand, now)).flatten()
    }

    fn look_up(&self, digest: &TokenDigest, now: Moment) -> Option<(Lately, Ready)> {
        let caller = self.authenticator.known(digest, now)?;
        let customer = caller.customer();
        if !self.id_form.accepts(customer) {
            return None;
        }
        let at_hand = self.cache.at_hand(customer)?;
        let ready = self.cache.ready(&at_hand, now)?;
        let lately = Lately {
            known: caller.token(),
            at_hand,
            allowance: self.limit.allowance(customer),
            customer_ref: self.observer.customer_ref(customer),
        };
        Some((lately, ready))
    }
}

impl fmt::Debug for ShortWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShortWay").finish_non_exhaustive()
    }
}

/// A request that says nothing but who is calling, and its headers that count.
struct Plain<'r> {
    authorization: &'r HeaderValue,
    id: Option<&'r HeaderValue>,
    traceparent: Option<&'r HeaderValue>,
}

impl<'r> Plain<'r> {
    fn of(request: &'r RequestHead) -> Option<Self> {
        let RequestHead { method, uri, headers, .. } = request;
        let is_usual = *method == Method::GET
            && uri.authority().is_none()
            && uri.path() == super::ME_CUSTOMER
            && uri.query().is_none_or(|query| query.is_empty() || query == WANTS_TOKEN);
        is_usual.then(|| Self::of_headers(headers)).flatten()
    }

    /// Looks at each header once, instead of looking for each that matters.
    fn of_headers(headers: &'r HeaderMap) -> Option<Self> {
        let (mut authorization, mut host, mut id, mut traceparent) = (None, None, None, None);
        for (name, value) in headers {
            let place = match *name {
                CONTENT_LENGTH | TRANSFER_ENCODING | CACHE_CONTROL => return None,
                AUTHORIZATION => &mut authorization,
                HOST => &mut host,
                ref name if *name == REQUEST_ID => &mut id,
                ref name if *name == TRACEPARENT => &mut traceparent,
                _ => continue,
            };
            if place.replace(value).is_some() {
                return None;
            }
        }
        let is_well_formed = host.is_none_or(|host| is_host(host.as_bytes()));
        is_well_formed.then_some(())?;
        Some(Self { authorization: authorization?, id, traceparent })
    }
}
