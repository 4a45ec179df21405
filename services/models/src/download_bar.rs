//! How far a download is: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

/// How often a plain line tells how far it is.
const PLAIN_LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Bytes for people, as `84.1 MiB`.
pub fn format_bytes(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

/// The progress of one file.
pub struct DownloadBar {
    label: String,
    total: u64,
    bar: Option<ProgressBar>,
    last_line_at: Instant,
}

impl DownloadBar {
    /// A bar for a file of `total` bytes, of which `there` are.
    pub fn new(what: &str, there: u64, total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(
                "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            )
            .expect("the template is legal");
            ProgressBar::new(total)
                .with_style(style)
                .with_message(what.to_owned())
                .with_position(there)
        });
        if bar.is_none() {
            let rest = match there {
                0 => String::new(),
                _ => format!(", {} of it are here already", format_bytes(there)),
            };
            eprintln!("fetching {what} ({}{rest})", format_bytes(total));
        }
        Self {
            label: what.to_owned(),
            total,
            bar,
            last_line_at: Instant::now(),
        }
    }

    /// So many bytes are there.
    pub fn set_position(&mut self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
        } else if self.last_line_at.elapsed() > PLAIN_LINE_INTERVAL {
            self.last_line_at = Instant::now();
            let percent = bytes * 100 / self.total.max(1);
            eprintln!(
                "fetching {}: {} ({percent} %)",
                self.label,
                format_bytes(bytes)
            );
        }
    }

    /// Something happened that is worth a line, as a connection that was cut.
    pub fn print_line(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
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
