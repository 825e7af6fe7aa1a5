//! Checks the connection to Juspay's host: name resolution, TCP to each address, and TLS. With
//! `juspay.egress_proxy`, the first two are about the proxy, and a tunnel through it precedes TLS.

use std::{io, net::SocketAddr, path::Path};

use jiff::{SignedDuration, Timestamp};
use rustls::CertificateError;
use tokio::net::TcpStream;

use super::{
    CheckContext, DoctorError,
    report::{Report, time_left},
};
use crate::{
    juspay::{
        ConnectionFailure,
        inspection::{Handshake, Target},
    },
    settings::IpFamily,
    tls,
};

/// A certificate of Juspay's that expires within this time is a warning. Juspay renews its
/// certificates itself, so this is shorter than for the server's own.
const EXPIRES_SOON: SignedDuration = SignedDuration::from_hours(3 * 24);

/// An address, and the connection to it or the failure.
type ConnectionAttempt = (SocketAddr, Result<TcpStream, ConnectionFailure>);

/// Returns the address families over which calls are possible.
pub(super) async fn check(
    context: &CheckContext<'_>,
    report: &mut Report<'_>,
) -> Result<Vec<IpFamily>, DoctorError> {
    let settings = &context.settings.juspay;
    let Some(target) = Target::of(&settings.base_url) else { return Ok(Vec::new()) };
    let first_hop = match &context.proxy {
        Some(proxy) => FirstHop {
            name: "Egress proxy",
            key: "juspay.egress_proxy",
            target: Target(proxy.origin.clone()),
        },
        None => FirstHop { name: "Juspay", key: "juspay.base_url", target: target.clone() },
    };
    let addresses = resolve(context, &first_hop, report).await?;
    let mut attempts = Vec::new();
    for address in addresses {
        attempts.push((address, Target::connect(address, settings).await));
    }
    connections(first_hop.name, &attempts, report)?;
    let mut families = Vec::new();
    for (address, connection) in attempts {
        let Ok(mut stream) = connection else { continue };
        let family = family(address);
        if !tunnel(context, &target, address, &mut stream, report).await? {
            continue;
        }
        if tls_handshake(context, &target, address, stream, report).await?
            && !families.contains(&family)
        {
            families.push(family);
        }
    }
    Ok(families)
}

/// The host that this machine connects to, Juspay's or the egress proxy.
struct FirstHop {
    name: &'static str,
    /// The setting with its address.
    key: &'static str,
    target: Target,
}

/// Resolves the host; returns the addresses that `juspay.ip_family` allows.
async fn resolve(
    context: &CheckContext<'_>,
    FirstHop { name, key, target }: &FirstHop,
    report: &mut Report<'_>,
) -> io::Result<Vec<SocketAddr>> {
    let settings = &context.settings.juspay;
    let subject = format!("{name} DNS {}", target.0.bare_host());
    let fix = &format!("check the host in {key} and this machine's DNS");
    let found = match target.resolve(settings, &*context.clock).await {
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
        let of_family: Vec<_> = found.iter().copied().filter(|it| family(*it) == of).collect();
        let shown: Vec<_> = of_family.iter().map(|address| address.ip().to_string()).collect();
        let shown = if shown.is_empty() { "none".to_owned() } else { shown.join(", ") };
        let subject = format!("{subject} {name}");
        let is_used = settings.ip_family == of || settings.ip_family == IpFamily::Any;
        if settings.ip_family == of && of_family.is_empty() {
            report.failed(
                &subject,
                "no address, and juspay.ip_family allows no other family",
                FAMILY_FIX,
            )?;
        } else if is_used {
            report.ok(&subject, &shown)?;
        } else {
            report.ok(&subject, &format!("{shown}; not used (juspay.ip_family)"))?;
        }
        allowed.extend(of_family.into_iter().filter(|_| is_used));
    }
    Ok(allowed)
}

const FAMILY_FIX: &str = "set juspay.ip_family to a family that the host has, or \"any\"";

/// An unreachable address is only a warning if another one is reachable.
fn connections(
    name: &str,
    attempts: &[ConnectionAttempt],
    report: &mut Report<'_>,
) -> io::Result<()> {
    let is_reachable = attempts.iter().any(|(_, connection)| connection.is_ok());
    for (address, connection) in attempts {
        let subject = format!("{name} TCP {address}");
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

/// Whether the egress proxy opens a tunnel to Juspay, or no proxy is set.
async fn tunnel(
    context: &CheckContext<'_>,
    target: &Target,
    address: SocketAddr,
    stream: &mut TcpStream,
    report: &mut Report<'_>,
) -> io::Result<bool> {
    let Some(proxy) = &context.proxy else { return Ok(true) };
    let subject = format!("Egress proxy CONNECT {address}");
    let settings = &context.settings.juspay;
    let host = target.0.bare_host();
    let (found, fix) = match target.open_tunnel(stream, proxy, settings, &*context.clock).await {
        Some(Ok(())) => {
            report.ok(&subject, &format!("opened a tunnel to {host}"))?;
            return Ok(true);
        }
        Some(Err(why)) => (why.to_string(), why.fix()),
        None => (
            "no response within juspay.connect_timeout".to_owned(),
            "find out whether the proxy reaches the host of juspay.base_url",
        ),
    };
    report.failed(&subject, &found, fix)?;
    Ok(false)
}

/// Whether the TLS handshake succeeds, or no TLS is needed.
async fn tls_handshake(
    context: &CheckContext<'_>,
    target: &Target,
    address: SocketAddr,
    stream: TcpStream,
    report: &mut Report<'_>,
) -> Result<bool, DoctorError> {
    let settings = &context.settings.juspay;
    let subject = format!("Juspay TLS {address}");
    if !target.0.is_tls {
        report.ok(&subject, "not used: juspay.base_url is plain http")?;
        return Ok(true);
    }
    let config = tls::client_config(settings.ca_file.as_deref().map(Path::new))?;
    match target.handshake(stream, config, settings, &*context.clock).await {
        Some(Ok(handshake)) => {
            certificate(&subject, &handshake, context.clock.now(), report)?;
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
    let found = format!("{version}, certificate valid until {end} ({})", time_left(end, now));
    if end.duration_since(now) < EXPIRES_SOON {
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
        // A `BadSignature` means that another authority has the same name.
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

    fn lines(attempts: &[ConnectionAttempt]) -> String {
        let mut out = Vec::new();
        connections("Juspay", attempts, &mut Report::new(Some(&mut out))).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn unreachable_address_fails_only_if_all_are_unreachable() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let reachable = listener.local_addr().unwrap();
        let unreachable: SocketAddr = "[::1]:9".parse().unwrap();
        let timed_out = || (unreachable, Err(ConnectionFailure::ConnectTimeout));
        let shown =
            lines(&[timed_out(), (reachable, Ok(TcpStream::connect(reachable).await.unwrap()))]);
        assert!(shown.starts_with("warning  Juspay TCP [::1]:9 "), "{shown}");
        assert!(
            shown.contains("connection timed out; every attempt")
                && shown.contains("juspay.ip_family")
        );
        assert!(shown.contains(&format!("\nok       Juspay TCP {reachable}")), "{shown}");
        assert!(lines(&[timed_out()]).starts_with("FAILED   Juspay TCP [::1]:9 "));
    }
}
