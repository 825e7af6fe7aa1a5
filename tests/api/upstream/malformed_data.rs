//! Customers whose data at Juspay has invalid bytes or values: they are served if their identity and
//! token are unambiguous.

use serde_json::{Value, json};

use super::{identity_mismatches, owner};
use crate::support::{Reply, ScriptedServer, World};

const TOKEN: &str = r#""client_auth_token":"tkn_0""#;
const EXPIRY: &str = r#""client_auth_token_expiry":"2026-11-23T12:15:00Z""#;

/// The service with a scripted server as Juspay and the shipped settings.
struct Scenario {
    juspay: ScriptedServer,
    world: World,
}

impl Scenario {
    async fn new() -> Self {
        let juspay = ScriptedServer::new().await;
        let world = World::with(&juspay.as_base_url()).await;
        Self { juspay, world }
    }

    /// The response for `customer` when Juspay returns this body.
    async fn response(&self, customer: &str, target: &str, body: &[u8]) -> Reply {
        let (client, target) = (self.world.client(customer), target.to_owned());
        let waiting = tokio::spawn(async move { client.get(&target).await });
        let mut line = self.juspay.accept().await;
        line.request().await;
        let head = format!(
            "HTTP/1.1 200 OK\r\nDate: Mon, 23 Nov 2026 12:00:00 GMT\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        line.say([head.as_bytes(), body].concat()).await;
        waiting.await.unwrap()
    }
}

/// An object for `customer` with additional members and a token.
fn object(customer: &str, members: &[u8]) -> Vec<u8> {
    let id = format!("{{\"object_reference_id\":\"{customer}\",");
    let juspay = format!(",\"juspay\":{{{TOKEN},{EXPIRY}}}}}");
    [id.as_bytes(), members, juspay.as_bytes()].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_data_drops_only_the_invalid_fields() {
    let scenario = Scenario::new().await;
    let deep = format!("\"x\":{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let rows: [(&[u8], Value); 17] = [
        (br#""first_name":"Ali\ud800ce""#, json!({"first_name": "Ali\u{fffd}ce"})),
        (br#""first_name":"\udc00\ud83d\ude00""#, json!({"first_name": "\u{fffd}\u{1f600}"})),
        (b"\"first_name\":\"Andr\xe9\"", json!({"first_name": "Andr\u{fffd}"})),
        (b"\"last_name\":\"a\0b\nc\x1f\"", json!({"last_name": "a\u{fffd}b\u{fffd}c\u{fffd}"})),
        (b"\"email_address\":\"\xff\xfe@a\"", json!({"email_address": "\u{fffd}\u{fffd}@a"})),
        (br#""mobile_number":9999999999"#, json!({"mobile_number": 9_999_999_999_u64})),
        (br#""mobile_number":1e999,"first_name":"A""#, json!({"first_name": "A"})),
        (br#""first_name":{"a":"\ud800"},"last_name":["B"]"#, json!({})),
        (br#""first_name":7,"last_name":true,"id":7"#, json!({})),
        (br#""date_created":"2026-02-30T00:00:00Z","last_updated":1e999"#, json!({})),
        (
            br#""date_created":"9999-12-31T23:59:59Z""#,
            json!({"date_created": "9999-12-31T23:59:59Z"}),
        ),
        (br#""first_name":"\u0000""#, json!({"first_name": "\0"})),
        (br#""score":1e999,"balance":-99999999999999999999999"#, json!({})),
        (b"\"note\xff\":\"\\ud800\0\xff\",\"first_name\":\"A\"", json!({"first_name": "A"})),
        (b"\"nested\":{\"id\":\"cst_2\",\"id\":[\"\xff\"],\"juspay\":{}}", json!({})),
        (br#""note":1,"note":2,"first_name":"A","first_name":"B""#, json!({"first_name": "B"})),
        (deep.as_bytes(), json!({})),
    ];
    for (number, (members, expected)) in rows.into_iter().enumerate() {
        let customer = format!("customer{number}");
        let reply = scenario.response(&customer, "/me/customer", &object(&customer, members)).await;
        let text: String = members.escape_ascii().take(80).map(char::from).collect();
        assert_eq!(owner(&reply), customer, "{text}");
        assert_eq!(reply.token(), "tkn_0", "{text}");
        let mut object = reply.json();
        let rest = object.as_object_mut().unwrap();
        for known in ["object_reference_id", "juspay"] {
            rest.remove(known);
        }
        assert_eq!(object, expected, "{text}");
    }
    let body = [b"\xef\xbb\xbf", &*object("bom", b"\"first_name\":\"A\"")].concat();
    assert_eq!(owner(&scenario.response("bom", "/me/customer", &body).await), "bom");
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_response_with_uncertain_identity_is_rejected() {
    let scenario = Scenario::new().await;
    let juspay = format!("\"juspay\":{{{TOKEN},{EXPIRY}}}");
    let ids: [&[u8]; 9] = [
        b"\"object_reference_id\":\"alice\xff\"",
        br#""object_reference_id":"alice\ud800""#,
        b"\"object_reference_id\":\"al\nice\"",
        br#""object_reference_id":"alice","object_reference_id":"alice""#,
        br#""object_reference_id":"bob","object_reference_\u0069d":"alice""#,
        br#""object_reference_id":"alice","customer_id":"alice","customer_id":"bob""#,
        b"\"object_reference_id\":\"alice\",\"customer_id\":\"\xff\"",
        br#""object_reference_id":"alice","id":"cst_1","\u0069d":"cst_2""#,
        b"\"object_reference_id\":\"alice\",\"id\":\"cst_\0\"",
    ];
    for id in ids {
        let body = [b"{", id, b",", juspay.as_bytes(), b"}"].concat();
        for target in ["/me/customer", "/me/customer?options.get_client_auth_token=false"] {
            scenario.world.purge_all().await;
            let reply = scenario.response("alice", target, &body).await;
            let text = id.escape_ascii();
            assert_eq!(&*reply.code(), "upstream_invalid_response", "{text}");
            assert_eq!(reply.status, 502, "{text}");
        }
    }
    // It doesn't count as another customer's either.
    assert_eq!(identity_mismatches(&scenario.world).await, 0);
}

/// After a repair, the id would equal the requested one.
#[tokio::test(flavor = "multi_thread")]
async fn p1_malformed_id_is_never_repaired() {
    let scenario = Scenario::new().await;
    let customer = "Andr\u{fffd}";
    let juspay = format!("\"juspay\":{{{TOKEN},{EXPIRY}}}}}");
    let body = [b"{\"object_reference_id\":\"Andr\xe9\",", juspay.as_bytes()].concat();
    let reply = scenario.response(customer, "/me/customer", &body).await;
    assert_eq!(&*reply.code(), "upstream_invalid_response");
    scenario.world.purge_all().await;
    let body = object(customer, b"\"first_name\":\"Andr\xe9\"");
    assert_eq!(owner(&scenario.response(customer, "/me/customer", &body).await), customer);
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_uncertain_token_is_rejected() {
    let scenario = Scenario::new().await;
    let bodies = [
        format!(r#""juspay":{{"client_auth_token":"tkn_\ud800",{EXPIRY}}}"#).into_bytes(),
        [b"\"juspay\":{\"client_auth_token\":\"tkn_\xff\",", EXPIRY.as_bytes(), b"}"].concat(),
        [b"\"juspay\":{\"client_auth_token\":\"tkn_\0\",", EXPIRY.as_bytes(), b"}"].concat(),
        format!(r#""juspay":{{{TOKEN},"client_auth_\u0074oken":"tkn_1",{EXPIRY}}}"#).into_bytes(),
        format!(r#""juspay":{{{TOKEN},{EXPIRY},{EXPIRY}}}"#).into_bytes(),
        [b"\"juspay\":{", TOKEN.as_bytes(), b",\"client_auth_token_expiry\":\"\xff\"}"].concat(),
        format!(r#""juspay":null,"juspay":{{{TOKEN},{EXPIRY}}}"#).into_bytes(),
        format!(r#""\u006auspay":{{{TOKEN},{EXPIRY}}},"juspay":{{{TOKEN},{EXPIRY}}}"#).into_bytes(),
    ];
    for body in bodies {
        let whole = [b"{\"object_reference_id\":\"alice\",", &*body, b"}"].concat();
        for target in ["/me/customer", "/me/customer?options.get_client_auth_token=false"] {
            scenario.world.purge_all().await;
            let reply = scenario.response("alice", target, &whole).await;
            assert_eq!(&*reply.code(), "upstream_invalid_response", "{}", body.escape_ascii());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn body_truncated_in_a_repaired_string_is_invalid() {
    let scenario = Scenario::new().await;
    let whole = object("alice", b"\"first_name\":\"Andr\xe9\\ud800\"");
    for end in [1, 30, 48, 55, 60, whole.len() - 2, whole.len() - 1] {
        scenario.world.purge_all().await;
        let reply = scenario.response("alice", "/me/customer", &whole[..end]).await;
        assert_eq!(&*reply.code(), "upstream_invalid_response", "{end}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_expiry_is_valid_and_later_ones_are_not() {
    let scenario = Scenario::new().await;
    for (customer, expiry, status) in [
        ("alice", "9999-12-31T23:59:59Z", 200),
        ("bob", "9999-12-30T22:00:00.999999999Z", 200),
        ("carol", "9999-12-31T23:59:59-00:01", 502),
        ("dave", "+010000-01-01T00:00:00Z", 502),
    ] {
        let body = format!(
            r#"{{"object_reference_id":"{customer}","juspay":{{{TOKEN},"client_auth_token_expiry":"{expiry}"}}}}"#
        );
        let reply = scenario.response(customer, "/me/customer", body.as_bytes()).await;
        assert_eq!(reply.status, status, "{expiry}: {}", reply.text());
        if status == 200 {
            // cache.max_token_life
            assert_eq!(reply.header("juspay-token-expires-in"), Some("900"), "{expiry}");
            let expected = &reply.json()["juspay"]["client_auth_token_expiry"];
            assert_eq!(*expected, "2026-11-23T12:15:00Z", "{expiry}");
        }
    }
}
