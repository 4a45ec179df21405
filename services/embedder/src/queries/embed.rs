//! Answers queries for a vector, ahead of everything that is indexed.

use std::sync::Arc;

use futures_util::Stream;
use lookalike_bus::{
    Bus, EmbedFailure, EmbedInput, EmbedQuery, EmbeddedVector, Error as BusError, NETWORK_FAILED,
    NO_TEXT, OVERLOADED, request_subject,
};
use lookalike_vision::{Engine, Error};

use super::RequestHandler;

pub struct EmbedHandler {
    bus: Bus,
    engine: Arc<Engine>,
    /// The name under which search services send queries to this embedder.
    instance: String,
    max_queries: usize,
}

impl EmbedHandler {
    pub fn new(bus: Bus, engine: Arc<Engine>, instance: String, max_queries: usize) -> Self {
        Self {
            bus,
            engine,
            instance,
            max_queries,
        }
    }
}

impl RequestHandler for EmbedHandler {
    type Request = EmbedQuery;

    const SUBJECT: &'static str = "vectors";

    fn max_concurrent(&self) -> usize {
        self.max_queries
    }

    async fn subscribe(&self) -> Result<impl Stream<Item = EmbedQuery> + Send + Unpin, BusError> {
        let description = self.engine.description();
        let subject = request_subject(&description.name, &description.checksum);
        self.bus.subscribe_queries(&subject, &self.instance).await
    }

    async fn answer(&self, query: EmbedQuery) {
        let result = embed_query(&self.engine, &query).await;
        query.send_reply(result).await;
    }

    async fn reject(&self, query: EmbedQuery) {
        let failure = EmbedFailure {
            code: OVERLOADED.into(),
            detail: "too many searches wait for a vector; try again soon".into(),
        };
        query.send_reply(Err(failure)).await;
    }
}

async fn embed_query(engine: &Engine, query: &EmbedQuery) -> Result<EmbeddedVector, EmbedFailure> {
    let embedded = match &query.input {
        EmbedInput::Pixels(pixels) => {
            let input = pixels.to_vec().into_boxed_slice();
            engine.embed_query(vec![input]).await
        }
        EmbedInput::Text(text) => engine.embed_text(vec![text.as_str().to_owned()]).await,
    };
    let description = engine.description();
    match embedded {
        Ok(mut vectors) => Ok(EmbeddedVector {
            vector: vectors.pop().unwrap_or_default(),
            model: description.name.clone(),
            checksum: description.checksum.clone(),
        }),
        Err(error) => {
            let code = match error {
                Error::WrongInput { .. } => "other_preprocessing",
                Error::NoText { .. } => NO_TEXT,
                _ => NETWORK_FAILED,
            };
            Err(EmbedFailure {
                code: code.into(),
                detail: error.to_string(),
            })
        }
    }
}
