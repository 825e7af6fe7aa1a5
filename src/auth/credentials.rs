//! Parses the `Authorization` header (RFC 6750 §2.1, RFC 9449 §7.1) down to the text of the token.
//!
//! It does not parse the token itself. More than one header is rejected, because other software may
//! use another one of them.

use super::{digest::Sha256, error::AuthError};

/// The scheme that a token is sent with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    /// The token alone is sufficient.
    Bearer,
    /// The request must also prove possession of the token's key (RFC 9449).
    Dpop,
}

impl Scheme {
    /// Parses the name in any letter case (RFC 9110 §11.1).
    fn from_name(name: &[u8]) -> Option<Self> {
        if name.eq_ignore_ascii_case(b"bearer") {
            Some(Self::Bearer)
        } else if name.eq_ignore_ascii_case(b"dpop") {
            Some(Self::Dpop)
        } else {
            None
        }
    }
}

/// The credentials of a request. The token has not been parsed.
pub(super) struct Credentials<'a> {
    pub(super) scheme: Scheme,
    /// At least one byte.
    pub(super) token: &'a [u8],
}

/// The text of a token that is not cached, and its digest. No `Debug`: tokens are never printed.
pub(super) struct Token<'r> {
    pub(super) text: &'r str,
    pub(super) digest: Sha256,
}

impl<'a> Credentials<'a> {
    /// Parses the values of all `Authorization` headers. With `accepts_dpop` false, `DPoP` is
    /// treated as an unknown scheme.
    ///
    /// # Errors
    /// `MissingToken`, `MalformedHeader`, or `TokenTooLarge` if the token is longer than
    /// `max_bytes`.
    pub(super) fn of(
        mut headers: impl Iterator<Item = &'a [u8]>,
        max_bytes: usize,
        accepts_dpop: bool,
    ) -> Result<Self, AuthError> {
        let header = headers.next().ok_or(AuthError::MissingToken)?;
        if headers.next().is_some() {
            return Err(AuthError::MalformedHeader(
                "The request has more than one Authorization header.",
            ));
        }
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
        let scheme_bytes = header.iter().position(is_space).unwrap_or(header.len());
        let (scheme, rest) = header.split_at_checked(scheme_bytes).unwrap_or_default();
        let scheme = Scheme::from_name(scheme)
            .filter(|scheme| accepts_dpop || *scheme == Scheme::Bearer)
            .ok_or(AuthError::MissingToken)?;
        let token = without_leading_spaces(rest);
        if token.len() > max_bytes {
            return Err(AuthError::TokenTooLarge);
        }
        if token.is_empty() {
            return Err(AuthError::MalformedHeader("The Authorization header contains no token."));
        }
        Ok(Self { scheme, token })
    }

    /// The text of the token. A cached token needs no call, because its text was valid before.
    ///
    /// # Errors
    /// `MalformedHeader`.
    pub(super) fn text(&self) -> Result<&'a str, AuthError> {
        let text = std::str::from_utf8(self.token).ok();
        text.filter(|text| is_b64token(text)).ok_or(AuthError::MalformedHeader(
            "The access token contains characters that no token can contain.",
        ))
    }
}

fn without_leading_spaces(text: &[u8]) -> &[u8] {
    let spaces = text.iter().take_while(|byte| **byte == b' ').count();
    text.get(spaces..).unwrap_or_default()
}

/// `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`
fn is_b64token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    // Checks all bytes without a branch per byte: tokens are long, and nearly all are valid.
    !body.is_empty() && body.bytes().fold(true, |is_valid, byte| is_valid & is_token_byte(byte))
}

const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() | matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse<'a>(headers: &[&'a str]) -> Result<&'a str, AuthError> {
        let headers = headers.iter().map(|header| header.as_bytes());
        Credentials::of(headers, 16, false)?.text()
    }

    #[test]
    fn dpop_is_accepted_only_if_enabled() {
        let parse = |header: &'static str, accepts_dpop| {
            let credentials = Credentials::of([header.as_bytes()].into_iter(), 16, accepts_dpop)?;
            credentials.text().map(|token| (credentials.scheme, token))
        };
        for header in ["DPoP a.b.c", "dpop   a.b.c"] {
            assert_eq!(parse(header, true), Ok((Scheme::Dpop, "a.b.c")));
            assert_eq!(parse(header, false), Err(AuthError::MissingToken));
        }
        assert_eq!(parse("Bearer a.b.c", true), Ok((Scheme::Bearer, "a.b.c")));
        assert!(matches!(parse("DPoP", true), Err(AuthError::MalformedHeader(_))));
        assert!(matches!(parse("DPoP a b", true), Err(AuthError::MalformedHeader(_))));
        assert_eq!(parse("DPoP", false), Err(AuthError::MissingToken));
        assert_eq!(parse("DPoPx a", true), Err(AuthError::MissingToken));
        assert_eq!(parse("DPoP 0123456789abcdefg", true), Err(AuthError::TokenTooLarge));
    }

    #[test]
    fn scheme_ignores_case_and_allows_several_spaces() {
        for header in ["Bearer a.b.c", "bearer a.b.c", "BEARER   a.b.c"] {
            assert_eq!(parse(&[header]), Ok("a.b.c"), "{header}");
        }
        assert_eq!(parse(&["Bearer aZ0-._~+/=="]), Ok("aZ0-._~+/=="));
    }

    #[test]
    fn no_header_or_another_scheme_is_a_missing_token() {
        for headers in [&[][..], &[""], &["Basic a"], &["Bearerx a"], &["Beare a"], &[" Bearer a"]]
        {
            assert_eq!(parse(headers), Err(AuthError::MissingToken), "{headers:?}");
        }
        assert_eq!(parse(&["Basic aaaaaaaaaaaaaaaaaaaaaaaaaa"]), Err(AuthError::MissingToken));
    }

    #[test]
    fn invalid_token_characters_are_malformed() {
        for header in [
            "Bearer",
            "Bearer ",
            "Bearer   ",
            "Bearer a b",
            "Bearer a ",
            "Bearer\ta",
            "Bearer \ta",
            "Bearer a,b",
            "Bearer \"a\"",
            "Bearer ä",
            "Bearer =",
            "Bearer a=b",
            "Bearer a\0",
        ] {
            let rejected = parse(&[header]);
            assert!(
                matches!(rejected, Err(AuthError::MalformedHeader(_))),
                "{header:?} {rejected:?}"
            );
        }
        let latin1 = Credentials::of([&b"Bearer \xe4"[..]].into_iter(), 16, false);
        assert!(matches!(latin1.and_then(|it| it.text()), Err(AuthError::MalformedHeader(_))));
    }

    #[test]
    fn two_headers_are_malformed() {
        for second in ["Bearer a", "Basic a", ""] {
            let rejected = parse(&["Bearer a", second]);
            assert_eq!(
                rejected,
                Err(AuthError::MalformedHeader(
                    "The request has more than one Authorization header."
                ))
            );
        }
        assert!(matches!(parse(&["Basic a", "Bearer a"]), Err(AuthError::MalformedHeader(_))));
    }

    #[test]
    fn tokens_above_the_limit_are_rejected_before_other_checks() {
        assert_eq!(parse(&["Bearer 0123456789abcdef"]), Ok("0123456789abcdef"));
        assert_eq!(parse(&["Bearer 0123456789abcdefg"]), Err(AuthError::TokenTooLarge));
        assert_eq!(parse(&["Bearer 0123456789 bcdefg"]), Err(AuthError::TokenTooLarge));
    }
}
