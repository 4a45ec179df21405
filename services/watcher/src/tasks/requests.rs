//! Requests to a library that arrive over the bus.

use std::time::Instant;

use futures_util::StreamExt as _;
use lookalike_bus::WatcherReply;
use lookalike_proto::LibraryName;

use super::WatcherTasks;
use crate::inbox::KeeperRequest;
use crate::library::id::LibraryId;

impl WatcherTasks {
    /// Serves the requests to a library until the watcher stops.
    pub async fn serve_requests(self, id: LibraryId, library: LibraryName) {
        let mut backoff = Self::new_backoff();
        while !self.shutdown.is_cancelled() {
            let subscribe = self.bus.subscribe_watcher_requests(&library);
            let mut requests = match self.run_unless_stopping(subscribe).await {
                None => return,
                Some(Ok(requests)) => requests,
                Some(Err(error)) => {
                    self.repair_and_back_off(&error, &mut backoff).await;
                    continue;
                }
            };
            loop {
                let incoming = tokio::select! {
                    () = self.shutdown.cancelled() => return,
                    incoming = requests.next() => incoming,
                };
                let Some(incoming) = incoming else { break };
                if *self.lease_valid_until.lock().expect("no holder panics") < Instant::now() {
                    // Another watcher may hold the lease by now and have a newer catalog.
                    let message = "it is not certain which watcher holds the library; try again";
                    let reply = WatcherReply::Refused(message.into());
                    incoming.send_reply(&reply).await;
                    continue;
                }
                let request = incoming.request.clone();
                let reply = self
                    .ask_keeper(|reply| KeeperRequest::WatcherRequest(id, request, reply))
                    .await;
                let failed =
                    || WatcherReply::Refused("the catalog cannot be read now; try again".into());
                incoming.send_reply(&reply.unwrap_or_else(failed)).await;
            }
            self.sleep_unless_stopping(backoff.next_delay()).await;
        }
    }
}
