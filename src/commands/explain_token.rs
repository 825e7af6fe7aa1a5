//! `juspay-bff explain-token`: reads a token from standard input, and prints what `auth` reports
//! about it.

use std::io::{self, Read as _};

use secrecy::zeroize::Zeroizing;

use super::{CommandError, document, failed, load, protect_memory};
use crate::{
    auth::explain,
    cli::{ExplainToken, Format},
    clock::SystemClock,
    operator::explain_token::{ExplanationDocument, ShownCustomer, print},
};

/// Maximum input, in bytes. Larger than every valid `auth.max_token_bytes`.
const MAX_INPUT: u64 = 128 * 1024;

pub(super) async fn run(flags: ExplainToken) -> Result<(), CommandError> {
    protect_memory()?;
    let settings = load(flags.settings)?.settings;
    if settings.auth.gateway.is_some() {
        return Err(failed("auth.gateway is on: the service reads no tokens"));
    }
    let header = authorization_header(&read(io::stdin()).map_err(failed)?)
        .ok_or_else(|| failed("there is no token on standard input"))?;
    let clock = SystemClock::shared();
    let explanation = explain(&settings, &header, flags.offline, clock).await.map_err(failed)?;
    let customer = explanation.customer.as_ref();
    let customer =
        customer.map(|customer| ShownCustomer::new(customer, &settings, flags.show_customer));
    let customer = customer.transpose().map_err(failed)?;
    if flags.format == Format::Json {
        document::print(&ExplanationDocument::new(&explanation, customer))?;
        let is_accepted = matches!(explanation.verdict, Some(Ok(_)));
        return if is_accepted { Ok(()) } else { Err(CommandError::Reported(1)) };
    }
    print(&explanation, customer.as_ref(), &mut io::stdout()).map_err(failed)?;
    match explanation.verdict {
        Some(Ok(_)) => Ok(()),
        Some(Err(_)) => Err(failed("the token is rejected")),
        None => Err(failed("no verdict: with --offline the signature can't be checked")),
    }
}

fn read(input: impl io::Read) -> io::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::new());
    input.take(MAX_INPUT).read_to_end(&mut bytes)?;
    Ok(Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned()))
}

/// The `Authorization` header for a token that was pasted with or without the header's name and
/// scheme.
fn authorization_header(pasted: &str) -> Option<Zeroizing<String>> {
    let text = pasted.trim();
    let text = match text.split_once(':') {
        Some((name, value)) if name.eq_ignore_ascii_case("authorization") => value.trim(),
        _ => text,
    };
    let has_scheme = text.split_once(' ').is_some_and(|(scheme, _)| {
        scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("dpop")
    });
    let header = if has_scheme { text.to_owned() } else { format!("Bearer {text}") };
    (!text.is_empty()).then(|| Zeroizing::new(header))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_accepted_with_or_without_header_name_and_scheme() {
        let authorization_header =
            |pasted| authorization_header(pasted).map(|header| header.to_string());
        for pasted in
            ["a.b.c", "a.b.c\n", " a.b.c\r\n", "Bearer a.b.c", "Authorization: Bearer a.b.c\n"]
        {
            assert_eq!(authorization_header(pasted).as_deref(), Some("Bearer a.b.c"), "{pasted:?}");
        }
        assert_eq!(authorization_header("bearer  a").as_deref(), Some("bearer  a"));
        assert_eq!(authorization_header("DPoP a.b.c\n").as_deref(), Some("DPoP a.b.c"));
        assert_eq!(authorization_header("a b").as_deref(), Some("Bearer a b"));
        assert_eq!((authorization_header(""), authorization_header(" \n")), (None, None));
    }

    #[test]
    fn input_beyond_the_maximum_is_not_read() {
        let long = io::repeat(b'x');
        assert_eq!(read(long).unwrap().len(), 128 * 1024);
        assert_eq!(&**read(&b"a\xffb"[..]).unwrap(), "a\u{fffd}b");
    }
}
