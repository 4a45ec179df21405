//! Tools of other languages that check the API: pinned versions in the folder for temporary files, where
//! later runs find them. Machines without the tools, or without their registries, skip the checks.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The files that pin the tools, and the scripts that use them.
pub fn clients_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

/// Words in the output of pip and npm if a registry is unreachable.
const UNREACHABLE: &[&str] = &[
    "ConnectionError",
    "ConnectTimeout",
    "NewConnectionError",
    "ProxyError",
    "Temporary failure in name resolution",
    "Network is unreachable",
    "ReadTimeout",
    "No module named pip",
    "ensurepip is not available",
    "ConnectionReset",
    "Connection broken",
    "IncompleteRead",
    "ProtocolError",
    "HTTP error 5",
    "ECONNREFUSED",
    "ECONNRESET",
    "ERR_SOCKET_TIMEOUT",
    "E502",
    "E503",
    "E504",
    "ENOTFOUND",
    "ETIMEDOUT",
    "EAI_AGAIN",
];

/// Installs the Python tools; returns the folder of their programs. Prints why they are missing.
pub fn python_tools() -> Option<PathBuf> {
    install_tools("python", &["requirements.txt"], |folder| {
        run_step(
            Command::new("python3")
                .args(["-m", "venv", "."])
                .current_dir(folder),
        )?;
        let mut pip = Command::new("bin/python");
        pip.args([
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
            "--no-deps",
        ]);
        run_step(
            pip.args(["--requirement", "requirements.txt"])
                .current_dir(folder),
        )
    })
    .map(|folder| folder.join("bin"))
}

/// Installs the tools of Node.js; returns the folder that contains `node_modules`.
pub fn node_tools() -> Option<PathBuf> {
    install_tools("node", &["package.json", "package-lock.json"], |folder| {
        run_step(Command::new("node").arg("--version"))?;
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-audit", "--no-fund", "--no-progress"]);
        run_step(npm.current_dir(folder))
    })
}

/// Installs tools into a folder that is named after the files that pin them, unless an earlier run
/// did. Only one process at a time installs them.
fn install_tools(
    language: &str,
    pins: &[&str],
    install: impl FnOnce(&Path) -> Result<(), String>,
) -> Option<PathBuf> {
    let mut hasher = blake3::Hasher::new();
    for pin in pins {
        hasher.update(&std::fs::read(clients_folder().join(pin)).unwrap());
    }
    let name = format!("{language}-{}", &hasher.finalize().to_hex()[..16]);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("api-tools")
        .join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let lock = std::fs::File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let complete = folder.join("complete");
    if complete.exists() {
        return Some(folder);
    }
    for pin in pins {
        std::fs::copy(clients_folder().join(pin), folder.join(pin)).unwrap();
    }
    match install(&folder) {
        Ok(()) => {
            std::fs::write(complete, "").unwrap();
            Some(folder)
        }
        Err(reason) => {
            eprintln!("SKIPPED: needs tools for {language}, which are not available: {reason}");
            None
        }
    }
}

/// Runs a step of an installation. Returns why the tools are not available on this machine; any other
/// failure is a fault of the files that pin them.
fn run_step(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| {
        let program = command.get_program().to_string_lossy();
        format!("cannot run {program}: {error}")
    })?;
    if output.status.success() {
        return Ok(());
    }
    let text = output_text(&output);
    match UNREACHABLE.iter().find(|word| text.contains(**word)) {
        Some(word) => Err(format!("a registry is unreachable ({word})")),
        None => panic!("{command:?}:\n{text}"),
    }
}

/// Runs a tool, which must succeed. Returns what it printed.
#[track_caller]
pub fn run_tool(command: &mut Command) -> String {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = output_text(&output);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{text}",
        output.status
    );
    text
}

fn output_text(output: &Output) -> String {
    let [stdout, stderr] =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    format!("{stdout}{stderr}")
}
