//! The way to Juspay's host: its addresses, a connection to each, TLS on it.

use std::{io, net::SocketAddr, path::Path};

use jiff::{SignedDuration, Timestamp};
use rustls::CertificateError;
use tokio::net::TcpStream;

use super::{
    DoctorError, Patient,
    report::{Report, left},
};
use crate::{
    juspay::{
        ConnectionFailure,
        inspection::{Handshake, Target},
    },
    settings::IpFamily,
    tls,
};

/// Juspay's certificate is Juspay's to renew; this near to its end somebody should ask.
const SOON: SignedDuration = SignedDuration::from_hours(3 * 24);

/// An address, and a connection to it or why there is none.
type Tried = (SocketAddr, Result<TcpStream, ConnectionFailure>);

/// The families by which calls can be made.
pub(super) async fn examine(
    patient: &Patient<'_>,
    report: &mut Report<'_>,
) -> Result<Vec<IpFamily>, DoctorError> {
    let settings = &patient.settings.juspay;
    let Some(target) = Target::of(&settings.base_url) else { return Ok(Vec::new()) };
    let addresses = resolved(patient, &target, report).await?;
    let mut tried = Vec::new();
    for address in addresses {
        tried.push((address, Target::connect(address, settings).await));
    }
    connections(&tried, report)?;
    let mut families = Vec::new();
    for (address, connection) in tried {
        let Ok(stream) = connection else { continue };
        let family = family(address);
        if encrypted(patient, &target, address, stream, report).await?
            && !families.contains(&family)
        {
            families.push(family);
        }
    }
    Ok(families)
}

/// The addresses that `juspay.ip_family` allows.
async fn resolved(
    patient: &Patient<'_>,
    target: &Target,
    report: &mut Report<'_>,
) -> io::Result<Vec<SocketAddr>> {
    let settings = &patient.settings.juspay;
    let subject = format!("Juspay DNS {}", target.host);
    let fix = "check the host in juspay.base_url and this machine's DNS";
    let found = match target.resolve(settings, &*patient.clock).await {
        Some(Ok(found)) => found,
        Some(Err(error)) => {
            report.failed(&subject, &format!("host name lookup failed: {error}"), fix)?;
            return Ok(Vec::new());
        }
        None => {
            report.failed(&subject, "no response within juspay.deadline", fix)?;
            return Ok(Vec::new());
        }
    };
    let mut allowed = Vec::new();
    for (of, name) in [(IpFamily::V4, "IPv4"), (IpFamily::V6, "IPv6")] {
        let ours: Vec<_> = found.iter().copied().filter(|it| family(*it) == of).collect();
        let told: Vec<_> = ours.iter().map(|address| address.ip().to_string()).collect();
        let told = if told.is_empty() { "none".to_owned() } else { told.join(", ") };
        let subject = format!("{subject} {name}");
        let is_wanted = settings.ip_family == of || settings.ip_family == IpFamily::Any;
        if settings.ip_family == of && ours.is_empty() {
            report.failed(
                &subject,
                "no address, and juspay.ip_family allows no other family",
                FAMILY,
            )?;
        } else if is_wanted {
            report.ok(&subject, &told)?;
        } else {
            report.ok(&subject, &format!("{told}; not used (juspay.ip_family)"))?;
        }
        allowed.extend(ours.into_iter().filter(|_| is_wanted));
    }
    Ok(allowed)
}

const FAMILY: &str = "set juspay.ip_family to a family that the host has, or \"any\"";

/// An address that doesn't answer is no failure while another one does.
fn connections(tried: &[Tried], report: &mut Report<'_>) -> io::Result<()> {
    let is_reachable = tried.iter().any(|(_, connection)| connection.is_ok());
    for (address, connection) in tried {
        let subject = format!("Juspay TCP {address}");
        match connection {
            Ok(_) => report.ok(&subject, "connected")?,
            Err(why) if is_reachable => {
                let fix = "let this machine reach the address, or exclude its family \
                           (juspay.ip_family)";
                report.warning(&subject, &format!("{why}; every attempt delays a call"), fix)?;
            }
            Err(why) => {
                let fix = "let this machine reach the address (firewall, network policy, route, \
                           juspay.connect_timeout)";
                report.failed(&subject, &why.to_string(), fix)?;
            }
        }
    }
    Ok(())
}

/// Whether calls can be made over that connection.
async fn encrypted(
    patient: &Patient<'_>,
    target: &Target,
    address: SocketAddr,
    stream: TcpStream,
    report: &mut Report<'_>,
) -> Result<bool, DoctorError> {
    let settings = &patient.settings.juspay;
    let subject = format!("Juspay TLS {address}");
    if !target.is_tls {
        report.ok(&subject, "not used: juspay.base_url is plain http")?;
        return Ok(true);
    }
    let config = tls::client_config(settings.ca_file.as_deref().map(Path::new))?;
    match target.handshake(stream, config, settings, &*patient.clock).await {
        Some(Ok(handshake)) => {
            certificate(&subject, &handshake, patient.clock.now(), report)?;
            Ok(true)
        }
        Some(Err(error)) => {
            let (found, fix) = handshake_failed(&error);
            report.failed(&subject, &found, fix)?;
            Ok(false)
        }
        None => {
            let fix = "find what delays TLS on the network path, or raise juspay.connect_timeout";
            report.failed(&subject, "the TLS handshake timed out", fix)?;
            Ok(false)
        }
    }
}

fn certificate(
    subject: &str,
    handshake: &Handshake,
    now: Timestamp,
    report: &mut Report<'_>,
) -> io::Result<()> {
    let version = handshake.version.replace('_', ".");
    let Some(end) = handshake.not_after else {
        return report.ok(subject, &format!("{version}, valid certificate"));
    };
    let found = format!("{version}, certificate valid until {end} ({})", left(end, now));
    if end.duration_since(now) < SOON {
        let fix = "ask the operator of juspay.base_url's host to renew the certificate";
        report.warning(subject, &found, fix)
    } else {
        report.ok(subject, &found)
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library's enum may grow")]
fn handshake_failed(error: &io::Error) -> (String, &'static str) {
    use CertificateError as C;
    let tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::InvalidCertificate(why)) = tls else {
        let fix =
            "check the host and port of juspay.base_url, and proxies and firewalls on the way";
        return (format!("the TLS handshake failed: {error}"), fix);
    };
    match why {
        // Signed by another key of an authority of the same name.
        C::UnknownIssuer | C::BadSignature => (
            "the certificate's authority is not trusted".to_owned(),
            "if you expect this authority, add its certificate to juspay.ca_file; the built-in \
             roots include Juspay's",
        ),
        C::Expired | C::ExpiredContext { .. } => (
            "the certificate has expired".to_owned(),
            "check this machine's clock, then ask the operator of juspay.base_url's host to renew \
             the certificate",
        ),
        C::NotValidYet | C::NotValidYetContext { .. } => {
            ("the certificate is not valid yet".to_owned(), "check this machine's clock")
        }
        C::NotValidForName | C::NotValidForNameContext { .. } => (
            "the certificate is for another host".to_owned(),
            "check the host in juspay.base_url, and which server responds at this address",
        ),
        other => (
            format!("the certificate is not valid: {other}"),
            "check which server responds at this address",
        ),
    }
}

fn family(address: SocketAddr) -> IpFamily {
    if address.is_ipv4() { IpFamily::V4 } else { IpFamily::V6 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(tried: &[Tried]) -> String {
        let mut out = Vec::new();
        connections(tried, &mut Report::new(Some(&mut out))).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_is_a_failure_only_when_none_does() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        let dead: SocketAddr = "[::1]:9".parse().unwrap();
        let hole = || (dead, Err(ConnectionFailure::ConnectTimeout));
        let told = lines(&[hole(), (good, Ok(TcpStream::connect(good).await.unwrap()))]);
        assert!(told.starts_with("warning  Juspay TCP [::1]:9 "), "{told}");
        assert!(
            told.contains("connection timed out; every attempt")
                && told.contains("juspay.ip_family")
        );
        assert!(told.contains(&format!("\nok       Juspay TCP {good}")), "{told}");
        assert!(lines(&[hole()]).starts_with("FAILED   Juspay TCP [::1]:9 "));
    }
}
