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
    /// Why its watcher is not asked any more in this pass.
    pub silent: Option<Error>,
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
            silent: None,
            after: None,
            page: VecDeque::new(),
            more: true,
        }
    }

    /// Fetches the next page where the last one is used up. One that does not answer has no more.
    pub(super) async fn fill(&mut self, auditor: &Auditor) {
        while self.silent.is_none() && self.page.is_empty() && self.more {
            let question = WatcherQuestion::Known {
                after: self.after.clone(),
                limit: auditor.settings.page_images.clamp(1, MOST_IDS),
            };
            let page = match auditor.known(&self.library, &question).await {
                Ok(page) => page,
                Err(error) => return self.fall_silent(error),
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
    pub(super) fn fall_silent(&mut self, why: Error) {
        tracing::warn!(library = %self.library, %why, "the audit goes on without this library");
        self.ready = false;
        self.page.clear();
        self.silent = Some(why);
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
    /// What all catalogs that answer know of these ids.
    pub(super) async fn known_of(&self, catalogs: &mut [Catalog], ids: &[String]) -> Known {
        let mut known = Known::new();
        for (number, catalog) in catalogs.iter_mut().enumerate() {
            if catalog.silent.is_some() {
                continue;
            }
            let mut rest = ids.to_vec();
            while !rest.is_empty() {
                let question = WatcherQuestion::KnownOf { ids: rest.clone() };
                let page = match self.known(&catalog.library, &question).await {
                    Ok(page) => page,
                    Err(error) => {
                        catalog.fall_silent(error);
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
                    known
                        .entry(image.id.clone())
                        .or_default()
                        .push((number, image));
                }
            }
        }
        known
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
