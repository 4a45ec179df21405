//! The audit lease: one embedder at a time runs periodic audits.

use std::time::Duration;

use lookalike_bus::{Bus, Lease};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Interval at which an embedder without the lease requests it.
const LEASE_POLL_INTERVAL: Duration = Duration::from_secs(3);

const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);

/// Acquires the lease and renews it until `shutdown`, except while `paused`. Publishes through
/// `lease_sender` whether this process holds it.
pub(crate) async fn hold_audit_lease(
    bus: Bus,
    instance: String,
    lease_sender: watch::Sender<bool>,
    mut paused: watch::Receiver<bool>,
    shutdown: CancellationToken,
) {
    let mut lease: Option<Lease> = None;
    let holding = async {
        loop {
            if *paused.borrow_and_update() {
                lease_sender.send_replace(false);
                if let Some(lease) = lease.take() {
                    let _ = tokio::time::timeout(RELEASE_TIMEOUT, lease.release_lease()).await;
                }
            } else {
                acquire_or_renew_lease(&bus, &instance, &mut lease).await;
                lease_sender.send_replace(lease.is_some());
            }
            let wait = lease
                .as_ref()
                .map_or(LEASE_POLL_INTERVAL, |lease| lease.timeout() / 3);
            let _ = tokio::time::timeout(wait, paused.changed()).await;
        }
    };
    let _: Option<()> = shutdown.run_until_cancelled(holding).await;
    if let Some(lease) = lease {
        // If NATS is unreachable, the lease expires by itself.
        let _ = tokio::time::timeout(RELEASE_TIMEOUT, lease.release_lease()).await;
    }
}

async fn acquire_or_renew_lease(bus: &Bus, instance: &str, lease: &mut Option<Lease>) {
    let result = match lease {
        Some(current) => match current.renew_lease().await {
            Ok(true) => Ok(()),
            Ok(false) => {
                *lease = None;
                Ok(())
            }
            // The lease remains valid until its term ends. Two audits at once do no harm.
            Err(error) => Err(error),
        },
        None => match bus.acquire_lease("audit", instance).await {
            Ok(acquired) => {
                *lease = acquired;
                Ok(())
            }
            Err(error) => Err(error),
        },
    };
    if let Err(error) = result {
        tracing::debug!(%error, "cannot acquire or renew the audit lease");
    }
}
