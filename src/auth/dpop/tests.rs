//! The examples of RFC 9449, unchanged.

use jiff::Timestamp;

use super::*;
use crate::{
    auth::{digest::sha256, jwt::digest_in, testing::settings},
    metrics::Metrics,
};

/// §7.1, figure 12.
const TOKEN: &str = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
const PROOF: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6Ik\
    VDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCR\
    nMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JE\
    QSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIj\
    oiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0Z\
    WRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNF\
    c05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71E\
    OptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA";
/// §6.1, figure 8: the thumbprint of that key.
const THUMBPRINT: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
/// §4.1, figure 2: for a token endpoint, without `ath`.
const FOR_A_TOKEN: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6Ik\
    VDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCR\
    nMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JE\
    QSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIj\
    oiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwia\
    WF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg\
    4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";

fn dpop() -> Dpop {
    Dpop::new(&settings(), Metrics::new("0", "0").unwrap().auth.dpop_proofs)
}

fn request(method: &str, url: &str, proof: &str) -> DpopRequest {
    let (host, path) = url.split_once('/').unwrap();
    let proofs = [proof.as_bytes()].into_iter();
    DpopRequest::new(method, true, Some(host), &format!("/{path}"), proofs)
}

#[test]
fn rfc_example_for_a_protected_resource_is_accepted() {
    let (resource, thumbprint) =
        ("resource.example.org/protectedresource", digest_in(THUMBPRINT).unwrap());
    let token = sha256(TOKEN.as_bytes());
    let at = |second| Timestamp::from_second(second).unwrap();
    let dpop = dpop();
    let request = |method, url| request(method, url, PROOF);
    let (proof, nonce) =
        dpop.examine(&request("GET", resource), &token, at(1_562_262_618)).unwrap();
    assert_eq!((&*proof.jti, nonce), ("e1j3V_bKic8-LAEB", None));
    assert_eq!(proof.verify(&thumbprint), Ok(()));
    assert!(proof.verify(&sha256(b"another key")).is_err());
    for (request, token, now) in [
        (request("POST", resource), token, 1_562_262_618),
        (request("GET", "resource.example.org/"), token, 1_562_262_618),
        (request("GET", resource), sha256(b"another token"), 1_562_262_618),
        (request("GET", resource), token, 1_562_262_800),
    ] {
        assert!(dpop.examine(&request, &token, at(now)).is_err());
    }
}

#[test]
fn rfc_example_for_a_token_endpoint_is_rejected() {
    assert!(Proof::parse(FOR_A_TOKEN).is_err(), "it has no ath");
}
