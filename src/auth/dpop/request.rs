//! The parts of a request that DPoP needs: the proof, and the method and address that it must be made for.

use super::target::Target;
use crate::{auth::error::ProofFault, net::UrlParts};

/// Maximum length of a proof, in bytes. With the largest RSA key it has about 4,000.
const MAX_PROOF_BYTES: usize = 8192;

/// A request as its proof must describe it.
pub(in crate::auth) struct DpopRequest {
    method: Box<str>,
    /// Whether this service terminated its TLS.
    secure: bool,
    host: Option<Box<str>>,
    path: Box<str>,
    proof: Result<Box<str>, ProofFault>,
}

impl DpopRequest {
    /// A request to `path` at `host`. `proofs` are the values of all `DPoP` headers.
    pub(in crate::auth) fn new<'a>(
        method: &str,
        secure: bool,
        host: Option<&str>,
        path: &str,
        proofs: impl Iterator<Item = &'a [u8]>,
    ) -> Self {
        Self {
            method: method.into(),
            secure,
            host: host.map(Box::from),
            path: path.into(),
            proof: only(proofs),
        }
    }

    pub(super) fn proof(&self) -> Result<&str, ProofFault> {
        self.proof.as_deref().map_err(|fault| *fault)
    }

    pub(super) const fn method(&self) -> &str {
        &self.method
    }

    /// The requested address: below `public_url` if it is set, otherwise the one in the request.
    pub(super) fn target(&self, public_url: Option<&str>) -> Option<Target> {
        if let Some(url) = public_url {
            // A proxy may have removed the path of `public_url` from the target, or not. All routes are
            // below `/me`.
            let base = UrlParts::split(url).map_or("", |parts| parts.base_path());
            let below = self.path.strip_prefix(base).filter(|rest| rest.starts_with("/me/"));
            let path = below.unwrap_or(&self.path);
            return Target::parse(&format!("{}{path}", url.trim_end_matches('/')));
        }
        let scheme = if self.secure { "https" } else { "http" };
        Target::parse(&format!("{scheme}://{}{}", self.host.as_deref()?, self.path))
    }
}

/// The only proof. RFC 9449 §4.3, 1, allows no second header.
fn only<'a>(mut proofs: impl Iterator<Item = &'a [u8]>) -> Result<Box<str>, ProofFault> {
    let proof = proofs.next().ok_or(ProofFault::Missing)?;
    if proofs.next().is_some() || proof.len() > MAX_PROOF_BYTES {
        return Err(ProofFault::Malformed);
    }
    std::str::from_utf8(proof).map(Box::from).map_err(|_| ProofFault::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_has_exactly_one_proof() {
        let long = vec![b'a'; MAX_PROOF_BYTES];
        let longer = vec![b'a'; MAX_PROOF_BYTES + 1];
        for (headers, expected) in [
            (&[][..], Err(ProofFault::Missing)),
            (&[&b"a"[..]], Ok(1)),
            (&[&b""[..]], Ok(0)),
            (&[&long], Ok(MAX_PROOF_BYTES)),
            (&[&longer], Err(ProofFault::Malformed)),
            (&[&b"a"[..], b"a"], Err(ProofFault::Malformed)),
            (&[&b"\xe4"[..]], Err(ProofFault::Malformed)),
        ] {
            let found = only(headers.iter().copied()).map(|proof| proof.len());
            assert_eq!(found, expected, "{} headers", headers.len());
        }
    }

    #[test]
    fn target_is_below_public_url_or_the_requests_own() {
        for (secure, host, public, expected) in [
            (false, Some("A:80"), None, Some("http://a/me/customer")),
            (true, Some("a"), None, Some("https://a/me/customer")),
            (true, Some("a"), Some("https://b/c/"), Some("https://b/c/me/customer")),
            (false, None, Some("https://b"), Some("https://b/me/customer")),
            (false, None, None, None),
            (false, Some(""), None, None),
        ] {
            let request = DpopRequest::new("GET", secure, host, "/me/customer", [].into_iter());
            let expected = expected.map(|text| Target::parse(text).unwrap());
            assert!(request.target(public) == expected, "{secure} {host:?} {public:?}");
        }
        for (path, public, expected) in [
            ("/c/me/customer", "https://b/c", "https://b/c/me/customer"),
            ("/c/me/customer", "https://b/c/", "https://b/c/me/customer"),
            ("/cd/me/customer", "https://b/c", "https://b/c/cd/me/customer"),
            ("/me/customer", "https://b/m", "https://b/m/me/customer"),
            ("/m/me/customer", "https://b/m", "https://b/m/me/customer"),
            ("/me/customer", "https://b/me", "https://b/me/me/customer"),
            ("/me/me/customer", "https://b/me", "https://b/me/me/customer"),
        ] {
            let request = DpopRequest::new("GET", true, Some("a"), path, [].into_iter());
            assert!(request.target(Some(public)) == Target::parse(expected), "{path} {public}");
        }
    }
}
