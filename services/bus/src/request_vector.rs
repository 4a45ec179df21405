//! Sends a query for a vector to one embedder, and to others if need be. `embedder_choice` decides
//! which one gets it, and when.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_nats::RequestErrorKind;
use lookalike_proto::InvalidMessage;
use lookalike_proto::wire::{EmbedError, EmbedReply, EmbedRequest, Vector};
use lookalike_proto::wire::{embed_reply, embed_request};
use prost::Message as _;
use tokio::sync::mpsc;

use crate::connect::Bus;
use crate::embed::{NETWORK_FAILED, OVERLOADED};
use crate::embedder_choice::{HedgeStep, MAX_ALL_TRIES, QueryTry, TryOutcome};
use crate::embedder_pool::ModelEmbedders;
use crate::error::Error;
use crate::local_queries::LocalQueueError;
use crate::metrics::{RetryReason, count_retry};
use crate::vector_query::{EmbedFailure, EmbedInput, EmbeddedVector};

pub(crate) const NO_EMBEDDER: &str =
    "no embedder replied; is `lookalike embed` running with this model?";

const NO_REPLY: &str =
    "no embedder replied in time; `lookalike status` lists those that are unresponsive";

type TryResult = Result<EmbeddedVector, Error>;

impl Bus {
    /// Returns whether a request can be sent: NATS is connected, or an embedder with this model runs in
    /// this process. Without a connection, the NATS client would wait until the request times out.
    pub fn can_request_vectors(&self, model: &str) -> bool {
        let subject = self.embed_subject(model);
        self.is_connected() || self.local_subscribers.find_subscriber(&subject).is_some()
    }

    /// Requests a vector from the embedder that will probably answer first. If it does not, others get
    /// the query as well.
    pub(crate) async fn request_vector(&self, model: &str, input: EmbedInput) -> TryResult {
        let mut query = HedgedQuery::new(self, model, input);
        let result = tokio::time::timeout(self.settings.embed_timeout, query.run()).await;
        match result {
            Ok(result) => result,
            Err(_) => Err(query.failure.unwrap_or(Error::NoResponders(NO_REPLY))),
        }
    }
}

/// A query, and its tries.
struct HedgedQuery<'a> {
    bus: &'a Bus,
    model: &'a str,
    pool: Arc<ModelEmbedders>,
    input: EmbedInput,
    tries: Vec<QueryTry>,
    /// Why an embedder could not answer.
    failure: Option<Error>,
    sender: mpsc::Sender<(u64, TryResult)>,
    results: mpsc::Receiver<(u64, TryResult)>,
    /// Dropped with the query: then an embedder of this process skips it.
    is_waiting: Arc<()>,
}

impl<'a> HedgedQuery<'a> {
    fn new(bus: &'a Bus, model: &'a str, input: EmbedInput) -> Self {
        let (sender, results) = mpsc::channel(MAX_ALL_TRIES);
        Self {
            bus,
            model,
            pool: bus.embedder_pool(model),
            input,
            tries: Vec::new(),
            failure: None,
            sender,
            results,
            is_waiting: Arc::new(()),
        }
    }

    /// Runs until an embedder answers or all have refused. The caller limits the time.
    async fn run(&mut self) -> TryResult {
        self.send_first_tries();
        loop {
            let wait = self.hedge_if_due();
            tokio::select! {
                Some((id, result)) = self.results.recv() => {
                    if let Some(result) = self.handle_result(id, result) {
                        return result;
                    }
                }
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn send_first_tries(&mut self) {
        let subject = self.bus.embed_subject(self.model);
        let local = self.bus.local_subscribers.find_subscriber(&subject);
        let may_ask_remote = self.bus.is_connected();
        let (first, probe) = self.pool.decide(|choice, now| {
            choice.set_local(local.as_ref(), now);
            choice.start_query(may_ask_remote, now)
        });
        self.send_try(first);
        if let Some(probe) = probe {
            count_retry(RetryReason::Probe);
            self.send_try(probe);
        }
    }

    /// Sends the query to another embedder if it is time to. Returns the time until the next check.
    fn hedge_if_due(&mut self) -> Duration {
        let may_ask_remote = self.bus.is_connected();
        loop {
            let step = self
                .pool
                .decide(|choice, now| choice.hedge_query(&self.tries, may_ask_remote, now));
            match step {
                HedgeStep::Wait(wait) => return wait,
                HedgeStep::Ask { next, is_silent } => {
                    count_retry(match is_silent {
                        true => RetryReason::Silent,
                        false => RetryReason::Slow,
                    });
                    self.send_try(next);
                }
            }
        }
    }

    /// Returns the result of the query, if this decides it.
    fn handle_result(&mut self, id: u64, result: TryResult) -> Option<TryResult> {
        let ended = self.tries.iter_mut().find(|ended| ended.id == id)?;
        ended.is_pending = false;
        let is_probe = ended.is_probe;
        let error = match result {
            Ok(vector) => return Some(Ok(vector)),
            Err(_) if is_probe => return None,
            Err(error) if !may_work_elsewhere(&error) => return Some(Err(error)),
            Err(error) => error,
        };
        // A refusal says more than that another embedder is not there.
        let is_refusal = matches!(error, Error::EmbedRefused { .. });
        if self.failure.is_none() || is_refusal {
            self.failure = Some(error);
        }
        let may_ask_remote = self.bus.is_connected();
        let next = self
            .pool
            .decide(|choice, now| choice.retry_query(&self.tries, may_ask_remote, now));
        if let Some(next) = next {
            count_retry(RetryReason::Refused);
            self.send_try(next);
        }
        // The query does not rely on probes, whose embedders may never answer.
        let mut tries = self.tries.iter();
        if tries.any(|other| other.is_pending && !other.is_probe) {
            return None;
        }
        self.failure.take().map(Err)
    }

    /// Sends a try. Its task continues after the end of the query: a late answer shows that the
    /// embedder works.
    fn send_try(&mut self, current: QueryTry) {
        self.tries.push(current.clone());
        let (bus, model) = (self.bus.clone(), self.model.to_owned());
        // Copying the input copies no pixels.
        let (pool, input) = (Arc::clone(&self.pool), self.input.clone());
        let (sender, search) = (self.sender.clone(), Arc::downgrade(&self.is_waiting));
        tokio::spawn(async move {
            let (result, outcome) = bus.run_try(&model, &current, input, search).await;
            pool.decide(|choice, now| choice.finish_try(&current, outcome, now));
            // The query may have ended.
            let _ = sender.try_send((current.id, result));
        });
    }
}

/// Returns whether another embedder may answer a query that failed like this.
fn may_work_elsewhere(error: &Error) -> bool {
    match error {
        Error::EmbedRefused { code, .. } => code == OVERLOADED || code == NETWORK_FAILED,
        _ => true,
    }
}

impl Bus {
    async fn run_try(
        &self,
        model: &str,
        current: &QueryTry,
        input: EmbedInput,
        search: Weak<()>,
    ) -> (TryResult, TryOutcome) {
        let subject = self.embed_subject(model);
        let local = self.local_subscribers.find_subscriber(&subject);
        match &current.instance {
            Some(instance) if local.as_ref() == Some(instance) => {
                self.request_local_vector(&subject, input, search).await
            }
            Some(instance) => {
                let subject = self.instance_subject(model, instance);
                self.request_remote_vector(subject, input).await
            }
            None => self.request_remote_vector(subject, input).await,
        }
    }

    async fn request_local_vector(
        &self,
        subject: &str,
        input: EmbedInput,
        search: Weak<()>,
    ) -> (TryResult, TryOutcome) {
        let sent = self
            .local_subscribers
            .send_query(subject, input, search.clone());
        let result = match sent {
            Ok(result) => result,
            Err(LocalQueueError::Full) => {
                let code = OVERLOADED.to_owned();
                let detail = "too many searches wait for a vector; try again soon".to_owned();
                return (
                    Err(Error::EmbedRefused { code, detail }),
                    TryOutcome::QueueFull,
                );
            }
            Err(LocalQueueError::Ended) => {
                return (Err(Error::NoResponders(NO_EMBEDDER)), TryOutcome::Gone);
            }
        };
        match tokio::time::timeout(self.settings.embed_timeout, result).await {
            Ok(Ok(Ok(vector))) => (Ok(vector), TryOutcome::Answered),
            Ok(Ok(Err(EmbedFailure { code, detail }))) => {
                classify_refusal(Error::EmbedRefused { code, detail })
            }
            // The embedder skipped the query, because the search had ended.
            Ok(Err(_)) if search.strong_count() == 0 => {
                (Err(Error::NoResponders(NO_REPLY)), TryOutcome::Heard)
            }
            Ok(Err(_)) => (Err(Error::NoResponders(NO_EMBEDDER)), TryOutcome::Gone),
            Err(_) => (Err(Error::NoResponders(NO_REPLY)), TryOutcome::Silent),
        }
    }

    async fn request_remote_vector(
        &self,
        subject: String,
        input: EmbedInput,
    ) -> (TryResult, TryOutcome) {
        let input = match input {
            EmbedInput::Pixels(pixels) => embed_request::Input::Pixels(pixels),
            EmbedInput::Text(text) => embed_request::Input::Text(text.into_string()),
        };
        let request = EmbedRequest { input: Some(input) };
        let request = async_nats::Request::new()
            .payload(request.encode_to_vec().into())
            .timeout(Some(self.settings.embed_timeout));
        let message = match self.client.send_request(subject, request).await {
            Ok(message) => message,
            Err(error) => {
                return match error.kind() {
                    RequestErrorKind::NoResponders => {
                        (Err(Error::NoResponders(NO_EMBEDDER)), TryOutcome::Gone)
                    }
                    RequestErrorKind::TimedOut => {
                        (Err(Error::NoResponders(NO_REPLY)), TryOutcome::Silent)
                    }
                    _ => {
                        let error = Error::jetstream_failure("requesting a vector")(error.into());
                        // The connection failed, so the embedder has shown no sign of life.
                        (Err(error), TryOutcome::Silent)
                    }
                };
            }
        };
        match decode_reply(message.payload) {
            Ok(vector) => (Ok(vector), TryOutcome::Answered),
            Err(error) => classify_refusal(error),
        }
    }
}

/// Tells errors of one embedder from errors of the query, which every embedder would report.
fn classify_refusal(error: Error) -> (TryResult, TryOutcome) {
    let outcome = match may_work_elsewhere(&error) {
        true => TryOutcome::Refused,
        false => TryOutcome::Heard,
    };
    (Err(error), outcome)
}

fn decode_reply(payload: bytes::Bytes) -> TryResult {
    let reply = EmbedReply::decode(payload).map_err(|source| InvalidMessage::Decode {
        message: "EmbedReply",
        source,
    })?;
    match reply.result {
        Some(embed_reply::Result::Vector(Vector { values })) => Ok(EmbeddedVector {
            vector: values,
            model: reply.model,
            checksum: reply.checksum,
        }),
        Some(embed_reply::Result::Error(EmbedError { code, detail })) => {
            Err(Error::EmbedRefused { code, detail })
        }
        None => Err(InvalidMessage::Field {
            message: "EmbedReply",
            field: "result",
        }
        .into()),
    }
}
