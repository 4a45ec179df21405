//! Queries for a vector: answered as they come, ahead of all indexing.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use lookalike_bus::{
    Bus, EmbedFailure, EmbedInput, EmbedQuery, EmbeddedVector, NO_TEXT, request_subject,
};
use lookalike_chassis::Backoff;
use lookalike_vision::{Engine, Error};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Answers queries until `stop`.
pub async fn answer_queries(
    bus: Bus,
    engine: Arc<Engine>,
    max_queries: usize,
    ended: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(max_queries.max(1)));
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    while !ended.is_cancelled() {
        let description = engine.description();
        let asked_as = request_subject(&description.name, &description.checksum);
        match bus.subscribe_queries(&asked_as).await {
            Err(error) => tracing::warn!(%error, "queries can't be taken now, trying again"),
            Ok(mut queries) => loop {
                let query = tokio::select! {
                    () = ended.cancelled() => return,
                    query = queries.next() => query,
                };
                let Some(query) = query else { break };
                backoff.reset_attempts();
                let Ok(permit) = room.clone().try_acquire_owned() else {
                    let failure = EmbedFailure {
                        code: "overloaded".into(),
                        detail: "too many searches wait for a vector; try again in a moment".into(),
                    };
                    query.send_reply(Err(failure)).await;
                    continue;
                };
                let engine = engine.clone();
                tokio::spawn(async move {
                    let result = embed_query(&engine, &query).await;
                    query.send_reply(result).await;
                    drop(permit);
                });
            },
        }
        tokio::select! {
            () = ended.cancelled() => return,
            () = tokio::time::sleep(backoff.next_delay()) => {}
        }
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
                _ => "network_failed",
            };
            Err(EmbedFailure {
                code: code.into(),
                detail: error.to_string(),
            })
        }
    }
}
