//! Leaving in order: one signal asks for a drain, a second one leaves at once.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::stdio;

/// How long leaving may take before the process ends all the same.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(28);

/// What asks a process to leave: SIGINT, SIGTERM, and SIGHUP, which comes from a terminal that is
/// closed, unless that is ignored (as `nohup` has it).
pub struct ShutdownSignals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Option<Signal>,
}

impl ShutdownSignals {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the process may not install signal handlers.
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

    /// Until it is asked, once more.
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
    let mut found = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action, the call only fills the struct, which is of its own kind and
    // was zeroed.
    let found = unsafe {
        libc::sigaction(signal, std::ptr::null(), found.as_mut_ptr());
        found.assume_init()
    };
    found.sa_sigaction == libc::SIG_IGN
}

/// A token that is cancelled by the first [`ShutdownSignals`]. A second one ends the process at once with
/// exit code 130, and so does whatever is not done 28 seconds later (a disk that does not answer,
/// say): everything that lookalike keeps survives that.
///
/// # Errors
/// When the process may not install signal handlers.
pub fn cancel_on_signal() -> io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let mut signals = ShutdownSignals::new()?;
    let signalled = token.clone();
    tokio::spawn(async move {
        signals.wait_for_signal().await;
        signalled.cancel();
        // On a thread of its own: the runtime may be what hangs.
        std::thread::spawn(|| {
            std::thread::sleep(SHUTDOWN_TIMEOUT);
            stdio::eprint_line(&format!(
                "not done after {SHUTDOWN_TIMEOUT:?}, leaving; what was under way is done at the next start"
            ));
            std::process::exit(130);
        });
        signals.wait_for_signal().await;
        stdio::eprint_line("leaving at once");
        std::process::exit(130);
    });
    Ok(token)
}
