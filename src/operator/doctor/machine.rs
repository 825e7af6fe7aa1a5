//! Checks this machine: listener addresses, secret files, the server certificate, and proxy
//! variables.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::Path,
};

use jiff::SignedDuration;
use tokio::net::TcpSocket;

use super::{
    CheckContext,
    report::{Report, time_left},
};
use crate::{
    net::is_loopback_address,
    process, secret_file,
    settings::{KeySource, Listen, SecretSource, Settings},
    tls::ServerTls,
};

/// A certificate that expires within this time is a warning.
const EXPIRES_SOON: SignedDuration = SignedDuration::from_hours(14 * 24);

/// The permission of other users to read a file.
const WORLD_READABLE: u32 = 0o004;

pub(super) fn check(context: &CheckContext<'_>, report: &mut Report<'_>) -> io::Result<()> {
    let server = &context.settings.server;
    for listen in &server.listen {
        listener("server.listen", listen, report)?;
    }
    for listen in &server.admin_listen {
        listener("server.admin_listen", listen, report)?;
    }
    admin_token(context.settings, report)?;
    certificate(context, report)?;
    secrets(context.settings, report)?;
    proxies(context.settings, report)
}

/// Checks the address without listening on it, because the service may be running.
fn listener(key: &str, listen: &Listen, report: &mut Report<'_>) -> io::Result<()> {
    match listen {
        Listen::Tcp(address) => tcp(key, *address, report),
        Listen::Unix(path) => unix(key, path, report),
    }
}

fn tcp(key: &str, address: SocketAddr, report: &mut Report<'_>) -> io::Result<()> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    // Port 0 suffices to check whether the address belongs to this machine.
    let bound = socket.and_then(|socket| socket.bind(SocketAddr::new(address.ip(), 0)));
    let reach = match address.ip() {
        ip if is_loopback_address(ip) => "reachable from this machine (or pod) only",
        ip if ip.is_unspecified() => "reachable at every address of this machine",
        _ => "an address of this machine",
    };
    match bound {
        Ok(()) if address.port() == 0 => {
            let found = format!("{address}: the port changes at every start");
            report.warning(key, &found, &format!("write a port in {key}"))
        }
        Ok(()) => report.ok(key, &format!("{address}: {reach}")),
        Err(error) => {
            let found = format!("{address}: not available on this machine: {}", error.kind());
            report.failed(key, &found, &format!("write an address of this machine in {key}"))
        }
    }
}

fn unix(key: &str, path: &Path, report: &mut Report<'_>) -> io::Result<()> {
    let shown = path.display();
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let there = fs::symlink_metadata(path).map(|file| file.file_type().is_socket());
    if !directory.is_none_or(Path::is_dir) {
        let found = format!("unix:{shown}: the directory does not exist");
        report.failed(key, &found, &format!("create the directory, or write another path in {key}"))
    } else if matches!(there, Ok(false)) {
        let found = format!("unix:{shown}: a file that is not a socket exists there");
        report.failed(key, &found, &format!("remove it, or write another path in {key}"))
    } else {
        report.ok(key, &format!("unix:{shown}"))
    }
}

fn admin_token(settings: &Settings, report: &mut Report<'_>) -> io::Result<()> {
    let is_open =
        |listen: &Listen| matches!(listen, Listen::Tcp(it) if !is_loopback_address(it.ip()));
    let server = &settings.server;
    if server.admin_token_file.is_some() || !server.admin_listen.iter().any(is_open) {
        return Ok(());
    }
    let found = "is not set: requests from other machines to purge or revoke are rejected (403)";
    let fix = "set server.admin_token_file to allow such requests";
    report.warning("server.admin_token_file", found, fix)
}

fn certificate(context: &CheckContext<'_>, report: &mut Report<'_>) -> io::Result<()> {
    let Some(tls) = &context.settings.server.tls else { return Ok(()) };
    let (subject, fix) = ("server.tls.cert_file", "renew the certificate in server.tls.cert_file");
    let opened = match ServerTls::open(tls) {
        Ok(opened) => opened,
        Err(error) => return report.failed(subject, &error.to_string(), fix),
    };
    let now = context.clock.now();
    match opened.not_after() {
        Some(end) if end <= now => report.failed(subject, &format!("expired at {end}"), fix),
        Some(end) => {
            let found = format!("valid until {end} ({})", time_left(end, now));
            let is_soon = end.duration_since(now) < EXPIRES_SOON;
            if is_soon { report.warning(subject, &found, fix) } else { report.ok(subject, &found) }
        }
        None => report.warning(subject, "the certificate's expiry can't be read", fix),
    }
}

fn secrets(settings: &Settings, report: &mut Report<'_>) -> io::Result<()> {
    for (key, path) in secret_files(settings) {
        secret(&key, path, report)?;
    }
    if let SecretSource::Inline(_) = settings.juspay.api_key {
        report.ok("juspay.api_key", "set inline: changing the key needs a restart")?;
    }
    Ok(())
}

/// Each file that contains a secret, with its key.
fn secret_files(settings: &Settings) -> Vec<(String, &Path)> {
    let juspay = &settings.juspay;
    let api_key = match &juspay.api_key {
        SecretSource::File(path) => Some(path),
        SecretSource::Inline(_) => None,
    };
    let fixed = [
        ("juspay.api_key_file", api_key),
        ("juspay.api_key_next_file", juspay.api_key_next.as_ref()),
        ("juspay.egress_proxy_credentials_file", juspay.egress_proxy_credentials.as_ref()),
        ("server.admin_token_file", settings.server.admin_token_file.as_ref()),
        ("server.tls.key_file", settings.server.tls.as_ref().map(|tls| &tls.key_file)),
        ("auth.dpop.nonce_key_file", settings.auth.dpop.nonce_key_file.as_ref()),
        ("log.customer_ref_key_file", settings.log.customer_ref_key_file.as_ref()),
        ("traces.headers_file", settings.traces.headers_file.as_ref()),
        ("shared.password_file", settings.shared.password_file.as_ref()),
        ("shared.key_file", settings.shared.key_file.as_ref()),
        ("shared.name_key_file", settings.shared.name_key_file.as_ref()),
    ];
    let fixed = fixed.into_iter().filter_map(|(key, path)| Some((key.to_owned(), path?.as_path())));
    let of_issuers = settings.auth.issuers.iter().filter_map(|(name, issuer)| match &issuer.keys {
        KeySource::Introspection(introspection) => Some((
            format!("auth.issuers.{name}.introspection_client_secret_file"),
            introspection.client_secret_file.as_path(),
        )),
        KeySource::Hmac(hmac) => {
            Some((format!("auth.issuers.{name}.hmac_secret_file"), hmac.secret_file.as_path()))
        }
        KeySource::Url(_) | KeySource::File(_) | KeySource::Discovery(_) => None,
    });
    fixed.chain(of_issuers).collect()
}

fn secret(key: &str, path: &Path, report: &mut Report<'_>) -> io::Result<()> {
    if let Err(error) = secret_file::read_blocking(path) {
        let fix =
            format!("write the secret to that file and let this process read it, or change {key}");
        return report.failed(key, &error.to_string(), &fix);
    }
    let mode = fs::metadata(path).map(|file| file.permissions().mode()).unwrap_or_default();
    if mode & WORLD_READABLE == 0 {
        return report.ok(key, "readable, and not world-readable");
    }
    let found = format!("world-readable (mode {:o})", mode & 0o777);
    report.warning(
        key,
        &found,
        "run chmod o-r (in Kubernetes, set defaultMode: 0440 on the secret's volume)",
    )
}

fn proxies(settings: &Settings, report: &mut Report<'_>) -> io::Result<()> {
    let set: Vec<_> = process::proxy_variables().collect();
    if set.is_empty() {
        return report.ok("proxy", "no proxy variable is set; juspay-bff ignores them");
    }
    let (without, fix) = if settings.juspay.egress_proxy.is_some() {
        ("except to Juspay (juspay.egress_proxy)", "let this machine reach the issuers directly")
    } else {
        (
            "without a proxy",
            "let this machine reach juspay.base_url and the issuers directly, or set \
             juspay.egress_proxy for juspay.base_url",
        )
    };
    let found = format!("{} is ignored; juspay-bff connects directly, {without}", set.join(", "));
    report.warning("proxy", &found, fix)
}
