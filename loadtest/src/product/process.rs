//! One process of lookalike: starts it, signals it and reads its log.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::Context as _;

/// A running process; killed when dropped.
#[derive(Debug)]
pub struct ProductProcess {
    child: Child,
    log_path: PathBuf,
}

/// Returns a command that runs the program without settings from the environment.
pub fn product_command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LOOKALIKE_") {
            command.env_remove(name);
        }
    }
    // Ignore the user's settings file too.
    command.env("XDG_CONFIG_HOME", "/nonexistent");
    command.stdin(Stdio::null());
    command
}

impl ProductProcess {
    /// Runs the command and writes its output to a new file `log`. The process dies with the thread
    /// that calls this.
    pub fn start(mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let file = std::fs::File::create(log).with_context(|| log.display().to_string())?;
        command.stdout(file.try_clone()?).stderr(file);
        #[cfg(unix)]
        {
            use std::os::unix::process::CommandExt as _;
            // Ctrl-C on the terminal signals only this program, which stops its processes in order.
            command.process_group(0);
        }
        #[cfg(target_os = "linux")]
        {
            use std::os::unix::process::CommandExt as _;
            let die_with_parent = || {
                // SAFETY: prctl with two integer arguments touches no memory of ours.
                match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            };
            // SAFETY: between fork and exec the closure makes one system call and does not allocate.
            unsafe { command.pre_exec(die_with_parent) };
        }
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().with_context(|| program)?;
        Ok(Self {
            child,
            log_path: log.to_owned(),
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the output so far.
    pub fn read_log(&self) -> String {
        std::fs::read(&self.log_path)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Returns the last five lines of the output.
    pub fn log_tail(&self) -> String {
        let log = self.read_log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }

    /// Returns the address that the process logged when it started to listen.
    pub fn logged_address(&self) -> Option<String> {
        let log = self.read_log();
        let logged = ["metrics=", "address="]
            .iter()
            .find_map(|key| log.split(key).nth(1))?;
        let address = logged.split_whitespace().next()?;
        Some(format!("http://{address}"))
    }

    /// Returns the exit status if the process has exited.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    pub fn send_signal(&self, signal: i32) {
        send_signal_to(self.pid(), signal);
    }

    /// Sends SIGKILL and waits until the process has exited.
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

/// Sends a signal to a child process or to a child of one.
pub fn send_signal_to(pid: u32, signal: i32) {
    if let Ok(pid) = i32::try_from(pid) {
        // SAFETY: kill touches no memory of ours. It fails if the process has exited, which is fine. The
        // kernel does not reuse a pid within the milliseconds between lookup and call.
        unsafe { libc::kill(pid, signal) };
    }
}

/// Returns the child process of `parent` that runs `program` (Linux only).
pub fn find_child(parent: u32, program: &str) -> Option<u32> {
    let mut processes = std::fs::read_dir("/proc").ok()?.flatten();
    processes.find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        // Format: `pid (name) state parent …`.
        let (before, after) = stat.rsplit_once(')')?;
        let (_, name) = before.split_once('(')?;
        let parent_pid: u32 = after.split_whitespace().nth(1)?.parse().ok()?;
        (parent_pid == parent && name == program).then_some(pid)
    })
}
