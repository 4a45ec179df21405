//! Ensures that one `models use` works on an index at a time.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use lookalike_bus::Lease;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::session::RolloverSession;

const LEASE_NAME: &str = "rollover";
const LEASE_POLL_INTERVAL: Duration = Duration::from_millis(300);
/// Waited in addition to the term of the lease, after which a killed command's lease has expired.
const LEASE_MARGIN: Duration = Duration::from_secs(3);

/// Acquires the lease and renews it in the background until `finished` is cancelled.
pub(super) async fn take_rollover_lease(
    session: &RolloverSession<'_>,
    finished: &CancellationToken,
) -> Result<JoinHandle<()>> {
    let holder = format!(
        "{}-{}",
        std::process::id(),
        lookalike_chassis::clock::now_nanos()
    );
    let timeout = session.settings.nats.lease_timeout + LEASE_MARGIN;
    let deadline = Instant::now() + timeout;
    let mut has_reported = false;
    loop {
        if let Some(lease) = session.bus.acquire_lease(LEASE_NAME, &holder).await? {
            return Ok(tokio::spawn(renew_until_cancelled(lease, finished.clone())));
        }
        if Instant::now() > deadline {
            bail!("another `models use` is working on this index: wait until it finishes");
        }
        if !std::mem::replace(&mut has_reported, true) {
            session.progress.print_line(&format!(
                "waiting up to {} s for another `models use` to finish, or for the lease of a \
                 killed one to expire",
                timeout.as_secs()
            ));
        }
        tokio::time::sleep(LEASE_POLL_INTERVAL).await;
    }
}

/// Renews the lease until `finished` is cancelled, then releases it.
async fn renew_until_cancelled(mut lease: Lease, finished: CancellationToken) {
    loop {
        let wait = tokio::time::sleep(lease.timeout() / 3);
        if finished.run_until_cancelled(wait).await.is_none() {
            return lease.release_lease().await;
        }
        if let Ok(false) = lease.renew_lease().await {
            // Two commands at once do no harm: every step can be repeated.
            tracing::debug!("lost the lease; another `models use` may have started");
            return;
        }
    }
}
