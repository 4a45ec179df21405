//! Reading the catalogs, over their watchers: all that they know by id, and what they know of
//! some ids.

use std::collections::{HashMap, VecDeque};

use lookalike_bus::{
    CatalogImage, CatalogPage, LibraryStatus, MAX_REQUEST_IDS, WatcherReply, WatcherRequest,
};
use lookalike_proto::LibraryName;

use super::{Auditor, Error, WatchedLibrary};

/// One library's catalog, a page of it at a time.
pub(super) struct CatalogReader {
    pub library: LibraryName,
    /// As its watcher spoke of it.
    pub status: LibraryStatus,
    /// The catalog is complete, so what it does not know is not there.
    pub ready: bool,
    /// Why its watcher is not asked any more in this pass.
    pub unreachable: Option<Error>,
    after: Option<String>,
    page: VecDeque<CatalogImage>,
    more: bool,
}

impl CatalogReader {
    pub(super) fn new((library, status): WatchedLibrary) -> Self {
        Self {
            library,
            status,
            ready: false,
            unreachable: None,
            after: None,
            page: VecDeque::new(),
            more: true,
        }
    }

    /// Fetches the next page where the last one is used up. One that does not answer has no more.
    pub(super) async fn fetch_page(&mut self, auditor: &Auditor) {
        while self.unreachable.is_none() && self.page.is_empty() && self.more {
            let question = WatcherRequest::CatalogPage {
                after: self.after.clone(),
                limit: auditor.settings.page_images.clamp(1, MAX_REQUEST_IDS),
            };
            let page = match auditor.fetch_catalog_page(&self.library, &question).await {
                Ok(page) => page,
                Err(error) => return self.mark_unreachable(error),
            };
            self.ready = page.ready;
            // A page that says that there is more and has nothing would come again for ever.
            self.more = page.more && !page.images.is_empty();
            if let Some(last) = page.images.last() {
                self.after = Some(last.id.clone());
            }
            self.page = page.images.into();
        }
    }

    /// The others are compared without it.
    pub(super) fn mark_unreachable(&mut self, why: Error) {
        tracing::warn!(library = %self.library, %why, "the audit goes on without this library");
        self.ready = false;
        self.page.clear();
        self.unreachable = Some(why);
    }

    /// The id that comes next.
    pub(super) fn next_id(&self) -> Option<&str> {
        self.page.front().map(|image| image.id.as_str())
    }

    /// The next image, if it has this id.
    pub(super) fn take_image(&mut self, id: &str) -> Option<CatalogImage> {
        self.page.pop_front_if(|image| image.id == id)
    }
}

/// Which images the catalogs know, with the number of the catalog: by id.
pub(super) type CatalogEntries = HashMap<String, Vec<(usize, CatalogImage)>>;

impl Auditor {
    /// What all catalogs that answer know of these ids.
    pub(super) async fn fetch_entries(
        &self,
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
                let question = WatcherRequest::CatalogImages { ids: rest.clone() };
                let page = match self.fetch_catalog_page(&catalog.library, &question).await {
                    Ok(page) => page,
                    Err(error) => {
                        catalog.mark_unreachable(error);
                        break;
                    }
                };
                catalog.ready = page.ready;
                match page.images.last() {
                    // An answer may be cut where paths are long.
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

    async fn fetch_catalog_page(
        &self,
        library: &LibraryName,
        question: &WatcherRequest,
    ) -> Result<CatalogPage, Error> {
        match self.request_watcher(library, question).await? {
            WatcherReply::CatalogPage(page) => Ok(page),
            other => Err(Error::Refused {
                library: library.clone(),
                reason: format!("it answers with something else: {other:?}"),
            }),
        }
    }
}
