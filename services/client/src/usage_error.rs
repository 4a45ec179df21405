//! Separates wrong use (exit code 2) from failures (exit code 1), and prints errors in one line.

use std::fmt;
use std::process::ExitCode;

/// Marks an error that the user fixes by changing the command or the settings. Displays as the
/// error that it wraps.
#[derive(Debug)]
pub struct UsageError(anyhow::Error);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for UsageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

/// Marks `error` as wrong use or settings.
pub fn usage_error(error: impl Into<anyhow::Error>) -> anyhow::Error {
    anyhow::Error::new(UsageError(error.into()))
}

/// The exit code of a process that ends with this error.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref::<UsageError>() {
        Some(_) => ExitCode::from(2),
        None => ExitCode::from(1),
    }
}

/// Formats an error and its causes, omitting a cause that the text before it already contains:
/// many errors include their source in their message.
pub fn format_error(error: &anyhow::Error) -> String {
    let mut line = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};

    use super::*;

    #[test]
    fn a_usage_error_is_found_below_context() {
        let error = usage_error(anyhow!("no such folder")).context("cannot start");
        assert_eq!(exit_code(&error), ExitCode::from(2));
        assert_eq!(exit_code(&anyhow!("broken")), ExitCode::from(1));
    }

    #[test]
    fn each_cause_is_printed_once() {
        let number: Result<u32, _> = "x".parse();
        let parsed = number.context("the port is wrong: invalid digit found in string");
        let error = usage_error(parsed.context("cannot listen").unwrap_err());
        assert_eq!(
            format_error(&error),
            "cannot listen: the port is wrong: invalid digit found in string"
        );
    }
}
