//! Writes log lines above progress bars.

use std::io::{self, Write};

use indicatif::MultiProgress;

#[derive(Clone)]
pub(super) struct LogOutput {
    bars: Option<MultiProgress>,
}

impl LogOutput {
    /// Without `bars`, lines go to standard error as they are.
    pub(super) fn new(bars: Option<MultiProgress>) -> Self {
        Self { bars }
    }

    pub(super) fn line_writer(&self) -> LogLineWriter {
        LogLineWriter {
            bars: self.bars.clone(),
        }
    }
}

/// Writes one log line.
pub(super) struct LogLineWriter {
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
