//! Lines for people on standard output and standard error.
//!
//! `println!` and `eprintln!` panic when the pipe or terminal behind them is closed. These
//! functions ignore that, so that a process can finish its work after its reader has gone.

use std::io::{self, Write as _};

/// Prints a line on standard output.
pub fn print_line(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Prints a line on standard error.
pub fn eprint_line(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
