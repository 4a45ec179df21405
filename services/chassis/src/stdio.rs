//! Lines for people, whether or not anybody still reads them.
//!
//! `println!` and its like panic where the pipe or the terminal behind them is gone, and a process
//! that has something to finish must not come down with whoever was looking on.

use std::io::{self, Write as _};

/// A line on standard output.
pub fn print_line(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// A line on standard error.
pub fn eprint_line(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
