//! Progress of one download on standard error: a bar on a terminal, plain lines otherwise.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use lookalike_chassis::stdio;

const PLAIN_LINE_INTERVAL: Duration = Duration::from_secs(10);

pub(crate) struct DownloadBar {
    label: String,
    total_bytes: u64,
    bar: Option<ProgressBar>,
    last_line_at: Instant,
}

impl DownloadBar {
    /// A bar for a file of `total_bytes`, of which `present_bytes` are already on disk.
    pub(crate) fn new(label: &str, present_bytes: u64, total_bytes: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(
                "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            )
            .expect("the template is constant and valid");
            ProgressBar::new(total_bytes)
                .with_style(style)
                .with_message(label.to_owned())
                .with_position(present_bytes)
        });
        if bar.is_none() {
            let resumed = match present_bytes {
                0 => String::new(),
                _ => format!(", resuming after {}", HumanBytes(present_bytes)),
            };
            stdio::eprint_line(&format!(
                "fetching {label} ({}{resumed})",
                HumanBytes(total_bytes)
            ));
        }
        Self {
            label: label.to_owned(),
            total_bytes,
            bar,
            last_line_at: Instant::now(),
        }
    }

    pub(crate) fn set_position(&mut self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
        } else if self.last_line_at.elapsed() > PLAIN_LINE_INTERVAL {
            self.last_line_at = Instant::now();
            let percent = bytes * 100 / self.total_bytes.max(1);
            stdio::eprint_line(&format!(
                "fetching {}: {} ({percent} %)",
                self.label,
                HumanBytes(bytes)
            ));
        }
    }

    /// Prints a line above the bar, such as a notice about a lost connection.
    pub(crate) fn print_line(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| stdio::eprint_line(line)),
            None => stdio::eprint_line(line),
        }
    }
}

impl Drop for DownloadBar {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
