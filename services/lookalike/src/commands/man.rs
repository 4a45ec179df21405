//! `man`: prints the manual page, or writes one page for each command.

use std::path::Path;

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use lookalike_chassis::stdio;
use lookalike_client::usage_error;

use crate::cli::{Cli, ManArgs};

pub fn run_man(args: &ManArgs) -> Result<()> {
    match &args.folder {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command())
                .render(&mut page)
                .context("cannot format the manual page")?;
            Ok(stdio::write_bytes(&page)?)
        }
        Some(folder) => write_pages(folder),
    }
}

fn write_pages(folder: &Path) -> Result<()> {
    let write = || {
        std::fs::create_dir_all(folder)?;
        clap_mangen::generate_to(Cli::command(), folder)
    };
    write()
        .with_context(|| format!("cannot write manual pages into {}", folder.display()))
        .map_err(usage_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_a_page() {
        let dir = tempfile::tempdir().unwrap();
        write_pages(dir.path()).unwrap();
        for page in [
            "lookalike.1",
            "lookalike-search.1",
            "lookalike-models-use.1",
            "lookalike-config-docs.1",
        ] {
            let text = std::fs::read_to_string(dir.path().join(page)).unwrap();
            assert!(text.contains(".SH SYNOPSIS"), "{page}");
            assert!(text.contains("Examples:"), "{page}");
        }
        let file = dir.path().join("lookalike.1");
        assert!(write_pages(&file).is_err(), "a file is not a folder");
    }
}
