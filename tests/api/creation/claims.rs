//! Which claims count, and where the settings may look for them.

use serde_json::json;
use simulator::MintRequest;

use super::{ON, calls, creation, newcomer, outcomes, owner, strict_world};
use crate::support::Reply;

/// Checks that the customer was not created because of its mobile number.
fn lacks_mobile_number(reply: &Reply) {
    assert_eq!((reply.status, &*reply.code()), (422, "customer_not_creatable"), "{}", reply.text());
    let problem = reply.json();
    assert!(problem["detail"].as_str().unwrap().contains("mobile_number"), "{problem}");
    assert_eq!((&problem["retryable"], &problem["retry_after"]), (&json!(false), &json!(null)));
}

#[tokio::test(flavor = "multi_thread")]
async fn mobile_number_must_be_verified_and_international() {
    let world = strict_world(ON).await;
    let without = |claim: &str| newcomer("x").with(claim, json!(null));
    let with = |number: &str| newcomer("x").with("phone_number", number);
    for (n, token) in [
        without("phone_number"),
        without("phone_number_verified"),
        newcomer("x").with("phone_number_verified", false),
        newcomer("x").with("phone_number_verified", "yes"),
        newcomer("x").with("phone_number_verified", 1),
        newcomer("x").with("phone_number", 919_810_012_345_u64),
        newcomer("x").with("phone_number", json!(["+919810012345"])),
        with("9810012345"),
        with("+91"),
        with(""),
        with("+91 98100 12345;ext=1"),
    ]
    .into_iter()
    .enumerate()
    {
        let subject = format!("newcomer{n}");
        let reply = world.client_with(&MintRequest { subject, ..token }).me().await;
        lacks_mobile_number(&reply);
    }
    assert!(calls(&world).iter().all(|call| call.starts_with("GET ")));
    assert_eq!(outcomes(&world, "no_mobile_number").await, 11);
    let verified = newcomer("as_a_text").with("phone_number_verified", "true");
    assert_eq!(owner(&world.client_with(&verified).me().await), "as_a_text");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_token_with_a_number_is_used_after_a_second() {
    let world = strict_world(ON).await;
    let unverified = newcomer("newcomer").with("phone_number_verified", false);
    let client = world.client_with(&unverified);
    for _ in 0..3 {
        lacks_mobile_number(&client.me().await);
    }
    assert_eq!(calls(&world), ["GET /customers/newcomer"], "remembered");
    world.clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(owner(&world.client_with(&newcomer("newcomer")).me().await), "newcomer");
}

#[tokio::test(flavor = "multi_thread")]
async fn optional_claims_that_are_missing_or_unverified_are_not_sent() {
    let world = strict_world(ON).await;
    let mobile = "&mobile_number=9810012345&mobile_country_code=91";
    let end = "&options.get_client_auth_token=true";
    let names = "&first_name=Asha&last_name=Rao";
    let only_number = newcomer("x")
        .with("email", json!(null))
        .with("given_name", json!(null))
        .with("family_name", json!(null));
    for (n, (token, form)) in [
        (only_number, format!("{mobile}{end}")),
        (newcomer("x").with("email_verified", false), format!("{mobile}{names}{end}")),
        (newcomer("x").with("email_verified", json!(null)), format!("{mobile}{names}{end}")),
        (newcomer("x").with("email", "no address"), format!("{mobile}{names}{end}")),
        (newcomer("x").with("email", 7), format!("{mobile}{names}{end}")),
        (
            newcomer("x").with("email_verified", false).with("given_name", "A\nB"),
            format!("{mobile}&last_name=Rao{end}"),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        world.simulator().clear_requests();
        let subject = format!("newcomer{n}");
        let client = world.client_with(&MintRequest { subject: subject.clone(), ..token });
        assert_eq!(owner(&client.me().await), subject);
        assert_eq!(creation(&world).body, format!("object_reference_id={subject}{form}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn assumed_claims_need_no_verification_but_never_a_false_one() {
    let settings = format!("{ON}auth.issuers.main.customer_id_verified = \"assumed\"");
    let world = strict_world(&settings).await;
    let unmarked = newcomer("newcomer0")
        .with("phone_number_verified", json!(null))
        .with("email_verified", json!(null));
    assert_eq!(owner(&world.client_with(&unmarked).me().await), "newcomer0");
    assert!(creation(&world).body.contains("email_address=asha%40example.com"));
    let denied = newcomer("newcomer1").with("phone_number_verified", false);
    lacks_mobile_number(&world.client_with(&denied).me().await);
}

/// The failure is about the token, not about the customer.
#[tokio::test(flavor = "multi_thread")]
async fn token_with_the_number_is_not_held_up_by_one_without() {
    let world = strict_world(ON).await;
    let without = newcomer("newcomer").with("phone_number", json!(null));
    for _ in 0..2 {
        lacks_mobile_number(&world.client_with(&without).me().await);
    }
    assert_eq!(owner(&world.client_with(&newcomer("newcomer")).me().await), "newcomer");
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_have_other_names_by_issuer() {
    let settings = format!(
        "{ON}[auth.issuers.main]\nmobile_number_claim = '/app_metadata/mobile'\n\
         email_claim = '/emails/0'\nfirst_name_claim = '/user_metadata/first'\n\
         last_name_claim = 'surname'\ncustomer_id_prefix = 'shop-'\n"
    );
    let world = strict_world(&settings).await;
    let token = newcomer("newcomer")
        .with("app_metadata", json!({"mobile": "+4915112345678"}))
        .with("emails", json!(["b@example.com"]))
        .with("user_metadata", json!({"first": "Björn", "mobile": "+911234567890"}))
        .with("surname", "Öz");
    assert_eq!(owner(&world.client_with(&token).me().await), "shop-newcomer");
    assert_eq!(
        creation(&world).body,
        "object_reference_id=shop-newcomer&mobile_number=15112345678&mobile_country_code=49\
         &email_address=b%40example.com&first_name=Bj%C3%B6rn&last_name=%C3%96z\
         &options.get_client_auth_token=true"
    );
}
