//! One process of lookalike, with its output in a log file.
//!
//! The wrapper is written by hand: of the crate `process-wrap`, only the process group would be of
//! use, which the standard library offers as well. It cannot tie a child to its parent's life, and it
//! sends signals to the whole group, while tests kill `up` alone to see that its servers follow.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::wait::eventually;

/// Time limit of a process to report something, or to exit when asked to.
const PROCESS_TIMEOUT: Duration = Duration::from_secs(300);

/// Time limit of an orderly shutdown, which lookalike promises.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(30);

/// Returns a command that runs `program`, a build of lookalike, without any setting from outside.
pub fn product_command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LOOKALIKE_") {
            command.env_remove(name);
        }
    }
    // Hides the user's own settings file.
    command.env("XDG_CONFIG_HOME", "/nonexistent");
    command.stdin(Stdio::null());
    command
}

/// A running process; killed when dropped. A panicking test prints its log.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
    /// Length of the log when the process was started: earlier processes may share the file.
    log_start: usize,
}

impl Process {
    /// Starts the command and appends its output to the file `log`.
    ///
    /// The process gets a process group of its own, so that a Ctrl-C in the terminal reaches only the
    /// caller. On Linux it is killed when the calling thread ends, even if the caller is killed.
    ///
    /// # Errors
    /// The log cannot be opened, or the command cannot be run.
    pub fn start(mut command: Command, log: &Path) -> io::Result<Self> {
        let log_start = std::fs::metadata(log).map_or(0, |metadata| metadata.len());
        let file = OpenOptions::new().create(true).append(true).open(log)?;
        command.stdout(file.try_clone()?).stderr(file);
        command.process_group(0);
        #[cfg(target_os = "linux")]
        {
            let die_with_parent = || {
                // SAFETY: a plain system call that takes two numbers.
                match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
                    0 => Ok(()),
                    _ => Err(io::Error::last_os_error()),
                }
            };
            // SAFETY: between fork and exec it makes one system call and allocates nothing.
            unsafe { command.pre_exec(die_with_parent) };
        }
        Ok(Self {
            child: command.spawn()?,
            log: log.to_owned(),
            log_start: usize::try_from(log_start).unwrap_or(usize::MAX),
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the output so far.
    pub fn log(&self) -> String {
        let output = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&output[self.log_start.min(output.len())..]).into_owned()
    }

    /// Returns the last five lines of the output.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }

    /// Returns the URL of the address that the process logged behind `key`, as in `address=`.
    pub fn logged_url(&self, key: &str) -> Option<String> {
        let log = self.log();
        let address = log.split(key).nth(1)?.split_whitespace().next()?;
        Some(format!("http://{address}"))
    }

    /// Waits until [`Self::logged_url`] returns the URL.
    pub async fn read_address(&self, key: &str) -> String {
        eventually("it logs its address", PROCESS_TIMEOUT, || async {
            self.logged_url(key).ok_or_else(|| self.log())
        })
        .await
    }

    /// Waits until the log contains `text`.
    pub async fn wait_for_log(&self, text: &str) {
        let what = format!("it logs {text:?}");
        eventually(&what, PROCESS_TIMEOUT, || async {
            let log = self.log();
            log.contains(text).then_some(()).ok_or(log)
        })
        .await;
    }

    /// Returns the exit status, or `None` while the process runs.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    pub fn is_running(&mut self) -> bool {
        self.exit_status().is_none()
    }

    /// Waits until the process exits.
    pub async fn wait_for_exit(&mut self) -> ExitStatus {
        let log = self.log.clone();
        eventually("the process exits", PROCESS_TIMEOUT, || {
            let status = self.exit_status();
            let log = log.clone();
            async move { status.ok_or_else(|| std::fs::read_to_string(log).unwrap_or_default()) }
        })
        .await
    }

    /// Sends a signal; panics if the process has exited.
    pub fn send_signal(&self, signal: i32) {
        assert!(
            send_signal(self.pid(), signal),
            "the process has exited already"
        );
    }

    /// Sends SIGSTOP and waits until the process has stopped.
    pub fn freeze_process(&self) {
        self.send_signal(libc::SIGSTOP);
        let stat = format!("/proc/{}/stat", self.pid());
        let is_stopped = || {
            let stat = std::fs::read_to_string(&stat).expect("the process was not waited for");
            stat.rsplit(") ")
                .next()
                .is_some_and(|rest| rest.starts_with('T'))
        };
        while !is_stopped() {
            std::thread::yield_now();
        }
    }

    /// Sends SIGCONT.
    pub fn resume_process(&self) {
        self.send_signal(libc::SIGCONT);
    }

    /// Sends SIGINT, as Ctrl-C does, and waits until the process exits.
    pub async fn interrupt_process(&mut self) -> ExitStatus {
        self.send_signal(libc::SIGINT);
        self.wait_for_exit().await
    }

    /// Sends SIGTERM and returns the time until the process exited, which must be with success and
    /// within 30 seconds.
    pub async fn terminate_cleanly(&mut self) -> Duration {
        let begun = Instant::now();
        self.send_signal(libc::SIGTERM);
        let status = self.wait_for_exit().await;
        let took = begun.elapsed();
        assert!(status.success(), "{status}\n{}", self.log());
        assert!(took < SHUTDOWN_LIMIT, "it took {took:?}\n{}", self.log());
        took
    }

    /// Sends SIGKILL and waits until the process is gone.
    pub fn kill_process(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Limits the address space of the process to its present size plus `bytes`.
    #[cfg(target_os = "linux")]
    pub fn limit_memory(&self, bytes: u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))
            .expect("the process was not waited for");
        let size = status
            .lines()
            .find_map(|line| line.strip_prefix("VmSize:"))
            .and_then(|size| size.split_whitespace().next()?.parse::<u64>().ok())
            .expect("the kernel reports the size in kilobytes");
        let max_bytes = size * 1024 + bytes;
        let limit = libc::rlimit {
            rlim_cur: max_bytes,
            rlim_max: max_bytes,
        };
        self.set_limit(libc::RLIMIT_AS, &limit);
    }

    /// Limits the size of files that the process writes; `None` removes the limit.
    #[cfg(target_os = "linux")]
    pub fn limit_files(&self, bytes: Option<u64>) {
        let limit = libc::rlimit {
            rlim_cur: bytes.unwrap_or(libc::RLIM_INFINITY),
            rlim_max: libc::RLIM_INFINITY,
        };
        self.set_limit(libc::RLIMIT_FSIZE, &limit);
    }

    /// Sets the soft limit on the file descriptors of the process.
    #[cfg(target_os = "linux")]
    pub fn limit_descriptors(&self, count: u64) {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        let pid = i32::try_from(self.pid()).expect("pids are small");
        // SAFETY: a plain system call that only fills the struct.
        let result =
            unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut limit) };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
        limit.rlim_cur = count;
        self.set_limit(libc::RLIMIT_NOFILE, &limit);
    }

    #[cfg(target_os = "linux")]
    fn set_limit(&self, resource: libc::__rlimit_resource_t, limit: &libc::rlimit) {
        let pid = i32::try_from(self.pid()).expect("pids are small");
        // SAFETY: a plain system call; the new limit is read, and no old one is asked for.
        let result = unsafe { libc::prlimit(pid, resource, limit, std::ptr::null_mut()) };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_process();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), self.log());
        }
    }
}

/// Sends a signal to a child process or to one of its children; returns whether it was delivered.
pub fn send_signal(pid: u32, signal: i32) -> bool {
    i32::try_from(pid).is_ok_and(|pid| {
        // SAFETY: a plain system call. For a process that is gone it fails; its pid is not reused
        // within the short times that matter here.
        unsafe { libc::kill(pid, signal) == 0 }
    })
}

/// Returns the processes whose parent is `parent`: pid and program name (Linux only).
pub fn child_processes(parent: u32) -> Vec<(u32, String)> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            // `pid (name) state parent …`
            let (before, after) = stat.rsplit_once(')')?;
            let (_, name) = before.split_once('(')?;
            let parent_pid: u32 = after.split_whitespace().nth(1)?.parse().ok()?;
            (parent_pid == parent).then(|| (pid, name.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_is_read_frozen_and_killed() {
        let log = std::env::temp_dir().join(format!("test-support-{}.log", std::process::id()));
        let mut command = Command::new("sh");
        command.args(["-c", "echo address=127.0.0.1:1; exec sleep 60"]);
        let mut process = Process::start(command, &log).expect("sh is there");
        assert_eq!(process.read_address("address=").await, "http://127.0.0.1:1");
        process.freeze_process();
        process.resume_process();
        assert!(process.is_running());
        let children = child_processes(std::process::id());
        assert!(children.iter().any(|(pid, _)| *pid == process.pid()));
        process.kill_process();
        assert!(!process.is_running());
        std::fs::remove_file(&log).expect("it was written");
    }
}
