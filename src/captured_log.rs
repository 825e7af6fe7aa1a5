//! Captures log lines in tests.

use std::{
    io,
    sync::{Arc, LazyLock, Mutex},
};

use tracing::{
    Dispatch,
    subscriber::{DefaultGuard, NoSubscriber},
};

/// A second subscriber. While there is only one, the first thread that reaches a log statement
/// decides for all threads whether it is enabled. A thread of another test, without a subscriber,
/// would disable it. With several subscribers, tracing consults all of them
/// (`tracing_core::callsite`).
static SECOND_SUBSCRIBER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::new()));

/// The captured log.
#[derive(Debug, Clone, Default)]
pub(crate) struct CapturedLog(Arc<Mutex<Vec<u8>>>);

impl CapturedLog {
    /// Captures what this thread logs, in text format, while the guard exists.
    pub(crate) fn on_this_thread() -> (Self, DefaultGuard) {
        LazyLock::force(&SECOND_SUBSCRIBER);
        let captured = Self::default();
        let writer = captured.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        (captured, tracing::subscriber::set_default(subscriber))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for CapturedLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn log_something() {
        tracing::warn!("something");
    }

    #[test]
    fn line_is_captured_after_a_thread_without_subscriber_has_reached_it() {
        let (log, _guard) = CapturedLog::on_this_thread();
        thread::spawn(log_something).join().unwrap();
        log_something();
        assert_eq!(log.text().matches("something").count(), 1);
    }
}
