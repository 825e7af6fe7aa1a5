//! `docs/openapi.json` describes the service as it is: every route, method and problem code, and no other.
//!
//! `support::guard::contract` compares each response of this whole test run with it. `tests/openapi` lints it,
//! and sends requests that are generated from it.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::{
    World,
    guard::contract::{DOCUMENT, PROBLEM, resolved, responses},
};

/// With every route.
const ALL_ROUTES: &str =
    "cors.origins = ['https://shop.example']\n[sdk]\nprofile = 'upi'\nenvironment = 'sandbox'";

/// Status and code, such as `404 customer_not_found` or `200 ok`.
type Outcomes = BTreeSet<String>;

/// The paths with this tag, and their methods in upper case.
fn documented(tag: &str) -> BTreeMap<&'static str, BTreeSet<String>> {
    let mut found = BTreeMap::<_, BTreeSet<String>>::new();
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if operation["tags"][0] == tag {
                found.entry(&**path).or_default().insert(method.to_uppercase());
            }
        }
    }
    found
}

/// What the document says about a method. Responses of the HTTP parser have no headers there.
fn outcomes(path: &str, method: &str) -> Outcomes {
    let mut found = Outcomes::new();
    for (status, response) in responses(path, method).unwrap().as_object().unwrap() {
        let response = resolved(response);
        if let Some(examples) = response["content"][PROBLEM]["examples"].as_object() {
            found.extend(examples.keys().map(|code| format!("{status} {code}")));
        } else if response["headers"].is_object() {
            found.insert(format!("{status} ok"));
        }
    }
    found
}

/// The service creates a series for every outcome of each route when it starts.
async fn outcomes_of_routes(world: &World) -> BTreeMap<String, Outcomes> {
    let mut found = BTreeMap::<_, Outcomes>::new();
    for line in world.admin().get("/metrics").await.text().lines() {
        let Some(labels) = line.strip_prefix("juspay_bff_http_requests_total{") else { continue };
        let [code, route, status] = ["code", "route", "status"].map(|name| {
            let (_, rest) = labels.split_once(&format!("{name}=\"")).unwrap();
            rest.split_once('"').unwrap().0
        });
        found.entry(route.to_owned()).or_default().insert(format!("{status} {code}"));
    }
    found.remove("unmatched");
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_every_problem_code_is_documented_at_its_route_and_no_other() {
    let world = World::with(ALL_ROUTES).await;
    let documented = documented("app");
    let routes = outcomes_of_routes(&world).await;
    assert!(routes.keys().eq(documented.keys()), "{routes:#?} {documented:#?}");
    for (path, methods) in documented {
        let mut all = Outcomes::new();
        for method in methods {
            let mut outcomes = outcomes(path, &method);
            all.extend(outcomes.iter().cloned());
            // `OPTIONS` checks neither the access token nor the customer.
            if method != "OPTIONS" {
                outcomes.insert("204 ok".to_owned());
                assert_eq!(outcomes, routes[path], "{method} {path}");
            }
        }
        assert_eq!(all, routes[path], "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn documented_methods_exist_and_all_others_are_rejected() {
    let world = World::with(ALL_ROUTES).await;
    for (tag, client) in [("app", world.client("alice")), ("admin", world.admin())] {
        let documented = documented(tag);
        assert!(documented.len() > 2, "{tag}");
        for (path, methods) in documented {
            for method in ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"] {
                let lines = "Content-Length: 0\r\n";
                let reply = client.request(method, &format!("{path}?action=process"), lines).await;
                let exists = !matches!(reply.status, 404 | 405);
                assert_eq!(exists, methods.contains(method), "{method} {path}: {}", reply.status);
                if !exists {
                    assert_eq!(reply.status, 405, "{method} {path}");
                    let allowed = reply.header("allow").unwrap().split(", ").map(str::to_owned);
                    assert_eq!(allowed.collect::<BTreeSet<_>>(), methods, "{method} {path}");
                }
            }
        }
    }
}

#[test]
fn every_admin_route_is_documented() {
    let code = include_str!("../../src/admin.rs");
    let routes: BTreeSet<_> =
        code.split('"').skip(1).step_by(2).filter(|text| text.starts_with('/')).collect();
    assert!(routes.contains("/cache/purge"), "{routes:?}");
    assert_eq!(routes, documented("admin").into_keys().collect());
}

#[test]
fn every_code_has_a_heading_in_the_api_s_document() {
    let headings = include_str!("../../docs/api.md");
    for tag in ["app", "admin"] {
        for (path, methods) in documented(tag) {
            for outcome in methods.iter().flat_map(|method| outcomes(path, method)) {
                let (_, code) = outcome.split_once(' ').unwrap();
                let has_heading = headings.contains(&format!("\n### {code}\n"));
                assert!(has_heading || code == "ok", "docs/api.md has no heading {code}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn document_is_served_to_operators() {
    let world = World::new().await;
    let reply = world.admin().get("/openapi.json").await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    assert_eq!(reply.json(), *DOCUMENT);
    assert_eq!(DOCUMENT["info"]["version"], juspay_bff::VERSION);
    let exposed = World::with("server.admin_listen = \"0.0.0.0:0\"").await;
    assert_eq!(exposed.admin().get("/openapi.json").await.code(), "admin_disabled");
    assert_eq!(world.client("alice").get("/openapi.json").await.code(), "not_found");
}
