//! Links and eviction: a customer in use stays cached while the cache is full.

use juspay_bff::{
    cache::{CachedLink, Found},
    clock::Clock as _,
    settings::MaxHandOuts,
    traces::Parent,
};

use super::world::{World, run};

/// Looks up the customer, whose token is fresh, and links it.
async fn look_up(world: &World, customer: &str) -> CachedLink {
    let client = world.start_request(customer).await;
    if !client.is_finished() {
        world.respond(customer, world.token("tkn", 900)).await;
    }
    client.await.unwrap().unwrap().link.unwrap()
}

fn linked(world: &World, link: &CachedLink) -> Option<Found> {
    world.cache.get_linked(link, world.clock.moment(), &Parent::default())
}

#[test]
fn linked_customer_in_use_is_not_evicted_when_the_cache_is_full() {
    run(async {
        let world = World::with(|settings| {
            settings.cache.capacity = 100;
            settings.cache.max_hand_outs = MaxHandOuts::Number(0);
        });
        let mut link = look_up(&world, "alice").await;
        for number in 0..500 {
            if linked(&world, &link).is_none() {
                link = look_up(&world, "alice").await;
            }
            look_up(&world, &format!("c{number}")).await;
            world.cache.update_entry_gauge();
        }
        assert_eq!(world.juspay.calls("alice"), 1, "alice was never evicted");
        assert!(world.is_cached("alice"));
        assert!(linked(&world, &link).is_none(), "the cache is full");
        let is_cached = |number: &u32| world.is_cached(&format!("c{number}"));
        assert_eq!((0..500).filter(is_cached).count(), 99);
    });
}

#[test]
fn links_are_used_up_to_three_quarters_of_the_capacity() {
    run(async {
        let world = World::with(|settings| settings.cache.capacity = 100);
        let link = look_up(&world, "alice").await;
        for number in 2..=75 {
            look_up(&world, &format!("c{number}")).await;
        }
        world.cache.update_entry_gauge();
        assert!(linked(&world, &link).is_some(), "75 of 100");
        look_up(&world, "c76").await;
        world.cache.update_entry_gauge();
        assert!(linked(&world, &link).is_none(), "76 of 100");
        world.cache.purge_all();
        let link = look_up(&world, "alice").await;
        assert!(linked(&world, &link).is_some(), "the cache is empty again");
    });
}
