//! Connections with several requests: reads their responses one by one.

use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::{Reply, with_timeout};

/// The next response. Reads nothing after it.
pub async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> Reply {
    let mut reply = head(stream).await;
    let length = reply.header("content-length").expect("a length").parse().unwrap();
    reply.body = vec![0; length];
    with_timeout("a body", stream.read_exact(&mut reply.body)).await.expect("a body");
    reply
}

/// The head of the next response.
pub async fn head(stream: &mut (impl AsyncRead + Unpin)) -> Reply {
    let reading = async {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            bytes.push(stream.read_u8().await.expect("an answer"));
        }
        Reply::parse(&bytes).expect("an answer")
    };
    with_timeout("an answer", reading).await
}

/// Everything up to the connection's end.
pub async fn rest(mut stream: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut bytes = Vec::new();
    with_timeout("the end", async { drop(stream.read_to_end(&mut bytes).await) }).await;
    bytes
}
