//! Sets up the log: its level, format and output. Other modules decide what they log.
//!
//! Dependencies never log below `warn`, because an HTTP client at `debug` may print request
//! headers, including the API key. Therefore only the level can change, and directives such as
//! `RUST_LOG` are not supported.

mod json;
mod output;

use std::{
    fs::File,
    io, mem,
    os::fd::AsFd as _,
    panic::{self, Location},
    sync::{Mutex, PoisonError},
    thread,
};

use tracing::{Dispatch, dispatcher::SetGlobalDefaultError, level_filters::LevelFilter};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::{
    Layer, Registry,
    filter::Targets,
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    reload,
};

use self::json::Json;
use crate::settings::{Log, LogFormat, LogLevel};

/// Prefix of the targets of this crate's events, in the library and the binary.
const OWN_TARGETS: &str = "juspay_bff";

/// The thread that writes this process's log.
static THREAD: Mutex<Option<WorkerGuard>> = Mutex::new(None);

/// The level in force, and the filter that applies it.
static LEVEL: Mutex<Option<(LogLevel, LevelFilterHandle)>> = Mutex::new(None);

type LevelFilterHandle = reload::Handle<Targets, Registry>;

/// Why the log can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// Standard output can't be duplicated.
    #[error("failed to use standard output for the log: {0}")]
    Output(#[from] io::Error),
    /// The log is already set up.
    #[error(transparent)]
    AlreadySet(#[from] SetGlobalDefaultError),
}

/// Sends the log of this process to standard output, including panics. Call [`end`] before the
/// process exits.
///
/// # Errors
/// If the log is already set up, or its output is not available.
pub fn init(log: &Log) -> Result<(), InitError> {
    // `io::stdout()` has a buffer, which hides how much of a failed write is lost.
    let out = io::stdout().as_fd().try_clone_to_owned()?;
    let (queue, thread) = output::spawn(File::from(out));
    let (dispatch, filter) = dispatch(log, move || queue.clone());
    tracing::dispatcher::set_global_default(dispatch)?;
    *LEVEL.lock().unwrap_or_else(PoisonError::into_inner) = Some((log.level, filter));
    *THREAD.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
    log_panics();
    Ok(())
}

/// Waits for up to a second until all log lines are written. Call it last.
pub fn end() {
    let thread = THREAD.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(thread) = thread {
        output::end(thread);
    }
}

/// The level in force; `None` before [`init`].
pub fn level() -> Option<LogLevel> {
    LEVEL.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(level, _)| *level)
}

/// Changes the level until the process ends, and logs the change. Returns the old level; `None`
/// before [`init`].
pub fn set_level(new: LogLevel) -> Option<LogLevel> {
    let mut level = LEVEL.lock().unwrap_or_else(PoisonError::into_inner);
    let (level, filter) = level.as_mut()?;
    let old = mem::replace(level, new);
    change_level(filter, old, new).then_some(old)
}

/// Logs the change at the more verbose of both levels, because the other one may suppress the line.
fn change_level(handle: &LevelFilterHandle, old: LogLevel, new: LogLevel) -> bool {
    let report = || {
        let (old, new) = (old.as_str(), new.as_str());
        tracing::warn!(old, new, "log level changed; a restart restores log.level");
    };
    if new < old {
        report();
    }
    let is_changed = handle.reload(filter(new)).is_ok();
    if new > old {
        report();
    }
    is_changed
}

/// A subscriber with the level and format of `log`, which writes to `writer`, and the handle of its
/// filter.
pub fn dispatch<W>(log: &Log, writer: W) -> (Dispatch, LevelFilterHandle)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // Times are RFC 3339 in UTC. Colors are disabled, as is the feature for them. Internal errors
    // are disabled, because they go to standard error, and could panic if it is closed.
    let lines = fmt::layer().with_writer(writer).with_ansi(false).log_internal_errors(false);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match log.format {
        LogFormat::Json => lines.event_format(Json).boxed(),
        LogFormat::Text => lines.boxed(),
    };
    let (filter, handle) = reload::Layer::new(filter(log.level));
    (Dispatch::new(Registry::default().with(lines.with_filter(filter))), handle)
}

/// This crate's events by `level`, and those of dependencies by `level` or `warn`, whichever is
/// less.
fn filter(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    Targets::new().with_default(level.min(LevelFilter::WARN)).with_target(OWN_TARGETS, level)
}

/// Logs the location of panics. Their payload is left out, because it may contain secrets.
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
    use proptest::prelude::*;

    use super::*;
    use crate::{captured_log::CapturedLog, settings::AccessLog};

    /// The log of `work`.
    fn logged(level: LogLevel, format: LogFormat, work: impl FnOnce()) -> String {
        let log = Log { level, format, access: AccessLog::All, customer_ref_key_file: None };
        let captured = CapturedLog::default();
        let writer = captured.clone();
        let (dispatch, _) = dispatch(&log, move || writer.clone());
        tracing::dispatcher::with_default(&dispatch, work);
        captured.text()
    }

    /// The same after a change of the level.
    fn logged_after_change(old: LogLevel, new: LogLevel, work: impl FnOnce()) -> String {
        let log = Log {
            level: old,
            format: LogFormat::Json,
            access: AccessLog::All,
            customer_ref_key_file: None,
        };
        let captured = CapturedLog::default();
        let writer = captured.clone();
        let (dispatch, filter) = dispatch(&log, move || writer.clone());
        tracing::dispatcher::with_default(&dispatch, || {
            assert!(change_level(&filter, old, new));
            work();
        });
        captured.text()
    }

    fn log_at_every_level() {
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
    fn level_applies_to_own_events_and_dependencies_never_log_below_warn() {
        for (level, own_events, dependency_events) in [
            (LogLevel::Error, 1, 1),
            (LogLevel::Warn, 2, 2),
            (LogLevel::Info, 3, 2),
            (LogLevel::Debug, 4, 2),
            (LogLevel::Trace, 5, 2),
        ] {
            let lines = logged(level, LogFormat::Text, log_at_every_level);
            assert_eq!(lines.matches("our ").count(), own_events, "{level:?}: {lines}");
            assert_eq!(lines.matches("their ").count(), dependency_events, "{level:?}: {lines}");
        }
    }

    #[test]
    fn changed_level_is_logged_and_applies_to_own_events_only() {
        let levels = [
            (LogLevel::Error, 1, 1),
            (LogLevel::Warn, 2, 2),
            (LogLevel::Info, 3, 2),
            (LogLevel::Debug, 4, 2),
            (LogLevel::Trace, 5, 2),
        ];
        for (old, ..) in levels {
            for (new, own_events, dependency_events) in levels {
                let lines = logged_after_change(old, new, log_at_every_level);
                assert_eq!(lines.matches("our ").count(), own_events, "{old:?} {new:?}: {lines}");
                assert_eq!(lines.matches("their ").count(), dependency_events, "{new:?}: {lines}");
                let change = format!(r#""old":"{}","new":"{}""#, old.as_str(), new.as_str());
                let reports = lines.matches("log level changed").count();
                assert_eq!(reports, usize::from(old != new), "{old:?} {new:?}: {lines}");
                assert_eq!(lines.contains(&change), old != new, "{old:?} {new:?}: {lines}");
            }
        }
    }

    #[test]
    fn json_lines_are_flat_and_have_a_time() {
        let line =
            logged(LogLevel::Info, LogFormat::Json, || tracing::info!(status = 200, "served"));
        let fields = r#","level":"INFO","message":"served","status":200,"target":"#;
        assert!(line.starts_with("{\"timestamp\":\"") && line.contains(fields), "{line}");
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        let time: jiff::Timestamp = line["timestamp"].as_str().unwrap().parse().unwrap();
        assert!(time.as_second() > 0 && line["timestamp"].as_str().unwrap().ends_with('Z'));
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["target"], "juspay_bff::telemetry::tests");
        assert_eq!((&line["status"], &line["message"]), (&200.into(), &"served".into()));
    }

    #[test]
    fn json_lines_contain_each_kind_of_value() {
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

    proptest! {
        #[test]
        fn any_text_round_trips_on_one_line(text: String) {
            let line = logged(LogLevel::Info, LogFormat::Json, || tracing::info!(text, "said"));
            prop_assert!(!line.trim_end_matches('\n').bytes().any(|byte| byte < 0x20), "{line:?}");
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(line["text"].as_str(), Some(&*text));
        }
    }

    #[test]
    fn each_ascii_character_round_trips() {
        let text: String = (0..128_u8).map(char::from).collect();
        let line = logged(LogLevel::Info, LogFormat::Json, || tracing::info!("{text}"));
        let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(parsed["message"], *text);
        let line = logged(LogLevel::Info, LogFormat::Json, || tracing::info!("a\"b\\c\nd\u{1b}"));
        assert!(line.contains(r#""a\"b\\c\nd\u001b""#), "{line}");
    }

    #[test]
    fn text_lines_contain_no_escapes() {
        let line = logged(LogLevel::Info, LogFormat::Text, || tracing::info!(a = "\u{1b}[1m", "b"));
        assert!(line.contains("INFO") && !line.contains('\u{1b}'), "{line:?}");
    }

    #[test]
    fn panic_is_logged_with_its_location_only() {
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
