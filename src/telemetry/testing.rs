//! The log of a test, whatever other tests log at the same time.
//!
//! tracing keeps for the whole process whether anybody wants an event. As long as there is one subscriber
//! only, it asks the one of the thread that comes to the event first, which in a test is often none at all, and
//! from then on the event is lost to everybody. [`LogCapture::start`] therefore sets, once and for the
//! process, a subscriber that wants to be asked about every event and takes none.

use std::io;
use std::sync::{Arc, Mutex, Once};

use tracing::level_filters::LevelFilter;
use tracing::subscriber::{DefaultGuard, Interest};
use tracing::{Event, Metadata, Subscriber, span};

static ALL_EVENTS_ARE_OFFERED: Once = Once::new();

/// Captures what the current thread logs until it is dropped.
pub(crate) struct LogCapture {
    lines: LogLines,
    _guard: DefaultGuard,
}

/// A writer into the captured log.
#[derive(Clone, Default)]
pub(crate) struct LogLines(Arc<Mutex<Vec<u8>>>);

impl LogCapture {
    /// Captures what the subscriber that `build` makes of a writer writes.
    pub(crate) fn start<S>(build: impl FnOnce(LogLines) -> S) -> Self
    where
        S: Subscriber + Send + Sync + 'static,
    {
        ALL_EVENTS_ARE_OFFERED.call_once(|| {
            tracing::subscriber::set_global_default(TakesNone).expect("tests set no other one");
        });
        let lines = LogLines::default();
        let guard = tracing::subscriber::set_default(build(lines.clone()));
        Self { lines, _guard: guard }
    }

    /// What was logged so far.
    pub(crate) fn text(&self) -> String {
        let bytes = self.lines.0.lock().expect("no writer panics").clone();
        String::from_utf8(bytes).expect("the log is text")
    }
}

impl io::Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no reader panics").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Enables every callsite and discards every event.
struct TakesNone;

impl Subscriber for TakesNone {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        false
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
