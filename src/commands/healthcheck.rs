//! `juspay-bff healthcheck`: requests `/readyz` of the service on this machine.
//!
//! The exit code is 0 or 1, because Docker reserves 2. Reads no setting except
//! `server.admin_listen`.

use super::{
    CommandError,
    admin_client::{AdminClient, GetError},
    failed,
};
use crate::{cli::Healthcheck, settings::Sources};

/// Maximum length of the printed text, in characters.
const MAX_SHOWN: usize = 200;

pub(super) async fn run(flags: Healthcheck) -> Result<(), CommandError> {
    let sources = Sources::of_process(flags.settings.files);
    let listen =
        sources.admin_listen().map_err(|faults| CommandError::Failed(faults.to_string()))?;
    let client = AdminClient::new(listen).map_err(failed)?;
    let path = if flags.live { "/livez" } else { "/readyz" };
    let what = client.show(path);
    match client.get(path, flags.timeout).await {
        Ok((200, _)) => Ok(()),
        Ok((status, body)) => Err(failed(format!("{what} returned {status}: {}", shown(&body)))),
        Err(GetError::Io(error)) => {
            Err(failed(format!("failed to reach {what} (server.admin_listen): {error}")))
        }
        Err(GetError::Timeout) => {
            Err(failed(format!("{what} did not respond within {:?}", flags.timeout)))
        }
    }
}

/// The first line of a body.
fn shown(body: &str) -> String {
    let line = body.lines().next().unwrap_or_default();
    line.chars().take(MAX_SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_is_reduced_to_one_printable_line() {
        assert_eq!(shown("no issuer\x1b has keys\nmore"), "no issuer  has keys");
        assert_eq!(shown(""), "");
    }
}
