//! `bench peers`: makes the virtual environment.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use clap::Args;
use lookalike_chassis::stdio;

use super::environment::{REQUIREMENTS, default_folder, python_in};

/// Index of PyTorch's builds without CUDA, which are a tenth of the size.
const CPU_INDEX: &str = "https://download.pytorch.org/whl/cpu";

/// Install the Python programs that lookalike is compared with.
///
/// Makes a virtual environment with pinned versions of PyTorch, timm, ONNX Runtime, FastAPI and pymilvus. `bench` finds
/// it in the default folder, or with --peers.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  lookalike-loadtest bench peers
  lookalike-loadtest bench peers --install ~/bench-peers --cpu-only

Exit codes: 0 installed, 1 failed, 2 wrong usage.")]
pub struct PeersArguments {
    /// Folder of the virtual environment; an existing one is updated [default: lookalike-bench-peers in the user's cache
    /// folder].
    #[arg(long, value_name = "DIR")]
    pub install: Option<PathBuf>,

    /// Install PyTorch without CUDA, which is much smaller.
    #[arg(long)]
    pub cpu_only: bool,

    /// The Python to use, 3.11 or later.
    #[arg(long, value_name = "PATH", default_value = "python3")]
    pub python: PathBuf,
}

/// Makes or updates the environment.
pub fn run(arguments: &PeersArguments) -> anyhow::Result<()> {
    let folder = arguments.install.clone().unwrap_or_else(default_folder);
    let python = python_in(&folder);
    if !python.is_file() {
        let mut create = Command::new(&arguments.python);
        run_command(create.args(["-m", "venv"]).arg(&folder))?;
    }
    let requirements = folder.join("requirements.txt");
    std::fs::write(&requirements, REQUIREMENTS)
        .with_context(|| format!("cannot write {}", requirements.display()))?;
    let mut install = Command::new(&python);
    install
        .args(["-m", "pip", "install", "--disable-pip-version-check", "-r"])
        .arg(&requirements);
    if arguments.cpu_only {
        install.args(["--extra-index-url", CPU_INDEX]);
    }
    run_command(&mut install)?;
    Ok(stdio::write_line(&format!(
        "installed in {}",
        folder.display()
    ))?)
}

fn run_command(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .with_context(|| format!("cannot run {program}"))?;
    anyhow::ensure!(status.success(), "{program} failed; see its messages above");
    Ok(())
}
