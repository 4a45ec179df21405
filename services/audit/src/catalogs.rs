//! Reads catalogs through their watchers: page by page, or the entries of given ids.

use std::collections::{HashMap, VecDeque};

use lookalike_bus::{CatalogImage, LibraryStatus, MAX_REQUEST_IDS, WatcherRequest};
use lookalike_proto::LibraryName;

use crate::error::Error;
use crate::watcher_client::{WatchedLibrary, WatcherClient};

/// Reads one library's catalog in the order of ids, a page at a time.
pub(crate) struct CatalogReader {
    pub(crate) library: LibraryName,
    pub(crate) status: LibraryStatus,
    /// Whether the catalog is complete: then an image that it lacks does not exist.
    pub(crate) is_complete: bool,
    /// Why the watcher is not contacted any more in this audit.
    pub(crate) unreachable: Option<Error>,
    after: Option<String>,
    page: VecDeque<CatalogImage>,
    has_more: bool,
}

impl CatalogReader {
    pub(crate) fn new((library, status): WatchedLibrary) -> Self {
        Self {
            library,
            status,
            is_complete: false,
            unreachable: None,
            after: None,
            page: VecDeque::new(),
            has_more: true,
        }
    }

    /// Fetches the next page of up to `page_images` if the current one is used up. An unreachable
    /// catalog has no further pages.
    pub(crate) async fn fetch_page(&mut self, watchers: &WatcherClient, page_images: usize) {
        while self.unreachable.is_none() && self.page.is_empty() && self.has_more {
            let request = WatcherRequest::CatalogPage {
                after: self.after.clone(),
                limit: page_images.clamp(1, MAX_REQUEST_IDS),
            };
            let page = match watchers.fetch_catalog_page(&self.library, &request).await {
                Ok(page) => page,
                Err(error) => return self.mark_unreachable(error),
            };
            self.is_complete = page.ready;
            // An empty page with the flag `more` would be requested forever.
            self.has_more = page.more && !page.images.is_empty();
            if let Some(last) = page.images.last() {
                self.after = Some(last.id.clone());
            }
            self.page = page.images.into();
        }
    }

    /// Excludes this library from the rest of the audit.
    pub(crate) fn mark_unreachable(&mut self, error: Error) {
        tracing::warn!(library = %self.library, %error, "the audit continues without this library");
        self.is_complete = false;
        self.page.clear();
        self.unreachable = Some(error);
    }

    pub(crate) fn next_id(&self) -> Option<&str> {
        self.page.front().map(|image| image.id.as_str())
    }

    /// Removes and returns the next image if it has this id.
    pub(crate) fn take_image(&mut self, id: &str) -> Option<CatalogImage> {
        self.page.pop_front_if(|image| image.id == id)
    }
}

/// Catalog entries by image id, each with the position of its catalog in the list of catalogs.
pub(crate) type CatalogEntries = HashMap<String, Vec<(usize, CatalogImage)>>;

/// Requests the entries of `ids` from all reachable catalogs.
pub(crate) async fn fetch_entries(
    watchers: &WatcherClient,
    catalogs: &mut [CatalogReader],
    ids: &[String],
) -> CatalogEntries {
    let mut entries = CatalogEntries::new();
    for (number, catalog) in catalogs.iter_mut().enumerate() {
        if catalog.unreachable.is_some() {
            continue;
        }
        let mut rest = ids.to_vec();
        while !rest.is_empty() {
            let request = WatcherRequest::CatalogImages { ids: rest.clone() };
            let page = match watchers
                .fetch_catalog_page(&catalog.library, &request)
                .await
            {
                Ok(page) => page,
                Err(error) => {
                    catalog.mark_unreachable(error);
                    break;
                }
            };
            catalog.is_complete = page.ready;
            match page.images.last() {
                // The watcher truncates a reply that would be too large because of long paths.
                Some(last) if page.more => rest.retain(|id| *id > last.id),
                _ => rest.clear(),
            }
            for image in page.images {
                entries
                    .entry(image.id.clone())
                    .or_default()
                    .push((number, image));
            }
        }
    }
    entries
}
