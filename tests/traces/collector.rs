//! A small OTLP collector over HTTP. It keeps every byte, and responds as configured.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::{
    exported::Exported,
    support::{World, until},
};

/// The response to messages.
#[derive(Debug, Clone, Copy)]
pub enum Plan {
    Take,
    /// Accepts all but this number of spans of each message.
    TakeWithout(i64),
    Status(u16),
    /// Reads the message, and never responds.
    Hang,
}

/// A collector that closes its port when dropped.
pub struct Collector {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

struct Shared {
    plan: Mutex<Plan>,
    messages: Mutex<Vec<Received>>,
}

/// A received request.
#[derive(Debug, Clone)]
pub struct Received {
    pub head: String,
    pub body: Vec<u8>,
}

impl Collector {
    pub async fn new(plan: Plan) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { plan: Mutex::new(plan), messages: Mutex::default() });
        let serving = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Self { address, shared, serving }
    }

    /// A world that exports its spans to this collector, with further settings.
    pub async fn world(&self, settings: &str) -> World {
        let endpoint = format!("traces.endpoint = \"http://{}\"\n", self.address);
        World::with(&format!("{endpoint}{settings}")).await
    }

    pub fn plan(&self, plan: Plan) {
        *self.shared.plan.lock().unwrap() = plan;
    }

    pub fn received(&self) -> Vec<Received> {
        self.shared.messages.lock().unwrap().clone()
    }

    /// All received spans.
    pub fn exported(&self) -> Exported {
        Exported::of(self.received().iter().map(Received::message))
    }

    /// Stops the service, which exports its remaining spans, and returns all received spans.
    pub async fn exported_at_stop(&self, mut world: World) -> Exported {
        world.service.signal();
        until("the end of the service", async || world.service.has_ended()).await;
        self.exported()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Received {
    pub fn message(&self) -> ExportTraceServiceRequest {
        ExportTraceServiceRequest::decode(&*self.body).expect("OTLP")
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(answer(stream, Arc::clone(&shared)));
    }
}

async fn answer(mut stream: TcpStream, shared: Arc<Shared>) {
    let Some(received) = read(&mut stream).await else { return };
    shared.messages.lock().unwrap().push(received);
    let plan = *shared.plan.lock().unwrap();
    let (status, rejected_spans) = match plan {
        Plan::Take => (200, 0),
        Plan::TakeWithout(number) => (200, number),
        Plan::Status(status) => (status, 0),
        Plan::Hang => return std::future::pending().await,
    };
    let error_message = "so many".to_owned();
    let partial = ExportTracePartialSuccess { rejected_spans, error_message };
    let partial_success = (rejected_spans > 0).then_some(partial);
    let body = ExportTraceServiceResponse { partial_success }.encode_to_vec();
    let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n", body.len());
    drop(stream.write_all(&[head.as_bytes(), &body].concat()).await);
}

/// Reads a whole request; `None` if the connection ends before.
async fn read(stream: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let length = head.to_lowercase().lines().find_map(|line| {
                line.strip_prefix("content-length: ").map(|length| length.parse().unwrap())
            });
            let length: usize = length.expect("a length");
            if bytes.len() >= end + 4 + length {
                return Some(Received { head, body: bytes[end + 4..].to_vec() });
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}
