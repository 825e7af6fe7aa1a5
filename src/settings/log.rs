//! `log.*`: level, format and content of the log.

use std::{num::NonZeroU32, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{fault::Violation, files::is_readable, reader::Reader, value::one_of};

/// `log.level`, in the order of verbosity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// `log.format`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    #[default]
    Json,
    /// Text for reading in a terminal.
    Text,
}

/// `log.access`: which requests are logged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AccessLog {
    /// All requests.
    #[default]
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
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            level: reader.text("log.level", LogLevel::parse),
            format: reader.text("log.format", LogFormat::parse),
            access: reader.text("log.access", AccessLog::parse),
            customer_ref_key_file: reader.at("log.customer_ref_key_file").file(is_readable),
        }
    }
}

impl LogLevel {
    fn parse(text: &str) -> Result<Self, Violation> {
        let levels = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];
        one_of(text, Some("a log level"), &levels.map(|level| (level.as_str(), level)))
    }

    /// Its name in the settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl LogFormat {
    fn parse(text: &str) -> Result<Self, Violation> {
        one_of(text, Some("a log format"), &[("json", Self::Json), ("text", Self::Text)])
    }
}

impl AccessLog {
    fn parse(text: &str) -> Result<Self, Violation> {
        if let Some(count) = text.strip_prefix("1/").and_then(|count| count.parse().ok()) {
            return Ok(Self::OneIn(count));
        }
        let modes = [("all", Self::All), ("errors", Self::Errors), ("off", Self::Off)];
        one_of(text, None, &modes).map_err(|_| {
            let fix = "write \"all\", \"errors\", \"off\" or \"1/100\" (one in a hundred)";
            Violation::new("expected an access log mode", fix)
        })
    }
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
