//! A Juspay that responds when the test says so, and counts calls by customer.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    rc::Rc,
};

use futures_util::future::LocalBoxFuture;
use juspay_bff::juspay::{CustomerApi, CustomerResponse, GetCustomer, JuspayError};
use tokio::sync::oneshot;

/// Every call waits for [`FakeJuspay::respond`].
#[derive(Debug, Clone, Default)]
pub(super) struct FakeJuspay {
    calls: Rc<RefCell<HashMap<String, Calls>>>,
}

/// The calls for one customer.
#[derive(Debug, Default)]
struct Calls {
    requests: Vec<GetCustomer>,
    waiting: VecDeque<oneshot::Sender<Reply>>,
    creations: usize,
    running: usize,
    max_running: usize,
}

/// How a call ends.
#[derive(Debug)]
pub(super) enum Reply {
    Returns(Result<Box<CustomerResponse>, JuspayError>),
    Panics,
}

impl FakeJuspay {
    /// Ends the oldest waiting call for `customer`.
    pub(super) fn respond(&self, customer: &str, reply: Reply) {
        let oldest = self.with(customer, |calls| {
            calls.waiting.retain(|waiting| !waiting.is_closed());
            calls.waiting.pop_front()
        });
        let call = oldest.unwrap_or_else(|| panic!("no call for {customer} is waiting"));
        call.send(reply).expect("the call is waiting");
    }

    /// The number of calls for `customer`.
    pub(super) fn calls(&self, customer: &str) -> usize {
        self.with(customer, |calls| calls.requests.len())
    }

    /// How many of the calls for `customer` create it.
    pub(super) fn creations(&self, customer: &str) -> usize {
        self.with(customer, |calls| calls.creations)
    }

    /// The number of running calls for `customer`.
    pub(super) fn running(&self, customer: &str) -> usize {
        self.with(customer, |calls| calls.running)
    }

    /// The highest number of calls for `customer` that ever ran at once.
    pub(super) fn max_running(&self, customer: &str) -> usize {
        self.with(customer, |calls| calls.max_running)
    }

    /// The parameters of the last call for `customer`.
    pub(super) fn last_request(&self, customer: &str) -> GetCustomer {
        self.with(customer, |calls| calls.requests.last().cloned()).expect("a call")
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
        let (sender, reply) = oneshot::channel();
        self.with(&customer, |calls| {
            calls.requests.push(request);
            calls.waiting.push_back(sender);
            calls.running += 1;
            calls.max_running = calls.max_running.max(calls.running);
        });
        let running = RunningCall { juspay: self.clone(), customer };
        Box::pin(async move {
            let _running = running;
            match reply.await.expect("a test ends its calls or drops them") {
                Reply::Returns(result) => result.map(|response| *response),
                Reply::Panics => panic!("on purpose"),
            }
        })
    }

    fn create_customer(
        &self,
        request: GetCustomer,
    ) -> LocalBoxFuture<'static, Result<CustomerResponse, JuspayError>> {
        self.with(request.customer.as_str(), |calls| calls.creations += 1);
        self.get_customer(request)
    }
}

/// Counts a call as running until it returns, panics or is dropped.
struct RunningCall {
    juspay: FakeJuspay,
    customer: String,
}

impl Drop for RunningCall {
    fn drop(&mut self) {
        self.juspay.with(&self.customer, |calls| calls.running -= 1);
    }
}
