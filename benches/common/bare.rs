//! The baseline: actix-web alone, which returns the same bytes as the service.
//!
//! One handler, no middleware, and nothing shared between workers. Optionally, it fetches the same
//! customer from Juspay before each response, with awc alone.

use std::{future::ready, io, net::SocketAddr, rc::Rc};

use actix_web::{
    App, HttpResponse, HttpServer,
    dev::Server,
    http::{
        StatusCode,
        header::{AUTHORIZATION, CONTENT_LENGTH, DATE, HeaderName, HeaderValue},
    },
    web,
};
use bytes::Bytes;

/// The path of the service's customer route.
const PATH: &str = "/me/customer";

/// A recorded response to repeat.
#[derive(Debug, Clone)]
pub struct RecordedResponse {
    /// Without the headers that actix-web writes itself.
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
}

/// The call to Juspay before each response.
#[derive(Debug, Clone)]
pub struct JuspayCall {
    pub url: String,
    /// The value of `Authorization`.
    pub key: String,
    pub merchant: String,
}

impl RecordedResponse {
    /// Reads a whole response.
    pub fn read(bytes: &[u8]) -> Self {
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut head = httparse::Response::new(&mut fields);
        let length = head.parse(bytes).unwrap().unwrap();
        let own = |name: &HeaderName| [CONTENT_LENGTH, DATE].contains(name);
        let headers = head.headers.iter().map(|field| {
            let name = HeaderName::from_bytes(field.name.as_bytes()).unwrap();
            (name, HeaderValue::from_bytes(field.value).unwrap())
        });
        Self {
            headers: headers.filter(|(name, _)| !own(name)).collect(),
            body: Bytes::copy_from_slice(&bytes[length..]),
        }
    }

    fn with_body(&self, body: Bytes) -> HttpResponse<Bytes> {
        let mut response = HttpResponse::with_body(StatusCode::OK, body);
        for (name, value) in &self.headers {
            response.headers_mut().insert(name.clone(), value.clone());
        }
        response
    }
}

/// Serves `answer`.
pub fn serve(
    answer: RecordedResponse,
    workers: usize,
    listen: SocketAddr,
) -> io::Result<(Server, SocketAddr)> {
    let server = HttpServer::new(move || {
        let answer = answer.clone();
        let answered = move || ready(answer.with_body(answer.body.clone()));
        App::new().route(PATH, web::get().to(answered))
    });
    let server = server.workers(workers).disable_signals().bind(listen)?;
    let address = server.addrs()[0];
    Ok((server.run(), address))
}

/// Like [`serve`], with Juspay's response as the body.
pub fn serve_fetching(
    answer: RecordedResponse,
    question: JuspayCall,
    workers: usize,
    listen: SocketAddr,
) -> io::Result<(Server, SocketAddr)> {
    let server = HttpServer::new(move || {
        let (answer, question) = (Rc::new(answer.clone()), Rc::new(question.clone()));
        let client = awc::Client::default();
        let answered = move || {
            let (answer, question) = (Rc::clone(&answer), Rc::clone(&question));
            let asked = client
                .get(&question.url)
                .insert_header((AUTHORIZATION, &*question.key))
                .insert_header(("x-merchantid", &*question.merchant))
                .send();
            async move {
                let body = asked.await.unwrap().body().await.unwrap();
                answer.with_body(body)
            }
        };
        App::new().route(PATH, web::get().to(answered))
    });
    let server = server.workers(workers).disable_signals().bind(listen)?;
    let address = server.addrs()[0];
    Ok((server.run(), address))
}
