//! A TCP proxy between the service and the simulator. It injects network faults that an HTTP server
//! can't.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

/// What happens to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// No fault.
    Pass,
    /// Each response is late, in real time: the service's clock isn't involved.
    Latency(Duration),
    /// A reset in the head of the first response.
    ResetMidHead,
    /// A reset in the body of the first response.
    ResetMidBody,
    /// Accepted, but never answered.
    BlackHole,
    /// The first request is read, and then the proxy closes its side without a response.
    HalfClose,
    /// Every byte of the responses in its own packet.
    ByteByByte,
    /// One response, then the connection closes.
    CloseAfterAnswer,
    /// One response; the connection closes on the next request.
    CloseOnReuse,
}

/// The plan for the connection with this number (from 0).
type Planner = dyn Fn(usize) -> Plan + Send + Sync;

/// A proxy. Dropping it ends the proxy and its connections.
#[derive(Debug)]
pub struct Proxy {
    pub address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    is_well: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// A proxy in front of the server at `base_url` (`http://HOST:PORT`).
    pub async fn before(
        base_url: &str,
        plan: impl Fn(usize) -> Plan + Send + Sync + 'static,
    ) -> Self {
        let to = base_url.strip_prefix("http://").expect("plain HTTP").parse().expect("an address");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let accepted = Arc::<AtomicUsize>::default();
        let is_well = Arc::<AtomicBool>::default();
        let well = Arc::clone(&is_well);
        let plan = move |n| if well.load(Ordering::Relaxed) { Plan::Pass } else { plan(n) };
        let task = tokio::spawn(accept(listener, to, Arc::new(plan), Arc::clone(&accepted)));
        Self { address, accepted, is_well, task }
    }

    /// The value for `juspay.base_url`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Removes all faults for new connections.
    pub fn heal(&self) {
        self.is_well.store(true, Ordering::Relaxed);
    }

    /// Number of accepted connections.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    to: SocketAddr,
    plan: Arc<Planner>,
    accepted: Arc<AtomicUsize>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let plan = plan(accepted.fetch_add(1, Ordering::Relaxed));
        connections.spawn(serve(stream, to, plan));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(mut client: TcpStream, to: SocketAddr, plan: Plan) -> io::Result<()> {
    client.set_nodelay(true)?;
    if plan == Plan::BlackHole {
        return drain(&mut client).await;
    }
    let mut server = TcpStream::connect(to).await?;
    let mut exchanges = 0;
    while let Some(request) = message(&mut client).await? {
        if plan == Plan::CloseOnReuse && exchanges > 0 {
            return Ok(());
        }
        server.write_all(&request).await?;
        let Some(answer) = message(&mut server).await? else { return Ok(()) };
        exchanges += 1;
        match plan {
            Plan::ResetMidHead => return reset_after(client, &answer[..20]).await,
            Plan::ResetMidBody => {
                let half_way = head_length(&answer).expect("a head") + 20;
                return reset_after(client, &answer[..half_way]).await;
            }
            Plan::HalfClose => {
                client.shutdown().await?;
                return drain(&mut client).await;
            }
            Plan::ByteByByte => {
                for byte in answer {
                    client.write_all(&[byte]).await?;
                    tokio::task::yield_now().await;
                }
            }
            Plan::Latency(time) => {
                tokio::time::timeout(time, std::future::pending::<()>()).await.unwrap_err();
                client.write_all(&answer).await?;
            }
            Plan::Pass | Plan::CloseOnReuse => client.write_all(&answer).await?,
            Plan::CloseAfterAnswer => return client.write_all(&answer).await,
            Plan::BlackHole => return Ok(()),
        }
    }
    Ok(())
}

/// The next complete message; `None` at the connection's end.
async fn message(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    while message_length(&bytes).is_none_or(|length| bytes.len() < length) {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(bytes))
}

/// The length of the message that begins with these bytes, once known.
fn message_length(bytes: &[u8]) -> Option<usize> {
    let head = head_length(bytes)?;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let length =
        text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    Some(head + length.unwrap_or(0_usize))
}

fn head_length(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|end| end == b"\r\n\r\n").map(|at| at + 4)
}

async fn reset_after(mut stream: TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.set_zero_linger()
}

async fn drain(stream: &mut TcpStream) -> io::Result<()> {
    let mut sink = [0; 4096];
    while stream.read(&mut sink).await? > 0 {}
    Ok(())
}
