//! Waits until the roles use the collection that was put in service.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use lookalike_client::audit::wait_for_status_reports;
use lookalike_client::{RunningInstance, ServiceClient};

use super::session::RolloverSession;

/// An embedder reports every ten seconds; one that is silent for longer has died.
const EMBEDDER_ALIVE_TIMEOUT: Duration = Duration::from_secs(13);
/// How long to wait for the first report before concluding that no embedder runs.
const FIRST_REPORT_TIMEOUT: Duration = Duration::from_secs(12);
/// How long the service may take after every embedder has switched to the new model.
const SERVICE_TIMEOUT: Duration = Duration::from_secs(15);
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Waits until every embedder that reports its status works with this collection.
pub(super) async fn wait_for_embedders(
    session: &RolloverSession<'_>,
    collection: &str,
) -> Result<()> {
    wait_for_status_reports(&session.status, &[]).await;
    let deadline = Instant::now() + session.args.timeout;
    let mut silent_since = None;
    loop {
        let embedders = session
            .status
            .embedders_reported_within(EMBEDDER_ALIVE_TIMEOUT);
        let behind: Vec<_> = embedders
            .iter()
            .filter(|embedder| embedder.collection != collection)
            .collect();
        match (embedders.is_empty(), behind.first()) {
            (false, None) => return Ok(()),
            (true, _) => {
                let silent_since = *silent_since.get_or_insert_with(Instant::now);
                if silent_since.elapsed() > FIRST_REPORT_TIMEOUT {
                    session.progress.print_line(
                        "no embedder is running: the next one to start uses the new model",
                    );
                    return Ok(());
                }
            }
            (false, Some(_)) => silent_since = None,
        }
        if Instant::now() > deadline {
            let reason = behind
                .first()
                .and_then(|embedder| embedder.rollover_error.clone());
            bail!(
                "{} of {} embedders did not switch to the new model within {:?}{}; the new model \
                 is in service; run the same command again to resume",
                behind.len(),
                embedders.len(),
                session.args.timeout,
                reason
                    .map(|reason| format!(": {reason}"))
                    .unwrap_or_default()
            );
        }
        session
            .progress
            .show_waiting(embedders.len() - behind.len(), embedders.len());
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Waits until the service of this data folder, if one runs, searches with the model in service.
/// A service that cannot reports the reason in its status.
pub(super) async fn wait_for_service(session: &RolloverSession<'_>) {
    let Some(service) = find_service(session) else {
        return;
    };
    let deadline = Instant::now() + SERVICE_TIMEOUT;
    while let Ok(Some(collection)) = session.collections.in_service().await {
        let is_served = match service.get_json("/v1/stats", &[]).await {
            Ok(stats) => stats["model"]["checksum"] == *collection.model.checksum,
            // No service is reachable at this address.
            Err(_) => return,
        };
        if is_served || Instant::now() > deadline {
            return;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

fn find_service(session: &RolloverSession<'_>) -> Option<ServiceClient> {
    let settings = &session.settings;
    let is_running = || {
        let data_dir = settings.data_dir();
        data_dir.is_ok_and(|dir| RunningInstance::find_live(&dir).is_some())
    };
    if settings.url.is_empty() && !is_running() {
        return None;
    }
    settings.connect_service().ok()
}
