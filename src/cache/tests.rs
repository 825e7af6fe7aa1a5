//! The cache's key, which no public method shows. `tests/cache` has the other tests of the cache.

use futures_util::future::LocalBoxFuture;
use tokio::task::LocalSet;

use super::*;
use crate::{
    clock::manual::ManualClock,
    juspay::{CustomerResponse, GetCustomer},
    settings::Sources,
};

/// The settings without a default.
const REQUIRED: &str = include_str!("../../tests/required_settings.toml");

/// A Juspay without customers.
#[derive(Debug)]
struct NoCustomers;

impl CustomerApi for NoCustomers {
    fn get_customer(
        &self,
        _: GetCustomer,
    ) -> LocalBoxFuture<'static, Result<CustomerResponse, JuspayError>> {
        Box::pin(async { Err(JuspayError::CustomerNotFound) })
    }
}

#[test]
fn p1_same_customer_id_of_another_merchant_is_another_customer() {
    let settings = Sources::default().text("required", REQUIRED).load().unwrap().settings;
    let metrics = Arc::new(Metrics::new("1", "1").unwrap());
    let limits = Limits::new(&metrics, 8, 8);
    let clock = Arc::new(ManualClock::at("2026-01-01T00:00:00Z"));
    let cache = CustomerCache::new(&settings, &limits, None, clock, metrics);
    let alice = CustomerId::parse("alice").unwrap();
    let lookup = Lookup {
        customer: alice.clone(),
        want_token: true,
        want_body: true,
        freshness: Freshness::default(),
        traceparent: None,
        new_customer: None,
        trace: Parent::default(),
        requester: None,
    };
    let api: Rc<dyn CustomerApi> = Rc::new(NoCustomers);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let result = LocalSet::new().block_on(&runtime, cache.get(&lookup, &api));
    assert_eq!(result.unwrap_err(), JuspayError::CustomerNotFound.into());

    let key = |merchant: &str| CustomerKey { merchant: merchant.into(), customer: alice.clone() };
    assert_eq!(cache.key(&alice), key("merchant"));
    assert!(cache.shared.fetcher.store.get(&key("merchant")).is_some());
    assert!(cache.shared.fetcher.store.get(&key("other")).is_none());
}
