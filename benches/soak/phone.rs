//! A phone: a customer with a bearer token, and what it makes of an answer.

use std::sync::{
    Arc, RwLock,
    atomic::{AtomicBool, Ordering},
};

use juspay_bff::simulator::Simulator;
use serde::Deserialize;

use super::{control::Control, http::Reply, tally::Outcome};

/// A customer's phone.
#[derive(Debug)]
pub struct Phone {
    pub id: String,
    juspay_id: String,
    request: RwLock<Arc<[u8]>>,
    /// It has had a token once.
    served: AtomicBool,
}

/// What a phone makes of an answer.
#[derive(Debug)]
pub struct Judged {
    pub outcome: Outcome,
    /// Where a 200 came from.
    pub source: Option<&'static str>,
    /// A client auth token and the seconds that it is said to live.
    pub token: Option<(String, u64)>,
    /// What is wrong with it.
    pub breach: Option<String>,
}

/// The least life, in seconds, that a token may be handed out with.
#[derive(Debug, Clone, Copy)]
pub struct Floors {
    pub normal: u64,
    /// With a remark in `Cache-Status`.
    pub outage: u64,
}

/// Of a 200.
#[derive(Deserialize)]
struct Customer<'j> {
    id: &'j str,
    object_reference_id: &'j str,
    #[serde(borrow)]
    juspay: ClientAuth<'j>,
}

#[derive(Deserialize)]
struct ClientAuth<'j> {
    client_auth_token: &'j str,
}

/// Of an error.
#[derive(Deserialize)]
struct Problem<'j> {
    code: &'j str,
}

impl Phone {
    /// A phone with a bearer token that lives for so many seconds.
    pub async fn new(id: String, control: &Control, life: u64) -> Self {
        let juspay_id = Simulator::juspay_id(&id);
        let phone =
            Self { id, juspay_id, request: RwLock::new(Arc::from([])), served: false.into() };
        phone.log_in(control, life).await;
        phone
    }

    /// Gets a new bearer token.
    pub async fn log_in(&self, control: &Control, life: u64) {
        let token = control.mint(&self.id, life).await;
        let request = format!(
            "GET /me/customer HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        *self.request.write().unwrap() = request.into_bytes().into();
    }

    /// The bytes of its request.
    pub fn request(&self) -> Arc<[u8]> {
        Arc::clone(&self.request.read().unwrap())
    }

    pub fn has_been_served(&self) -> bool {
        self.served.load(Ordering::Relaxed)
    }

    /// Looks an answer through: whose object is it, and does its token live long enough?
    pub fn judge(&self, reply: &Reply<'_>, floors: Floors) -> Judged {
        if reply.status != 200 {
            let code = serde_json::from_slice(reply.body).map(|Problem { code }| code.to_owned());
            let outcome = (reply.status, code.unwrap_or_else(|_| "no code".to_owned()));
            return Judged { outcome, source: None, token: None, breach: None };
        }
        let source = source(reply.cache_status);
        let judged = self.look_through(reply, source, floors);
        let (token, breach) = match judged {
            Ok(token) => (Some(token), None),
            Err(what) => (None, Some(format!("{}: {what}", self.id))),
        };
        self.served.store(true, Ordering::Relaxed);
        Judged { outcome: (200, "ok".to_owned()), source: Some(source), token, breach }
    }

    fn look_through(
        &self,
        reply: &Reply<'_>,
        source: &str,
        floors: Floors,
    ) -> Result<(String, u64), String> {
        let customer: Customer<'_> =
            serde_json::from_slice(reply.body).map_err(|error| error.to_string())?;
        if (customer.object_reference_id, customer.id) != (&*self.id, &*self.juspay_id) {
            return Err(format!("got the object of {}", customer.object_reference_id));
        }
        let left = reply.expires_in.ok_or("no Juspay-Token-Expires-In")?;
        let floor = if source == "outage" { floors.outage } else { floors.normal };
        if left < floor {
            return Err(format!("{left} s left, {}", reply.cache_status));
        }
        Ok((customer.juspay.client_auth_token.to_owned(), left))
    }
}

/// `Cache-Status` in a word.
fn source(cache_status: &str) -> &'static str {
    let has = |part| cache_status.contains(part);
    if has("; detail=") {
        "outage"
    } else if has("; hit") {
        "hit"
    } else if has("; collapsed") {
        "joined"
    } else if has("; stored") {
        "fetched"
    } else {
        "other"
    }
}
