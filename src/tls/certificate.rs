//! The expiry and the names of a certificate (RFC 5280 §4.1), by x509-parser.
//!
//! It doesn't validate: rustls does. A certificate that can't be parsed has neither. A subject with
//! several common names has none.

use jiff::{SignedDuration, Timestamp};
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _, x509::X509Name,
};

use crate::clock::calendar;

/// The names in a verified client certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeerCertificate {
    /// The subject's common name; `None` if it has several.
    pub common_name: Option<String>,
    /// The DNS names among the subject alternative names.
    pub dns_names: Vec<String>,
    /// The URIs among the subject alternative names, such as SPIFFE ids.
    pub uris: Vec<String>,
}

/// The time at which a certificate (DER) expires.
#[must_use]
pub fn not_after(certificate: &[u8]) -> Option<Timestamp> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let seconds = certificate.validity().not_after.timestamp();
    calendar::since_1970(SignedDuration::from_secs(seconds))
}

impl PeerCertificate {
    /// Parses a certificate (DER). Names that can't be parsed are left out.
    #[must_use]
    pub fn read(certificate: &[u8]) -> Self {
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
            return Self::default();
        };
        let mut names = Self { common_name: common_name(certificate.subject()), ..Self::default() };
        let alternative = certificate.subject_alternative_name().ok().flatten();
        for name in alternative.iter().flat_map(|extension| &extension.value.general_names) {
            if let GeneralName::DNSName(name) = name {
                names.dns_names.extend(ascii(name));
            } else if let GeneralName::URI(uri) = name {
                names.uris.extend(ascii(uri));
            }
        }
        names
    }

    /// Whether one of the parsed names is `name`.
    #[must_use]
    pub fn has_name(&self, name: &str) -> bool {
        let alternative = self.dns_names.iter().chain(&self.uris);
        self.common_name.iter().chain(alternative).any(|own| own == name)
    }
}

/// An `IA5String` is ASCII; x509-parser accepts more.
fn ascii(name: &str) -> Option<String> {
    name.is_ascii().then(|| name.to_owned())
}

fn common_name(subject: &X509Name<'_>) -> Option<String> {
    let mut names = subject.iter_common_name();
    let (Some(name), None) = (names.next(), names.next()) else { return None };
    name.as_str().ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, DnValue, KeyPair, SanType, date_time_ymd};

    use super::*;

    fn certificate(alter: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::default();
        alter(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn expiry_is_parsed_in_both_time_formats() {
        for (year, seconds) in [(2027, 1_798_761_600), (2049, 2_493_072_000), (2050, 2_524_608_000)]
        {
            let der = certificate(|params| params.not_after = date_time_ymd(year, 1, 1));
            assert_eq!(not_after(&der).unwrap().as_second(), seconds, "{year}");
        }
        // RFC 5280 §4.1.2.5: 99991231235959Z means that there is no well-defined expiry.
        let der = certificate(|params| params.not_after = date_time_ymd(9999, 12, 31));
        assert_eq!(not_after(&der), Some(Timestamp::MAX));
    }

    #[test]
    fn names_are_subject_and_alternative_names() {
        let der = certificate(|params| {
            params.distinguished_name.push(DnType::CommonName, "gateway");
            params.distinguished_name.push(DnType::OrganizationName, "Example");
            params.subject_alt_names = vec![
                SanType::DnsName("gateway.example".try_into().unwrap()),
                SanType::URI("spiffe://example/gateway".try_into().unwrap()),
                SanType::IpAddress([127, 0, 0, 1].into()),
            ];
        });
        let peer = PeerCertificate::read(&der);
        assert_eq!(peer.common_name.as_deref(), Some("gateway"));
        assert_eq!(peer.dns_names, ["gateway.example"]);
        assert_eq!(peer.uris, ["spiffe://example/gateway"]);
    }

    #[test]
    fn missing_or_unreadable_names_are_left_out() {
        let none =
            certificate(|params| params.distinguished_name = rcgen::DistinguishedName::new());
        assert_eq!(PeerCertificate::read(&none), PeerCertificate::default());
        let odd = certificate(|params| {
            let name = DnValue::BmpString("gateway".try_into().unwrap());
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, name);
        });
        assert_eq!(PeerCertificate::read(&odd).common_name, None);
    }

    #[test]
    fn several_common_names_are_ignored() {
        // A set of one attribute: id-at-commonName (2.5.4.3), a UTF8String.
        let name = |text: &str| {
            [&[0x31, 10, 0x30, 8, 0x06, 3, 0x55, 0x04, 0x03, 0x0c, 1], text.as_bytes()].concat()
        };
        let of = |names: &[u8]| {
            let subject = [&[0x30, u8::try_from(names.len()).unwrap()], names].concat();
            common_name(&X509Name::from_der(&subject).unwrap().1)
        };
        assert_eq!(of(&name("a")).as_deref(), Some("a"));
        assert_eq!(of(&[name("a"), name("b")].concat()), None);
    }

    #[test]
    fn truncated_or_changed_certificate_never_panics() {
        let der = certificate(|params| {
            params.subject_alt_names = vec![SanType::DnsName("a.example".try_into().unwrap())];
        });
        for end in 0..der.len() {
            assert_eq!(not_after(&der[..end]), None);
            assert_eq!(PeerCertificate::read(&der[..end]), PeerCertificate::default());
        }
        for at in 0..der.len() {
            for byte in [0, 0x7f, 0x80, 0x84, 0xff] {
                let mut changed = der.clone();
                changed[at] = byte;
                let _ = (not_after(&changed), PeerCertificate::read(&changed));
            }
        }
    }
}
