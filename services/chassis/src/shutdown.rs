//! Orderly shutdown: the first signal asks for a drain, the second one exits at once.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::stdio;

/// Time that a drain may take before the process exits anyway.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(28);

/// The signals that ask a process to shut down: SIGINT, SIGTERM and SIGHUP. A closed terminal
/// sends SIGHUP; a process that ignores it, as under `nohup`, keeps running.
pub struct ShutdownSignals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Option<Signal>,
}

impl ShutdownSignals {
    /// Installs the signal handlers.
    ///
    /// # Errors
    /// The process may not install signal handlers.
    pub fn new() -> io::Result<Self> {
        let hangup = match is_ignored(libc::SIGHUP) {
            true => None,
            false => Some(signal(SignalKind::hangup())?),
        };
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup,
        })
    }

    /// Waits for the next of the signals.
    pub async fn wait_for_signal(&mut self) {
        let Self {
            interrupt,
            terminate,
            hangup,
        } = self;
        let hangup = async {
            match hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup => {}
        }
    }
}

fn is_ignored(signal: libc::c_int) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action, the call only fills the struct, which has the right type and
    // was zeroed.
    let action = unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr());
        action.assume_init()
    };
    action.sa_sigaction == libc::SIG_IGN
}

/// Returns a token that the first signal of [`ShutdownSignals`] cancels.
///
/// A second signal ends the process at once with exit code 130. So does a drain that is not done
/// after 28 seconds, for example because a disk hangs: all stored data survives that.
///
/// # Errors
/// The process may not install signal handlers.
pub fn cancel_on_signal() -> io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let mut signals = ShutdownSignals::new()?;
    let signalled = token.clone();
    tokio::spawn(async move {
        signals.wait_for_signal().await;
        signalled.cancel();
        // A thread of its own, because the runtime itself may hang.
        std::thread::spawn(|| {
            std::thread::sleep(SHUTDOWN_TIMEOUT);
            stdio::eprint_line(&format!(
                "not done after {SHUTDOWN_TIMEOUT:?}, exiting; the next start completes unfinished work"
            ));
            std::process::exit(130);
        });
        signals.wait_for_signal().await;
        stdio::eprint_line("exiting at once");
        std::process::exit(130);
    });
    Ok(token)
}
