//! A TCP proxy in front of a server. It can make its connections silent: they stay open, and nothing
//! passes, as after the loss of a node or of a NAT's entry. It can also delay all that the server sends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use juspay_bff::clock::{Clock as _, SystemClock};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

pub(super) struct Proxy {
    pub(super) port: u16,
    /// Connections before this number are silent.
    silent_before: Arc<AtomicU64>,
    /// Milliseconds.
    delay: Arc<AtomicU64>,
    accepted: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub(super) async fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (silent_before, accepted) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let delay = Arc::<AtomicU64>::default();
        let (silent, count) = (Arc::clone(&silent_before), Arc::clone(&accepted));
        let own_delay = Arc::clone(&delay);
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let number = count.fetch_add(1, Ordering::SeqCst);
                let (silent, delay) = (Arc::clone(&silent), Arc::clone(&own_delay));
                tokio::spawn(async move {
                    let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                    let ((mut from, mut to), (mut answers, mut back)) =
                        (client.into_split(), server.into_split());
                    let is_silent = || number < silent.load(Ordering::SeqCst);
                    let mut buffers = ([0; 8192], [0; 8192]);
                    loop {
                        tokio::select! {
                            Ok(length) = from.read(&mut buffers.0) => {
                                if length == 0 { return }
                                if !is_silent() {
                                    back.write_all(&buffers.0[..length]).await.unwrap();
                                }
                            }
                            Ok(length) = answers.read(&mut buffers.1) => {
                                if length == 0 { return }
                                let delay = delay.load(Ordering::SeqCst);
                                if delay > 0 {
                                    let clock = SystemClock;
                                    let delay = Duration::from_millis(delay);
                                    clock.sleep_until(clock.monotonic().plus(delay)).await;
                                }
                                if !is_silent() {
                                    to.write_all(&buffers.1[..length]).await.unwrap();
                                }
                            }
                            else => return,
                        }
                    }
                });
            }
        });
        Self { port, silent_before, delay, accepted, task }
    }

    /// Delays each response of the server.
    pub(super) fn delay(&self, delay: Duration) {
        self.delay.store(delay.as_millis().try_into().unwrap(), Ordering::SeqCst);
    }

    /// Silences all present connections. New ones pass.
    pub(super) fn silence(&self) {
        self.silent_before.store(self.accepted.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}
