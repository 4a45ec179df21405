//! Options that all subcommands of `bench` share.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use lookalike_chassis::stdio;

use crate::bench::report::{BenchReport, render_text, write_report};
use crate::paths::{existing_file, existing_folder};

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Common options")]
pub struct BenchOptions {
    /// Write report.json and report.html to this folder.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,

    /// Measure briefly, in about a minute per subcommand. The numbers are less exact.
    #[arg(long)]
    pub quick: bool,

    /// Folder of photos [default: painted pictures, or those of the service].
    #[arg(long, value_name = "DIR", value_parser = existing_folder())]
    pub photos: Option<PathBuf>,

    /// Cores to use, for lookalike and the other programs alike [default: all].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,

    /// The lookalike program to measure [default: `lookalike` in the folder of this program].
    #[arg(long, value_name = "PATH", value_parser = existing_file())]
    pub program: Option<PathBuf>,

    /// Folder of the Python programs to compare with, made by `bench peers`
    /// [default: lookalike-bench-peers in the user's cache folder].
    #[arg(long, value_name = "DIR")]
    pub peers: Option<PathBuf>,

    /// Folder to work in; a new subfolder is created [default: the system's temporary folder].
    #[arg(long, value_name = "DIR", value_parser = existing_folder())]
    pub dir: Option<PathBuf>,

    /// Keep the folder with data and logs even after success.
    #[arg(long)]
    pub keep: bool,
}

impl BenchOptions {
    /// Returns the number of threads that every program may use.
    pub fn thread_count(&self) -> usize {
        let all = std::thread::available_parallelism().map_or(1, usize::from);
        self.threads
            .map_or(all, |threads| usize::from(threads).min(all))
    }

    /// Prints a report and writes its files.
    pub fn deliver(&self, report: &BenchReport) -> anyhow::Result<()> {
        if self.json {
            stdio::write_line(&serde_json::to_string_pretty(&report.to_json())?)?;
        } else {
            stdio::write_text(&render_text(report))?;
        }
        match &self.out {
            Some(folder) => write_report(report, folder),
            None => Ok(()),
        }
    }

    /// Creates the folder of a run.
    pub fn create_work_dir(&self) -> anyhow::Result<WorkDir> {
        let base = self.dir.clone().unwrap_or_else(std::env::temp_dir);
        let base = base
            .canonicalize()
            .with_context(|| format!("cannot use {}", base.display()))?;
        let path = base.join(format!("lookalike-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        Ok(WorkDir {
            path,
            is_kept: self.keep,
        })
    }
}

/// The folder of a run. Dropping it removes it, unless it is kept.
#[derive(Debug)]
pub struct WorkDir {
    path: PathBuf,
    is_kept: bool,
}

impl WorkDir {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps the folder, for example because a log explains a failure.
    pub fn keep(&mut self) {
        self.is_kept = true;
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        if self.is_kept {
            stdio::eprint_line(&format!("kept folder: {}", self.path.display()));
        } else {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
