//! The commands `simulator` and `token`. `cli` parses their flags.

pub mod token;

use std::{fs, io, path::Path};

use secrecy::ExposeSecret;
use tokio::signal::ctrl_c;

use super::{Config, Running, TlsAccess, issuer::DEFAULT_AUDIENCE, page, start};

/// Starts a simulator, prints how to use it, and serves until SIGINT (Ctrl-C) or SIGTERM. With TLS,
/// first writes the certificate to trust to `ca_file`.
///
/// # Errors
/// If a port is unavailable, signals can't be handled, or `ca_file` or `out` can't be written.
pub async fn simulate(
    config: Config,
    ca_file: Option<&Path>,
    out: &mut (dyn io::Write + Send),
) -> io::Result<()> {
    // Before the banner: a process that waits for the banner may send a signal right after it.
    let end = end_signal()?;
    let running = start(config.clone()).await?;
    let tls = running.tls().zip(ca_file);
    if let Some((tls, file)) = tls {
        fs::write(file, &tls.ca).map_err(|error| {
            io::Error::new(error.kind(), format!("can't write {}: {error}", file.display()))
        })?;
    }
    out.write_all(banner(&config, &running, tls).as_bytes())?;
    out.flush()?;
    end.await
}

/// Completes at SIGINT or SIGTERM.
#[cfg(unix)]
fn end_signal() -> io::Result<impl Future<Output = io::Result<()>>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            interrupted = ctrl_c() => interrupted,
            _ = terminate.recv() => Ok(()),
        }
    })
}

/// Completes at Ctrl-C.
#[cfg(not(unix))]
fn end_signal() -> io::Result<impl Future<Output = io::Result<()>>> {
    Ok(ctrl_c())
}

/// The usage text, with lines to copy.
fn banner(config: &Config, running: &Running, tls: Option<(&TlsAccess, &Path)>) -> String {
    let keys: Vec<_> = config.api_keys.iter().map(ExposeSecret::expose_secret).collect();
    let base = running.simulator().base_url();
    let issuer = running.issuer().issuer_url();
    let merchant = &config.merchant;
    let first_key = keys.first().copied().unwrap_or_default();
    format!(
        "Simulated Juspay     {base}\n\
         {over_tls}\
         Simulated issuer     {issuer}\n\
         API key              {all_keys}\n\
         Merchant             {merchant}\n\
         Audience of tokens   {DEFAULT_AUDIENCE}\n\
         \n\
         {unknown}\n\
         \n\
         {magic}\n\
         Call it as the real Juspay:\n\
         \x20 curl -u '{first_key}:' -H 'x-merchantid: {merchant}' \\\n\
         \x20   '{base}/customers/alice?options.get_client_auth_token=true'\n\
         Get an access token for a customer:\n\
         \x20 juspay-bff token --subject alice --issuer {issuer}\n\
         Show the requests, inject faults, and list all control routes:\n\
         \x20 curl {base}/_simulator/requests\n\
         \x20 curl -d '{fault}' {base}/_simulator/faults\n\
         \x20 curl {base}/_simulator\n\
         \n\
         Client auth tokens of the simulator don't work in the real SDK. Press Ctrl-C to stop.\n",
        all_keys = keys.join(", "),
        over_tls = tls.map(|(tls, ca_file)| over_tls(tls, ca_file)).unwrap_or_default(),
        unknown = page::unknown_customers(config.provision),
        magic = page::magic_customers(),
        fault = r#"{"customer": "alice", "times": 1, "fault": "reset"}"#,
    )
}

/// How to use the TLS listener.
fn over_tls(TlsAccess { address, .. }: &TlsAccess, ca_file: &Path) -> String {
    let ca = ca_file.display();
    format!(
        "  the same over TLS  https://{address}\n\
         \x20 CA to trust        {ca}\n\
         \x20   until the simulator stops, by: curl --cacert {ca}, juspay.ca_file = \"{ca}\",\n\
         \x20   or NODE_EXTRA_CA_CERTS={ca} (Node.js)\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn banner_contains_urls_and_commands() {
        let mut config = Config::on_free_ports();
        config.api_keys.push("second".into());
        let running = start(config.clone()).await.unwrap();
        let banner = banner(&config, &running, None);
        for needed in [
            running.simulator().base_url(),
            running.issuer().issuer_url(),
            "sim_key, second",
            "Merchant             sim_merchant",
            "  sim_ip_blocked",
            "don't work in the real SDK",
            "  curl -u 'sim_key:' -H 'x-merchantid: sim_merchant' \\\n    'http",
        ] {
            assert!(banner.contains(needed), "{needed}\n{banner}");
        }
    }

    #[tokio::test]
    async fn occupied_port_is_named_in_the_error() {
        let running = start(Config::on_free_ports()).await.unwrap();
        let taken = running.simulator().base_url().trim_start_matches("http://").to_owned();
        let config = Config { listen: taken.parse().unwrap(), ..Config::on_free_ports() };
        let mut out = Vec::new();
        let error = simulate(config, None, &mut out).await.unwrap_err();
        assert!(error.to_string().starts_with(&format!("can't listen on {taken}: ")), "{error}");
        assert!(out.is_empty());
    }
}
