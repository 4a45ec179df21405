//! Roll calls: a process that sends queries asks once a second which embedders serve its model.
//!
//! Each embedder subscribes to the roll calls of its model and replies with its name. Embedders of
//! older versions do not reply; they get queries through their queue group.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_nats::{Client, Subscriber};
use futures_util::StreamExt as _;
use futures_util::future::join_all;

use crate::connect::Bus;
use crate::embedder_instance::EmbedderInstance;
use crate::embedder_pool::ModelEmbedders;
use crate::error::Error;
use crate::request_vector::NO_EMBEDDER;

const ROLL_CALL_INTERVAL: Duration = Duration::from_secs(1);

impl Bus {
    /// Returns the embedders that are known to serve the model, and starts to look for them.
    pub(crate) fn embedder_pool(&self, model: &str) -> Arc<ModelEmbedders> {
        let subject = self.embed_subject(model);
        let pool = self.embedder_pools.pool(&subject, &self.settings);
        if pool.needs_roll_calls() {
            let (bus, model, pool) = (self.clone(), model.to_owned(), Arc::downgrade(&pool));
            tokio::spawn(bus.call_roll(model, pool));
        }
        pool
    }

    /// Looks for the embedders of a model, so that the first queries already know them, and so that
    /// [`Bus::unresponsive_embedders`] knows those that stopped answering while there are no queries.
    /// To be called at least once a minute.
    pub fn follow_embedders(&self, model: &str) {
        let _ = self.embedder_pool(model);
    }

    /// Returns the names of the embedders with this model that answer no queries, or do not react at
    /// all. Those that have ended are not included.
    pub fn unresponsive_embedders(&self, model: &str) -> Vec<String> {
        if !self.is_connected() {
            return Vec::new();
        }
        let list = self
            .embedder_pool(model)
            .decide(|choice, now| choice.list_unresponsive(now));
        list.iter().map(ToString::to_string).collect()
    }

    /// Calls the roll until the pool is idle. The next use creates another pool.
    async fn call_roll(self, model: String, pool: Weak<ModelEmbedders>) {
        while pool.upgrade().is_some_and(|pool| !pool.is_idle()) {
            if let Err(error) = self.call_roll_while_used(&model, &pool).await {
                tracing::debug!(%error, "cannot call the roll of the embedders now");
                tokio::time::sleep(ROLL_CALL_INTERVAL).await;
            }
        }
        // A query may have used the pool just after it was found idle.
        if let Some(pool) = pool.upgrade() {
            pool.end_roll_calls();
        }
    }

    async fn call_roll_while_used(
        &self,
        model: &str,
        pool: &Weak<ModelEmbedders>,
    ) -> Result<(), Error> {
        let failed = |e: Box<dyn std::error::Error + Send + Sync>| {
            Error::jetstream_failure("calling the roll of the embedders")(e)
        };
        let inbox = self.client.new_inbox();
        let subscription = self.client.subscribe(inbox.clone()).await;
        let mut replies = subscription.map_err(|e| failed(e.into()))?;
        while let Some(pool) = pool.upgrade().filter(|pool| !pool.is_idle()) {
            let subject = self.roll_call_subject(model);
            if self.is_connected() {
                let call = self
                    .client
                    .publish_with_reply(subject, inbox.clone(), "".into());
                call.await.map_err(|e| failed(e.into()))?;
            }
            let collect =
                tokio::time::timeout(ROLL_CALL_INTERVAL, collect_names(&mut replies, &pool));
            if collect.await.is_ok() {
                return Err(failed("the connection was closed".into()));
            }
            if !self.is_connected() {
                continue;
            }
            let missing = pool.decide(|choice, now| choice.list_missing(now));
            // One after another, many frozen embedders would delay the next roll call so much that
            // working ones count as absent.
            let checks = missing
                .iter()
                .map(|instance| self.has_ended(model, instance));
            let have_ended = join_all(checks).await;
            for (instance, has_ended) in missing.iter().zip(have_ended) {
                if has_ended {
                    pool.decide(|choice, _| choice.forget(instance));
                }
            }
        }
        Ok(())
    }

    /// Returns whether an embedder that missed roll calls has ended: then the server knows no
    /// subscriber.
    async fn has_ended(&self, model: &str, instance: &EmbedderInstance) -> bool {
        let subject = self.instance_subject(model, instance);
        self.has_no_subscriber(subject).await
    }

    /// Checks that an embedder with this model is there, before or while the caller prepares a query.
    /// Embedders that answer roll calls count without a request.
    ///
    /// # Errors
    /// [`Error::NoResponders`] if NATS knows no embedder with this model.
    pub async fn check_embedder(&self, model: &str) -> Result<(), Error> {
        let subject = self.embed_subject(model);
        if self.local_subscribers.find_subscriber(&subject).is_some() {
            return Ok(());
        }
        let pool = self.embedder_pool(model);
        let is_known = pool.decide(|choice, now| choice.knows_responsive(now));
        // Embedders of older versions answer no roll calls, but they subscribe.
        if !is_known && self.has_no_subscriber(subject).await {
            return Err(Error::NoResponders(NO_EMBEDDER));
        }
        Ok(())
    }

    /// Returns whether the server replies that no embedder subscribes to this subject.
    async fn has_no_subscriber(&self, subject: String) -> bool {
        // Embedders ignore an empty query.
        let request = async_nats::Request::new()
            .payload("".into())
            .timeout(Some(Duration::from_millis(200)));
        let reply = self.client.send_request(subject, request).await;
        matches!(reply, Err(error) if error.kind() == async_nats::RequestErrorKind::NoResponders)
    }

    /// Replies to the roll calls of this model, as long as the stream is polled.
    pub(crate) async fn answer_roll_calls(
        &self,
        model: &str,
        instance: &EmbedderInstance,
    ) -> Result<impl futures_util::Stream<Item = ()> + Send + use<>, Error> {
        let calls = self
            .client
            .subscribe(self.roll_call_subject(model))
            .await
            .map_err(|e| Error::jetstream_failure("subscribing to roll calls")(e.into()))?;
        let (client, instance) = (self.client.clone(), instance.clone());
        Ok(calls.then(move |call| answer_roll_call(client.clone(), call, instance.clone())))
    }

    fn roll_call_subject(&self, model: &str) -> String {
        format!("{}.v1.embedders.{model}", self.settings.namespace)
    }

    /// Returns the subject of the queries for one embedder.
    pub(crate) fn instance_subject(&self, model: &str, instance: &EmbedderInstance) -> String {
        format!("{}.v1.embed_at.{instance}.{model}", self.settings.namespace)
    }

    pub(crate) fn embed_subject(&self, model: &str) -> String {
        format!("{}.v1.embed.{model}", self.settings.namespace)
    }
}

/// Records the embedders that answer, also those that answer an earlier roll call. Ends with the
/// connection.
async fn collect_names(replies: &mut Subscriber, pool: &ModelEmbedders) {
    while let Some(reply) = replies.next().await {
        // The server itself replies if there is no embedder at all, with an empty name.
        let name = std::str::from_utf8(&reply.payload).unwrap_or_default();
        if let Ok(instance) = EmbedderInstance::new(name) {
            pool.decide(|choice, now| choice.record_roll_call(&instance, now));
        }
    }
}

async fn answer_roll_call(client: Client, call: async_nats::Message, instance: EmbedderInstance) {
    let Some(reply) = call.reply else { return };
    let name = instance.as_str().to_owned();
    if let Err(error) = client.publish(reply, name.into()).await {
        tracing::debug!(%error, "could not answer a roll call");
    }
}
