//! The commands `simulator` and `token`. `cli` parses their flags.

pub mod token;

use std::io;

use secrecy::ExposeSecret;
use tokio::signal::ctrl_c;

use super::{Config, Running, issuer::DEFAULT_AUDIENCE, page, start};

/// Starts a simulator, prints how to use it, and serves until SIGINT (Ctrl-C) or SIGTERM.
///
/// # Errors
/// If a port is unavailable, signals can't be handled, or `out` can't be written.
pub async fn simulate(config: Config, out: &mut (dyn io::Write + Send)) -> io::Result<()> {
    // Before the banner: a process that waits for the banner may send a signal right after it.
    let end = end_signal()?;
    let running = start(config.clone()).await?;
    out.write_all(banner(&config, &running).as_bytes())?;
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
fn banner(config: &Config, running: &Running) -> String {
    let keys: Vec<_> = config.api_keys.iter().map(ExposeSecret::expose_secret).collect();
    let base = running.simulator().base_url();
    let issuer = running.issuer().issuer_url();
    let merchant = &config.merchant;
    let first_key = keys.first().copied().unwrap_or_default();
    format!(
        "Simulated Juspay     {base}\n\
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
        unknown = page::unknown_customers(config.provision),
        magic = page::magic_customers(),
        fault = r#"{"customer": "alice", "times": 1, "fault": "reset"}"#,
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
        let banner = banner(&config, &running);
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
        let error = simulate(config, &mut out).await.unwrap_err();
        assert!(error.to_string().starts_with(&format!("can't listen on {taken}: ")), "{error}");
        assert!(out.is_empty());
    }
}
