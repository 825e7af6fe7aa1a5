//! A Juspay that responds when the test says so, and counts calls by customer.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    rc::Rc,
};

use futures_util::future::LocalBoxFuture;
use tokio::sync::oneshot;

use crate::juspay::{CustomerApi, CustomerResponse, GetCustomer, JuspayError};

/// Holds every call until [`FakeJuspay::answer`] lets it go.
#[derive(Debug, Clone, Default)]
pub(super) struct FakeJuspay {
    calls: Rc<RefCell<HashMap<String, Calls>>>,
}

/// The calls for one customer.
#[derive(Debug, Default)]
struct Calls {
    requests: Vec<GetCustomer>,
    held: VecDeque<oneshot::Sender<Reply>>,
    under_way: usize,
    most_at_once: usize,
}

/// What a call is told when it is let go.
#[derive(Debug)]
pub(super) enum Reply {
    Says(Result<Box<CustomerResponse>, JuspayError>),
    Panics,
}

impl FakeJuspay {
    /// Lets go the oldest call for `customer` that still waits.
    pub(super) fn answer(&self, customer: &str, reply: Reply) {
        let waiting = self.with(customer, |calls| {
            calls.held.retain(|held| !held.is_closed());
            calls.held.pop_front()
        });
        let gate = waiting.unwrap_or_else(|| panic!("no call for {customer} is waiting"));
        gate.send(reply).expect("the call is waiting");
    }

    /// How often it was asked for `customer`.
    pub(super) fn calls(&self, customer: &str) -> usize {
        self.with(customer, |calls| calls.requests.len())
    }

    /// How many calls for `customer` wait for their answer.
    pub(super) fn under_way(&self, customer: &str) -> usize {
        self.with(customer, |calls| calls.under_way)
    }

    /// The most calls for `customer` that were ever under way at once.
    pub(super) fn most_at_once(&self, customer: &str) -> usize {
        self.with(customer, |calls| calls.most_at_once)
    }

    /// The last question about `customer`.
    pub(super) fn last_request(&self, customer: &str) -> GetCustomer {
        self.with(customer, |calls| calls.requests.last().cloned()).expect("it was asked")
    }

    fn with<T>(&self, customer: &str, use_calls: impl FnOnce(&mut Calls) -> T) -> T {
        use_calls(self.calls.borrow_mut().entry(customer.to_owned()).or_default())
    }
}

impl CustomerApi for FakeJuspay {
    fn get_customer(
        &self,
        request: GetCustomer,
    ) -> LocalBoxFuture<'static, Result<CustomerResponse, JuspayError>> {
        let customer = request.customer.as_str().to_owned();
        let (gate, let_go) = oneshot::channel();
        self.with(&customer, |calls| {
            calls.requests.push(request);
            calls.held.push_back(gate);
            calls.under_way += 1;
            calls.most_at_once = calls.most_at_once.max(calls.under_way);
        });
        let under_way = UnderWay { juspay: self.clone(), customer };
        Box::pin(async move {
            let _under_way = under_way;
            match let_go.await.expect("a test lets its calls go or drops them") {
                Reply::Says(answer) => answer.map(|answer| *answer),
                Reply::Panics => panic!("on purpose"),
            }
        })
    }
}

/// Counts a call as under way until it is answered, panics or is dropped.
struct UnderWay {
    juspay: FakeJuspay,
    customer: String,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.juspay.with(&self.customer, |calls| calls.under_way -= 1);
    }
}
