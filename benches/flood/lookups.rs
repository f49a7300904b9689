//! Lookups at a steady pace while something else goes on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use hdrhistogram::Histogram;

use super::server::{Connection, Server};

/// Between two lookups.
const PAUSE: Duration = Duration::from_millis(1);

/// How long lookups took.
pub(crate) struct Lookups {
    pub(crate) p99_us: f64,
}

/// Looks keys up that are there while `work` is done, which says when it is over.
pub(crate) fn measure(
    server: &Server,
    numbers: std::ops::Range<u64>,
    work: impl FnOnce(&AtomicBool) -> anyhow::Result<()>,
) -> anyhow::Result<Lookups> {
    let is_over = AtomicBool::new(false);
    let look_up = || -> anyhow::Result<Lookups> {
        let mut connection = Connection::open(server)?;
        let mut latency_ns = Histogram::<u64>::new(3)?;
        for number in numbers.cycle() {
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            let asked_at = Instant::now();
            let status = connection.lookup(number)?;
            latency_ns.record(asked_at.elapsed().as_nanos() as u64)?;
            ensure!(status == 200, "a lookup got {status}");
            std::thread::sleep(PAUSE);
        }
        Ok(Lookups { p99_us: latency_ns.value_at_quantile(0.99) as f64 / 1_000.0 })
    };
    std::thread::scope(|scope| {
        let lookups = scope.spawn(look_up);
        let worked = work(&is_over);
        // Also where the work failed.
        is_over.store(true, Ordering::Relaxed);
        let lookups = lookups.join().expect("no panic");
        worked.and(lookups)
    })
}
