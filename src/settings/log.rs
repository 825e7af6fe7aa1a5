//! `log.*`: level, format and content of the log.

use std::{num::NonZeroU32, path::PathBuf};

use super::{fault::Violation, reader::Reader, server::is_readable};

/// `log.level`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// `log.format`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Text for reading in a terminal.
    Text,
}

/// `log.access`: which requests are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLog {
    /// All requests.
    All,
    /// Requests with a 4xx or 5xx response.
    Errors,
    /// None.
    Off,
    /// All errors and one in this many other requests (`"1/100"`).
    OneIn(NonZeroU32),
}

/// `log.*`
#[derive(Debug, Clone)]
pub struct Log {
    /// `log.level`
    pub level: LogLevel,
    /// `log.format`
    pub format: LogFormat,
    /// `log.access`
    pub access: AccessLog,
    /// `log.customer_ref_key_file`; if unset, a random key is generated at each start.
    pub customer_ref_key_file: Option<PathBuf>,
}

impl Log {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let level = reader.at("log.level").text(LogLevel::parse);
        let format = reader.at("log.format").text(LogFormat::parse);
        let access = reader.at("log.access").text(AccessLog::parse);
        let customer_ref_key_file = reader.at("log.customer_ref_key_file").file(is_readable);
        Some(Self { level: level?, format: format?, access: access?, customer_ref_key_file })
    }
}

impl LogLevel {
    fn parse(text: &str) -> Result<Self, Violation> {
        Ok(match text {
            "error" => Self::Error,
            "warn" => Self::Warn,
            "info" => Self::Info,
            "debug" => Self::Debug,
            "trace" => Self::Trace,
            _ => {
                return Err(no_such(
                    "a log level",
                    "\"error\", \"warn\", \"info\", \"debug\" or \"trace\"",
                ));
            }
        })
    }
}

impl LogFormat {
    fn parse(text: &str) -> Result<Self, Violation> {
        Ok(match text {
            "json" => Self::Json,
            "text" => Self::Text,
            _ => return Err(no_such("a log format", "\"json\" or \"text\"")),
        })
    }
}

impl AccessLog {
    fn parse(text: &str) -> Result<Self, Violation> {
        Ok(match text {
            "all" => Self::All,
            "errors" => Self::Errors,
            "off" => Self::Off,
            _ => {
                let count = text.strip_prefix("1/").and_then(|count| count.parse().ok());
                let violation = || {
                    no_such(
                        "an access log mode",
                        "\"all\", \"errors\", \"off\" or \"1/100\" (one in a hundred)",
                    )
                };
                Self::OneIn(count.ok_or_else(violation)?)
            }
        })
    }
}

fn no_such(what: &str, choices: &str) -> Violation {
    Violation::new(format!("expected {what}"), format!("write {choices}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_parsed() {
        for (name, level) in [
            ("error", LogLevel::Error),
            ("warn", LogLevel::Warn),
            ("info", LogLevel::Info),
            ("debug", LogLevel::Debug),
            ("trace", LogLevel::Trace),
        ] {
            assert_eq!(LogLevel::parse(name), Ok(level));
        }
        assert_eq!(LogFormat::parse("json"), Ok(LogFormat::Json));
        assert_eq!(LogFormat::parse("text"), Ok(LogFormat::Text));
        let hundred = NonZeroU32::new(100).unwrap();
        for (name, access) in [
            ("all", AccessLog::All),
            ("errors", AccessLog::Errors),
            ("off", AccessLog::Off),
            ("1/100", AccessLog::OneIn(hundred)),
        ] {
            assert_eq!(AccessLog::parse(name), Ok(access));
        }
    }

    #[test]
    fn other_names_are_rejected() {
        assert!(LogLevel::parse("INFO").is_err());
        assert!(LogFormat::parse("xml").is_err());
        for name in ["", "1/0", "1/", "2/100", "1/-1", "100", "1/99999999999"] {
            assert!(AccessLog::parse(name).is_err(), "{name}");
        }
    }
}
