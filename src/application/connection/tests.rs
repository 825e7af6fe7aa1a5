//! Whose turn it is, and what is said last.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::atomic::{AtomicBool, Ordering},
    task::Wake,
};

use actix_web::rt::{self, net::UnixStream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::{clock::SystemClock, public::Drain};

const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A connection which has been answered once.
async fn connection(queue: &Queue, status: &str) -> (Connection, UnixStream) {
    let (ours, mut phone) = UnixStream::pair().unwrap();
    let bounds = Bounds {
        max_head: 1000,
        max_body: None,
        request_time: Duration::from_secs(5),
        clock: SystemClock::shared(),
        closing: Closing::default(),
    };
    let stream = Stream::Unix(ours);
    let mut connection = Connection::new(stream, None, bounds, queue.clone(), None);
    phone.write_all(HEAD).await.unwrap();
    answer(&mut connection, status).await;
    (connection, phone)
}

/// Reads a head and writes the answer.
async fn answer(connection: &mut Connection, status: &str) {
    let mut head = [0; HEAD.len()];
    connection.read_exact(&mut head).await.unwrap();
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
    connection.write_all(answer.as_bytes()).await.unwrap();
}

#[actix_web::test]
async fn who_was_served_last_time_goes_before_a_crowd() {
    for (status, is_first) in [("200 OK", true), ("503 Service Unavailable", false)] {
        let queue = Queue::new(Drain::default());
        let order = Rc::new(RefCell::new(Vec::new()));
        let (mut phones, mut tasks) = (Vec::new(), Vec::new());
        for name in 0..=20 {
            let status = if name == 20 { status } else { "401 Unauthorized" };
            let (mut connection, phone) = connection(&queue, status).await;
            let order = Rc::clone(&order);
            phones.push(phone);
            tasks.push(async move {
                answer(&mut connection, "401 Unauthorized").await;
                order.borrow_mut().push(name);
            });
        }
        for phone in &mut phones {
            phone.write_all(HEAD).await.unwrap();
        }
        for task in tasks.into_iter().map(rt::spawn).collect::<Vec<_>>() {
            task.await.unwrap();
        }
        let place = order.borrow().iter().position(|name| *name == 20).unwrap();
        assert_eq!(place < 6, is_first, "{status}: {:?}", order.borrow());
    }
}

/// Whether it was woken.
#[derive(Default)]
struct Reader(AtomicBool);

impl Wake for Reader {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[actix_web::test]
async fn a_refusal_waits_for_the_answer_before_it() {
    let (mut connection, mut phone) = connection(&Queue::new(Drain::default()), "200 OK").await;
    let mut seen = vec![0; b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".len()];
    phone.read_exact(&mut seen).await.unwrap();
    phone.write_all(HEAD).await.unwrap();
    connection.read_exact(&mut [0; HEAD.len()]).await.unwrap();
    // As much of an answer as the kernel keeps for a reader, and then a head that is too long.
    let mut sent = 0;
    while let Some(written) = connection.write(&[b'x'; 8192]).now_or_never() {
        sent += written.unwrap();
    }
    phone.write_all(&[b'y'; 2000]).await.unwrap();
    let reader = Arc::new(Reader::default());
    let waker = Waker::from(Arc::clone(&reader));
    let read = Box::pin(connection.read_u8()).poll_unpin(&mut Context::from_waker(&waker));
    assert!(read.is_pending(), "nothing is let through yet");
    phone.read_exact(&mut vec![0; sent]).await.unwrap();
    assert!(!reader.0.load(Ordering::Relaxed));
    connection.write_all(b"the end").await.unwrap();
    assert!(reader.0.load(Ordering::Relaxed), "nobody else would wake it");
    assert_eq!(connection.read(&mut [0; 4096]).await.unwrap(), 0, "it is refused");
    drop(connection);
    let mut rest = String::new();
    phone.read_to_string(&mut rest).await.unwrap();
    assert!(rest.starts_with("the endHTTP/1.1 431 "), "{rest}");
}
