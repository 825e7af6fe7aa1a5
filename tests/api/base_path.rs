//! A path in `server.public_url`: the routes below it, whether or not a proxy removes it.

use crate::support::{World, guard::BASE_PATH};

#[tokio::test(flavor = "multi_thread")]
async fn routes_are_also_below_the_path_of_public_url() {
    for end in ["", "/"] {
        let settings = format!("server.public_url = 'https://api.example{BASE_PATH}{end}'");
        let world = World::with(&settings).await;
        let alice = world.client("alice");
        for (target, status) in [
            ("/me/customer", 200),
            ("/pay/bff/me/customer", 200),
            ("/pay/bff/pay/bff/me/customer", 404),
            ("/pay/me/customer", 404),
            ("/pay/bffme/customer", 404),
            ("/pay/bff//me/customer", 404),
            ("/pay/bff", 404),
        ] {
            assert_eq!(alice.get(target).await.status, status, "{target}");
        }
        let prepare = alice.request("POST", "/pay/bff/me/prepare", "").await;
        assert_eq!(prepare.status, 202);
        let series =
            "juspay_bff_http_requests_total{code=\"ok\",route=\"/me/customer\",status=\"200\"}";
        let count = world.metric(series).await;
        assert!((count - 2.0).abs() < f64::EPSILON, "one route, one label: {count}");
    }
}

/// Such a path is also the beginning of the routes.
#[tokio::test(flavor = "multi_thread")]
async fn path_of_public_url_can_be_the_beginning_of_a_route() {
    for base_path in ["/m", "/me"] {
        let world =
            World::with(&format!("server.public_url = 'https://api.example{base_path}'")).await;
        let alice = world.anonymous();
        for (target, status) in [
            ("/me/customer".to_owned(), 401),
            (format!("{base_path}/me/customer"), 401),
            (format!("{base_path}/customer"), if base_path == "/me" { 401 } else { 404 }),
            (format!("{base_path}me/customer"), 404),
        ] {
            assert_eq!(alice.get(&target).await.status, status, "{base_path} {target}");
        }
    }
}
