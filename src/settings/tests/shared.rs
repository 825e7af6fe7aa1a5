//! The settings of the shared tier: what it requires, and combinations that exclude each other.

use super::*;

/// Files of keys, and settings that name them.
fn keys() -> (tempfile::TempDir, String) {
    let files = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let text = format!(
        "shared.key_file = '{}'\nshared.name_key_file = '{}'\n",
        write("keys", &"01".repeat(32)),
        write("name", &"02".repeat(32)),
    );
    write("password", "hush");
    write("short", "hush");
    (files, text)
}

/// Faults of these settings, other than that the program was built without the tier.
fn faults_with(text: &str) -> Vec<Fault> {
    let mut faults = faults_of(valid().text("shared", text));
    faults.retain(|fault| !fault.reason.contains("without the shared tier"));
    faults
}

#[test]
fn keys_are_required_with_the_url() {
    let missing = "is missing, and shared.url is set";
    let expected = [("shared.key_file", missing), ("shared.name_key_file", missing)];
    compare("url alone", &faults_with("shared.url = 'redis://cache'"), &expected);
    let (_files, keys) = keys();
    assert_eq!(faults_with(&format!("{keys}shared.url = 'redis://cache'")), []);
    assert_eq!(faults_with(&keys), [], "without the URL, the keys are not used");
}

#[test]
fn unusable_values_are_faults() {
    let (files, _) = keys();
    let short = files.path().join("short").display().to_string();
    for (text, key, reason) in [
        ("shared.topology = 'ring'".to_owned(), "shared.topology", "expected \"single\""),
        ("shared.prefix = 'a{b}'".to_owned(), "shared.prefix", "letters, digits"),
        ("shared.timeout = '1ms'".to_owned(), "shared.timeout", "below the minimum"),
        ("shared.timeout = '2s'".to_owned(), "shared.timeout", "above the maximum"),
        (format!("shared.key_file = '{short}'"), "shared.key_file", "not a key of 256 bits"),
        (format!("shared.name_key_file = '{short}'"), "shared.name_key_file", "not a key"),
        ("shared.password_file = '/nonexistent'".to_owned(), "shared.password_file", "be read"),
        (format!("shared.ca_file = '{short}'"), "shared.ca_file", "no certificate"),
    ] {
        compare(&text, &faults_with(&text), &[(key, reason)]);
    }
}

#[cfg(feature = "shared")]
#[test]
fn conflicts_are_faults() {
    let (files, keys) = keys();
    let path = |name: &str| files.path().join(name).display().to_string();
    let ca = rcgen::generate_simple_self_signed(["ca.example".to_owned()]).unwrap().cert.pem();
    std::fs::write(files.path().join("ca"), ca).unwrap();
    let cluster = "shared.topology = 'cluster'\n";
    for (text, key, reason) in [
        (format!("{cluster}shared.url = 'redis://a/1'"), "shared.topology", "only database 0"),
        (format!("{cluster}shared.url = 'unix:/run/x'"), "shared.topology", "a unix socket"),
        ("shared.url = 'redis://user@a'".to_owned(), "shared.url", "password_file is not set"),
        (
            format!("shared.url = 'redis://a'\nshared.ca_file = '{}'", path("ca")),
            "shared.ca_file",
            "does not use TLS",
        ),
    ] {
        compare(&text, &faults_with(&format!("{keys}{text}")), &[(key, reason)]);
    }
    let same = format!("shared.key_file = '{0}'\nshared.name_key_file = '{0}'", path("keys"));
    compare("one file", &faults_with(&same), &[("shared.name_key_file", "the same file")]);
}

#[cfg(feature = "shared")]
#[test]
fn password_in_plain_text_is_a_warning() {
    let (files, keys) = keys();
    let password = files.path().join("password").display().to_string();
    let warnings = |url: &str| {
        let text = format!("{keys}shared.url = '{url}'\nshared.password_file = '{password}'");
        valid().text("shared", text).load().unwrap().warnings
    };
    for encrypted in ["rediss://user@cache", "redis://127.0.0.1", "unix:/run/redis.sock"] {
        assert_eq!(warnings(encrypted), [], "{encrypted}");
    }
    let [warning] = &warnings("redis://user@cache")[..] else { panic!("no warning") };
    assert_eq!(&*warning.key, "shared.url");
    assert!(warning.reason.contains("plain text"), "{}", warning.reason);
}
