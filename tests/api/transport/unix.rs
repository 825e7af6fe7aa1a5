//! The files of unix sockets: a process removes only its own files, when it stops listening.

use std::{path::Path, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

use crate::support::{Client, Reply, Stage, World, until, with_timeout};

const DELAY: Duration = Duration::from_secs(1);

/// A service that listens on this socket.
async fn at(socket: &Path) -> World {
    let settings = format!("server.listen = \"unix:{}\"", socket.display());
    Stage::set().await.open_ready(&settings).await
}

/// The same with a drain of one second.
async fn draining_at(socket: &Path) -> World {
    let listen = format!("server.listen = \"unix:{}\"", socket.display());
    let settings = format!("{listen}\nserver.shutdown_delay = \"1s\"");
    Stage::set().await.open_ready(&settings).await
}

async fn request(socket: &Path, client: &Client) -> std::io::Result<Reply> {
    let mut stream = UnixStream::connect(socket).await?;
    let head = format!(
        "GET /me/customer HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Authorization: Bearer {}\r\n\r\n",
        client.token.as_deref().unwrap()
    );
    let exchange = async {
        stream.write_all(head.as_bytes()).await?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.map(|_| bytes)
    };
    let bytes = with_timeout("a response", exchange).await?;
    Ok(Reply::parse(&bytes).expect("a response"))
}

async fn drain(world: &mut World) {
    world.service.signal();
    until("the drain", async || world.admin().get("/readyz").await.status == 503).await;
    world.clock.advance(DELAY);
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_process_keeps_its_successors_socket() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("bff.sock");
    let mut old = draining_at(&socket).await;
    assert_eq!(request(&socket, &old.client("alice")).await.unwrap().status, 200);
    // Like a deployment that doesn't wait for the old process.
    std::fs::remove_file(&socket).unwrap();
    let new = at(&socket).await;
    drain(&mut old).await;
    until("the end of the service", async || old.service.has_ended()).await;
    assert_eq!(request(&socket, &new.client("alice")).await.unwrap().status, 200);
    drop(new);
    assert!(!socket.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn socket_can_be_bound_again_as_soon_as_it_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("bff.sock");
    let mut old = draining_at(&socket).await;
    let latch = old.simulator().hold("alice");
    let waiting = tokio::spawn({
        let (socket, client) = (socket.clone(), old.client("alice"));
        async move { request(&socket, &client).await }
    });
    latch.arrived(1).await;
    drain(&mut old).await;
    until("the end of the socket", async || !socket.exists()).await;
    assert!(!old.service.has_ended(), "a request is still waiting");
    let new = at(&socket).await;
    assert_eq!(request(&socket, &new.client("bob")).await.unwrap().status, 200);
    latch.release();
    assert_eq!(waiting.await.unwrap().unwrap().status, 200);
    until("the end of the service", async || old.service.has_ended()).await;
    assert_eq!(request(&socket, &new.client("bob")).await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_no_connection_to_a_socket_is_lost_when_it_is_closed() {
    for _ in 0..5 {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("bff.sock");
        let mut world = draining_at(&socket).await;
        let client = world.client("alice");
        assert_eq!(request(&socket, &client).await.unwrap().status, 200);
        let client = |_| {
            let (socket, client) = (socket.clone(), client.clone());
            tokio::spawn(async move {
                loop {
                    match request(&socket, &client).await {
                        Ok(reply) if matches!(reply.status, 200 | 429) => {}
                        Ok(reply) => return format!("{} {}", reply.status, reply.text()),
                        Err(error) => return error.to_string(),
                    }
                }
            })
        };
        let clients: Vec<_> = (0..24).map(client).collect();
        until("load", async || world.metric(HITS).await >= 50.0).await;
        drain(&mut world).await;
        for client in clients {
            let ended = with_timeout("a client's end", client).await.unwrap();
            let is_gone = ended.contains("No such file") || ended.contains("refused");
            assert!(is_gone, "{ended}");
        }
    }
}

const HITS: &str = "juspay_bff_cache_requests_total{outcome=\"hit\"}";
