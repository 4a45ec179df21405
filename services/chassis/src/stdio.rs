//! The only writer of text for people on standard output and standard error.
//!
//! `println!` and `eprintln!` panic when the pipe, file or terminal behind them accepts no more.
//! Commands write their result with [`write_line`] and [`write_text`], and fail if it cannot be
//! written. Everything else is a remark, and its loss must not end a process: [`print_line`] and
//! [`eprint_line`] ignore errors.

use std::io::{self, Write as _};

/// Standard output accepts no text: its disk is full, or nothing reads the pipe any more.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output: {0}")]
pub struct OutputError(#[from] io::Error);

impl OutputError {
    /// Whether the reader of the pipe has gone, as `head` does after its last line. That is no
    /// failure.
    pub fn is_closed_pipe(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Writes the result of a command, or a part of it, on standard output.
pub fn write_text(text: &str) -> Result<(), OutputError> {
    write_bytes(text.as_bytes())
}

/// Writes bytes that other programs read, such as paths, on standard output.
pub fn write_bytes(bytes: &[u8]) -> Result<(), OutputError> {
    let mut output = io::stdout().lock();
    output.write_all(bytes)?;
    // At the end of the process, the standard library ignores errors of what is still buffered.
    Ok(output.flush()?)
}

/// Writes a line of the result of a command on standard output.
pub fn write_line(line: &str) -> Result<(), OutputError> {
    write_text(&format!("{line}\n"))
}

/// Prints a line on standard output, if it accepts one.
pub fn print_line(line: &str) {
    let _ = write_line(line);
}

/// Prints a line on standard error, if it accepts one.
pub fn eprint_line(line: &str) {
    eprint_text(&format!("{line}\n"));
}

/// Prints text on standard error, if it accepts some.
pub fn eprint_text(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
