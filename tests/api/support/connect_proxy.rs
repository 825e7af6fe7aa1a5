//! An HTTP proxy for CONNECT, with optional credentials. It connects every tunnel to one address, so Juspay
//! can have any name.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::{io::copy_bidirectional, net::TcpStream, task::JoinHandle};

use super::ScriptedServer;

/// A proxy that works. Dropping it ends the proxy, but not its tunnels.
#[derive(Debug)]
pub struct ConnectProxy {
    pub address: SocketAddr,
    state: Arc<State>,
    serving: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    to: SocketAddr,
    heads: Mutex<Vec<String>>,
    credentials: Mutex<Option<String>>,
}

impl ConnectProxy {
    /// Connects all tunnels to `to`.
    pub async fn to(to: SocketAddr) -> Self {
        let listener = ScriptedServer::new().await;
        let address = listener.address;
        let state = State { to, heads: Mutex::default(), credentials: Mutex::default() };
        let state = Arc::new(state);
        let serving = tokio::spawn(serve(listener, Arc::clone(&state)));
        Self { address, state, serving }
    }

    /// Requires these credentials, `USER:PASSWORD`, from now on.
    pub fn require(&self, credentials: &str) {
        *self.state.credentials.lock().unwrap() = Some(credentials.to_owned());
    }

    /// The heads of all requests.
    pub fn heads(&self) -> Vec<String> {
        self.state.heads.lock().unwrap().clone()
    }
}

impl Drop for ConnectProxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: ScriptedServer, state: Arc<State>) {
    loop {
        let (stream, _) = listener.listener.accept().await.expect("a connection");
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let mut client = super::scripted_server::ScriptedConnection(stream);
            let head = client.request().await;
            let field = state.credentials.lock().unwrap().as_ref().map(|credentials| {
                format!("\r\nProxy-Authorization: Basic {}\r\n", STANDARD.encode(credentials))
            });
            let is_allowed = field.is_none_or(|field| head.contains(&field));
            state.heads.lock().unwrap().push(head);
            if !is_allowed {
                let challenge = "Proxy-Authenticate: Basic realm=\"proxy\"\r\nContent-Length: 0";
                let head =
                    format!("HTTP/1.1 407 Proxy Authentication Required\r\n{challenge}\r\n\r\n");
                return client.say(head).await;
            }
            let mut onward = TcpStream::connect(state.to).await.expect("the end of the tunnel");
            client.say("HTTP/1.1 200 Connection established\r\nVia: 1.1 proxy\r\n\r\n").await;
            // Either side may disconnect in any way.
            drop(copy_bidirectional(&mut client.0, &mut onward).await);
        });
    }
}
