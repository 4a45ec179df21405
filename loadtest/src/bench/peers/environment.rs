//! The virtual environment of the Python programs, and the scripts that run in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::bench::options::BenchOptions;

/// The scripts are part of this program, so that it works without the checkout.
const SCRIPTS: [(&str, &str); 5] = [
    ("weights.py", include_str!("../../../peers/weights.py")),
    ("network.py", include_str!("../../../peers/network.py")),
    ("decode.py", include_str!("../../../peers/decode.py")),
    (
        "usual_system.py",
        include_str!("../../../peers/usual_system.py"),
    ),
    ("index.py", include_str!("../../../peers/index.py")),
];

/// The pinned packages of the environment.
pub const REQUIREMENTS: &str = include_str!("../../../peers/requirements.txt");

/// A virtual environment with the packages of the peers, and a folder with their scripts.
#[derive(Debug, Clone)]
pub struct PeerEnvironment {
    python: PathBuf,
    scripts: PathBuf,
    threads: usize,
}

/// Returns the default folder of the environment.
pub fn default_folder() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.filter(|folder| folder.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = cache.or_else(home).unwrap_or_else(std::env::temp_dir);
    cache.join("lookalike-bench-peers")
}

/// Returns the Python program of a virtual environment.
pub fn python_in(folder: &Path) -> PathBuf {
    folder.join("bin").join("python")
}

impl PeerEnvironment {
    /// Finds the environment and writes the scripts to `scripts`. The error is a reason for rows that
    /// cannot be measured.
    pub fn find(options: &BenchOptions, scripts: &Path) -> Result<Self, String> {
        let folder = options.peers.clone().unwrap_or_else(default_folder);
        let python = python_in(&folder);
        if !python.is_file() {
            return Err(format!(
                "the Python programs to compare with are not installed in {}; run \
                 \"lookalike-loadtest bench peers\"",
                folder.display()
            ));
        }
        write_scripts(scripts).map_err(|error| format!("{error:#}"))?;
        Ok(Self {
            python,
            scripts: scripts.to_owned(),
            threads: options.thread_count(),
        })
    }

    /// Returns a command that runs one of the scripts with the thread count of the run.
    pub fn command(&self, script: &str) -> Command {
        let mut command = Command::new(&self.python);
        command
            .arg("-u")
            .arg(self.scripts.join(script))
            .env("OMP_NUM_THREADS", self.threads.to_string())
            .env("LOOKALIKE_BENCH_THREADS", self.threads.to_string())
            // Settings of the user must not change the result.
            .env_remove("PYTHONPATH")
            .env_remove("PYTHONHOME");
        command
    }

    /// Runs a script to its end and returns the last line of its output.
    pub fn run_script(
        &self,
        script: &str,
        arguments: &[&std::ffi::OsStr],
    ) -> anyhow::Result<String> {
        let mut command = self.command(script);
        let output = command
            .args(arguments)
            .output()
            .with_context(|| format!("cannot run {}", self.python.display()))?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        let stderr = stderr.trim_end().lines().last().unwrap_or_default();
        anyhow::ensure!(output.status.success(), "{script} failed: {stderr}");
        let stdout = String::from_utf8_lossy(&output.stdout);
        Ok(stdout
            .trim_end()
            .lines()
            .last()
            .unwrap_or_default()
            .to_owned())
    }
}

fn write_scripts(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    for (name, text) in SCRIPTS {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_environment_is_a_reason_with_advice() {
        let folder = tempfile::tempdir().unwrap();
        let options = BenchOptions {
            peers: Some(folder.path().join("none")),
            ..BenchOptions::default()
        };
        let reason = PeerEnvironment::find(&options, folder.path()).unwrap_err();
        assert!(reason.contains("bench peers"), "{reason}");
    }

    #[test]
    fn scripts_run_with_the_thread_count() {
        let folder = tempfile::tempdir().unwrap();
        write_scripts(&folder.path().join("scripts")).unwrap();
        std::fs::write(
            folder.path().join("scripts/show.py"),
            "import os, sys; print('first'); print(os.environ['OMP_NUM_THREADS'], sys.argv[1])",
        )
        .unwrap();
        let environment = PeerEnvironment {
            python: PathBuf::from("python3"),
            scripts: folder.path().join("scripts"),
            threads: 3,
        };
        let line = environment.run_script("show.py", &["x".as_ref()]).unwrap();
        assert_eq!(line, "3 x");
        let error = environment
            .run_script("missing.py", &[])
            .unwrap_err()
            .to_string();
        assert!(error.contains("missing.py failed"), "{error}");
    }

    #[test]
    fn requirements_are_pinned() {
        let lines = REQUIREMENTS
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty());
        for line in lines {
            assert!(line.contains("=="), "{line} has no version");
        }
    }
}
