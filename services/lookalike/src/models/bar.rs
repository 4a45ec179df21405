//! How far a download is: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

/// How often a plain line tells how far it is.
const PLAIN: Duration = Duration::from_secs(10);

/// Bytes for people, as `84.1 MiB`.
pub fn human(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

/// The progress of one file.
pub struct Bar {
    what: String,
    total: u64,
    bar: Option<ProgressBar>,
    told: Instant,
}

impl Bar {
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
                _ => format!(", {} of it are here already", human(there)),
            };
            eprintln!("fetching {what} ({}{rest})", human(total));
        }
        Self {
            what: what.to_owned(),
            total,
            bar,
            told: Instant::now(),
        }
    }

    /// So many bytes are there.
    pub fn at(&mut self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
        } else if self.told.elapsed() > PLAIN {
            self.told = Instant::now();
            let percent = bytes * 100 / self.total.max(1);
            eprintln!("fetching {}: {} ({percent} %)", self.what, human(bytes));
        }
    }

    /// Something happened that is worth a line, as a connection that was cut.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
