//! Where log lines go and which are written. What is in them is the business of those who log.
//!
//! Refused: the details that libraries tell. An HTTP client at `debug` may print the headers that
//! it sends, and with them the API key, so dependencies never tell more than `warn`. That is why
//! the filter is made of two targets and can't be set by directives such as `RUST_LOG`.

mod json;
mod lines;

use std::{
    fs::File,
    io,
    os::fd::AsFd as _,
    panic::{self, Location},
    sync::OnceLock,
    thread,
};

use tracing::{Dispatch, dispatcher::SetGlobalDefaultError, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer, Registry,
    filter::Targets,
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
};

use self::{json::Json, lines::Lines};
use crate::settings::{Log, LogFormat, LogLevel};

/// What the targets of our own events begin with: the library's and the binary's.
const OURS: &str = "juspay_bff";

/// The process's lines.
static LINES: OnceLock<Lines> = OnceLock::new();

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// Standard output can't be opened a second time.
    #[error("failed to use standard output for the log: {0}")]
    Output(io::Error),
    /// No thread to write it.
    #[error("failed to start the log thread: {0}")]
    Thread(#[from] io::Error),
    /// There is one already.
    #[error(transparent)]
    Twice(#[from] SetGlobalDefaultError),
}

/// Sends the process's log lines to standard output, and panics among them. [`end`] waits for the
/// last ones.
///
/// # Errors
/// When that was done before, there is no thread for it, or standard output can't be opened again.
pub fn init(log: &Log) -> Result<(), InitError> {
    // The library's own handle has a buffer, which hides how much of a failed write is lost.
    let out = io::stdout().as_fd().try_clone_to_owned().map_err(InitError::Output)?;
    let lines = Lines::to(File::from(out))?;
    tracing::dispatcher::set_global_default(dispatch(log, lines.clone()))?;
    LINES.get_or_init(|| lines);
    log_panics();
    Ok(())
}

/// Waits until the process's log lines have been written, for a second at most: to be done last.
pub fn end() {
    if let Some(lines) = LINES.get() {
        lines.end();
    }
}

/// Log lines by `log`, to `writer`.
pub fn dispatch<W>(log: &Log, writer: W) -> Dispatch
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // Times are RFC 3339, UTC. There are no colours: the feature that makes them is off. When
    // standard output is closed, complaints on standard error would help nobody, and could panic.
    let lines = fmt::layer().with_writer(writer).with_ansi(false).log_internal_errors(false);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match log.format {
        LogFormat::Json => lines.event_format(Json).boxed(),
        LogFormat::Text => lines.boxed(),
    };
    Dispatch::new(Registry::default().with(lines.with_filter(filter(log.level))))
}

/// Our own events by `level`, those of dependencies by it too, but never more than `warn`.
fn filter(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    Targets::new().with_default(level.min(LevelFilter::WARN)).with_target(OURS, level)
}

/// Tells panics by their place. Their payload stays untold: it may hold whatever was at hand.
fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(Location::to_string).unwrap_or_default();
        let thread = thread::current().name().unwrap_or("unnamed").to_owned();
        tracing::error!(
            location,
            thread,
            "panic: a request may have failed with status 500, and the service continues; this is a \
             bug in juspay-bff: report it with this line"
        );
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{kept_log::Kept, settings::AccessLog};

    /// What `work` makes the log say.
    fn logged(level: LogLevel, format: LogFormat, work: impl FnOnce()) -> String {
        let log = Log { level, format, access: AccessLog::All, customer_ref_key_file: None };
        let kept = Kept::default();
        let writer = kept.clone();
        tracing::dispatcher::with_default(&dispatch(&log, move || writer.clone()), work);
        kept.text()
    }

    fn everyone_logs() {
        tracing::error!("our error");
        tracing::warn!("our warn");
        tracing::info!("our info");
        tracing::debug!("our debug");
        tracing::trace!("our trace");
        tracing::error!(target: "awc::client", "their error");
        tracing::warn!(target: "awc::client", "their warn");
        tracing::info!(target: "awc::client", "their info");
        tracing::debug!(target: "h2", "their debug");
        tracing::trace!(target: "h2", "their trace");
    }

    #[test]
    fn the_level_is_ours_and_dependencies_never_go_below_warn() {
        for (level, ours, theirs) in [
            (LogLevel::Error, 1, 1),
            (LogLevel::Warn, 2, 2),
            (LogLevel::Info, 3, 2),
            (LogLevel::Debug, 4, 2),
            (LogLevel::Trace, 5, 2),
        ] {
            let lines = logged(level, LogFormat::Text, everyone_logs);
            assert_eq!(lines.matches("our ").count(), ours, "{level:?}: {lines}");
            assert_eq!(lines.matches("their ").count(), theirs, "{level:?}: {lines}");
        }
    }

    #[test]
    fn json_lines_are_flat_and_have_a_time() {
        let line =
            logged(LogLevel::Info, LogFormat::Json, || tracing::info!(status = 200, "served"));
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        let time: jiff::Timestamp = line["timestamp"].as_str().unwrap().parse().unwrap();
        assert!(time.as_second() > 0 && line["timestamp"].as_str().unwrap().ends_with('Z'));
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["target"], "juspay_bff::telemetry::tests");
        assert_eq!((&line["status"], &line["message"]), (&200.into(), &"served".into()));
    }

    #[test]
    fn json_lines_tell_each_kind_of_value() {
        let line = logged(LogLevel::Info, LogFormat::Json, || {
            let error: &dyn std::error::Error = &io::Error::other("a \"b\"");
            tracing::info!(
                up = u64::MAX,
                down = i64::MIN,
                half = 0.5,
                none = f64::NAN,
                good = true,
                text = "c\n",
                list = ?["d"],
                error,
                absent = None::<u8>,
                "said"
            );
        });
        assert_eq!(line.lines().count(), 1, "{line}");
        let mut line: serde_json::Value = serde_json::from_str(&line).unwrap();
        line.as_object_mut().unwrap().remove("timestamp");
        let expected = serde_json::json!({
            "level": "INFO", "target": "juspay_bff::telemetry::tests", "message": "said",
            "up": u64::MAX, "down": i64::MIN, "half": 0.5, "none": null, "good": true,
            "text": "c\n", "list": "[\"d\"]", "error": "a \"b\"",
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn text_has_no_escapes() {
        let line = logged(LogLevel::Info, LogFormat::Text, || tracing::info!(a = "\u{1b}[1m", "b"));
        assert!(line.contains("INFO") && !line.contains('\u{1b}'), "{line:?}");
    }

    #[test]
    fn a_panic_is_told_by_its_place_alone() {
        let before = panic::take_hook();
        log_panics();
        let lines = logged(LogLevel::Info, LogFormat::Json, || {
            assert!(panic::catch_unwind(|| panic!("hush")).is_err());
        });
        panic::set_hook(before);
        assert!(lines.contains(file!()) && lines.contains("\"panic: "), "{lines}");
        assert!(lines.contains("this is a bug in juspay-bff"), "{lines}");
        assert!(!lines.contains("hush"), "{lines}");
    }
}
