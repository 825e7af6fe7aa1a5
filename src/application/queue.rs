//! The queue in front of a worker's HTTP parser: whose head is read next.
//!
//! When thousands come at once, those who hold a token in memory must not stand behind all the
//! others. A connection whose last answer was a 200 is read whenever something has come. Every other
//! one waits for its turn, and turns come when the worker has done all else: so a few of them pass
//! at a time, and one more for every few of the first kind. Once the service is going away nobody
//! waits: what has been sent must be read before connections close.

use std::{
    future::Future as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use actix_web::rt;
use futures_util::future::LocalBoxFuture;
use tokio::sync::Semaphore;

use crate::public::Drain;

/// So many pass at a time: as many as a hit may stand behind.
const AT_A_TIME: usize = 4;

/// After so many 200s a connection lets one of those that wait pass: a worker that has nothing else
/// to do but hits still lets new callers in.
const SHARE: u8 = 4;

/// What the connections of one worker have in common.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    /// Those that nobody has taken, at most [`AT_A_TIME`].
    turns: Arc<Semaphore>,
    drain: Drain,
}

/// A connection's turn.
pub(super) struct Turn {
    queue: Queue,
    state: State,
    /// 200s since it let another one pass.
    served: u8,
}

enum State {
    /// Its next head needs one.
    Needed,
    Awaited(LocalBoxFuture<'static, ()>),
    /// It may be read until its answer leaves.
    Given,
}

impl Queue {
    pub(super) fn new(drain: Drain) -> Self {
        Self { turns: Arc::new(Semaphore::new(AT_A_TIME)), drain }
    }

    /// Another one may pass.
    fn let_pass(&self) {
        if self.turns.available_permits() < AT_A_TIME {
            self.turns.add_permits(1);
        }
    }

    /// Takes a turn, and gives the next one when all else is done that there is to do.
    async fn take(self) {
        let taken = self.turns.acquire().await;
        // It is never closed.
        taken.into_iter().for_each(tokio::sync::SemaphorePermit::forget);
        let queue = self.clone();
        rt::spawn(async move {
            // The one of tokio, which comes back after a look for what has arrived meanwhile.
            tokio::task::yield_now().await;
            queue.let_pass();
        });
    }
}

impl Turn {
    pub(super) const fn new(queue: Queue) -> Self {
        Self { queue, state: State::Needed, served: 0 }
    }

    /// Whether the connection may be read as soon as something comes.
    pub(super) const fn is_given(&self) -> bool {
        matches!(self.state, State::Given)
    }

    /// Waits for it. To be asked when something has come.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let State::Needed = self.state {
            self.state = State::Awaited(Box::pin(self.queue.clone().take()));
        }
        if let State::Awaited(turn) = &mut self.state
            && !self.queue.drain.has_begun()
        {
            ready!(Pin::new(turn).poll(context));
        }
        self.state = State::Given;
        Poll::Ready(())
    }

    /// Notes the first bytes of the connection's answer.
    pub(super) fn answered(&mut self, answer: &[u8]) {
        if !answer.starts_with(b"HTTP/1.1 200 ") {
            self.state = State::Needed;
            return;
        }
        self.state = State::Given;
        self.served = self.served.saturating_add(1);
        if self.served >= SHARE {
            self.served = 0;
            self.queue.let_pass();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use actix_web::rt::task::JoinHandle;
    use futures_util::{FutureExt as _, future::poll_fn};

    use super::*;

    const OK: &[u8] = b"HTTP/1.1 200 OK\r\n";

    /// Names, in the order of their turns.
    type Order = Rc<RefCell<Vec<String>>>;

    /// Notes when it gets its turn.
    fn waits(queue: &Queue, name: &str, order: &Order) -> JoinHandle<Turn> {
        let (mut turn, name, order) = (Turn::new(queue.clone()), name.to_owned(), Rc::clone(order));
        rt::spawn(async move {
            poll_fn(|context| turn.poll(context)).await;
            order.borrow_mut().push(name);
            turn
        })
    }

    fn is_there(turn: &mut Turn) -> bool {
        poll_fn(|context| turn.poll(context)).now_or_never().is_some()
    }

    /// A queue whose turns are taken until the worker has done all else.
    fn busy() -> Queue {
        let queue = Queue::new(Drain::default());
        assert!((0..AT_A_TIME).all(|_| is_there(&mut Turn::new(queue.clone()))));
        queue
    }

    #[actix_web::test]
    async fn who_comes_alone_does_not_wait() {
        let queue = Queue::new(Drain::default());
        for _ in 0..3 * AT_A_TIME {
            assert!(is_there(&mut Turn::new(queue.clone())));
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
        }
    }

    #[actix_web::test]
    async fn a_few_pass_at_a_time_and_all_else_comes_between() {
        let queue = Queue::new(Drain::default());
        let order = Order::default();
        let names: Vec<_> = (0..5 * AT_A_TIME).map(|n| n.to_string()).collect();
        let crowd: Vec<_> = names.iter().map(|name| waits(&queue, name, &order)).collect();
        for n in 0..3 {
            rt::spawn({
                let order = Rc::clone(&order);
                async move { order.borrow_mut().push(format!("hit {n}")) }
            });
            tokio::task::yield_now().await;
        }
        for waiting in crowd {
            drop(waiting.await.unwrap());
        }
        let seen = order.borrow();
        for n in 0..3 {
            let place = seen.iter().position(|it| *it == format!("hit {n}")).unwrap();
            assert!(place <= (n + 1) * (AT_A_TIME + 1), "{seen:?}");
        }
        let crowd: Vec<_> = seen.iter().filter(|it| !it.starts_with("hit")).cloned().collect();
        assert_eq!(crowd, names, "first come, first served");
    }

    #[actix_web::test]
    async fn a_turn_lasts_until_the_answer_and_a_200_keeps_it() {
        let mut turn = Turn::new(Queue::new(Drain::default()));
        assert!(!turn.is_given() && is_there(&mut turn));
        assert!(turn.is_given());
        turn.answered(OK);
        assert!(turn.is_given());
        for other in ["HTTP/1.1 401 Unauthorized\r\n", "HTTP/1.1 2", "HTTP/1.1 2000 OK", ""] {
            turn.answered(OK);
            turn.answered(other.as_bytes());
            assert!(!turn.is_given(), "{other:?}");
        }
    }

    #[actix_web::test]
    async fn a_worker_that_serves_hits_only_lets_others_pass_now_and_then() {
        let queue = busy();
        let mut served = Turn::new(queue.clone());
        let mut crowd: Vec<_> = (0..3).map(|_| Turn::new(queue.clone())).collect();
        for hit in 1..=2 * usize::from(SHARE) {
            served.answered(OK);
            let passed = crowd.iter_mut().map(is_there).filter(|passed| *passed).count();
            assert_eq!(passed, hit / usize::from(SHARE), "after {hit}");
        }
    }

    #[actix_web::test]
    async fn turns_that_nobody_takes_do_not_add_up() {
        let queue = busy();
        let mut served = Turn::new(queue.clone());
        for _ in 0..100 {
            served.answered(OK);
        }
        let passed = (0..100).filter(|_| is_there(&mut Turn::new(queue.clone()))).count();
        assert_eq!(passed, AT_A_TIME);
    }

    #[actix_web::test]
    async fn who_goes_away_leaves_the_turn_to_the_next() {
        let queue = busy();
        let (mut gone, mut next) = (Turn::new(queue.clone()), Turn::new(queue.clone()));
        assert!(!is_there(&mut gone) && !is_there(&mut next));
        queue.let_pass();
        drop(gone);
        assert!(is_there(&mut next));
    }

    #[actix_web::test]
    async fn p8_nobody_waits_once_the_service_is_going_away() {
        let queue = busy();
        let mut waiting = [(); 10].map(|()| Turn::new(queue.clone()));
        assert!(!waiting.iter_mut().any(is_there));
        queue.drain.begin();
        // One is told of its turn, and leaves it to the next: none of them will be answered soon.
        queue.let_pass();
        assert!(waiting.iter_mut().all(is_there));
        assert!(is_there(&mut Turn::new(queue)));
    }
}
