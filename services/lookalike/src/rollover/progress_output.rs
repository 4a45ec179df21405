//! What `models use` prints on standard error while it works: a bar on a terminal, plain lines
//! otherwise.

use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use lookalike_chassis::stdio;
use lookalike_embedder::rollover::copy::CopyPass;

const PLAIN_LINE_INTERVAL: Duration = Duration::from_secs(5);

pub(super) struct RolloverProgress {
    is_quiet: bool,
    is_terminal: bool,
    bar: Mutex<Option<ProgressBar>>,
    last_line_at: Mutex<Instant>,
}

impl RolloverProgress {
    pub(super) fn new(is_quiet: bool) -> Self {
        Self {
            is_quiet,
            is_terminal: std::io::stderr().is_terminal(),
            bar: Mutex::default(),
            last_line_at: Mutex::new(Instant::now()),
        }
    }

    pub(super) fn print_line(&self, line: &str) {
        self.clear_bar();
        if !self.is_quiet {
            stdio::eprint_line(line);
        }
    }

    /// Prints a line that the user must see, even with `--json`.
    pub(super) fn print_even_with_json(&self, line: &str) {
        self.clear_bar();
        stdio::eprint_line(line);
    }

    pub(super) fn show_pass(&self, pass: &CopyPass, total_rows: u64, started_at: Instant) {
        let elapsed = started_at.elapsed().as_secs_f64().max(0.001);
        let rate = pass.rows as f64 / elapsed;
        let total_rows = total_rows.max(pass.rows);
        let mut message = format!("{rate:.0} rows/s");
        if rate > 0.5 && total_rows > pass.rows {
            let remaining_rows = (total_rows - pass.rows) as f64;
            let remaining = Duration::from_secs((remaining_rows / rate).ceil() as u64);
            message = format!("{message}, {} left", HumanDuration(remaining));
        }
        self.show_progress("copying", pass.rows, total_rows, &message);
    }

    pub(super) fn print_pass_result(&self, pass: &CopyPass, started_at: Instant) {
        self.print_line(&format!(
            "{} rows: {} written ({} pictures embedded), {} removed, {:.1} s",
            pass.rows,
            pass.written,
            pass.embedded,
            pass.removed,
            started_at.elapsed().as_secs_f64()
        ));
    }

    /// Shows how many embedders use the new model.
    pub(super) fn show_waiting(&self, done: usize, total: usize) {
        let step = "waiting for the embedders to switch models";
        self.show_progress(step, done as u64, total as u64, "");
    }

    fn show_progress(&self, step: &str, done: u64, total: u64, message: &str) {
        if self.is_quiet {
            return;
        }
        if self.is_terminal {
            let mut bar = self.bar.lock().expect("no holder of this lock panics");
            let bar = bar.get_or_insert_with(|| {
                let style = ProgressStyle::with_template("{spinner} {msg} {wide_bar} {pos}/{len}")
                    .expect("the template is constant and valid");
                let bar = ProgressBar::new(0).with_style(style);
                bar.enable_steady_tick(Duration::from_millis(100));
                bar
            });
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(format!("{step} {message}"));
            return;
        }
        let mut last_line_at = self
            .last_line_at
            .lock()
            .expect("no holder of this lock panics");
        if last_line_at.elapsed() >= PLAIN_LINE_INTERVAL {
            *last_line_at = Instant::now();
            let line = format!("{step}: {done} of {total} {message}");
            stdio::eprint_line(line.trim_end());
        }
    }

    pub(super) fn clear_bar(&self) {
        let mut bar = self.bar.lock().expect("no holder of this lock panics");
        if let Some(bar) = bar.take() {
            bar.finish_and_clear();
        }
    }
}
