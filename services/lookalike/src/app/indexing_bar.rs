//! Progress of indexing: a bar on a terminal, plain lines otherwise.

use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar};
use lookalike_bus::{FileCounts, LibraryStatus};
use lookalike_chassis::stdio;

/// Folders without a picture count as empty after this time: files that were just written are
/// seen with a delay.
const EMPTY_FOLDER_TIMEOUT: Duration = Duration::from_secs(4);
const PLAIN_LINE_INTERVAL: Duration = Duration::from_secs(5);

pub(super) struct IndexingProgress {
    bar: Option<ProgressBar>,
    started_at: Instant,
    done_at_start: Option<u64>,
    last_line_at: Option<Instant>,
    peak_in_flight: u64,
}

impl IndexingProgress {
    pub(super) fn new(bar: Option<ProgressBar>) -> Self {
        Self {
            bar,
            started_at: Instant::now(),
            done_at_start: None,
            last_line_at: None,
            peak_in_flight: 0,
        }
    }

    /// Shows the current counts. Returns whether all libraries are scanned and nothing is in flight.
    pub(super) fn update_counts(&mut self, libraries: &[LibraryStatus]) -> bool {
        let counts = total_counts(libraries);
        let done = counts.on_disk - counts.in_flight;
        let done_at_start = *self.done_at_start.get_or_insert(done);
        self.peak_in_flight = self.peak_in_flight.max(counts.in_flight);
        let elapsed = self.started_at.elapsed().as_secs_f64().max(0.001);
        let rate = done.saturating_sub(done_at_start) as f64 / elapsed;
        let message = format_message(counts, rate);
        if let Some(bar) = &self.bar {
            bar.set_length(counts.on_disk);
            bar.set_position(done);
            bar.set_message(message);
        } else if self
            .last_line_at
            .is_none_or(|at| at.elapsed() > PLAIN_LINE_INTERVAL)
        {
            if counts.in_flight > 0 {
                let separator = if message.is_empty() { "" } else { ", " };
                stdio::eprint_line(&format!(
                    "indexing: {done} of {} done{separator}{message}",
                    counts.on_disk
                ));
            }
            self.last_line_at = Some(Instant::now());
        }
        let is_scanned = !libraries.is_empty()
            && libraries
                .iter()
                .all(|library| library.standby || library.scanned_once && !library.scanning);
        let is_certain = counts.on_disk > 0 || self.started_at.elapsed() > EMPTY_FOLDER_TIMEOUT;
        is_scanned && is_certain && counts.in_flight == 0
    }

    /// Removes the bar and returns a line that summarises what was indexed.
    pub(super) fn finish_with_summary(self, libraries: &[LibraryStatus]) -> String {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        let counts = total_counts(libraries);
        let done = counts.on_disk - counts.in_flight;
        let new = done
            .saturating_sub(self.done_at_start.unwrap_or(done))
            .max(self.peak_in_flight.min(done))
            // Ignored files are counted separately.
            .min(counts.indexed + counts.failed);
        let mut line = match counts.indexed {
            1 => "1 picture is indexed".to_owned(),
            indexed => format!("{indexed} pictures are indexed"),
        };
        if new > 0 {
            let seconds = self.started_at.elapsed().as_secs_f64();
            line += &format!(
                "; {new} new or changed in {seconds:.1} s ({:.0} images/s)",
                new as f64 / seconds.max(0.001)
            );
        }
        if counts.failed > 0 {
            line += &format!(
                "; {} failed (`lookalike failures` lists them)",
                counts.failed
            );
        }
        if counts.ignored > 0 {
            line += &match counts.ignored {
                1 => "; 1 file is ignored".to_owned(),
                ignored => format!("; {ignored} files are ignored"),
            };
        }
        line
    }
}

fn total_counts(libraries: &[LibraryStatus]) -> FileCounts {
    libraries
        .iter()
        .fold(FileCounts::default(), |sum, library| {
            sum.sum_with(library.counts)
        })
}

/// Formats failures, rate and remaining time.
fn format_message(counts: FileCounts, rate: f64) -> String {
    let mut parts = Vec::new();
    if counts.failed > 0 {
        parts.push(format!("{} failed", counts.failed));
    }
    if rate > 0.5 {
        parts.push(format!("{rate:.0} images/s"));
        if counts.in_flight > 0 {
            let seconds = (counts.in_flight as f64 / rate).ceil() as u64;
            let remaining = Duration::from_secs(seconds);
            parts.push(format!("{} left", HumanDuration(remaining)));
        }
    }
    parts.join(", ")
}
