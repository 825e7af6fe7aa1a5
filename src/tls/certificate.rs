//! Parses the expiry and the names of a certificate (RFC 5280 §4.1).
//!
//! It doesn't validate: rustls does. Fields that can't be parsed are treated as missing.

use jiff::{Timestamp, civil::DateTime};

use crate::clock::calendar;

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const IA5_STRING: u8 = 0x16;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const DNS_NAME: u8 = 0x82;
const URI: u8 = 0x86;

/// id-at-commonName, 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// id-ce-subjectAltName, 2.5.29.17
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

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

/// The parsed fields of a certificate.
struct Parts<'a> {
    validity: &'a [u8],
    subject: &'a [u8],
    /// The content of `SubjectPublicKeyInfo`.
    key: &'a [u8],
    extensions: &'a [u8],
}

/// The time at which a certificate (DER) expires.
#[must_use]
pub fn not_after(certificate: &[u8]) -> Option<Timestamp> {
    let mut validity = Parts::of(certificate)?.validity;
    element(&mut validity)?;
    let (tag, text) = element(&mut validity)?;
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    // RFC 5280 §4.1.2.5.1: years from 50 on belong to the 20th century.
    let text = match (tag, text.get(..2)?.parse::<u8>().ok()?) {
        (UTC_TIME, 50..) => format!("19{text}"),
        (UTC_TIME, _) => format!("20{text}"),
        (GENERALIZED_TIME, _) => text.to_owned(),
        (_, _) => return None,
    };
    let time = DateTime::strptime("%Y%m%d%H%M%S", text).ok()?;
    calendar::timestamp(time)
}

/// The content of `SubjectPublicKeyInfo` in a certificate (DER).
pub(super) fn public_key_of(certificate: &[u8]) -> Option<&[u8]> {
    Parts::of(certificate).map(|parts| parts.key)
}

impl PeerCertificate {
    /// Parses a certificate (DER). Names that can't be parsed are left out.
    #[must_use]
    pub fn read(certificate: &[u8]) -> Self {
        let Some(parts) = Parts::of(certificate) else { return Self::default() };
        let names = parts.alternative_names();
        let of_kind = |kind: u8| {
            let texts = names.iter().filter(move |(tag, _)| *tag == kind);
            texts.filter_map(|(_, text)| ascii(text)).collect()
        };
        Self { common_name: parts.common_name(), dns_names: of_kind(DNS_NAME), uris: of_kind(URI) }
    }

    /// Whether one of the parsed names is `name`.
    #[must_use]
    pub fn has_name(&self, name: &str) -> bool {
        let alternative = self.dns_names.iter().chain(&self.uris);
        self.common_name.iter().chain(alternative).any(|own| own == name)
    }
}

impl<'a> Parts<'a> {
    fn of(certificate: &'a [u8]) -> Option<Self> {
        let mut outer = certificate;
        let mut certificate = expect(&mut outer, SEQUENCE)?;
        let mut tbs = expect(&mut certificate, SEQUENCE)?;
        if tbs.first() == Some(&VERSION) {
            element(&mut tbs)?;
        }
        expect(&mut tbs, INTEGER)?;
        let [_algorithm, _issuer, validity, subject, key] =
            [(); 5].map(|()| expect(&mut tbs, SEQUENCE));
        let extensions = elements(tbs).into_iter().find(|(tag, _)| *tag == EXTENSIONS);
        let extensions = extensions
            .map_or(&[][..], |(_, mut tagged)| expect(&mut tagged, SEQUENCE).unwrap_or_default());
        Some(Self { validity: validity?, subject: subject?, key: key?, extensions })
    }

    fn common_name(&self) -> Option<String> {
        let attributes = elements(self.subject)
            .into_iter()
            .filter(|(tag, _)| *tag == SET)
            .flat_map(|(_, attributes)| elements(attributes));
        let names = attributes.filter_map(|(_, mut attribute)| {
            Some((expect(&mut attribute, OBJECT_ID)?, element(&mut attribute)?))
        });
        let names: Vec<_> = names.filter(|(kind, _)| *kind == COMMON_NAME).collect();
        let [(_, (tag, text))] = names[..] else { return None };
        let is_text = matches!(tag, UTF8_STRING | PRINTABLE_STRING | IA5_STRING);
        std::str::from_utf8(text).ok().filter(|_| is_text).map(str::to_owned)
    }

    fn alternative_names(&self) -> Vec<(u8, &'a [u8])> {
        let names = elements(self.extensions).into_iter().find_map(|(_, mut extension)| {
            (expect(&mut extension, OBJECT_ID)? == SUBJECT_ALT_NAME).then_some(extension)
        });
        let parts = names.map(elements).unwrap_or_default();
        // The optional `critical` flag may come between the two.
        let value = parts.into_iter().find(|(tag, _)| *tag == OCTET_STRING);
        let names = value.and_then(|(_, mut value)| expect(&mut value, SEQUENCE));
        names.map(elements).unwrap_or_default()
    }
}

fn ascii(text: &[u8]) -> Option<String> {
    std::str::from_utf8(text).ok().filter(|text| text.is_ascii()).map(str::to_owned)
}

/// The content of the next element, if it has this tag.
pub(super) fn expect<'a>(bytes: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    element(bytes).filter(|(found, _)| *found == tag).map(|(_, content)| content)
}

/// All elements up to the first that can't be parsed.
fn elements(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    std::iter::from_fn(|| element(&mut bytes)).collect()
}

/// Removes the next element from `bytes`, and returns its tag and content (X.690 §8.1). Only tags
/// of one byte occur in these fields.
fn element<'a>(bytes: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let long = usize::from(first & 0x7f);
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(long)?;
            let shift =
                |length: usize, digit: &u8| length.checked_mul(256)?.checked_add((*digit).into());
            (digits.iter().try_fold(0, shift)?, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some((tag, content))
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
        let name = |text: &str| {
            let name = [&[0x06, 3][..], COMMON_NAME, &[UTF8_STRING, 1], text.as_bytes()].concat();
            [&[SET, 10, SEQUENCE, 8][..], &name].concat()
        };
        let of = |subject: &[u8]| {
            let parts = Parts { validity: &[], subject, key: &[], extensions: &[] };
            parts.common_name()
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
