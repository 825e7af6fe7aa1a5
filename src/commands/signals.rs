//! What commands do at signals. Those that aren't named here keep the system's default.

use std::{future::Future, io};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::application::Reload;

/// Completes at SIGTERM or SIGINT. From the call on, neither ends the process by itself.
pub(super) fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// The signals that `serve` handles or ignores; none of them ends the process by itself.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hang_up: Signal,
}

impl Signals {
    /// SIGUSR1 and SIGUSR2 are ignored from the call on.
    pub(super) fn of_service() -> io::Result<Self> {
        for ignored in [SignalKind::user_defined1(), SignalKind::user_defined2()] {
            // tokio's handler stays, whether or not somebody waits.
            drop(signal(ignored)?);
        }
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Completes at SIGTERM, SIGINT or SIGQUIT; requests a reload at each SIGHUP before that.
    pub(super) async fn stop(mut self, reload: Reload) {
        loop {
            let name = tokio::select! {
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.interrupt.recv() => "SIGINT",
                _ = self.quit.recv() => "SIGQUIT",
                _ = self.hang_up.recv() => {
                    tracing::info!(signal = "SIGHUP", "reloading all watched files");
                    reload.request();
                    continue;
                }
            };
            tracing::info!(signal = name, "stopping");
            return;
        }
    }
}
