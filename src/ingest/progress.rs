//! Shows the progress of an import: a bar on a terminal, log lines elsewhere.

use std::time::Duration;

use indicatif::{
    BinaryBytes, FormattedDuration, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle,
};

use serde::{Deserialize, Serialize};

use super::summary::{ImportCounts, Rejection};
use crate::clock::{Clock, UnixMs};

/// Time between the lines of a [`LineObserver`]: rare enough not to fill a log.
const LINE_INTERVAL_MS: u64 = 5_000;

const BAR: &str = "{prefix} [{bar:24}] {percent:>3} % {msg}, {binary_bytes_per_sec}, {eta} left";
const SPINNER: &str = "{prefix} {spinner} {binary_bytes} {msg}, {binary_bytes_per_sec}";

/// The progress of an import.
#[derive(Clone, Copy, Debug)]
pub struct ImportProgress<'a> {
    /// Bytes read of the (compressed) source.
    pub(crate) position_bytes: u64,
    /// The length of the source; `None` if it is unknown.
    pub(crate) size_bytes: Option<u64>,
    /// The counts so far.
    pub(crate) counts: &'a ImportCounts,
}

/// The part of an import that the store has acknowledged: it stays whatever happens next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// Bytes of the source that were read by then, compressed as it is.
    pub(crate) bytes: u64,
    /// Contiguous lines of NDJSON from the start that are done: imported or rejected.
    pub(crate) lines: u64,
    /// Blocks of a CAR that are done.
    pub(crate) blocks: u64,
    /// Lines or blocks whose key the store has taken in.
    pub(crate) keys: u64,
    /// (key, record) pairs that the store has taken in.
    pub(crate) records: u64,
    /// Entries that were not taken in.
    pub(crate) rejected: u64,
}

/// Observes an import. Called often, so it must be quick.
pub trait ImportObserver {
    /// A file is begun.
    fn begin(&mut self, _file: &str, _size_bytes: Option<u64>) {}

    /// Some more of it was read.
    fn progress(&mut self, _progress: &ImportProgress<'_>) {}

    /// The store has taken a batch in, and the file goes on.
    fn acknowledged(&mut self, _acknowledged: &Acknowledged) {}

    /// One of the first entries that were not taken in.
    fn rejected(&mut self, _rejection: &Rejection) {}

    /// The file is done with, well or not.
    fn end(&mut self) {}
}

/// Discards everything.
impl ImportObserver for () {}

/// A bar on the terminal that standard error is. Where standard error is none, it shows nothing,
/// rejections included: use a [`LineObserver`].
#[derive(Debug)]
pub(crate) struct BarObserver {
    bar: ProgressBar,
}

/// Prints a line every few seconds, and one for each rejection that is shown.
pub(crate) struct LineObserver<F> {
    say: F,
    clock: Clock,
    file: String,
    begun_at_ms: UnixMs,
    said_at_ms: UnixMs,
}

impl BarObserver {
    /// A bar on standard error.
    pub(crate) fn on_stderr() -> Self {
        Self::on(ProgressDrawTarget::stderr())
    }

    fn on(target: ProgressDrawTarget) -> Self {
        Self { bar: ProgressBar::with_draw_target(None, target) }
    }
}

impl ImportObserver for BarObserver {
    fn begin(&mut self, file: &str, size_bytes: Option<u64>) {
        let template = if size_bytes.is_some() { BAR } else { SPINNER };
        let style = ProgressStyle::with_template(template).expect("the templates are valid");
        self.bar.reset();
        self.bar.set_style(style);
        self.bar.set_prefix(file.to_owned());
        match size_bytes {
            Some(size_bytes) => self.bar.set_length(size_bytes),
            None => self.bar.unset_length(),
        }
    }

    fn progress(&mut self, progress: &ImportProgress<'_>) {
        self.bar.set_message(format!("{} keys", HumanCount(progress.counts.keys)));
        self.bar.set_position(progress.position_bytes);
    }

    fn rejected(&mut self, rejection: &Rejection) {
        self.bar.println(rejection.to_string());
    }

    fn end(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl<F: FnMut(&str)> LineObserver<F> {
    /// Says its lines through `say`.
    pub(crate) fn new(clock: Clock, say: F) -> Self {
        Self { say, clock, file: String::new(), begun_at_ms: 0, said_at_ms: 0 }
    }
}

impl<F: FnMut(&str)> ImportObserver for LineObserver<F> {
    fn begin(&mut self, file: &str, _size_bytes: Option<u64>) {
        file.clone_into(&mut self.file);
        self.begun_at_ms = self.clock.now_ms();
        self.said_at_ms = self.begun_at_ms;
    }

    fn progress(&mut self, progress: &ImportProgress<'_>) {
        let now_ms = self.clock.now_ms();
        if now_ms.saturating_sub(self.said_at_ms) < LINE_INTERVAL_MS {
            return;
        }
        self.said_at_ms = now_ms;
        let line = progress_line(&self.file, progress, now_ms.saturating_sub(self.begun_at_ms));
        (self.say)(&line);
    }

    fn rejected(&mut self, rejection: &Rejection) {
        (self.say)(&rejection.to_string());
    }
}

fn progress_line(file: &str, progress: &ImportProgress<'_>, elapsed_ms: u64) -> String {
    let ImportProgress { position_bytes, size_bytes, counts } = *progress;
    let elapsed_ms = elapsed_ms.max(1);
    let keys = HumanCount(counts.keys);
    let rate = HumanCount(per_second(counts.keys, elapsed_ms));
    match size_bytes {
        Some(size_bytes) if size_bytes > 0 && position_bytes > 0 => {
            let percent = u128::from(position_bytes) * 100 / u128::from(size_bytes);
            let left_bytes = size_bytes.saturating_sub(position_bytes);
            let left_ms =
                u128::from(left_bytes) * u128::from(elapsed_ms) / u128::from(position_bytes);
            let left_seconds = u64::try_from(left_ms.div_ceil(1_000)).unwrap_or(u64::MAX);
            let left = FormattedDuration(Duration::from_secs(left_seconds));
            format!(
                "{file}: {percent} % of {}, {keys} keys, {rate} keys/s, {left} left",
                BinaryBytes(size_bytes)
            )
        }
        Some(_) | None => {
            format!("{file}: {}, {keys} keys, {rate} keys/s", BinaryBytes(position_bytes))
        }
    }
}

fn per_second(count: u64, elapsed_ms: u64) -> u64 {
    let rate = u128::from(count) * 1_000 / u128::from(elapsed_ms);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::ingest::summary::{Place, RejectReason};

    fn progress(
        position_bytes: u64,
        size_bytes: Option<u64>,
        counts: &ImportCounts,
    ) -> ImportProgress<'_> {
        ImportProgress { position_bytes, size_bytes, counts }
    }

    #[test]
    fn a_line_comes_every_few_seconds_with_rate_and_time_left() {
        let time = ManualClock::new(1_000_000);
        let mut said = Vec::new();
        let mut observer =
            LineObserver::new(Clock::Manual(time.clone()), |line: &str| said.push(line.to_owned()));
        let counts = ImportCounts { keys: 10_000, ..ImportCounts::default() };
        observer.begin("a.ndjson", Some(4_096));
        observer.progress(&progress(1_000, Some(4_096), &counts));
        time.advance(LINE_INTERVAL_MS - 1);
        observer.progress(&progress(1_000, Some(4_096), &counts));
        time.advance(1);
        observer.progress(&progress(1_024, Some(4_096), &counts));
        observer.progress(&progress(1_025, Some(4_096), &counts));
        time.advance(LINE_INTERVAL_MS);
        observer.progress(&progress(2_048, None, &counts));
        assert_eq!(
            said,
            [
                "a.ndjson: 25 % of 4.00 KiB, 10,000 keys, 2,000 keys/s, 00:00:15 left",
                "a.ndjson: 2.00 KiB, 10,000 keys, 1,000 keys/s",
            ]
        );
    }

    #[test]
    fn rejections_are_said_at_once() {
        let mut said = Vec::new();
        let mut observer =
            LineObserver::new(Clock::System, |line: &str| said.push(line.to_owned()));
        let rejection = Rejection::new("f".into(), Place::Line(3), RejectReason::Json, "bad");
        observer.rejected(&rejection);
        assert_eq!(said, ["f:3: bad"]);
    }

    #[test]
    fn the_bar_follows_the_file() {
        let mut observer = BarObserver::on(ProgressDrawTarget::hidden());
        for size_bytes in [Some(100), None] {
            observer.begin("f", size_bytes);
            assert_eq!(observer.bar.length(), size_bytes);
            let counts = ImportCounts { keys: 1_234, ..ImportCounts::default() };
            observer.progress(&progress(40, size_bytes, &counts));
            assert_eq!((observer.bar.position(), observer.bar.is_finished()), (40, false));
            assert_eq!(observer.bar.message(), "1,234 keys");
            observer.end();
            assert!(observer.bar.is_finished());
        }
    }
}
