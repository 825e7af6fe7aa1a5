//! Links and eviction: a customer in use stays cached while the cache is full.

use std::{cell::Cell, rc::Rc, time::Duration};

use futures_util::{FutureExt as _, future::LocalBoxFuture};
use tokio::task::LocalSet;

use super::*;
use crate::{
    cache::{Freshness, Lookup, tests::REQUIRED},
    clock::{Clock, later, manual::ManualClock},
    concurrency::Limits,
    customer::{ClientAuth, ClientAuthToken, Customer, CustomerId},
    juspay::{CustomerApi, CustomerResponse, GetCustomer, JuspayError},
    metrics::Metrics,
    settings::Sources,
};

const CAPACITY: &str = "cache.capacity = 100";

/// Responds immediately, with a token that lives for 15 minutes.
#[derive(Debug)]
struct InstantJuspay {
    clock: ManualClock,
    /// Number of calls for `alice`.
    calls_for_alice: Rc<Cell<u32>>,
}

impl CustomerApi for InstantJuspay {
    fn get_customer(
        &self,
        request: GetCustomer,
    ) -> LocalBoxFuture<'static, Result<CustomerResponse, JuspayError>> {
        let is_alice = request.customer.as_str() == "alice";
        self.calls_for_alice.update(|calls| calls + u32::from(is_alice));
        let token = ClientAuthToken::parse("tkn".to_owned()).unwrap();
        let expiry = later(self.clock.now(), Duration::from_mins(15));
        let auth = Ok(ClientAuth { token, expiry });
        async move { Ok(CustomerResponse { customer: Customer::default(), auth, date: None }) }
            .boxed_local()
    }
}

struct World {
    clock: ManualClock,
    cache: CustomerCache,
    api: Rc<dyn CustomerApi>,
    calls_for_alice: Rc<Cell<u32>>,
}

impl World {
    fn new() -> Self {
        let sources = Sources::default().text("required", REQUIRED).text("capacity", CAPACITY);
        let settings = sources.load().unwrap().settings;
        let metrics = Arc::new(Metrics::new("1", "1").unwrap());
        let limits = Limits::new(&metrics, 10, 10);
        let clock = ManualClock::at("2026-01-01T00:00:00Z");
        let cache = CustomerCache::new(&settings, &limits, Arc::new(clock.clone()), metrics);
        let calls_for_alice = Rc::<Cell<u32>>::default();
        let juspay =
            InstantJuspay { clock: clock.clone(), calls_for_alice: Rc::clone(&calls_for_alice) };
        Self { clock, cache, api: Rc::new(juspay), calls_for_alice }
    }

    /// Looks up the customer, and links it.
    async fn look_up(&self, customer: &CustomerId) -> CachedLink {
        let lookup = Lookup {
            customer: customer.clone(),
            want_token: true,
            want_body: true,
            freshness: Freshness::default(),
            traceparent: None,
            trace: Parent::default(),
            requester: None,
        };
        self.cache.get(&lookup, &self.api).await.unwrap().link.unwrap()
    }

    fn fresh(&self, link: &CachedLink) -> Option<Arc<Entry>> {
        self.cache.fresh(link, self.clock.moment())
    }

    fn has(&self, customer: &CustomerId) -> bool {
        self.cache.shared.fetcher.store.get(&self.cache.key(customer)).is_some()
    }
}

fn id(customer: &str) -> CustomerId {
    CustomerId::parse(customer).unwrap()
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

#[test]
fn linked_customer_in_use_is_not_evicted_when_the_cache_is_full() {
    run(async {
        let world = World::new();
        let alice = id("alice");
        let mut link = world.look_up(&alice).await;
        for number in 0..500 {
            if world.fresh(&link).is_none() {
                link = world.look_up(&alice).await;
            }
            world.look_up(&id(&format!("c{number}"))).await;
            world.cache.update_entry_gauge();
        }
        assert_eq!(world.calls_for_alice.get(), 1, "alice was never evicted");
        assert!(world.has(&alice));
        assert!(world.fresh(&link).is_none(), "the cache is full");
        let is_cached = |number: &u32| world.has(&id(&format!("c{number}")));
        assert_eq!((0..500).filter(is_cached).count(), 99);
    });
}

#[test]
fn links_are_used_up_to_three_quarters_of_the_capacity() {
    run(async {
        let world = World::new();
        let link = world.look_up(&id("alice")).await;
        for number in 2..=75 {
            world.look_up(&id(&format!("c{number}"))).await;
        }
        world.cache.update_entry_gauge();
        assert!(world.fresh(&link).is_some(), "75 of 100");
        world.look_up(&id("c76")).await;
        world.cache.update_entry_gauge();
        assert!(world.fresh(&link).is_none(), "76 of 100");
        world.cache.purge_all();
        let link = world.look_up(&id("alice")).await;
        assert!(world.fresh(&link).is_some(), "the cache is empty again");
    });
}
