//! Leaving in order: one signal asks for a drain, a second one leaves at once.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// How long leaving may take before the process ends all the same.
const LIMIT: Duration = Duration::from_secs(28);

/// A token that is cancelled by SIGINT or SIGTERM. A second signal ends the process at once
/// with exit code 130, and so does whatever is not done 28 seconds later (a disk that does not
/// answer, say): everything that lookalike keeps survives that.
///
/// # Errors
/// When the process may not install signal handlers.
pub fn on_signal() -> std::io::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let token = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let cancelled = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        cancelled.cancel();
        // On a thread of its own: the runtime may be what hangs.
        std::thread::spawn(|| {
            std::thread::sleep(LIMIT);
            eprintln!(
                "not done after {LIMIT:?}, leaving; what was under way is done at the next start"
            );
            std::process::exit(130);
        });
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        eprintln!("leaving at once");
        std::process::exit(130);
    });
    Ok(token)
}
