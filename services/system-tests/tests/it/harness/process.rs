//! One lookalike process.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::eventually;

/// A command that runs the product, with no setting from outside.
pub fn product_command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lookalike-system-tests"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LOOKALIKE_") {
            command.env_remove(name);
        }
    }
    // Nor the settings file of whoever runs the tests.
    command.env("XDG_CONFIG_HOME", "/nonexistent");
    command.stdin(Stdio::null());
    command
}

/// A running process; killed when dropped. What it says goes to a file, shown when a test fails.
pub struct Process {
    child: Child,
    log: PathBuf,
    /// Bytes of the log that others of the same name wrote before.
    log_start: usize,
}

impl Process {
    /// Runs the command, with its output in `log`.
    pub fn start(mut command: Command, log: &Path) -> Self {
        let before = std::fs::metadata(log).map_or(0, |metadata| metadata.len());
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .unwrap();
        command.stdout(file.try_clone().unwrap()).stderr(file);
        // SAFETY: a plain system call between fork and exec. It dies with the test's thread, also
        // when the whole run is killed.
        unsafe {
            use std::os::unix::process::CommandExt as _;
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        Self {
            child,
            log: log.to_owned(),
            log_start: usize::try_from(before).unwrap(),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        let said = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&said[self.log_start.min(said.len())..]).into_owned()
    }

    pub fn send_signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).unwrap();
        // SAFETY: plain system call on a child that was not waited for, so the pid is its.
        assert_eq!(
            unsafe { libc::kill(pid, signal) },
            0,
            "the process has ended already"
        );
    }

    /// SIGSTOP, and it has stopped when this returns.
    pub fn freeze_process(&self) {
        self.send_signal(libc::SIGSTOP);
        let stat = format!("/proc/{}/stat", self.pid());
        let is_stopped = || {
            let stat = std::fs::read_to_string(&stat).unwrap();
            stat.rsplit(") ").next().unwrap().starts_with('T')
        };
        while !is_stopped() {
            std::thread::yield_now();
        }
    }

    /// SIGCONT.
    pub fn resume_process(&self) {
        self.send_signal(libc::SIGCONT);
    }

    /// The address that a role says in its log that it listens at, behind `key`.
    pub async fn read_address(&self, key: &str) -> String {
        eventually("it says where it listens", Duration::from_secs(60), || {
            let log = self.log();
            async move {
                let address = log
                    .split(key)
                    .nth(1)
                    .and_then(|rest| rest.split_whitespace().next());
                address
                    .map(|address| format!("http://{address}"))
                    .ok_or(log)
            }
        })
        .await
    }

    /// Waits until its log has these words.
    pub async fn wait_for_log(&self, words: &str) {
        let what = format!("it says {words:?}");
        eventually(&what, Duration::from_secs(60), || {
            let log = self.log();
            async move { log.contains(words).then_some(()).ok_or(log) }
        })
        .await;
    }

    /// SIGTERM; it must end well within half a minute. How long it took.
    pub async fn terminate_cleanly(&mut self) -> Duration {
        let begun = Instant::now();
        self.send_signal(libc::SIGTERM);
        let status = self.wait_for_exit().await;
        let took = begun.elapsed();
        assert!(status.success(), "{status}\n{}", self.log());
        assert!(
            took < Duration::from_secs(30),
            "it took {took:?}\n{}",
            self.log()
        );
        took
    }

    /// From now on it gets at most `bytes` of address space more than it has.
    pub fn limit_memory(&self, bytes: u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let size = status
            .lines()
            .find_map(|line| line.strip_prefix("VmSize:"))
            .unwrap();
        let kilobytes: u64 = size.split_whitespace().next().unwrap().parse().unwrap();
        let most = kilobytes * 1024 + bytes;
        let limit = libc::rlimit {
            rlim_cur: most,
            rlim_max: most,
        };
        let pid = i32::try_from(self.pid()).unwrap();
        // SAFETY: a plain system call; the new limit is read, and no old one is asked for.
        let result = unsafe { libc::prlimit(pid, libc::RLIMIT_AS, &limit, std::ptr::null_mut()) };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    }

    /// From now on its files may not grow beyond so many bytes; `None`: as far as they like.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let limit = libc::rlimit {
            rlim_cur: bytes.unwrap_or(libc::RLIM_INFINITY),
            rlim_max: libc::RLIM_INFINITY,
        };
        let pid = i32::try_from(self.pid()).unwrap();
        // SAFETY: a plain system call; the new limit is read, and no old one is asked for.
        let result =
            unsafe { libc::prlimit(pid, libc::RLIMIT_FSIZE, &limit, std::ptr::null_mut()) };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    }

    /// kill -9, and it is gone when this returns.
    pub fn kill_process(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// As Ctrl-C does; returns how it ended.
    pub async fn interrupt_process(&mut self) -> ExitStatus {
        self.send_signal(libc::SIGINT);
        self.wait_for_exit().await
    }

    /// Waits until it ends.
    pub async fn wait_for_exit(&mut self) -> ExitStatus {
        let log = self.log.clone();
        let child = &mut self.child;
        let mut wait = || child.try_wait().unwrap();
        eventually("the process ends", Duration::from_secs(60), || {
            let ended = wait();
            let log = log.clone();
            async move { ended.ok_or_else(|| std::fs::read_to_string(log).unwrap_or_default()) }
        })
        .await
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), self.log());
        }
    }
}
