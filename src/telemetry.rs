//! The log: structured events on standard error, as text for people or as JSON for machines.
//!
//! Standard output is left to the answers of commands. Colours are used on a terminal only, and not
//! where `NO_COLOR` is set. The filter was checked when the settings were read, so all that can
//! fail here is to start a second log in one process. An event that cannot be written, because the
//! disk of the log is full, is lost; whatever it was about goes on.

#[cfg(test)]
pub(crate) mod testing;

use std::io::{self, IsTerminal};

use thiserror::Error;
use tracing::Subscriber;
use tracing_subscriber::fmt;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{LogFilter, LogFormat};

/// Why the log cannot be started.
#[derive(Debug, Error)]
pub(crate) enum TelemetryError {
    /// The process has a log already.
    #[error("the log cannot be started")]
    AlreadyStarted(#[from] TryInitError),
}

/// Starts the log of the process on standard error; `log` and `log_format` are the settings.
///
/// # Errors
///
/// When the process has a log already.
pub(crate) fn init(log: &LogFilter, log_format: LogFormat) -> Result<(), TelemetryError> {
    let style = style(log_format, LogOutput::of_stderr());
    subscriber(log, style, io::stderr).try_init()?;
    Ok(())
}

/// The format of events.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Style {
    Coloured,
    Plain,
    Json,
}

/// What reads the log.
#[derive(Clone, Copy, Debug)]
enum LogOutput {
    /// A terminal that shows colours.
    Colours,
    /// A terminal without colours.
    PlainText,
    /// Not a terminal: a file or a program.
    Program,
}

impl LogOutput {
    /// Colours are off by the convention of no-color.org: set and not empty.
    fn of_stderr() -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        match io::stderr().is_terminal() {
            true if no_color => Self::PlainText,
            true => Self::Colours,
            false => Self::Program,
        }
    }
}

fn style(format: LogFormat, output: LogOutput) -> Style {
    match (format, output) {
        (LogFormat::Json, _) | (LogFormat::Auto, LogOutput::Program) => Style::Json,
        (LogFormat::Auto | LogFormat::Text, LogOutput::Colours) => Style::Coloured,
        (LogFormat::Auto | LogFormat::Text, LogOutput::PlainText)
        | (LogFormat::Text, LogOutput::Program) => Style::Plain,
    }
}

fn subscriber<W>(log: &LogFilter, style: Style, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let builder = fmt()
        .with_env_filter(log.to_env_filter())
        // They would be written to standard error, which is what failed: that would panic.
        .log_internal_errors(false)
        .with_writer(writer);
    match style {
        Style::Coloured => Box::new(builder.with_ansi(true).finish()),
        Style::Plain => Box::new(builder.with_ansi(false).finish()),
        // One flat object an event: the request's span once, not the list of its parents.
        Style::Json => {
            let json = builder.json().flatten_event(true);
            Box::new(json.with_current_span(true).with_span_list(false).finish())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::LogCapture;
    use super::*;

    fn logged(filter: &str, style: Style) -> String {
        let filter = filter.parse().unwrap();
        let log = LogCapture::start(|lines| subscriber(&filter, style, move || lines.clone()));
        {
            let _request = tracing::info_span!("request", request_id = "r1").entered();
            tracing::info!(records = 3, "answered");
            tracing::debug!("detail");
        }
        log.text()
    }

    #[test]
    fn json_is_one_flat_object_a_line_with_the_request() {
        let text = logged("info", Style::Json);
        assert_eq!(text.lines().count(), 1, "{text}");
        let event: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(event["message"], "answered");
        assert_eq!(event["records"], 3);
        assert_eq!(event["level"], "INFO");
        assert_eq!(event["span"]["request_id"], "r1");
    }

    #[test]
    fn plain_text_has_no_colours_and_coloured_text_has() {
        let plain = logged("info", Style::Plain);
        assert!(plain.contains("answered") && plain.contains("request_id"), "{plain}");
        assert!(!plain.contains('\u{1b}'), "{plain}");
        assert!(logged("info", Style::Coloured).contains('\u{1b}'));
    }

    #[test]
    fn the_filter_decides_what_is_written() {
        assert_eq!(logged("debug", Style::Plain).lines().count(), 2);
        assert_eq!(logged("info", Style::Plain).lines().count(), 1);
        assert_eq!(logged("off", Style::Plain), "");
    }

    #[test]
    fn the_style_follows_the_setting_the_terminal_and_no_color() {
        for (format, output, expected) in [
            (LogFormat::Auto, LogOutput::Colours, Style::Coloured),
            (LogFormat::Auto, LogOutput::PlainText, Style::Plain),
            (LogFormat::Auto, LogOutput::Program, Style::Json),
            (LogFormat::Text, LogOutput::Program, Style::Plain),
            (LogFormat::Text, LogOutput::PlainText, Style::Plain),
            (LogFormat::Text, LogOutput::Colours, Style::Coloured),
            (LogFormat::Json, LogOutput::Colours, Style::Json),
        ] {
            assert_eq!(style(format, output), expected, "{format} {output:?}");
        }
    }
}
