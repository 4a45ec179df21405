//! One running child process. Its output goes to a sink, waiting tasks learn its exit status, and a
//! signal never reaches another process that reuses its pid.

use std::io::{self, Read as _};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::log_file::LogTail;
use crate::spawner;

/// A child process. Dropping this value kills the process group.
#[derive(Debug)]
pub(crate) struct ChildProcess {
    pid: u32,
    exit: watch::Receiver<Option<ExitStatus>>,
    /// Whether the process has been reaped; from then on another process may reuse its pid. Locked
    /// while signalling and while reaping.
    reaped: Arc<Mutex<bool>>,
    tail: Arc<Mutex<LogTail>>,
}

impl ChildProcess {
    /// Starts `command` with an empty standard input. A thread of its own passes standard output and
    /// standard error to `sink`, so the child never waits for our tasks.
    pub(crate) async fn spawn(
        mut command: Command,
        mut sink: impl FnMut(&[u8]) + Send + 'static,
    ) -> io::Result<Self> {
        let (mut output, writer) = io::pipe()?;
        command
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer);
        // The spawner drops the command and with it our write ends, so the pipe ends with the
        // child.
        let mut process = spawner::spawn_tied_child(command).await?;
        let pid = process.id();
        let (exit_sender, exit) = watch::channel(None);
        let reaped = Arc::new(Mutex::new(false));
        let tail = Arc::new(Mutex::new(LogTail::default()));
        let child = Self {
            pid,
            exit,
            reaped: Arc::clone(&reaped),
            tail: Arc::clone(&tail),
        };
        let watcher = std::thread::Builder::new().name(format!("child-{pid}"));
        watcher.spawn(move || {
            let mut chunk = vec![0; 64 << 10];
            loop {
                match output.read(&mut chunk) {
                    Ok(0) => break,
                    Ok(length) => {
                        lock_ignoring_poison(&tail).push_chunk(&chunk[..length]);
                        sink(&chunk[..length]);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        tracing::warn!(pid, %error, "cannot read a child's output");
                        break;
                    }
                }
            }
            wait_exit_without_reaping(pid);
            let mut reaped = lock_ignoring_poison(&reaped);
            let status = process.wait();
            *reaped = true;
            drop(reaped);
            match status {
                Ok(status) => {
                    exit_sender.send_replace(Some(status));
                }
                Err(error) => tracing::error!(pid, %error, "cannot wait for a child"),
            }
        })?;
        Ok(child)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns the last lines of its output.
    pub(crate) fn log_tail(&self) -> Vec<String> {
        lock_ignoring_poison(&self.tail).lines()
    }

    /// Waits until the process has ended and its output was read. Cancel-safe.
    pub(crate) async fn wait_exit(&self) -> ExitStatus {
        let mut exit = self.exit.clone();
        let status = exit
            .wait_for(Option::is_some)
            .await
            .expect("a process can wait for its own child");
        status.expect("wait_for returned because the status is there")
    }

    /// Sends `signal` to the process group, unless the process has ended.
    pub(crate) fn send_signal(&self, signal: libc::c_int) {
        let reaped = lock_ignoring_poison(&self.reaped);
        if !*reaped {
            // SAFETY: a plain system call. The spawner created this group for the child, and no
            // other group can have its number, because the child has not been reaped.
            unsafe { libc::kill(-self.pid.cast_signed(), signal) };
        }
    }

    /// Kills the process and waits until it has ended.
    pub(crate) async fn kill_and_wait(&self) -> ExitStatus {
        self.send_signal(libc::SIGKILL);
        self.wait_exit().await
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        self.send_signal(libc::SIGKILL);
    }
}

/// Blocks until the process has ended and leaves it as a zombie, so that its pid stays reserved.
fn wait_exit_without_reaping(pid: u32) {
    loop {
        // SAFETY: `info` is a plain C struct for which all zeros is valid; it outlives the call.
        let answer = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            libc::waitid(libc::P_PID, pid, &mut info, libc::WEXITED | libc::WNOWAIT)
        };
        if answer == 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return;
        }
    }
}

/// Locks a value that a panic cannot leave inconsistent.
fn lock_ignoring_poison<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
