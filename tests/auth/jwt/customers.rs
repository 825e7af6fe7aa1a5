//! Claims that name the customer: nested claims, and claims with a `_verified` claim.

use super::*;

async fn check(claim: &str, assumes_verified: bool, rows: &[(Value, Result<&str, &'static str>)]) {
    let mut by_claim = issuer();
    by_claim.customer_id_claim = claim_path(claim);
    by_claim.assumes_verified = assumes_verified;
    let world = world_with(by_claim, &[P256.jwk("k1")]).await;
    for (change, outcome) in rows {
        let found = world.outcome(&token("k1", change.clone())).await;
        assert_eq!(found, outcome.map(str::to_owned), "{claim} {change}");
    }
}

const NO_CUSTOMER: Result<&str, &'static str> = Err("no_customer");

#[tokio::test]
async fn json_pointers_select_nested_claims() {
    let nested = [
        (json!({"app_metadata": {"customer_id": "c1"}}), Ok("c1")),
        (json!({"app_metadata": {"customer_id": 7}}), Ok("7")),
        (json!({"app_metadata": {"customer_id": ["c1"]}}), Ok("c1")),
        (json!({"app_metadata": {"customer_id": []}}), NO_CUSTOMER),
        (json!({"app_metadata": {"customer_id": ["c1", "c2"]}}), NO_CUSTOMER),
        (json!({"app_metadata": {"customer_id": [["c1"]]}}), NO_CUSTOMER),
        (json!({"app_metadata": {"customer_id": [null]}}), NO_CUSTOMER),
        (json!({"app_metadata": {"customer_id": {"0": "c1"}}}), NO_CUSTOMER),
        (json!({"app_metadata": {"customer_id": null}}), NO_CUSTOMER),
        (json!({"app_metadata": ["c1"]}), NO_CUSTOMER),
        (json!({"app_metadata": "c1"}), NO_CUSTOMER),
        (json!({"/app_metadata/customer_id": "c1", "customer_id": "c1"}), NO_CUSTOMER),
        (json!({"user_metadata": {"customer_id": "c1"}}), NO_CUSTOMER),
    ];
    let listed = [
        (json!({"emails": ["a@b.example"]}), Ok("a@b.example")),
        (json!({"emails": "a@b.example"}), Ok("a@b.example")),
        (json!({"emails": ["a@b.example", "c@d.example"]}), NO_CUSTOMER),
    ];
    let second = [(json!({"ids": ["a", "b"]}), Ok("b")), (json!({"ids": ["a"]}), NO_CUSTOMER)];
    let subject = [
        (json!({"sub": "app", "azp": "app"}), NO_CUSTOMER),
        (json!({"sub": ["alice"]}), Err("claims")),
        (json!({}), Ok("alice")),
    ];
    locally(async {
        check("/app_metadata/customer_id", false, &nested).await;
        check("emails", false, &listed).await;
        check("/ids/1", false, &second).await;
        check("/sub", false, &subject).await;
    })
    .await;
}

#[tokio::test]
async fn email_claims_need_their_verified_claim() {
    let missing = |assumed: bool| if assumed { Ok("a@b.example") } else { NO_CUSTOMER };
    let address = "a@b.example";
    locally(async {
        for assumed in [false, true] {
            let rows = [
                (json!({"email": address, "email_verified": true}), Ok(address)),
                (json!({"email": address, "email_verified": "true"}), Ok(address)),
                (json!({"email": [address], "email_verified": "true"}), Ok(address)),
                (json!({"email": address}), missing(assumed)),
                (json!({"email": address, "email_verified": false}), NO_CUSTOMER),
                (json!({"email": address, "email_verified": "false"}), NO_CUSTOMER),
                (json!({"email": address, "email_verified": "True"}), NO_CUSTOMER),
                (json!({"email": address, "email_verified": 1}), NO_CUSTOMER),
                (json!({"email": address, "email_verified": [true]}), NO_CUSTOMER),
            ];
            check("email", assumed, &rows).await;
            check("/email", assumed, &rows).await;
            check("/email/0", assumed, &[(json!({"email": [address]}), missing(assumed))]).await;
            let nested = [
                (json!({"id": {"email": address, "email_verified": true}}), Ok(address)),
                (json!({"id": {"email": address}, "email_verified": true}), missing(assumed)),
                // A `_verified` claim that is false is never waived, wherever it is.
                (json!({"id": {"email": address}, "email_verified": false}), NO_CUSTOMER),
                (json!({"id": {"email": address, "email_verified": false}}), NO_CUSTOMER),
            ];
            check("/id/email", assumed, &nested).await;
        }
        let phone_numbers =
            [(json!({"phone_number": "+91", "phone_number_verified": "true"}), Ok("+91"))];
        check("phone_number", false, &phone_numbers).await;
        check("phone_number", true, &[(json!({"phone_number": "+91"}), Ok("+91"))]).await;
        // `null` is present and not true.
        let claims = claims().to_string();
        let claims = claims.replacen('{', "{\"email\":\"a\",\"email_verified\":null,", 1);
        let mut assuming = issuer();
        assuming.customer_id_claim = claim_path("email");
        assuming.assumes_verified = true;
        let world = world_with(assuming, &[P256.jwk("k1")]).await;
        let token = P256.sign(ES256, &header("k1").to_string(), &claims);
        assert_eq!(world.outcome(&token).await, Err("no_customer"));
    })
    .await;
}
