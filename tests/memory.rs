//! Secrets are wiped from memory: the process searches its own memory for copies of them.
//!
//! The secrets to find are constants of the program, which are in read-only memory and therefore
//! not searched. All other copies of them are masked.

#![expect(clippy::unwrap_used, reason = "a test that panics fails, as it should")]

use std::{
    fs::{self, File},
    io::Read as _,
    ops::Range,
    os::unix::fs::FileExt as _,
    sync::{LazyLock, Mutex, PoisonError},
};

use awc::http::header::HeaderValue;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use juspay_bff::{
    basic_auth,
    secret_file::Secret,
    settings::{ClientAuth, ServerTls, Sources},
    tls,
};
use memchr::memmem;
use secrecy::zeroize::Zeroizing;
use tempfile::TempDir;

/// A masked secret to find.
struct Needle(Vec<u8>);

impl Needle {
    /// The middle part of `secret`: allocators overwrite the beginning of freed memory.
    fn of(secret: &[u8]) -> Self {
        LazyLock::force(&SEARCH);
        let end = secret.len() - 4;
        assert!(end >= 16 + 12, "too short to be sure");
        Self(secret[16..end].iter().copied().map(masked).collect())
    }

    /// The number of copies in this process's memory.
    fn copies(&self) -> usize {
        SEARCH.lock().unwrap_or_else(PoisonError::into_inner).find(&self.0)
    }
}

/// The buffers of a search. Allocated once and first, because a later allocation may reuse the
/// memory that contained the secret.
struct Search {
    memory: File,
    maps: String,
    chunk: Vec<u8>,
}

/// One test at a time searches, because it would find the other tests' secrets, too.
static SEARCH: LazyLock<Mutex<Search>> = LazyLock::new(|| {
    let memory = File::open("/proc/self/mem").unwrap();
    let (maps, chunk) = (String::with_capacity(1 << 20), vec![0; 1 << 20]);
    Mutex::new(Search { memory, maps, chunk })
});

impl Search {
    fn find(&mut self, needle: &[u8]) -> usize {
        let Self { memory, maps, chunk } = self;
        maps.clear();
        File::open("/proc/self/maps").unwrap().read_to_string(maps).unwrap();
        let own = chunk.as_ptr_range();
        let own = own.start.addr()..own.end.addr();
        let around = |part: Range<usize>| {
            [part.start..part.end.min(own.start), part.start.max(own.end)..part.end]
        };
        let mut found = 0;
        for part in maps.lines().filter_map(writable).flat_map(around) {
            for at in part.clone().step_by(chunk.len() - needle.len() + 1) {
                let length = chunk.len().min(part.end - at);
                let piece = &mut chunk[..length];
                // Another thread may have unmapped this memory.
                let is_read = memory.read_exact_at(piece, u64::try_from(at).unwrap()).is_ok();
                for byte in &mut *piece {
                    *byte = masked(*byte);
                }
                found += if is_read { memmem::find_iter(piece, needle).count() } else { 0 };
            }
        }
        found
    }
}

/// Masking twice yields another value, so a masked secret is never found as the secret.
const fn masked(byte: u8) -> u8 {
    byte.wrapping_add(0x35)
}

/// The memory range of a line of `/proc/self/maps`, if it is writable.
fn writable(line: &str) -> Option<Range<usize>> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-').filter(|_| rest.starts_with("rw"))?;
    let number = |hex| usize::from_str_radix(hex, 16).unwrap();
    Some(number(start)..number(end))
}

#[tokio::test]
async fn secret_from_a_file_is_in_memory_once_and_wiped_when_replaced() {
    const ONE: &str = "wiped-one-e7c1d04be3b84d1f9a52c6078fd3b914";
    const OTHER: &str = "wiped-other-0a9d7c5e1f284b6c8d03e5f7a6b2c481";
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("secret");
    let [one, other] = [ONE, OTHER].map(|it| Needle::of(it.as_bytes()));
    fs::write(&path, ONE).unwrap();
    let secret = Secret::open(&path).unwrap();
    assert!(!secret.reload().await.unwrap());
    assert_eq!((one.copies(), other.copies()), (1, 0));
    fs::write(&path, OTHER).unwrap();
    assert!(secret.reload().await.unwrap());
    assert_eq!((one.copies(), other.copies()), (0, 1));
    drop(secret);
    assert_eq!((one.copies(), other.copies()), (0, 0));
}

#[test]
fn secret_that_is_only_checked_is_wiped() {
    const KEY: &str = "wiped-tried-6f2b8e90c4d74a3bb1e5d7f9a8c60213";
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("key");
    fs::write(&path, KEY).unwrap();
    let text = format!(
        "juspay = {{ base_url = 'https://a', merchant_id = 'm', api_key_file = '{}' }}\n\
         [auth.issuers.main]\nissuer = 'i'\naudiences = ['a']\nalgorithms = ['RS256']\n\
         jwks_url = 'https://a'\n",
        path.display()
    );
    let loaded = Sources::default().text("x", text).load().unwrap();
    assert_eq!(Needle::of(KEY.as_bytes()).copies(), 0);
    drop(loaded);
}

#[test]
fn basic_credentials_are_wiped_with_their_header() {
    const USER: &str = "wiped-header-5b1c97a2f04e4d6d8a3b0c9e7f16d25a";
    const HEADER: &str = "Basic d2lwZWQtaGVhZGVyLTViMWM5N2EyZjA0ZTRkNmQ4YTNiMGM5ZTdmMTZkMjVhOg==";
    let [user, header] = [USER, HEADER].map(|it| Needle::of(it.as_bytes()));
    let value = HeaderValue::from_maybe_shared(basic_auth::credentials(USER, "")).unwrap();
    assert_eq!(value, HEADER);
    let another = value.clone();
    assert_eq!((user.copies(), header.copies()), (0, 1), "clones share it");
    drop((value, another));
    assert_eq!((user.copies(), header.copies()), (0, 0));
}

/// RFC 9500 §2.3's P-256 key, and a certificate of it.
const TEST_KEY: &str = "\
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIObLW92AqkWunJXowVR2Z5/+yVPBaFHnEedDk5WJxk/BoAoGCCqGSM49
AwEHoUQDQgAEQiVI+I+3gv+17KN0RFLHKh5Vj71vc75eSOkyMsxFxbFsTNEMTLjV
uKFxOelIgsiZJXKZNCX0FBmrfpCkKklCcg==
-----END EC PRIVATE KEY-----
";
const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBfjCCASWgAwIBAgIUavW1oRUlxWneWnCOQg2sEs+7UbkwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJYS5leGFtcGxlMCAXDTI2MTEyNDExMTE0MFoYDzIxMjYxMDMx
MTExMTQwWjAUMRIwEAYDVQQDDAlhLmV4YW1wbGUwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAARCJUj4j7eC/7Xso3REUscqHlWPvW9zvl5I6TIyzEXFsWxM0QxMuNW4
oXE56UiCyJklcpk0JfQUGat+kKQqSUJyo1MwUTAdBgNVHQ4EFgQUW3CnmBf3n/Y3
0vfj3ERsIQnXu9QwHwYDVR0jBBgwFoAUW3CnmBf3n/Y30vfj3ERsIQnXu9QwDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNHADBEAiATIHgACfgViAbCY+1kLmYc
kdVtrkqKUw3xagzspi+LGQIgCD42Kx7WIuwZuiYv2tQ5foMWNdeHvdCJA2N41kcE
7yc=
-----END CERTIFICATE-----
";

#[tokio::test]
async fn private_key_file_is_wiped_except_for_the_signing_key() {
    let directory = TempDir::new().unwrap();
    let [cert_file, key_file] = ["crt", "key"].map(|name| directory.path().join(name));
    fs::write(&cert_file, CERTIFICATE).unwrap();
    fs::write(&key_file, TEST_KEY).unwrap();
    let base64 = Needle::of(TEST_KEY.lines().nth(1).unwrap().as_bytes());
    let scalar = {
        // The private key follows its version and its own tag and length (RFC 5915 §3).
        let text = Zeroizing::new(TEST_KEY.lines().skip(1).take(3).collect::<Vec<_>>().concat());
        let mut der = Zeroizing::new(vec![0; text.len()]);
        STANDARD.decode_slice(&*text, &mut der).unwrap();
        Needle::of(&der[7..39])
    };
    assert!(tls::private_key(&key_file).is_ok());
    assert_eq!((base64.copies(), scalar.copies()), (0, 0));
    let client_auth = ClientAuth::Off;
    let settings = ServerTls { cert_file, key_file, client_ca_file: None, client_auth };
    let tls = tls::ServerTls::open(&settings).unwrap();
    assert!(!tls.reload().await.unwrap());
    assert_eq!((base64.copies(), scalar.copies()), (0, 0));
}

#[test]
fn secret_that_is_not_wiped_is_found() {
    const TEXT: &str = "not-wiped-d1a4f7c2b5e84906a3c8f0e7d6b9125c";
    let needle = Needle::of(TEXT.as_bytes());
    let kept = TEXT.to_owned();
    assert_eq!(needle.copies(), 1);
    let copies = [kept.clone(), kept.clone()];
    assert_eq!(needle.copies(), 3);
    drop((kept, copies));
}
