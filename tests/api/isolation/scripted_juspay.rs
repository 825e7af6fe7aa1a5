//! A Juspay that returns scripted bytes for some customers and valid responses for all others.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use juspay_bff::clock::Clock as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::support::ManualClock;

/// Juspay's 401 for a wrong API key.
pub(super) const ACCESS_DENIED: &str = r#"{"status":"error","error_code":"access_denied","error_info":{"user_message":"Unauthorized.","developer_message":"Invalid API Key. Please pass a valid and active api key.","code":"UNAUTHORIZED","category":"USER_ERROR"}}"#;

/// Juspay's 403 for a blocked address.
pub(super) const BAD_ORIGIN: &str = r#"{"error":true,"error_message":"Internal Server error.","user_message":"Bad Origin.","error_info":{"code":"BAD_ORIGIN","category":"USER_ERROR","user_message":"Bad Origin.","developer_message":"IP Verification Failed"}}"#;

pub(super) struct ScriptedJuspay {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Script {
    answers: HashMap<String, Vec<u8>>,
    calls: HashMap<String, usize>,
}

impl ScriptedJuspay {
    pub(super) async fn start(clock: ManualClock) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let (address, script) = (listener.local_addr().unwrap(), Arc::<Mutex<Script>>::default());
        let shared = Arc::clone(&script);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared), clock.clone()));
            }
        });
        Self { address, script, accepting }
    }

    pub(super) fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns these bytes for the customer from now on.
    pub(super) fn answer(&self, customer: &str, answer: Vec<u8>) {
        self.script.lock().unwrap().answers.insert(customer.to_owned(), answer);
    }

    /// Returns valid responses for the customer from now on.
    pub(super) fn heal(&self, customer: &str) {
        self.script.lock().unwrap().answers.remove(customer);
    }

    /// Number of calls for the customer.
    pub(super) fn calls(&self, customer: &str) -> usize {
        self.script.lock().unwrap().calls.get(customer).copied().unwrap_or_default()
    }
}

impl Drop for ScriptedJuspay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A response with these additional header lines, each ending in CR LF.
pub(super) fn answer(status: &str, lines: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\n{lines}Content-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// A valid response with this JSON as the customer's first name.
pub(super) fn named(clock: &ManualClock, customer: &str, first_name: &[u8]) -> Vec<u8> {
    let expiry = clock.now() + jiff::SignedDuration::from_mins(15);
    let expiry = expiry.strftime("%Y-%m-%dT%H:%M:%SZ");
    let before = format!(r#"{{"object_reference_id":"{customer}","first_name":"#);
    let after = format!(
        r#","juspay":{{"client_auth_token":"tkn_{:032x}","client_auth_token_expiry":"{expiry}"}}}}"#,
        rand::random::<u128>()
    );
    let body = [before.as_bytes(), first_name, after.as_bytes()].concat();
    answer("200 OK", "Content-Type: application/json\r\n", &body)
}

async fn serve(mut stream: TcpStream, script: Arc<Mutex<Script>>, clock: ManualClock) {
    while let Some(customer) = request(&mut stream).await {
        let answer = {
            let mut script = script.lock().unwrap();
            *script.calls.entry(customer.clone()).or_default() += 1;
            script.answers.get(&customer).cloned()
        };
        let answer = answer.unwrap_or_else(|| named(&clock, &customer, b"\"A\""));
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// The customer of the next request; `None` at the connection's end.
async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).expect("text");
    let path = head.strip_prefix("GET /customers/").expect("Get Customer");
    path.split_once('?').map(|(customer, _)| customer.to_owned())
}
