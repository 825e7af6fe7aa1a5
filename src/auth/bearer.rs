//! The `Authorization` header (RFC 6750 §2.1, RFC 9449 §7.1), down to the token's text.
//!
//! Pure text; whether the token is any good is for `token` to say. Refuses more than one header:
//! which of two would count is a question that attackers ask.

use super::error::AuthError;

/// How a token is presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    /// Whoever has it may use it.
    Bearer,
    /// With a proof that its key is there (RFC 9449).
    Dpop,
}

impl Scheme {
    /// The one of that name, whose case doesn't matter (RFC 9110 §11.1).
    fn named(name: &[u8]) -> Option<Self> {
        if name.eq_ignore_ascii_case(b"bearer") {
            Some(Self::Bearer)
        } else if name.eq_ignore_ascii_case(b"dpop") {
            Some(Self::Dpop)
        } else {
            None
        }
    }
}

/// What a request presents, its token not looked at yet.
pub(super) struct Credentials<'a> {
    pub(super) scheme: Scheme,
    /// At least one byte.
    pub(super) token: &'a [u8],
}

impl<'a> Credentials<'a> {
    /// What the values of all `Authorization` headers of a request hold. Where `takes_dpop` isn't
    /// true, that scheme is a stranger's.
    ///
    /// # Errors
    /// `MissingToken`, `MalformedHeader`, or `TokenTooLarge` when it is longer than `max_bytes`.
    pub(super) fn of(
        mut headers: impl Iterator<Item = &'a [u8]>,
        max_bytes: usize,
        takes_dpop: bool,
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
        let scheme = Scheme::named(scheme)
            .filter(|scheme| takes_dpop || *scheme == Scheme::Bearer)
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

    /// The token's text. It needn't be asked for when the token is known: then it was before.
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
    // All bytes are looked at, without a branch at each: tokens are long, and nearly all are good.
    !body.is_empty() && body.bytes().fold(true, |good, byte| good & is_token_byte(byte))
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
    fn the_other_scheme_is_taken_only_where_it_is_wanted() {
        let parse = |header: &'static str, takes_dpop| {
            let credentials = Credentials::of([header.as_bytes()].into_iter(), 16, takes_dpop)?;
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
    fn the_scheme_has_no_case_and_any_number_of_spaces_follows() {
        for header in ["Bearer a.b.c", "bearer a.b.c", "BEARER   a.b.c"] {
            assert_eq!(parse(&[header]), Ok("a.b.c"), "{header}");
        }
        assert_eq!(parse(&["Bearer aZ0-._~+/=="]), Ok("aZ0-._~+/=="));
    }

    #[test]
    fn none_or_another_scheme_is_a_missing_token() {
        for headers in [&[][..], &[""], &["Basic a"], &["Bearerx a"], &["Beare a"], &[" Bearer a"]]
        {
            assert_eq!(parse(headers), Err(AuthError::MissingToken), "{headers:?}");
        }
        assert_eq!(parse(&["Basic aaaaaaaaaaaaaaaaaaaaaaaaaa"]), Err(AuthError::MissingToken));
    }

    #[test]
    fn what_is_no_token_is_malformed() {
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
            let refused = parse(&[header]);
            assert!(
                matches!(refused, Err(AuthError::MalformedHeader(_))),
                "{header:?} {refused:?}"
            );
        }
        let latin1 = Credentials::of([&b"Bearer \xe4"[..]].into_iter(), 16, false);
        assert!(matches!(latin1.and_then(|it| it.text()), Err(AuthError::MalformedHeader(_))));
    }

    #[test]
    fn two_headers_are_malformed_whatever_they_say() {
        for second in ["Bearer a", "Basic a", ""] {
            let refused = parse(&["Bearer a", second]);
            assert_eq!(
                refused,
                Err(AuthError::MalformedHeader(
                    "The request has more than one Authorization header."
                ))
            );
        }
        assert!(matches!(parse(&["Basic a", "Bearer a"]), Err(AuthError::MalformedHeader(_))));
    }

    #[test]
    fn a_token_above_the_limit_is_rejected_before_anything_else_is_looked_at() {
        assert_eq!(parse(&["Bearer 0123456789abcdef"]), Ok("0123456789abcdef"));
        assert_eq!(parse(&["Bearer 0123456789abcdefg"]), Err(AuthError::TokenTooLarge));
        assert_eq!(parse(&["Bearer 0123456789 bcdefg"]), Err(AuthError::TokenTooLarge));
    }
}
