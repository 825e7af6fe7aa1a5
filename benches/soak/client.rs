//! A client: a customer with a valid access token, or an attacker with a forged one for each
//! request. It validates the responses.

use std::sync::{
    Arc, RwLock,
    atomic::{AtomicBool, Ordering},
};

use serde::Deserialize;
use simulator::Simulator;

use super::{
    control::Control,
    forger::{Forger, Forgery},
    http::Reply,
    tally::Outcome,
};

/// A customer's client.
#[derive(Debug)]
pub struct Client {
    pub id: String,
    juspay_id: String,
    credentials: Credentials,
    /// Whether it has received a token before.
    served: AtomicBool,
}

/// The source of a client's requests.
#[derive(Debug)]
enum Credentials {
    /// The whole request, with the customer's current access token.
    Own(RwLock<Arc<[u8]>>),
    Forged(Forger),
}

/// A validated response.
#[derive(Debug)]
pub struct CheckedResponse {
    pub outcome: Outcome,
    /// The source of a 200.
    pub source: Option<&'static str>,
    /// A client auth token and its reported life in seconds.
    pub token: Option<(String, u64)>,
    /// A fault of the response.
    pub violation: Option<String>,
}

/// The life in forged tokens, in seconds: longer than a run.
const FORGED_LIFE: u64 = 24 * 3600;

/// The minimum remaining life of returned tokens, in seconds.
#[derive(Debug, Clone, Copy)]
pub struct Floors {
    pub normal: u64,
    /// If `Cache-Status` contains `detail=outage`.
    pub outage: u64,
}

/// Members of a 200.
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

/// Members of an error.
#[derive(Deserialize)]
struct Problem<'j> {
    code: &'j str,
}

impl Client {
    /// A client with an access token of this life in seconds.
    pub async fn new(id: String, control: &Control, life: u64) -> Self {
        let request = request(&control.mint(&id, life).await);
        Self::with(id, Credentials::Own(RwLock::new(request)))
    }

    /// A client that claims to be the customer `id`, with another forged token in each request.
    pub async fn forging(id: String, control: &Control, forgery: Forgery) -> Self {
        let forger = Forger::new(forgery, &control.mint(&id, FORGED_LIFE).await);
        Self::with(id, Credentials::Forged(forger))
    }

    fn with(id: String, credentials: Credentials) -> Self {
        let juspay_id = Simulator::juspay_id(&id);
        Self { id, juspay_id, credentials, served: false.into() }
    }

    /// Gets a new access token, unless the tokens are forged.
    pub async fn log_in(&self, control: &Control, life: u64) {
        if let Credentials::Own(own) = &self.credentials {
            let request = request(&control.mint(&self.id, life).await);
            *own.write().unwrap() = request;
        }
    }

    /// The bytes of a request for a new client auth token.
    pub fn forced_request(&self) -> Arc<[u8]> {
        let request = String::from_utf8_lossy(&self.request()).into_owned();
        request.replacen("Host:", "Cache-Control: no-cache\r\nHost:", 1).into_bytes().into()
    }

    /// The bytes of the next request.
    pub fn request(&self) -> Arc<[u8]> {
        match &self.credentials {
            Credentials::Own(request) => Arc::clone(&request.read().unwrap()),
            Credentials::Forged(forger) => request(&forger.token()),
        }
    }

    pub fn was_served(&self) -> bool {
        self.served.load(Ordering::Relaxed)
    }

    /// Validates a response: it must contain the customer's own object, and a token with enough
    /// life.
    pub fn check(&self, reply: &Reply<'_>, floors: Floors) -> CheckedResponse {
        if reply.status != 200 {
            let code = serde_json::from_slice(reply.body).map(|Problem { code }| code.to_owned());
            let outcome = (reply.status, code.unwrap_or_else(|_| "no code".to_owned()));
            return CheckedResponse { outcome, source: None, token: None, violation: None };
        }
        let source = source(reply.cache_status);
        let checked = self.check_customer(reply, source, floors);
        let (token, violation) = match checked {
            Ok(token) => (Some(token), None),
            Err(what) => (None, Some(format!("{}: {what}", self.id))),
        };
        self.served.store(true, Ordering::Relaxed);
        CheckedResponse { outcome: (200, "ok".to_owned()), source: Some(source), token, violation }
    }

    fn check_customer(
        &self,
        reply: &Reply<'_>,
        source: &str,
        floors: Floors,
    ) -> Result<(String, u64), String> {
        let customer: Customer<'_> =
            serde_json::from_slice(reply.body).map_err(|error| error.to_string())?;
        if (customer.object_reference_id, customer.id) != (&*self.id, &*self.juspay_id) {
            return Err(format!("received the object of {}", customer.object_reference_id));
        }
        let left = reply.expires_in.ok_or("no Juspay-Token-Expires-In")?;
        let floor = if source == "outage" { floors.outage } else { floors.normal };
        if left < floor {
            return Err(format!("{left} s left, {}", reply.cache_status));
        }
        Ok((customer.juspay.client_auth_token.to_owned(), left))
    }
}

fn request(token: &str) -> Arc<[u8]> {
    let request = format!(
        "GET /me/customer HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    request.into_bytes().into()
}

/// `Cache-Status` as one word.
fn source(cache_status: &str) -> &'static str {
    let has = |part| cache_status.contains(part);
    if has("; detail=shared") {
        "shared"
    } else if has("; detail=") {
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
