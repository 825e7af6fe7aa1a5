//! Access and ID tokens of glewlwyd, an OpenID provider in C, from the authorization code flow.
//!
//! Tokens that the simulator signs cannot prove this: that the service verifies signatures of `GnuTLS` and Nettle,
//! which share no code with its own cryptography, by keys that it finds by discovery, and that it judges the
//! claims, ID tokens and introspection responses of another implementation of the standards correctly.

use std::time::Duration;

use tempfile::TempDir;

use crate::{
    fixture::{assert_rejected, claims, me, owner, to_real_time},
    glewlwyd_server::{
        ALGORITHMS, ANOTHER_CLIENT, ANOTHER_RESOURCE, CLIENT, CLIENT_SECRET, Glewlwyd, RESOURCE,
    },
    support::{Stage, World},
};

/// The service with these issuers: names and settings.
async fn service(issuers: &[(&str, String)]) -> World {
    let stage = Stage::set().await;
    to_real_time(&stage.clock);
    let mut settings = "auth.shared_customer_ids = true\n".to_owned();
    for (name, issuer) in issuers {
        let name = name.to_lowercase();
        settings.extend(["[auth.issuers.", &name, "]\n", issuer, "\n"]);
    }
    let world = stage.open_without_issuers(&settings);
    world.until_ready().await;
    world
}

/// Settings by which the service finds the keys of that issuer, with further ones.
fn discovered(server: &Glewlwyd, algorithm: &str, settings: &str) -> String {
    let issuer = server.issuer(algorithm);
    format!("issuer = '{issuer}'\ndiscovery = true\nalgorithms = ['{algorithm}']\n{settings}")
}

fn subject(token: &str) -> String {
    claims(token)["sub"].as_str().unwrap().to_owned()
}

/// The settings for introspection at this issuer.
fn introspected(server: &Glewlwyd, algorithm: &str, files: &TempDir) -> String {
    let issuer = server.issuer(algorithm);
    let file = files.path().join("secret");
    std::fs::write(&file, CLIENT_SECRET).unwrap();
    format!(
        "issuer = '{issuer}'\nintrospection_url = '{issuer}/introspect'\n\
         introspection_client_id = '{CLIENT}'\n\
         introspection_client_secret_file = '{}'\naudiences = ['{RESOURCE}']",
        file.display()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn users_get_their_own_customer_with_every_algorithm() {
    let server = Glewlwyd::start(&ALGORITHMS).await;
    let audiences = format!("audiences = ['{RESOURCE}']");
    let issuers = ALGORITHMS.map(|name| (name, discovered(&server, name, &audiences)));
    let world = service(&issuers).await;
    for algorithm in ALGORITHMS {
        let mut customers = Vec::new();
        for user in ["alice", "bob"] {
            let token = server.tokens(algorithm, user, CLIENT, RESOURCE).await.access;
            let reply = me(&world, &token).await;
            assert_eq!(reply.status, 200, "{algorithm}: {} {}", reply.text(), claims(&token));
            let customer = owner(&reply);
            assert_eq!(customer, subject(&token), "{algorithm}");
            customers.push(customer);
        }
        assert_ne!(customers[0], customers[1], "{algorithm}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn token_of_another_issuer_or_resource_or_without_a_user_is_rejected() {
    let server = Glewlwyd::start(&["RS256", "ES256"]).await;
    let audiences = format!("audiences = ['{RESOURCE}']");
    let world = service(&[("rs256", discovered(&server, "RS256", &audiences))]).await;
    let good = server.tokens("RS256", "alice", CLIENT, RESOURCE).await;
    assert_eq!(owner(&me(&world, &good.access).await), subject(&good.access));

    let issuer = server.tokens("ES256", "alice", CLIENT, RESOURCE).await.access;
    let resource = server.tokens("RS256", "alice", CLIENT, ANOTHER_RESOURCE).await.access;
    for token in [&issuer, &resource, &good.id, &good.refresh] {
        assert_rejected(&me(&world, token).await);
    }
    let audiences = format!("audiences = ['{RESOURCE}', 'pay']");
    let of_clients = service(&[("rs256", discovered(&server, "RS256", &audiences))]).await;
    let reply = me(&of_clients, &server.token_of_client("RS256").await).await;
    assert_eq!((reply.status, &*reply.code()), (403, "no_customer"));
    assert_eq!(world.simulator().total_requests(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn client_id_can_be_compared_with_the_audiences() {
    let server = Glewlwyd::start(&["ES256"]).await;
    let settings = format!("audiences = ['{CLIENT}']\naudience_claim = 'client_id'");
    let world = service(&[("es256", discovered(&server, "ES256", &settings))]).await;
    for resource in [RESOURCE, ANOTHER_RESOURCE] {
        let token = server.tokens("ES256", "alice", CLIENT, resource).await.access;
        assert_eq!(owner(&me(&world, &token).await), subject(&token));
    }
    let token = server.tokens("ES256", "alice", ANOTHER_CLIENT, RESOURCE).await.access;
    assert_rejected(&me(&world, &token).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn id_tokens_are_accepted_only_if_id_tokens_is_accept() {
    let server = Glewlwyd::start(&["EdDSA"]).await;
    let audiences = format!("audiences = ['{CLIENT}']");
    let settings = format!("{audiences}\nid_tokens = 'accept'");
    let rejects = service(&[("eddsa", discovered(&server, "EdDSA", &audiences))]).await;
    let accepts = service(&[("eddsa", discovered(&server, "EdDSA", &settings))]).await;
    let token = server.tokens("EdDSA", "alice", CLIENT, RESOURCE).await.id;
    assert_rejected(&me(&rejects, &token).await);
    assert_eq!(owner(&me(&accepts, &token).await), subject(&token));
    let anothers = server.tokens("EdDSA", "alice", ANOTHER_CLIENT, RESOURCE).await.id;
    assert_rejected(&me(&accepts, &anothers).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn token_without_a_required_scope_is_rejected() {
    let server = Glewlwyd::start(&["PS256"]).await;
    let token = server.tokens("PS256", "alice", CLIENT, RESOURCE).await.access;
    for (scopes, status) in [("'openid', 'pay'", 200), ("'pay', 'admin'", 403)] {
        let settings = format!("audiences = ['{RESOURCE}']\nrequired_scopes = [{scopes}]");
        let world = service(&[("ps256", discovered(&server, "PS256", &settings))]).await;
        let reply = me(&world, &token).await;
        assert_eq!(reply.status, status, "{scopes}: {}", reply.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn introspected_token_is_accepted_until_it_is_revoked() {
    let server = Glewlwyd::start(&["RS256"]).await;
    let files = tempfile::tempdir().unwrap();
    let world = service(&[("rs256", introspected(&server, "RS256", &files))]).await;
    let token = server.tokens("RS256", "alice", CLIENT, RESOURCE).await.access;
    let another = server.tokens("RS256", "alice", CLIENT, ANOTHER_RESOURCE).await.access;
    assert_eq!(owner(&me(&world, &token).await), subject(&token));
    assert_rejected(&me(&world, &another).await);
    server.revoke("RS256", &token).await;
    // `auth.introspection_cache`, the default.
    world.clock.advance(Duration::from_secs(60));
    assert_rejected(&me(&world, &token).await);
}
