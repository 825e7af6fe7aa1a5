//! Tokens that stop working before their expiry, as apps report with `no-cache`: what counts as an early
//! death, what the log recommends, and what `cache.max_hand_outs = "auto"` does.

mod simulation;

use std::time::Duration;

use juspay_bff::{cache::Lookup, juspay::JuspayError, settings::MaxHandOuts};

use super::{
    captured_log::CapturedLog,
    world::{
        STALE_FROM, World, failure, lookup, min_fresh, no_cache, only_if_cached, run, secs, settle,
        token_of,
    },
};

/// The deaths, the sum of their ages in seconds, and the sum of their hand-outs.
fn deaths(world: &World) -> (u64, f64, f64) {
    let cache = &world.metrics.cache;
    let (ages, hand_outs) = (&cache.early_death_age, &cache.early_death_hand_outs);
    assert_eq!(ages.get_sample_count(), hand_outs.get_sample_count());
    (ages.get_sample_count(), ages.get_sample_sum(), hand_outs.get_sample_sum())
}

const NONE: (u64, f64, f64) = (0, 0.0, 0.0);

/// A request with `no-cache` that fetches a new token.
async fn replace(world: &World, lookup: Lookup, token: &str) {
    let client = world.client(lookup);
    settle().await;
    world.respond("alice", world.token(token, 900)).await;
    assert_eq!(token_of(client.await.unwrap()), token);
}

/// A request with `no-cache` that the cached token satisfies.
async fn satisfied(world: &World) {
    let client = world.client(no_cache("alice"));
    settle().await;
    assert!(client.is_finished());
    assert!(client.await.unwrap().is_ok());
}

#[test]
fn replaced_token_that_should_still_live_has_died_early() {
    run(async {
        let world = World::new();
        world.cache_token("alice", "tkn_1", 200).await;
        assert_eq!(world.hit("alice"), "tkn_1");
        assert_eq!(deaths(&world), NONE);
        replace(&world, no_cache("alice"), "tkn_2").await;
        assert_eq!(deaths(&world), (1, 200.0, 2.0));
        assert_eq!(world.metrics.cache.tokens.get(), 2);
    });
}

#[test]
fn requests_that_say_nothing_about_a_token_are_no_death() {
    run(async {
        let world = World::new();
        // The first token, and no-cache for a customer who is not cached.
        replace(&world, no_cache("alice"), "tkn_1").await;
        // A young token.
        satisfied(&world).await;
        // Requests that don't come from an SDK whose token failed.
        world.clock.advance(secs(60));
        replace(&world, min_fresh("alice", 880), "tkn_2").await;
        world.clock.advance(secs(60));
        let head = Lookup { want_body: false, ..no_cache("alice") };
        replace(&world, head, "tkn_3").await;
        assert_eq!(world.hit("alice"), "tkn_3");
        world.clock.advance(secs(60));
        let without_token = world.client(Lookup { want_token: false, ..no_cache("alice") });
        settle().await;
        world.respond("alice", world.token("tkn_4", 900)).await;
        assert!(without_token.await.unwrap().is_ok());
        assert_eq!(world.hit("alice"), "tkn_4");
        // The token's life is over.
        world.clock.advance(secs(STALE_FROM));
        replace(&world, no_cache("alice"), "tkn_5").await;
        assert_eq!(deaths(&world), NONE);
    });
}

#[test]
fn token_dies_once() {
    run(async {
        let world = World::new();
        world.cache_token("alice", "tkn_1", 100).await;
        let clients: Vec<_> = (0..5).map(|_| world.client(no_cache("alice"))).collect();
        settle().await;
        assert_eq!(deaths(&world), (1, 100.0, 1.0));
        world.respond("alice", world.token("tkn_2", 900)).await;
        for client in clients {
            assert_eq!(token_of(client.await.unwrap()), "tkn_2");
        }
        // A third phone, whose token is tkn_1 as well.
        satisfied(&world).await;
        assert_eq!(deaths(&world).0, 1);
    });
}

#[test]
fn failed_replacement_leaves_one_death() {
    run(async {
        let world = World::new();
        world.cache_token("alice", "tkn_1", 100).await;
        for _ in 0..3 {
            let client = world.client(no_cache("alice"));
            settle().await;
            if world.juspay.running("alice") > 0 {
                world.respond("alice", failure(JuspayError::Timeout)).await;
            }
            assert!(client.await.unwrap().is_err());
            world.clock.advance(secs(60));
        }
        assert_eq!(deaths(&world).0, 1);
    });
}

/// The last response that `cache.max_hand_outs` allows kills the token, and the phone reports it when the
/// new one has arrived.
#[test]
fn unused_token_satisfies_no_cache_and_its_predecessor_has_died() {
    run(async {
        let world = World::with(|settings| settings.cache.max_hand_outs = MaxHandOuts::Number(3));
        world.cache_token("alice", "tkn_1", 100).await;
        for _ in 0..3 {
            assert_eq!(world.hit("alice"), "tkn_1");
        }
        settle().await;
        world.respond("alice", world.token("tkn_2", 900)).await;
        world.clock.advance(secs(1));
        satisfied(&world).await;
        assert_eq!(deaths(&world), (1, 101.0, 4.0));
        assert_eq!(world.hit("alice"), "tkn_2");
        satisfied(&world).await;
        assert_eq!(deaths(&world).0, 1);
    });
}

#[test]
fn predecessor_whose_life_is_over_has_not_died_early() {
    run(async {
        let world = World::with(|settings| settings.cache.max_hand_outs = MaxHandOuts::Number(1));
        world.cache_token("alice", "tkn_1", 700).await;
        assert_eq!(world.hit("alice"), "tkn_1");
        settle().await;
        world.respond("alice", world.token("tkn_2", 900)).await;
        world.clock.advance(secs(81));
        satisfied(&world).await;
        assert_eq!(deaths(&world), NONE);
    });
}

#[test]
fn requests_beyond_the_rate_limit_count_no_death() {
    run(async {
        let world = World::with_force_refresh_rate("1/h");
        world.cache_token("alice", "tkn_1", 60).await;
        replace(&world, no_cache("alice"), "tkn_2").await;
        world.clock.advance(secs(60));
        satisfied(&world).await;
        assert_eq!(deaths(&world).0, 1);
    });
}

/// A token of each of these customers dies with its seventh response.
async fn seventh_response_kills(
    max_hand_outs: MaxHandOuts,
    customers: impl Iterator<Item = u32>,
) -> World {
    let world = World::with(|settings| settings.cache.max_hand_outs = max_hand_outs);
    for (number, customer) in customers.enumerate() {
        let (customer, token) = (format!("customer_{customer}"), format!("tkn_{number}"));
        if !world.is_cached(&customer) {
            world.cache_token(&customer, "tkn", 0).await;
        }
        world.clock.advance(secs(40));
        let mut responses = 1;
        while responses < 7 && world.juspay.running(&customer) == 0 {
            world.hit(&customer);
            settle().await;
            responses += 1;
        }
        let is_replaced = world.juspay.running(&customer) > 0;
        let client =
            world.client(if is_replaced { lookup(&customer) } else { no_cache(&customer) });
        settle().await;
        world.respond(&customer, world.token(&token, 900)).await;
        assert!(client.await.unwrap().is_ok());
        if is_replaced {
            world.hit(&customer);
        }
    }
    world
}

/// The same, with the log.
fn log_of_seventh_response_kills(max_hand_outs: MaxHandOuts) -> (String, i64) {
    let (log, guard) = CapturedLog::on_this_thread();
    let number = run(async {
        seventh_response_kills(max_hand_outs, 0..20).await.metrics.cache.max_hand_outs.get()
    });
    drop(guard);
    (log.text(), number)
}

#[test]
fn log_recommends_a_number() {
    let (log, number) = log_of_seventh_response_kills(MaxHandOuts::Number(10));
    assert_eq!(number, 10);
    let advice = "client auth tokens stopped working early, from 7 responses on; set \
                  cache.max_hand_outs to 5 or \"auto\"";
    assert_eq!(log.matches(advice).count(), 1, "{log}");
}

#[test]
fn auto_lowers_the_number_and_logs_it() {
    let (log, number) = log_of_seventh_response_kills(MaxHandOuts::Auto);
    assert_eq!(number, 5, "{log}");
    assert_eq!(log.matches("auto\" lowered the number").count(), 1, "{log}");
    assert!(log.contains("max_hand_outs=5"), "{log}");
    let advice = "from 7 responses on; cache.max_hand_outs = \"auto\" lowers the number";
    assert_eq!(log.matches(advice).count(), 1, "{log}");
}

#[test]
fn one_customer_changes_nothing_for_others() {
    run(async {
        let customers = (0..40).map(|_| 0);
        let world = seventh_response_kills(MaxHandOuts::Auto, customers).await;
        assert_eq!(deaths(&world).0, 40);
        assert_eq!(world.metrics.cache.max_hand_outs.get(), 10);
    });
}

/// An SDK may have the token before last until its end, and reports that as well.
#[test]
fn no_cache_after_the_end_of_the_predecessor_is_no_death() {
    run(async {
        for (delay, expected) in [(60, (1, 60.0, 1.0)), (130, NONE)] {
            let world = World::new();
            world.cache_token("alice", "tkn_1", 700).await;
            assert_eq!(world.hit("alice"), "tkn_1");
            settle().await;
            world.respond("alice", world.token("tkn_2", 900)).await;
            assert_eq!(world.hit("alice"), "tkn_2");
            world.clock.advance(secs(delay));
            replace(&world, no_cache("alice"), "tkn_3").await;
            assert_eq!(deaths(&world), expected, "{delay}");
        }
    });
}

/// A token that was returned as often as the learned number of 5 allows, while its refresh runs.
async fn used_up() -> World {
    let world = seventh_response_kills(MaxHandOuts::Auto, 0..20).await;
    world.cache_token("alice", "tkn_20", 5).await;
    for _ in 0..5 {
        assert_eq!(world.hit("alice"), "tkn_20");
        settle().await;
    }
    assert_eq!(world.juspay.running("alice"), 1);
    world
}

#[test]
fn request_beyond_a_learned_number_waits_for_the_running_refresh() {
    run(async {
        let world = used_up().await;
        let calls = world.juspay.calls("alice");
        let clients: Vec<_> = (0..3).map(|_| world.client(lookup("alice"))).collect();
        settle().await;
        assert!(clients.iter().all(|client| !client.is_finished()));
        world.respond("alice", world.token("tkn_new", 900)).await;
        for client in clients {
            assert_eq!(token_of(client.await.unwrap()), "tkn_new");
        }
        assert_eq!(world.juspay.calls("alice"), calls);
    });
}

#[test]
fn p5_slow_or_failing_refresh_of_a_used_up_token_costs_no_response() {
    run(async {
        let world = used_up().await;
        let client = world.client(lookup("alice"));
        settle().await;
        world.clock.advance(Duration::from_millis(250));
        settle().await;
        assert!(client.is_finished(), "after 250 ms");
        assert_eq!(token_of(client.await.unwrap()), "tkn_20");
        let client = world.client(lookup("alice"));
        settle().await;
        world.respond("alice", failure(JuspayError::Timeout)).await;
        assert!(client.is_finished());
        assert_eq!(token_of(client.await.unwrap()), "tkn_20");
        assert_eq!(world.hit("alice"), "tkn_20", "without waiting after a failure");
    });
}

#[test]
fn requests_without_use_for_the_token_do_not_wait() {
    run(async {
        let world = used_up().await;
        for lookup in [
            only_if_cached("alice"),
            Lookup { want_body: false, ..lookup("alice") },
            Lookup { want_token: false, ..lookup("alice") },
        ] {
            let client = world.client(lookup);
            settle().await;
            assert!(client.is_finished());
        }
    });
}

/// A bad app never uses a token twice.
#[test]
fn app_that_always_sends_no_cache_changes_nothing() {
    let (log, guard) = CapturedLog::on_this_thread();
    run(async {
        let world = World::with(|settings| settings.cache.max_hand_outs = MaxHandOuts::Auto);
        for number in 0..20 {
            replace(&world, no_cache("alice"), &format!("tkn_{number}")).await;
            world.clock.advance(secs(31 + number % 7 * 40));
        }
        assert_eq!(deaths(&world).0, 19);
        assert_eq!(world.metrics.cache.max_hand_outs.get(), 10);
    });
    drop(guard);
    let log = log.text();
    let advice = "check whether apps send no-cache only after session_expired";
    assert_eq!(log.matches(advice).count(), 1, "{log}");
}
