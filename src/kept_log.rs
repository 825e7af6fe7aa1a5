//! What tests read of the log.

use std::{
    io,
    sync::{Arc, LazyLock, Mutex},
};

use tracing::{
    Dispatch,
    subscriber::{DefaultGuard, NoSubscriber},
};

/// A second subscriber, beside the one of a test. While there is but one, tracing asks whichever
/// thread comes by a line first whether anybody wants that line, and keeps the answer for all of
/// them: a thread of another test, which has no subscriber, would answer that nobody does. Of
/// several it asks each.
static SECOND: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::new()));

/// Lines that are kept.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    /// What is logged on this thread, in text, while the guard lives.
    pub(crate) fn on_this_thread() -> (Self, DefaultGuard) {
        LazyLock::force(&SECOND);
        let kept = Self::default();
        let writer = kept.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        (kept, tracing::subscriber::set_default(subscriber))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Kept {
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

    fn say_it() {
        tracing::warn!("something");
    }

    #[test]
    fn a_line_is_kept_though_a_thread_that_keeps_none_came_by_it_first() {
        let (log, _guard) = Kept::on_this_thread();
        thread::spawn(say_it).join().unwrap();
        say_it();
        assert_eq!(log.text().matches("something").count(), 1);
    }
}
