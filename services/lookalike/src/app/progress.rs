//! What `up` shows while it works: a bar on a terminal, plain lines elsewhere. Log lines go
//! through here too, so that they don't break the bar.

use std::io::{self, IsTerminal as _, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use lookalike_bus::{FileCounts, LibraryStatus};
use lookalike_chassis::say;
use lookalike_servers::ServerStage;
use tracing_subscriber_writer::LogOutput;

/// Shows progress on standard error.
pub struct UpProgress {
    on_terminal: bool,
    bars: MultiProgress,
    spinner: Mutex<Option<ProgressBar>>,
    /// The last plain line, so that percentages don't fill a log.
    last_line: Mutex<String>,
}

impl UpProgress {
    /// On standard error, as a terminal or not.
    pub fn new() -> Self {
        Self {
            on_terminal: io::stderr().is_terminal(),
            bars: MultiProgress::new(),
            spinner: Mutex::new(None),
            last_line: Mutex::new(String::new()),
        }
    }

    /// Where log lines go.
    pub fn log_output(&self) -> LogOutput {
        LogOutput::new(self.on_terminal.then(|| self.bars.clone()))
    }

    /// A line that stays.
    pub fn print_line(&self, line: &str) {
        if self.on_terminal {
            self.bars.suspend(|| say::eprint_line(line));
        } else {
            say::eprint_line(line);
        }
    }

    /// What is being done now; the next one takes its place.
    pub fn show_activity(&self, what: &str) {
        if !self.on_terminal {
            // Each kind of line once: "unpacking Milvus (35 %)" is "unpacking Milvus".
            let kind = what.split(" (").next().unwrap_or(what).to_owned();
            let mut last = self
                .last_line
                .lock()
                .expect("no holder of this lock panics");
            if *last != kind {
                say::eprint_line(&kind);
                *last = kind;
            }
            return;
        }
        let mut spinner = self.spinner.lock().expect("no holder of this lock panics");
        let bar = spinner.get_or_insert_with(|| {
            let bar = self.bars.add(ProgressBar::new_spinner());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        bar.set_message(what.to_owned());
    }

    /// A stage of fetching or starting the servers.
    pub fn show_stage(&self, stage: ServerStage) {
        self.show_activity(&stage.to_string());
    }

    /// Nothing is being waited for any more.
    pub fn clear_spinner(&self) {
        if let Some(bar) = self
            .spinner
            .lock()
            .expect("no holder of this lock panics")
            .take()
        {
            bar.finish_and_clear();
        }
    }

    /// The bar of indexing.
    pub fn start_indexing_bar(&self) -> IndexingProgress {
        let bar = self.on_terminal.then(|| {
            let style = ProgressStyle::with_template("{spinner} {wide_bar} {pos}/{len}  {msg}")
                .expect("the template is legal");
            let bar = self.bars.add(ProgressBar::new(0).with_style(style));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        IndexingProgress {
            bar,
            begun: Instant::now(),
            done_at_first: None,
            last_line: None,
            peak: 0,
        }
    }
}

/// Folders without a picture are taken for empty after this time.
const EMPTY_FOLDER_TIMEOUT: Duration = Duration::from_secs(4);

/// Progress of indexing, from the libraries' status.
pub struct IndexingProgress {
    bar: Option<ProgressBar>,
    begun: Instant,
    done_at_first: Option<u64>,
    last_line: Option<Instant>,
    peak: u64,
}

impl IndexingProgress {
    /// Shows the libraries as they are now; true when every file has become something.
    pub fn update_counts(&mut self, libraries: &[LibraryStatus]) -> bool {
        let counts = libraries
            .iter()
            .fold(FileCounts::default(), |sum, library| {
                sum.sum_with(library.counts)
            });
        let done = counts.on_disk - counts.in_flight;
        let first = *self.done_at_first.get_or_insert(done);
        self.peak = self.peak.max(counts.in_flight);
        let elapsed = self.begun.elapsed().as_secs_f64().max(0.001);
        let rate = done.saturating_sub(first) as f64 / elapsed;
        let mut words = Vec::new();
        if counts.failed > 0 {
            words.push(format!("{} failed", counts.failed));
        }
        if rate > 0.5 {
            words.push(format!("{rate:.0} images/s"));
            let left = Duration::from_secs((counts.in_flight as f64 / rate).ceil() as u64);
            if counts.in_flight > 0 {
                words.push(format!("{} left", indicatif::HumanDuration(left)));
            }
        }
        let message = words.join(", ");
        if let Some(bar) = &self.bar {
            bar.set_length(counts.on_disk);
            bar.set_position(done);
            bar.set_message(message);
        } else if self
            .last_line
            .is_none_or(|at| at.elapsed() > Duration::from_secs(5))
        {
            if counts.in_flight > 0 {
                say::eprint_line(&format!(
                    "indexing: {done} of {} done{}{message}",
                    counts.on_disk,
                    if message.is_empty() { "" } else { ", " }
                ));
            }
            self.last_line = Some(Instant::now());
        }
        let scanned = !libraries.is_empty()
            && libraries
                .iter()
                .all(|library| library.standby || library.scanned_once && !library.scanning);
        // Files that were written just now are seen a moment later.
        let is_sure = counts.on_disk > 0 || self.begun.elapsed() > EMPTY_FOLDER_TIMEOUT;
        scanned && is_sure && counts.in_flight == 0
    }

    /// One line about what was done, and the bar goes.
    pub fn finish_with_summary(self, libraries: &[LibraryStatus]) -> String {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        let counts = libraries
            .iter()
            .fold(FileCounts::default(), |sum, library| {
                sum.sum_with(library.counts)
            });
        let done = counts.on_disk - counts.in_flight;
        let new = done
            .saturating_sub(self.done_at_first.unwrap_or(done))
            .max(self.peak.min(done))
            // What is ignored is counted by itself.
            .min(counts.indexed + counts.failed);
        let mut line = match counts.indexed {
            1 => "1 picture is indexed".to_owned(),
            indexed => format!("{indexed} pictures are indexed"),
        };
        if new > 0 {
            let seconds = self.begun.elapsed().as_secs_f64();
            line += &format!(
                "; {new} new or changed in {seconds:.1} s ({:.0} images/s)",
                new as f64 / seconds.max(0.001)
            );
        }
        if counts.failed > 0 {
            line += &format!(
                "; {} can't be (`lookalike failures` says why)",
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

/// Log lines beside a bar.
mod tracing_subscriber_writer {
    use super::{MultiProgress, Write, io};

    /// Makes writers for log lines.
    #[derive(Clone)]
    pub struct LogOutput {
        bars: Option<MultiProgress>,
    }

    impl LogOutput {
        pub(super) fn new(bars: Option<MultiProgress>) -> Self {
            Self { bars }
        }

        /// A writer of one line.
        pub fn line_writer(&self) -> LogLineWriter {
            LogLineWriter {
                bars: self.bars.clone(),
            }
        }
    }

    /// Writes one log line to standard error, above the bars.
    pub struct LogLineWriter {
        bars: Option<MultiProgress>,
    }

    impl Write for LogLineWriter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match &self.bars {
                Some(bars) => bars.suspend(|| io::stderr().write_all(bytes))?,
                None => io::stderr().write_all(bytes)?,
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            io::stderr().flush()
        }
    }
}
