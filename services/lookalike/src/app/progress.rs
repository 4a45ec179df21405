//! What `up` prints on standard error: a spinner and a bar on a terminal, plain lines otherwise. Log
//! lines are written through it as well, so that they do not break the bar.

use std::io::{self, IsTerminal as _};
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use lookalike_chassis::stdio;
use lookalike_servers::ServerStage;

use super::indexing_bar::IndexingProgress;
use super::log_output::LogOutput;

pub(super) struct UpProgress {
    is_terminal: bool,
    bars: MultiProgress,
    spinner: Mutex<Option<ProgressBar>>,
    /// The last plain line, so that percentages do not fill a log.
    last_line: Mutex<String>,
}

impl UpProgress {
    pub(super) fn new() -> Self {
        Self {
            is_terminal: io::stderr().is_terminal(),
            bars: MultiProgress::new(),
            spinner: Mutex::new(None),
            last_line: Mutex::new(String::new()),
        }
    }

    pub(super) fn log_output(&self) -> LogOutput {
        LogOutput::new(self.is_terminal.then(|| self.bars.clone()))
    }

    /// Prints a line above the bars.
    pub(super) fn print_line(&self, line: &str) {
        if self.is_terminal {
            self.bars.suspend(|| stdio::eprint_line(line));
        } else {
            stdio::eprint_line(line);
        }
    }

    /// Shows the current activity in place of the previous one.
    pub(super) fn show_activity(&self, activity: &str) {
        if !self.is_terminal {
            self.print_activity_once(activity);
            return;
        }
        let mut spinner = self.spinner.lock().expect("no holder of this lock panics");
        let bar = spinner.get_or_insert_with(|| {
            let bar = self.bars.add(ProgressBar::new_spinner());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        bar.set_message(activity.to_owned());
    }

    /// Prints "unpacking Milvus (35 %)" as "unpacking Milvus", once.
    fn print_activity_once(&self, activity: &str) {
        let line = activity.split(" (").next().unwrap_or(activity);
        let mut last_line = self
            .last_line
            .lock()
            .expect("no holder of this lock panics");
        if *last_line != line {
            stdio::eprint_line(line);
            line.clone_into(&mut last_line);
        }
    }

    pub(super) fn show_stage(&self, stage: ServerStage) {
        self.show_activity(&stage.to_string());
    }

    pub(super) fn clear_spinner(&self) {
        let mut spinner = self.spinner.lock().expect("no holder of this lock panics");
        if let Some(bar) = spinner.take() {
            bar.finish_and_clear();
        }
    }

    pub(super) fn start_indexing_bar(&self) -> IndexingProgress {
        let bar = self.is_terminal.then(|| {
            let style = ProgressStyle::with_template("{spinner} {wide_bar} {pos}/{len}  {msg}")
                .expect("the template is constant and valid");
            let bar = self.bars.add(ProgressBar::new(0).with_style(style));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        IndexingProgress::new(bar)
    }
}
