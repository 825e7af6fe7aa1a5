//! The `Authorization` header (RFC 6750 §2.1), down to the token's text.
//!
//! Pure text; whether the token is any good is for `token` to say. Refuses more than one header:
//! which of two would count is a question that attackers ask.

use super::error::{AuthError, Reason};

/// The scheme, whose case doesn't matter (RFC 9110 §11.1).
const SCHEME: &[u8] = b"bearer";

/// The bearer token in the values of all `Authorization` headers of a request.
///
/// # Errors
/// `MissingToken`, `MalformedHeader`, or `InvalidToken` when it is longer than `max_bytes`.
pub(super) fn token<'a>(
    mut headers: impl Iterator<Item = &'a [u8]>,
    max_bytes: usize,
) -> Result<&'a str, AuthError> {
    let header = headers.next().ok_or(AuthError::MissingToken)?;
    if headers.next().is_some() {
        return Err(AuthError::MalformedHeader("there is more than one"));
    }
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let scheme_bytes = header.iter().position(is_space).unwrap_or(header.len());
    let (scheme, rest) = header.split_at_checked(scheme_bytes).unwrap_or_default();
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return Err(AuthError::MissingToken);
    }
    let token = without_leading_spaces(rest);
    if token.len() > max_bytes {
        return Err(Reason::TooLong.into());
    }
    if token.is_empty() {
        return Err(AuthError::MalformedHeader("there is no token in it"));
    }
    std::str::from_utf8(token)
        .ok()
        .filter(|token| is_b64token(token))
        .ok_or(AuthError::MalformedHeader("the token holds characters that no token has"))
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
        token(headers.iter().map(|header| header.as_bytes()), 16)
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
        let latin1 = token([&b"Bearer \xe4"[..]].into_iter(), 16);
        assert!(matches!(latin1, Err(AuthError::MalformedHeader(_))));
    }

    #[test]
    fn two_headers_are_malformed_whatever_they_say() {
        for second in ["Bearer a", "Basic a", ""] {
            let refused = parse(&["Bearer a", second]);
            assert_eq!(refused, Err(AuthError::MalformedHeader("there is more than one")));
        }
        assert!(matches!(parse(&["Basic a", "Bearer a"]), Err(AuthError::MalformedHeader(_))));
    }

    #[test]
    fn too_long_a_token_is_invalid_before_anything_else_is_looked_at() {
        assert_eq!(parse(&["Bearer 0123456789abcdef"]), Ok("0123456789abcdef"));
        assert_eq!(parse(&["Bearer 0123456789abcdefg"]), Err(Reason::TooLong.into()));
        assert_eq!(parse(&["Bearer 0123456789 bcdefg"]), Err(Reason::TooLong.into()));
    }
}
