//! Waiting until the roles have followed to the collection that was put in service.

use std::time::{Duration, Instant};

use super::RolloverCommand;
use crate::audit;
use crate::client;
use crate::failure::Failure;
use crate::up::RunningInstance;

/// An embedder that was not heard for so long has died.
const EMBEDDER_ALIVE_TIMEOUT: Duration = Duration::from_secs(13);

/// How long the service is waited for, once every embedder has followed.
const SERVICE_TIMEOUT: Duration = Duration::from_secs(15);

impl RolloverCommand<'_> {
    /// Until every embedder that tells of itself works for the collection in service.
    pub(super) async fn wait_for_embedders(&self, name: &str) -> Result<(), Failure> {
        audit::wait_for_status_reports(&self.status, &[]).await;
        let until = Instant::now() + self.args.timeout;
        let mut none_since = None;
        loop {
            let told = self
                .status
                .embedders_reported_within(EMBEDDER_ALIVE_TIMEOUT);
            let behind: Vec<_> = told.iter().filter(|one| one.collection != name).collect();
            match (told.is_empty(), behind.first()) {
                (false, None) => return Ok(()),
                (true, _) => {
                    let since = *none_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > Duration::from_secs(12) {
                        self.progress.print_line(
                            "no embedder tells of itself: the next one that starts takes the new \
                             model",
                        );
                        return Ok(());
                    }
                }
                (false, Some(_)) => none_since = None,
            }
            if Instant::now() > until {
                let why = behind.first().and_then(|one| one.rollover_error.clone());
                return Err(Failure::failed(format!(
                    "{} of {} embedders did not follow within {:?}{}; the new model is in service, \
                     and the same command again goes on from here",
                    behind.len(),
                    told.len(),
                    self.args.timeout,
                    why.map(|why| format!(": {why}")).unwrap_or_default()
                )));
            }
            self.progress
                .show_waiting(told.len() - behind.len(), told.len());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Until the service of this data folder, if one runs, searches with the model in service. A
    /// service that does not says why in its status.
    pub(super) async fn wait_for_service(&self) {
        let is_known = !self.settings.url.is_empty()
            || self
                .settings
                .data_dir()
                .is_ok_and(|dir| RunningInstance::find_live(&dir).is_some());
        let (true, Ok(service)) = (
            is_known,
            client::ServiceClient::from_settings(&self.settings),
        ) else {
            return;
        };
        let until = Instant::now() + SERVICE_TIMEOUT;
        while let Ok(Some(collection)) = self.collections.in_service().await {
            let serves = match service.get_json("/v1/stats", &[]).await {
                Ok(stats) => stats["model"]["checksum"] == *collection.model.checksum,
                // Another one may follow; this one is not there.
                Err(_) => return,
            };
            if serves || Instant::now() > until {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}
