//! Describes the difference between an expected text and a similar one: letter case, a trailing
//! slash, the scheme, another version of the same issuer. The description contains no part of the
//! token.

/// Issuers of Microsoft Entra: tokens of version 1.0 and 2.0.
const ENTRA_V1: &str = "https://sts.windows.net/";
const ENTRA_V2: &str = "https://login.microsoftonline.com/";

/// Placeholders for the tenant id in Entra's documentation.
const TENANT_PLACEHOLDERS: [&str; 3] = ["common", "organizations", "consumers"];

/// How similar two issuers are, the most similar first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Closeness {
    /// The same name in another form.
    Form,
    /// The same tenant, with a token of the other version.
    Version,
    /// A placeholder for any tenant.
    Placeholder,
    /// Another path on the same host.
    SameHost,
    /// The same path on another host.
    SamePath,
}

/// Two texts that are similar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NearMiss {
    pub(super) closeness: Closeness,
    /// Completes "the token's value …".
    pub(super) difference: String,
}

/// Compares an issuer in the settings with a token's `iss`.
pub(super) fn issuer(expected: &str, found: &str) -> Option<NearMiss> {
    let near = |closeness, difference: &str| {
        Some(NearMiss { closeness, difference: difference.to_owned() })
    };
    if expected == found {
        return None;
    }
    if let Some(difference) =
        difference_in_form(expected, found, &["https://", "http://"], "the scheme")
    {
        return Some(NearMiss { closeness: Closeness::Form, difference });
    }
    if let (Some(configured), Some(token)) = (Entra::parse(expected), Entra::parse(found)) {
        if configured.is_placeholder() {
            return near(
                Closeness::Placeholder,
                "names its own tenant where the setting stands for any tenant; set issuer to the one \
                 of your tenant, each tenant is an issuer of its own",
            );
        }
        if configured.tenant.eq_ignore_ascii_case(token.tenant) {
            let difference = if token.is_v2 {
                "is the version 2.0 issuer of the same Entra tenant, the setting is that of version 1.0"
            } else {
                "is the version 1.0 issuer of the same Entra tenant, the setting is that of version \
                 2.0; requestedAccessTokenVersion = 2 in the API's app registration makes Entra issue \
                 version 2.0"
            };
            return near(Closeness::Version, difference);
        }
        return near(Closeness::SameHost, "is another Entra tenant");
    }
    let ((our_host, our_path), (their_host, their_path)) = (host(expected)?, host(found)?);
    if our_host.eq_ignore_ascii_case(their_host) {
        return near(Closeness::SameHost, "has the same host, but another path");
    }
    let has_path = !our_path.trim_matches('/').is_empty();
    if has_path && our_path.trim_end_matches('/') == their_path.trim_end_matches('/') {
        return near(Closeness::SamePath, "has the same path, but another host");
    }
    None
}

/// Compares an audience in the settings with one in a token.
pub(super) fn audience(expected: &str, found: &str) -> Option<String> {
    difference_in_form(expected, found, &["api://", "https://", "http://"], "the prefix")
}

/// Compares a text in the settings with one in a token.
pub(super) fn text(expected: &str, found: &str) -> Option<String> {
    difference_in_form(expected, found, &[], "")
}

/// The differences, if the texts differ only in letter case, trailing slashes and these prefixes.
fn difference_in_form(
    expected: &str,
    found: &str,
    prefixes: &[&str],
    name: &str,
) -> Option<String> {
    let (expected_prefix, expected_text) = without_prefix(expected.trim(), prefixes);
    let (found_prefix, found_text) = without_prefix(found.trim(), prefixes);
    let expected_core = expected_text.trim_end_matches('/');
    let found_core = found_text.trim_end_matches('/');
    if expected == found || expected_core.is_empty() || !same_letters(expected_core, found_core) {
        return None;
    }
    let mut differences = Vec::new();
    match (expected_prefix, found_prefix) {
        (expected, found) if expected == found => (),
        (None, Some(found)) => differences.push(format!("{name} {found}, which the token has")),
        (Some(expected), None) => {
            differences.push(format!("{name} {expected}, which the token lacks"));
        }
        (expected, found) => {
            let [expected, found] = [expected, found].map(Option::unwrap_or_default);
            differences.push(format!("{name}, {found} instead of {expected}"));
        }
    }
    if expected_core != found_core {
        differences.push("letter case".to_owned());
    }
    let expected_slashes = expected_text.len().abs_diff(expected_core.len());
    if expected_slashes != found_text.len().abs_diff(found_core.len()) {
        let has = if found_text.ends_with('/') { "has" } else { "lacks" };
        differences.push(format!("a trailing slash, which the token {has}"));
    }
    if expected.trim() != expected || found.trim() != found {
        differences.push("whitespace at an end".to_owned());
    }
    (!differences.is_empty()).then(|| format!("differs only by {}", differences.join(" and by ")))
}

fn same_letters(expected: &str, found: &str) -> bool {
    expected.eq_ignore_ascii_case(found) || expected.to_lowercase() == found.to_lowercase()
}

fn without_prefix<'p, 't>(text: &'t str, prefixes: &[&'p str]) -> (Option<&'p str>, &'t str) {
    let rest = |prefix: &&'p str| {
        let start = text.get(..prefix.len())?;
        let is_one = start.eq_ignore_ascii_case(prefix);
        is_one.then(|| (Some(*prefix), text.get(prefix.len()..).unwrap_or_default()))
    };
    prefixes.iter().find_map(rest).unwrap_or((None, text))
}

/// The authority and the path of a URL.
fn host(address: &str) -> Option<(&str, &str)> {
    let (_, rest) = address.split_once("://")?;
    let end = rest.find('/').unwrap_or(rest.len());
    rest.split_at_checked(end).filter(|(host, _)| !host.is_empty())
}

/// An issuer of Microsoft Entra.
struct Entra<'t> {
    tenant: &'t str,
    is_v2: bool,
}

impl<'t> Entra<'t> {
    fn parse(issuer: &'t str) -> Option<Self> {
        if let (Some(_), tenant) = without_prefix(issuer, &[ENTRA_V1]) {
            return Some(Self { tenant: tenant.trim_end_matches('/'), is_v2: false });
        }
        let (Some(_), rest) = without_prefix(issuer, &[ENTRA_V2]) else { return None };
        let rest = rest.trim_end_matches('/');
        let tenant = rest.strip_suffix("/v2.0").unwrap_or(rest);
        Some(Self { tenant, is_v2: tenant.len() < rest.len() })
    }

    fn is_placeholder(&self) -> bool {
        let is_named = TENANT_PLACEHOLDERS.iter().any(|it| it.eq_ignore_ascii_case(self.tenant));
        is_named || self.tenant.starts_with('{')
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Closeness::{Form, Placeholder, SameHost, SamePath, Version},
        *,
    };

    const V1: &str = "https://sts.windows.net/11111111-2222-3333-4444-555555555555/";
    const V2: &str = "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0";

    /// Issuer of the settings, `iss`, closeness, and a part of the difference.
    const ISSUERS: [(&str, &str, Closeness, &str); 15] = [
        ("https://a.example/", "https://a.example", Form, "slash, which the token lacks"),
        ("https://a.example", "https://a.example/", Form, "slash, which the token has"),
        ("https://a.example/Shop", "https://a.example/shop", Form, "only by letter case"),
        (
            "https://a.example",
            "http://a.example",
            Form,
            "differs only by the scheme, http:// instead of https://",
        ),
        (
            "https://a.example/",
            "http://A.example",
            Form,
            "differs only by the scheme, http:// instead of https:// and by letter case and by a \
             trailing slash, which the token lacks",
        ),
        (
            "https://accounts.google.com",
            "accounts.google.com",
            Form,
            "differs only by the scheme https://, which the token lacks",
        ),
        (
            "accounts.google.com",
            "https://accounts.google.com",
            Form,
            "differs only by the scheme https://, which the token has",
        ),
        ("my-issuer", "My-Issuer", Form, "differs only by letter case"),
        ("my-issuer", " my-issuer", Form, "differs only by whitespace at an end"),
        (V2, V1, Version, "is the version 1.0 issuer of the same Entra tenant"),
        (V1, V2, Version, "is the version 2.0 issuer of the same Entra tenant"),
        (V2, "https://login.microsoftonline.com/other/v2.0", SameHost, "is another Entra tenant"),
        (
            "https://login.microsoftonline.com/common/v2.0",
            V2,
            Placeholder,
            "names its own tenant where the setting stands for any tenant",
        ),
        (
            "https://sso.example/realms/a",
            "https://sso.example/realms/b",
            SameHost,
            "has the same host, but another path",
        ),
        (
            "https://sso.example/realms/a",
            "http://localhost:8080/realms/a",
            SamePath,
            "has the same path, but another host",
        ),
    ];

    #[test]
    fn differences_of_similar_issuers_are_named() {
        for (expected, found, closeness, difference) in ISSUERS {
            let near = issuer(expected, found).unwrap();
            assert_eq!(near.closeness, closeness, "{expected} {found}");
            assert!(near.difference.contains(difference), "{expected} {found}: {near:?}");
        }
        for (expected, found) in [
            ("https://a.example", "https://b.example"),
            ("https://a.example", "https://a.example"),
            ("", ""),
            ("/", "//"),
            ("my-issuer", "your-issuer"),
            ("https://", "http://"),
        ] {
            assert_eq!(issuer(expected, found), None, "{expected} {found}");
        }
    }

    #[test]
    fn differences_of_similar_audiences_are_named() {
        for (expected, found, difference) in [
            ("shop", "api://shop", "differs only by the prefix api://, which the token has"),
            ("api://shop", "shop", "differs only by the prefix api://, which the token lacks"),
            (
                "https://shop",
                "https://shop/",
                "differs only by a trailing slash, which the token has",
            ),
            ("Shop", "shop", "differs only by letter case"),
        ] {
            assert_eq!(audience(expected, found).as_deref(), Some(difference));
        }
        for (expected, found) in [("shop", "shop2"), ("shop", "shop"), ("api://", ""), ("é", "e")]
        {
            assert_eq!(audience(expected, found), None, "{expected} {found}");
        }
        assert_eq!(text("É", "é").as_deref(), Some("differs only by letter case"));
    }
}
