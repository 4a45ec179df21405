//! One process of lookalike: started, signalled, read.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::Context as _;

/// A running process; killed when dropped.
#[derive(Debug)]
pub struct ProductProcess {
    child: Child,
    log_path: PathBuf,
}

/// A command that runs the product, with no setting from outside.
pub fn product_command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LOOKALIKE_") {
            command.env_remove(name);
        }
    }
    // Nor the settings file of whoever runs this.
    command.env("XDG_CONFIG_HOME", "/nonexistent");
    command.stdin(Stdio::null());
    command
}

impl ProductProcess {
    /// Runs the command, with what it says in a new file `log`. It dies with the thread that
    /// calls this.
    ///
    /// # Errors
    /// When it can't be run.
    pub fn start(mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let file = std::fs::File::create(log).with_context(|| log.display().to_string())?;
        command.stdout(file.try_clone()?).stderr(file);
        #[cfg(unix)]
        {
            use std::os::unix::process::CommandExt as _;
            // The Ctrl-C of a terminal is for us alone: we end them in our order.
            command.process_group(0);
        }
        #[cfg(target_os = "linux")]
        {
            use std::os::unix::process::CommandExt as _;
            let die_with_parent = || {
                // SAFETY: a plain system call that takes two numbers.
                match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            };
            // SAFETY: between fork and exec it makes one system call and allocates nothing.
            unsafe { command.pre_exec(die_with_parent) };
        }
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().with_context(|| program)?;
        Ok(Self {
            child,
            log_path: log.to_owned(),
        })
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it said so far.
    pub fn read_log(&self) -> String {
        std::fs::read(&self.log_path)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The last lines of that.
    pub fn log_tail(&self) -> String {
        let log = self.read_log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }

    /// The address that it says it listens at.
    pub fn logged_address(&self) -> Option<String> {
        let log = self.read_log();
        let logged = ["metrics=", "address="]
            .iter()
            .find_map(|key| log.split(key).nth(1))?;
        let address = logged.split_whitespace().next()?;
        Some(format!("http://{address}"))
    }

    /// How it ended, if it did.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends a signal.
    pub fn send_signal(&self, signal: i32) {
        send_signal_to(self.pid(), signal);
    }

    /// kill -9; it is gone when this returns.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for ProductProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a signal to a process of ours, or to one that a process of ours started.
pub fn send_signal_to(pid: u32, signal: i32) {
    if let Ok(pid) = i32::try_from(pid) {
        // SAFETY: a plain system call. A process that is gone answers with an error, which is as
        // good; its number is not given to another one within the moments that matter here.
        unsafe { libc::kill(pid, signal) };
    }
}

/// The child of `parent_of` that runs `program_name`.
pub fn find_child(parent: u32, program: &str) -> Option<u32> {
    let mut processes = std::fs::read_dir("/proc").ok()?.flatten();
    processes.find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        // `pid (name) state parent …`
        let (before, after) = stat.rsplit_once(')')?;
        let (_, name) = before.split_once('(')?;
        let parent_pid: u32 = after.split_whitespace().nth(1)?.parse().ok()?;
        (parent_pid == parent && name == program).then_some(pid)
    })
}
