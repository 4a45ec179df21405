//! The arguments of `man`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub struct ManArgs {
    /// Write one page for each command into this folder, instead of printing the main page
    #[arg(value_name = "DIR")]
    pub folder: Option<PathBuf>,
}
