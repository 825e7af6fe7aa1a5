//! Promise P1: a response about another customer is rejected, whatever the cause.

use serde_json::json;
use simulator::{Fault, FaultRule, ObjectFault, Simulator};

use super::{connections, identity_mismatches, owner};
use crate::support::World;

#[tokio::test(flavor = "multi_thread")]
async fn p1_another_customers_object_is_rejected_and_its_connection_closed() {
    let world = World::with("server.workers = 1").await;
    let fault = Fault::Object(ObjectFault::OtherCustomer);
    world.simulator().inject(FaultRule::once(fault).of("alice"));
    let client = world.client("alice");
    let reply = client.me().await;
    assert_eq!((reply.status, &*reply.code()), (502, "upstream_invalid_response"));
    assert!(!reply.text().contains("somebody_else"), "{}", reply.text());
    assert_eq!(identity_mismatches(&world).await, 1);
    world.purge_all().await;
    assert_eq!(owner(&client.me().await), "alice");
    let [first, second] = connections(&world, "alice")[..] else { panic!("two calls") };
    assert_ne!(first, second);
    assert_eq!(identity_mismatches(&world).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_another_customers_object_is_rejected_without_a_token() {
    let world = World::new().await;
    let fault = Fault::Object(ObjectFault::OtherCustomer);
    world.simulator().inject(FaultRule::once(fault).of("alice"));
    let reply = world.client("alice").get("/me/customer?options.get_client_auth_token=false").await;
    assert_eq!((reply.status, &*reply.code()), (502, "upstream_invalid_response"));
    assert_eq!(identity_mismatches(&world).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_merchant_id_is_accepted_in_either_documented_field() {
    let world = World::new().await;
    for (id, fault) in [
        ("both", ObjectFault::CustomerIdToo),
        ("only", ObjectFault::CustomerIdOnly),
        ("sparse", ObjectFault::Sparse),
        ("unknown", ObjectFault::UnknownFields),
    ] {
        world.simulator().inject(FaultRule::once(Fault::Object(fault)).of(id));
        let reply = world.client(id).me().await;
        assert_eq!(reply.status, 200, "{id}: {}", reply.text());
        let object = reply.json();
        let fields = ["object_reference_id", "customer_id"].map(|field| object[field].as_str());
        let expected = match id {
            "both" => [Some(id), Some(id)],
            "only" => [None, Some(id)],
            _ => [Some(id), None],
        };
        assert_eq!(fields, expected, "{id}");
        assert!(reply.token().starts_with("tkn_"), "{id}");
    }
    assert_eq!(identity_mismatches(&world).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_object_without_the_requested_id_is_rejected() {
    let world = World::new().await;
    let token = json!({
        "client_auth_token": "tkn_0",
        "client_auth_token_expiry": "2026-11-23T12:15:00Z",
    });
    let objects = [
        json!({"juspay": token}),
        json!({"object_reference_id": null, "juspay": token}),
        json!({"object_reference_id": "victim", "customer_id": "alice", "juspay": token}),
        json!({"object_reference_id": "ALICE", "juspay": token}),
        json!({"object_reference_id": "alice ", "juspay": token}),
        json!({"object_reference_id": ["alice"], "juspay": token}),
        json!({"id": "alice", "juspay": token}),
        json!({"customer_id": "victim", "juspay": token}),
        json!({"customer": {"object_reference_id": "alice"}, "juspay": token}),
    ];
    let client = world.client("alice");
    for (mismatches, object) in (1..).zip(objects) {
        let fault = Fault::Status { status: 200, headers: [].into(), body: object.to_string() };
        world.simulator().inject(FaultRule::once(fault));
        let reply = client.me().await;
        assert_eq!((reply.status, &*reply.code()), (502, "upstream_invalid_response"), "{object}");
        assert_eq!(identity_mismatches(&world).await, mismatches, "{object}");
        world.purge_all().await;
    }
    // With two members of the same name, neither counts.
    let twice = r#"{"object_reference_id": "alice", "object_reference_id": "victim"}"#;
    let fault = Fault::Status { status: 200, headers: [].into(), body: twice.to_owned() };
    world.simulator().inject(FaultRule::once(fault));
    assert_eq!(client.me().await.code(), "upstream_invalid_response");
    world.purge_all().await;
    assert_eq!(owner(&client.me().await), "alice");
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_another_customers_juspay_id_gets_nothing() {
    let world = World::new().await;
    let victims = world.client("victim").me().await;
    assert_eq!(owner(&victims), "victim");
    let victim = Simulator::juspay_id("victim");
    assert_eq!(victims.json()["id"], victim.as_str());
    let thief = world.client(&victim);
    for path in ["/me/customer", "/me/customer?options.get_client_auth_token=false"] {
        let reply = thief.get(path).await;
        assert_eq!((reply.status, &*reply.code()), (502, "upstream_invalid_response"));
        assert!(!reply.text().contains("victim"), "{}", reply.text());
        world.purge_all().await;
    }
    // Juspay accepts the id and would have returned the customer.
    assert_eq!(world.simulator().calls(&victim), 2);
    assert_eq!(identity_mismatches(&world).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_juspay_id_form_accepts_no_other_id() {
    let world = World::with("juspay.customer_id_form = \"juspay\"").await;
    let id = Simulator::juspay_id("alice");
    let reply = world.client(&id).me().await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.json()["id"], id.as_str());
    for other in ["alice", "CST_alice", "xcst_1"] {
        let reply = world.client(other).me().await;
        assert_eq!((reply.status, &*reply.code()), (403, "no_customer"), "{other}");
        assert_eq!(world.simulator().calls(other), 0);
    }
    let fault = Fault::Object(ObjectFault::OtherCustomer);
    world.simulator().inject(FaultRule::once(fault).of("cst_1"));
    assert_eq!(world.client("cst_1").me().await.code(), "upstream_invalid_response");
    assert_eq!(identity_mismatches(&world).await, 1);
}
