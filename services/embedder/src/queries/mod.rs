//! Queries: answers requests of other roles, for vectors and for rows.

pub mod embed;
pub mod rows;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use lookalike_bus::Error as BusError;
use lookalike_chassis::Backoff;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Answers one kind of request.
pub trait RequestHandler: Send + Sync + 'static {
    type Request: Send + 'static;

    /// What is requested, for logs.
    const SUBJECT: &'static str;

    /// Requests that are answered at once; more are rejected.
    fn max_concurrent(&self) -> usize;

    fn subscribe(
        &self,
    ) -> impl Future<Output = Result<impl Stream<Item = Self::Request> + Send + Unpin, BusError>> + Send;

    fn answer(&self, request: Self::Request) -> impl Future<Output = ()> + Send;

    /// Replies that too many requests are in progress.
    fn reject(&self, request: Self::Request) -> impl Future<Output = ()> + Send;
}

/// Answers requests until `stop`, and subscribes again when the subscription ends.
pub async fn answer_requests<H: RequestHandler>(handler: H, stop: CancellationToken) {
    let handler = Arc::new(handler);
    let permits = Arc::new(Semaphore::new(handler.max_concurrent().max(1)));
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    while !stop.is_cancelled() {
        match handler.subscribe().await {
            Err(error) => {
                tracing::warn!(%error, subject = H::SUBJECT, "cannot subscribe to requests, retrying");
            }
            Ok(mut requests) => loop {
                let request = tokio::select! {
                    () = stop.cancelled() => return,
                    request = requests.next() => request,
                };
                let Some(request) = request else { break };
                backoff.reset_attempts();
                let Ok(permit) = permits.clone().try_acquire_owned() else {
                    handler.reject(request).await;
                    continue;
                };
                let handler = handler.clone();
                tokio::spawn(async move {
                    handler.answer(request).await;
                    drop(permit);
                });
            },
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(backoff.next_delay()) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use tokio::sync::{Notify, mpsc};

    use super::*;

    /// Receives three requests and answers each when it is notified.
    struct TestHandler {
        release: Arc<Notify>,
        results: mpsc::Sender<(u32, &'static str)>,
    }

    impl RequestHandler for TestHandler {
        type Request = u32;

        const SUBJECT: &'static str = "tests";

        fn max_concurrent(&self) -> usize {
            2
        }

        async fn subscribe(&self) -> Result<impl Stream<Item = u32> + Send + Unpin, BusError> {
            Ok(Box::pin(stream::iter(1..=3).chain(stream::pending())))
        }

        async fn answer(&self, request: u32) {
            self.release.notified().await;
            self.results.send((request, "answered")).await.unwrap();
        }

        async fn reject(&self, request: u32) {
            self.results.send((request, "rejected")).await.unwrap();
        }
    }

    #[tokio::test]
    async fn requests_above_the_limit_are_rejected() {
        let release = Arc::new(Notify::new());
        let (results, mut received) = mpsc::channel(3);
        let stop = CancellationToken::new();
        let handler = TestHandler {
            release: release.clone(),
            results,
        };
        let answering = tokio::spawn(answer_requests(handler, stop.clone()));
        assert_eq!(received.recv().await, Some((3, "rejected")));
        let mut answered = Vec::new();
        for _ in 0..2 {
            release.notify_one();
            answered.push(received.recv().await);
        }
        answered.sort();
        assert_eq!(answered, [Some((1, "answered")), Some((2, "answered"))]);
        stop.cancel();
        answering.await.unwrap();
    }
}
