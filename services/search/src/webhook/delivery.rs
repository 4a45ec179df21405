//! Sends the matches of each saved search with a webhook, one after another.
//!
//! A match stays in the queue of its webhook until the receiver answered with a status of success, or
//! until it is given up. All services share the queue, and JetStream delivers the next match only after
//! the one before it was acknowledged. If a service ends while it sends, another one sends the match
//! again after [`ACK_MARGIN`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lookalike_bus::{Error, MatchDelivery};
use lookalike_chassis::clock::now_nanos;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::state::{AfterFailure, WebhookState};
use crate::core::service::ServiceState;
use crate::metrics::WEBHOOK_REQUESTS;
use crate::saved::record::SavedWebhook;
use crate::saved::store::SavedSearch;

/// How often to look for new and deleted webhooks.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// How long to wait for the next match.
const POLL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait after a failure of NATS.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// A match is delivered to another service so long after `webhooks.timeout`.
const ACK_MARGIN: Duration = Duration::from_secs(10);

/// Sends matches until `shutdown`.
pub(crate) async fn run_webhooks(service: Arc<ServiceState>, shutdown: CancellationToken) {
    let mut tasks = JoinSet::new();
    let mut running: HashMap<String, CancellationToken> = HashMap::new();
    while !shutdown.is_cancelled() {
        match service.saved_searches.load().await {
            Ok(searches) => {
                let with_webhook = searches.iter().filter_map(|search| {
                    let webhook = search.record.webhook.clone()?;
                    Some((search, webhook))
                });
                let with_webhook: Vec<(&Arc<SavedSearch>, SavedWebhook)> = with_webhook.collect();
                running.retain(|id, stop| {
                    let is_stored = with_webhook.iter().any(|(search, _)| search.id == *id);
                    if !is_stored {
                        stop.cancel();
                    }
                    is_stored
                });
                for (search, webhook) in with_webhook {
                    if !running.contains_key(&search.id) {
                        let stop = shutdown.child_token();
                        running.insert(search.id.clone(), stop.clone());
                        let service = Arc::clone(&service);
                        let delivery = WebhookDelivery {
                            service,
                            id: search.id.clone(),
                            webhook,
                        };
                        let shutdown = shutdown.clone();
                        tasks.spawn(async move { delivery.run(&stop, &shutdown).await });
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "cannot list webhooks now"),
        }
        while tasks.try_join_next().is_some() {}
        let slept = tokio::time::sleep(REFRESH_INTERVAL);
        let _: Option<()> = shutdown.run_until_cancelled(slept).await;
    }
    while tasks.join_next().await.is_some() {}
}

fn now_ms() -> i64 {
    now_nanos() / 1_000_000
}

/// The webhook of one saved search.
struct WebhookDelivery {
    service: Arc<ServiceState>,
    id: String,
    webhook: SavedWebhook,
}

impl WebhookDelivery {
    /// Sends matches until `stop`. If the search was deleted, removes what another service may have
    /// stored of it meanwhile.
    async fn run(self, stop: &CancellationToken, shutdown: &CancellationToken) {
        while !stop.is_cancelled() {
            if let Err(error) = self.send_matches(stop).await {
                tracing::debug!(id = self.id, %error, "cannot take matches of a webhook now");
                let slept = tokio::time::sleep(RETRY_INTERVAL);
                let _: Option<()> = stop.run_until_cancelled(slept).await;
            }
        }
        if !shutdown.is_cancelled()
            && let Err(error) = self.delete_traces().await
        {
            tracing::debug!(id = self.id, %error, "cannot delete what a saved search left");
        }
    }

    async fn delete_traces(&self) -> Result<(), Error> {
        let bus = &self.service.bus;
        match bus.read_saved_search(&self.id).await? {
            // A newer version may have written it in another form.
            Some(_) => Ok(()),
            None => bus.delete_traces_of_search(&self.id).await,
        }
    }

    async fn send_matches(&self, stop: &CancellationToken) -> Result<(), Error> {
        let bus = &self.service.bus;
        let ack_wait = self.service.webhook_settings.timeout + ACK_MARGIN;
        let queue = bus.open_webhook_queue(&self.id, ack_wait).await?;
        while !stop.is_cancelled() {
            if let Some(delivery) = queue.take_match(POLL_TIMEOUT, stop).await? {
                self.send_match(&delivery, stop).await?;
            }
        }
        Ok(())
    }

    /// Sends one match, and stores the result before the match leaves the queue.
    async fn send_match(
        &self,
        delivery: &MatchDelivery,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let bus = &self.service.bus;
        let stored = bus.read_webhook_state(&self.id).await?;
        let mut state = WebhookState::decode(stored.as_deref());
        if let Some(wait) = state.remaining_wait(now_ms()) {
            delivery.retry_after(wait).await;
            return Ok(());
        }
        let SavedWebhook { url, secret } = &self.webhook;
        let sending = self
            .service
            .webhooks
            .send_match(url, secret, &delivery.found);
        let Some(sent) = stop.run_until_cancelled(sending).await else {
            // Sent again by another service, or after the next start.
            delivery.retry_after(Duration::ZERO).await;
            return Ok(());
        };
        match sent {
            Ok(()) => {
                WEBHOOK_REQUESTS.with_label_values(&["delivered"]).inc();
                state.record_success(now_ms());
                bus.store_webhook_state(&self.id, state.encode().into())
                    .await?;
                delivery.acknowledge().await
            }
            Err(error) => self.handle_failure(delivery, state, &error).await,
        }
    }

    async fn handle_failure(
        &self,
        delivery: &MatchDelivery,
        mut state: WebhookState,
        error: &str,
    ) -> Result<(), Error> {
        let bus = &self.service.bus;
        let settings = &self.service.webhook_settings;
        let found_ms = delivery.found.record.at_ms;
        let after = state.record_failure(error, found_ms, now_ms(), settings);
        let id = &self.id;
        if state.failures == 1 {
            tracing::warn!(id, "the webhook of a saved search failed: {error}");
        }
        bus.store_webhook_state(id, state.encode().into()).await?;
        match after {
            AfterFailure::RetryAfter(wait) => {
                WEBHOOK_REQUESTS.with_label_values(&["failed"]).inc();
                delivery.retry_after(wait).await;
                Ok(())
            }
            AfterFailure::GiveUp => {
                WEBHOOK_REQUESTS.with_label_values(&["given_up"]).inc();
                tracing::warn!(
                    id,
                    "gave up sending a match to the webhook of a saved search"
                );
                delivery.acknowledge().await
            }
        }
    }
}
