//! Reading the catalogs, over their watchers: all that they know by id, and what they know of
//! some ids.

use std::collections::{HashMap, VecDeque};

use lookalike_bus::{
    KnownImage, KnownPage, LibraryStatus, MOST_IDS, WatcherAnswer, WatcherQuestion,
};
use lookalike_proto::Library;

use super::{Auditor, Error, Watched};

/// One library's catalog, a page of it at a time.
pub(super) struct Catalog {
    pub library: Library,
    /// As its watcher spoke of it.
    pub status: LibraryStatus,
    /// The catalog is complete, so what it does not know is not there.
    pub ready: bool,
    after: Option<String>,
    page: VecDeque<KnownImage>,
    more: bool,
}

impl Catalog {
    pub(super) fn new((library, status): Watched) -> Self {
        Self {
            library,
            status,
            ready: false,
            after: None,
            page: VecDeque::new(),
            more: true,
        }
    }

    /// Fetches the next page where the last one is used up.
    pub(super) async fn fill(&mut self, auditor: &Auditor) -> Result<(), Error> {
        while self.page.is_empty() && self.more {
            let question = WatcherQuestion::Known {
                after: self.after.clone(),
                limit: auditor.settings.page_images.clamp(1, MOST_IDS),
            };
            let page = auditor.known(&self.library, &question).await?;
            self.ready = page.ready;
            // A page that says that there is more and has nothing would come again for ever.
            self.more = page.more && !page.images.is_empty();
            if let Some(last) = page.images.last() {
                self.after = Some(last.id.clone());
            }
            self.page = page.images.into();
        }
        Ok(())
    }

    /// The id that comes next.
    pub(super) fn next_id(&self) -> Option<&str> {
        self.page.front().map(|image| image.id.as_str())
    }

    /// The next image, if it has this id.
    pub(super) fn take(&mut self, id: &str) -> Option<KnownImage> {
        self.page.pop_front_if(|image| image.id == id)
    }
}

/// Which images the catalogs know, with the number of the catalog: by id.
pub(super) type Known = HashMap<String, Vec<(usize, KnownImage)>>;

impl Auditor {
    /// What all catalogs know of these ids.
    pub(super) async fn known_of(
        &self,
        catalogs: &mut [Catalog],
        ids: &[String],
    ) -> Result<Known, Error> {
        let mut known = Known::new();
        for (number, catalog) in catalogs.iter_mut().enumerate() {
            let mut rest = ids.to_vec();
            while !rest.is_empty() {
                let question = WatcherQuestion::KnownOf { ids: rest.clone() };
                let page = self.known(&catalog.library, &question).await?;
                catalog.ready = page.ready;
                match page.images.last() {
                    // An answer may be cut where paths are long.
                    Some(last) if page.more => rest.retain(|id| *id > last.id),
                    _ => rest.clear(),
                }
                for image in page.images {
                    known
                        .entry(image.id.clone())
                        .or_default()
                        .push((number, image));
                }
            }
        }
        Ok(known)
    }

    async fn known(
        &self,
        library: &Library,
        question: &WatcherQuestion,
    ) -> Result<KnownPage, Error> {
        match self.ask(library, question).await? {
            WatcherAnswer::Known(page) => Ok(page),
            other => Err(Error::Refused {
                library: library.clone(),
                reason: format!("it answers with something else: {other:?}"),
            }),
        }
    }
}
