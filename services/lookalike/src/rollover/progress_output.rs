//! What `models use` says while it works, on standard error: a bar on a terminal, plain lines
//! elsewhere.

use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use lookalike_embedder::switch::CopyPass;

/// Between two plain lines of progress.
const PLAIN_LINE_INTERVAL: Duration = Duration::from_secs(5);

pub(super) struct RolloverProgress {
    quiet: bool,
    on_terminal: bool,
    bar: Mutex<Option<ProgressBar>>,
    last_line: Mutex<Instant>,
}

impl RolloverProgress {
    pub(super) fn new(quiet: bool) -> Self {
        Self {
            quiet,
            on_terminal: std::io::stderr().is_terminal(),
            bar: Mutex::default(),
            last_line: Mutex::new(Instant::now()),
        }
    }

    /// A line that stays.
    pub(super) fn print_line(&self, line: &str) {
        self.clear_bar();
        if !self.quiet {
            eprintln!("{line}");
        }
    }

    /// A line that stays, also beside JSON: what the user must know.
    pub(super) fn print_even_with_json(&self, line: &str) {
        self.clear_bar();
        eprintln!("{line}");
    }

    /// How far a pass is.
    pub(super) fn show_pass(&self, pass: &CopyPass, of: u64, begun: Instant) {
        let elapsed = begun.elapsed().as_secs_f64().max(0.001);
        let rate = pass.rows as f64 / elapsed;
        let of = of.max(pass.rows);
        let mut message = format!("{rate:.0} rows/s");
        if rate > 0.5 && of > pass.rows {
            let left = Duration::from_secs(((of - pass.rows) as f64 / rate).ceil() as u64);
            message = format!("{message}, {} left", HumanDuration(left));
        }
        self.show_progress("copying", pass.rows, of, &message);
    }

    /// What a pass did.
    pub(super) fn print_pass_result(&self, pass: &CopyPass, begun: Instant) {
        self.print_line(&format!(
            "{} rows: {} written ({} pictures embedded), {} removed, {:.1} s",
            pass.rows,
            pass.written,
            pass.embedded,
            pass.removed,
            begun.elapsed().as_secs_f64()
        ));
    }

    /// How many embedders have followed.
    pub(super) fn show_waiting(&self, done: usize, of: usize) {
        let what = "waiting for the embedders to follow";
        self.show_progress(what, done as u64, of as u64, "");
    }

    fn show_progress(&self, what: &str, done: u64, of: u64, message: &str) {
        if self.on_terminal && !self.quiet {
            let mut bar = self.bar.lock().expect("no holder of this lock panics");
            let bar = bar.get_or_insert_with(|| {
                let style = ProgressStyle::with_template("{spinner} {msg} {wide_bar} {pos}/{len}")
                    .expect("the template is legal");
                let bar = ProgressBar::new(0).with_style(style);
                bar.enable_steady_tick(Duration::from_millis(100));
                bar
            });
            bar.set_length(of);
            bar.set_position(done);
            bar.set_message(format!("{what} {message}"));
            return;
        }
        let mut last = self
            .last_line
            .lock()
            .expect("no holder of this lock panics");
        if !self.quiet && last.elapsed() >= PLAIN_LINE_INTERVAL {
            *last = Instant::now();
            eprintln!("{what}: {done} of {of} {message}");
        }
    }

    /// The bar goes.
    pub(super) fn clear_bar(&self) {
        let mut bar = self.bar.lock().expect("no holder of this lock panics");
        if let Some(bar) = bar.take() {
            bar.finish_and_clear();
        }
    }
}
