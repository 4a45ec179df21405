//! Progress of an audit on standard error: a bar on a terminal, one line per step otherwise.

use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use lookalike_audit::AuditStage;
use lookalike_chassis::stdio;

pub(super) struct AuditProgress {
    bar: Option<ProgressBar>,
    /// Prints no lines; a terminal gets its bar anyway.
    is_quiet: bool,
    last_step: Mutex<&'static str>,
}

impl AuditProgress {
    pub(super) fn new(is_quiet: bool) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg} {wide_bar} {pos}/{len}")
                .expect("the template is constant and valid");
            let bar = ProgressBar::new(0).with_style(style);
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self {
            bar,
            is_quiet,
            last_step: Mutex::new(""),
        }
    }

    fn show_progress(&self, step: &'static str, done: u64, total: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(step);
            return;
        }
        let mut last_step = self
            .last_step
            .lock()
            .expect("no holder of this lock panics");
        if !self.is_quiet && *last_step != step {
            stdio::eprint_line(step);
            *last_step = step;
        }
    }

    pub(super) fn show_stage(&self, stage: AuditStage) {
        match stage {
            AuditStage::Scanning(_) => {
                self.show_progress("comparing folders with catalogs", 0, 0);
            }
            AuditStage::Comparing(done, total) => {
                self.show_progress("comparing catalogs with the index", done, total);
            }
        }
    }

    pub(super) fn show_waiting(&self, done: u64, total: u64) {
        self.show_progress(
            "waiting until resent files are indexed (Ctrl-C stops waiting, not the repair)",
            done,
            total,
        );
    }

    pub(super) fn clear_bar(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
