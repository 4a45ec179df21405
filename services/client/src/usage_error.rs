//! How a command ends when it does not end well: one line that says what to do, and a code.

use std::fmt;
use std::process::ExitCode;

/// Why a command did not do what it should.
#[derive(Debug)]
pub enum Failure {
    /// Wrong use or settings: exit code 2.
    Usage(String),
    /// It failed: exit code 1.
    Failed(String),
}

impl Failure {
    /// Wrong use or settings.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::Usage(message.to_string())
    }

    /// It failed.
    pub fn failed(message: impl fmt::Display) -> Self {
        Self::Failed(message.to_string())
    }

    /// The process's exit code.
    pub fn code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Failed(_) => ExitCode::from(1),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Usage(message) | Self::Failed(message)) = self;
        f.write_str(message)
    }
}
