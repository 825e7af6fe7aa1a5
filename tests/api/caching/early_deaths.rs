//! Tokens that die early, as an app with a used-up token sees it: `no-cache`, the metrics,
//! `cache.max_hand_outs = "auto"`, and the line of `doctor`.

use std::time::Duration;

use super::served;
use crate::support::{
    Client, World,
    process::{bff, run},
};

const NO_CACHE: &str = "Cache-Control: no-cache\r\n";

/// Tokens that are returned seven times, and then reported.
async fn dead_tokens(world: &World, client: &Client, number: u32) {
    for _ in 0..number {
        for _ in 0..6 {
            served(client).await;
        }
        world.clock.advance(Duration::from_secs(31));
        let reply = client.request("GET", "/me/customer", NO_CACHE).await;
        assert!(reply.cache_status().contains("fwd=request"), "{}", reply.cache_status());
    }
}

const UNLIMITED: &str = "limits = { force_refresh_per_customer = 'off', per_customer = 'off' }\n";

#[tokio::test(flavor = "multi_thread")]
async fn deaths_are_counted_with_age_and_responses() {
    let world = World::with(UNLIMITED).await;
    let client = world.client("alice");
    served(&client).await;
    dead_tokens(&world, &client, 2).await;
    assert_eq!(world.count("juspay_bff_cache_tokens_total").await, 3);
    let deaths = "juspay_bff_cache_token_early_death";
    assert_eq!(world.count(&format!("{deaths}_hand_outs_count")).await, 2);
    assert_eq!(world.count(&format!("{deaths}_hand_outs_bucket{{le=\"6\"}}")).await, 0);
    assert_eq!(world.count(&format!("{deaths}_hand_outs_bucket{{le=\"7\"}}")).await, 2);
    assert_eq!(world.count(&format!("{deaths}_age_seconds_bucket{{le=\"30\"}}")).await, 0);
    assert_eq!(world.count(&format!("{deaths}_age_seconds_bucket{{le=\"60\"}}")).await, 2);
    assert_eq!(world.count("juspay_bff_cache_max_hand_outs").await, 10);
}

/// Runs `doctor --customer` with the service's admin address. Returns the line about early deaths.
async fn doctor(world: &World, listen: &str, settings: &str) -> String {
    let simulator = world.simulator();
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = format!(
        "server.admin_listen = '{listen}'\n{settings}\n\
         juspay = {{ base_url = '{}', merchant_id = '{}', api_key = '{}' }}\n\
         auth.issuers.main = {{ issuer = '{}', audiences = ['a'], algorithms = ['ES256'], discovery = true }}\n",
        simulator.base_url(),
        simulator.merchant(),
        world.api_key,
        world.issuer().issuer_url(),
    );
    std::fs::write(file.path(), text).unwrap();
    let path = file.path().to_str().unwrap();
    let output = run(bff(&["doctor", "--config", path, "--customer", "alice"])).await.stdout;
    let line = output.lines().find(|line| line.contains("early deaths of tokens"));
    line.unwrap_or_else(|| panic!("{output}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn auto_lowers_the_number_and_doctor_shows_it() {
    let auto = "cache.max_hand_outs = 'auto'";
    let world = World::with(&format!("{UNLIMITED}{auto}")).await;
    served(&world.client("alice")).await;
    let admin = world.service.admin.to_string();
    assert_eq!(world.count("juspay_bff_cache_max_hand_outs").await, 10);
    let line = doctor(&world, &admin, auto).await;
    assert!(line.starts_with("ok ") && line.contains("0 of 1 tokens (0.0 %)"), "{line}");
    let mut customers = 0;
    while world.count("juspay_bff_cache_max_hand_outs").await == 10 {
        let client = world.client(&format!("customer_{customers}"));
        served(&client).await;
        dead_tokens(&world, &client, 1).await;
        customers += 1;
        assert!(customers < 20, "\"auto\" does not learn");
        if customers == 6 {
            let line = doctor(&world, &admin, auto).await;
            assert!(line.starts_with("warning ") && line.contains("fix: wait"), "{line}");
            assert!(line.contains("had at most 7 responses"), "{line}");
        }
    }
    // Six responses are served, and the seventh request gets the next token.
    assert_eq!(world.count("juspay_bff_cache_max_hand_outs").await, 5);
    let line = doctor(&world, &admin, auto).await;
    let expected = "are replaced after 5 responses, a number that \"auto\" has lowered";
    assert!(line.starts_with("ok ") && line.contains(expected), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_recommends_auto_and_works_without_a_service() {
    let world = World::with(UNLIMITED).await;
    let client = world.client("alice");
    served(&client).await;
    dead_tokens(&world, &client, 5).await;
    let line = doctor(&world, &world.service.admin.to_string(), "").await;
    assert!(line.starts_with("warning ") && line.contains("5 of 6 tokens (83.3 %)"), "{line}");
    assert!(line.contains("set cache.max_hand_outs to \"auto\""), "{line}");
    let line = doctor(&world, "127.0.0.1:0", "").await;
    assert!(line.starts_with("ok ") && line.contains("(server.admin_listen): "), "{line}");
    let path = world.service.public.to_string();
    let line = doctor(&world, &path, "").await;
    assert!(
        line.contains("unknown, because the service's metrics could not be read from "),
        "{line}"
    );
    assert!(line.contains("(server.admin_listen): it returned 404"), "{line}");
}
