//! Signal handling of the commands. Other signals keep the system's default action.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::watched_file::Reload;

/// Completes at SIGTERM or SIGINT. After this call, these signals don't terminate the process
/// themselves.
#[cfg(feature = "simulator")]
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

/// The signals that `serve` handles or ignores. None of them terminates the process itself.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Ignores SIGUSR1 and SIGUSR2 from now on.
    pub(super) fn of_service() -> io::Result<Self> {
        for ignored in [SignalKind::user_defined1(), SignalKind::user_defined2()] {
            // tokio's handler remains installed after the stream is dropped.
            drop(signal(ignored)?);
        }
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Completes at SIGTERM, SIGINT or SIGQUIT. Until then, each SIGHUP requests a reload.
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
