//! Requests to watchers: scans, pages of their catalogs, resends.

use std::time::Duration;

use lookalike_bus::{Bus, CatalogPage, LibraryStatus, WatcherReply, WatcherRequest};
use lookalike_chassis::{Backoff, Retry};
use lookalike_proto::LibraryName;
use tokio::time::Instant;

use crate::error::Error;

const MAX_ATTEMPTS: u32 = 5;

/// A library and the status that its watcher published.
pub(crate) type WatchedLibrary = (LibraryName, LibraryStatus);

/// Sends requests to watchers and repeats those that fail.
pub(crate) struct WatcherClient {
    bus: Bus,
}

impl WatcherClient {
    pub(crate) fn new(bus: Bus) -> Self {
        Self { bus }
    }

    /// Sends a request to a library's watcher, a few times if the watcher is unreachable or
    /// refuses. Both are normal shortly after a restart or while another watcher takes over.
    pub(crate) async fn send_request(
        &self,
        library: &LibraryName,
        request: &WatcherRequest,
    ) -> Result<WatcherReply, Error> {
        let retry = Retry::new(Duration::from_millis(200), Duration::from_secs(5))
            .with_max_attempts(MAX_ATTEMPTS);
        let is_transient = |error: &Error| {
            tracing::debug!(%error, "a request to a watcher failed");
            true
        };
        retry
            .run(|| self.send_request_once(library, request), is_transient)
            .await
    }

    async fn send_request_once(
        &self,
        library: &LibraryName,
        request: &WatcherRequest,
    ) -> Result<WatcherReply, Error> {
        let library = library.clone();
        match self
            .bus
            .request_watcher((library.clone(), request.clone()))
            .await
        {
            Ok(WatcherReply::Refused(reason)) => Err(Error::Refused { library, reason }),
            Ok(reply) => Ok(reply),
            Err(source) => Err(Error::Watcher { library, source }),
        }
    }

    /// Requests one page of a library's catalog.
    pub(crate) async fn fetch_catalog_page(
        &self,
        library: &LibraryName,
        request: &WatcherRequest,
    ) -> Result<CatalogPage, Error> {
        match self.send_request(library, request).await? {
            WatcherReply::CatalogPage(page) => Ok(page),
            reply => Err(Error::Refused {
                library: library.clone(),
                reason: format!("unexpected reply: {reply:?}"),
            }),
        }
    }

    /// Starts a scan of every library and waits for all of them. Returns the libraries whose scan
    /// failed, each with the reason.
    pub(crate) async fn scan_libraries(
        &self,
        libraries: &[WatchedLibrary],
        timeout: Duration,
    ) -> Vec<(LibraryName, Error)> {
        let mut scanning = Vec::new();
        let mut failed = Vec::new();
        for (library, _) in libraries {
            match self.send_request(library, &WatcherRequest::Scan).await {
                Ok(_) => scanning.push(library.clone()),
                Err(error) => failed.push((library.clone(), error)),
            }
        }
        let deadline = Instant::now() + timeout;
        for library in scanning {
            if let Err(error) = self.wait_for_scan(&library, deadline).await {
                failed.push((library, error));
            }
        }
        failed
    }

    async fn wait_for_scan(&self, library: &LibraryName, deadline: Instant) -> Result<(), Error> {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
        let no_images = WatcherRequest::CatalogImages { ids: Vec::new() };
        while let WatcherReply::CatalogPage(page) = self.send_request(library, &no_images).await?
            && page.scanning
        {
            if Instant::now() > deadline {
                return Err(Error::ScanTimeout(library.clone()));
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
        Ok(())
    }
}
