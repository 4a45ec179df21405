//! Waiting until the roles have followed to the collection that was put in service.

use std::time::{Duration, Instant};

use super::Switch;
use crate::audit;
use crate::client;
use crate::failure::Failure;
use crate::up::Running;

/// An embedder that was not heard for so long has died.
const ALIVE: Duration = Duration::from_secs(13);

/// How long the service is waited for, once every embedder has followed.
const SERVED_WITHIN: Duration = Duration::from_secs(15);

impl Switch<'_> {
    /// Until every embedder that tells of itself works for the collection in service.
    pub(super) async fn followed(&self, name: &str) -> Result<(), Failure> {
        audit::wait_for_words(&self.status, &[]).await;
        let until = Instant::now() + self.args.patience;
        let mut none_since = None;
        loop {
            let told = self.status.embedders_heard_within(ALIVE);
            let behind: Vec<_> = told.iter().filter(|one| one.collection != name).collect();
            match (told.is_empty(), behind.first()) {
                (false, None) => return Ok(()),
                (true, _) => {
                    let since = *none_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > Duration::from_secs(12) {
                        self.told.line(
                            "no embedder tells of itself: the next one that starts takes the new \
                             model",
                        );
                        return Ok(());
                    }
                }
                (false, Some(_)) => none_since = None,
            }
            if Instant::now() > until {
                let why = behind.first().and_then(|one| one.left_behind.clone());
                return Err(Failure::failed(format!(
                    "{} of {} embedders did not follow within {:?}{}; the new model is in service, \
                     and the same command again goes on from here",
                    behind.len(),
                    told.len(),
                    self.args.patience,
                    why.map(|why| format!(": {why}")).unwrap_or_default()
                )));
            }
            self.told.waiting(told.len() - behind.len(), told.len());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Until the service of this data folder, if one runs, searches with the model in service. A
    /// service that does not says why in its status.
    pub(super) async fn served(&self) {
        let is_known = !self.settings.url.is_empty()
            || self
                .settings
                .data_dir()
                .is_ok_and(|dir| Running::read(&dir).is_some());
        let (true, Ok(service)) = (is_known, client::Service::find(&self.settings)) else {
            return;
        };
        let until = Instant::now() + SERVED_WITHIN;
        while let Ok(Some(collection)) = self.collections.in_service().await {
            let serves = match service.get("/v1/stats", &[]).await {
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
