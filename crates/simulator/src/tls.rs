//! The certificate authority and the server certificate of the simulator's TLS listener.
//!
//! Both are generated at each start. The authority's key is discarded after it has signed the one
//! certificate, and no key is written to disk, so trusting an old authority is harmless.

use std::{io, sync::Arc};

use clock::SystemClock;
use jiff::{ToSpan, civil::Date, tz::Offset};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// Names that the certificate always has.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Days for which the certificates are valid: clients of Apple reject more than 825.
const VALID_DAYS: i32 = 397;

/// How connections are encrypted, and the authority that clients need to trust.
#[derive(Clone)]
pub(super) struct Encryption {
    pub(super) acceptor: TlsAcceptor,
    /// The authority's certificate in PEM.
    pub(super) ca: String,
}

impl Encryption {
    /// With a certificate for this machine and for `names`: host names or addresses.
    pub(super) fn generate(names: &[String]) -> io::Result<Self> {
        let today = today();
        let authority_key = KeyPair::generate().map_err(io::Error::other)?;
        let authority = authority(today).map_err(io::Error::other)?;
        let ca = authority.self_signed(&authority_key).map_err(io::Error::other)?.pem();
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let certificate =
            server(names, today)
                .and_then(|server| server.signed_by(&key, &issuer))
                .map_err(|error| io::Error::other(format!("can't certify {names:?}: {error}")))?;
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .map_err(io::Error::other)?;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), ca })
    }
}

fn authority(today: Date) -> Result<CertificateParams, rcgen::Error> {
    let mut authority = valid_from(today, CertificateParams::new([])?);
    // With one name for all authorities, a client that trusts an old one may select its key.
    let name = format!("juspay-bff simulator {:08x}, for tests only", rand::random::<u32>());
    authority.distinguished_name.push(DnType::CommonName, name);
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(authority)
}

fn server(names: &[String], today: Date) -> Result<CertificateParams, rcgen::Error> {
    let mut all: Vec<_> = LOCAL_NAMES.map(str::to_owned).into();
    all.extend_from_slice(names);
    let mut server = valid_from(today, CertificateParams::new(all)?);
    server.distinguished_name.push(DnType::CommonName, "juspay-bff simulator");
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    Ok(server)
}

/// The day on the machine's clock, because clients compare certificates with theirs.
fn today() -> Date {
    Offset::UTC.to_datetime(SystemClock::shared().now()).date()
}

/// Sets the validity from yesterday on.
fn valid_from(today: Date, mut params: CertificateParams) -> CertificateParams {
    let day = |days: i32| {
        let day = today.saturating_add(days.days());
        let number = |number: i8| u8::try_from(number).unwrap_or(1);
        date_time_ymd(day.year().into(), number(day.month()), number(day.day()))
    };
    params.not_before = day(-1);
    params.not_after = day(VALID_DAYS - 1);
    params
}
